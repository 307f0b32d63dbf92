//! The publishing role.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use data_pubsub_shared::{Bytes, ErrorKind, Options, Ring as Core, SubscribeOptions, Variant, Wait, NEVER, NO_READERS};
use pyo3::exceptions::{PyTimeoutError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::errors::{raised, Incompatible};
use crate::message::{integer, kind, variant, Text};
use crate::packed::{item, unpack};
use crate::subscriber::{deadline, set_prefixes, Subscriber};

/// A handle for a ring; None once it was closed.
#[pyclass(frozen, module = "pubsub_shared", weakref)]
pub(crate) struct Ring(Mutex<Option<Arc<Core>>>);

/// A path as Python's own functions accept it: `str`, `bytes`, or an object with `__fspath__`.
fn file_path(path: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    let bytes = path.py().import("os")?.call_method1("fsencode", (path,))?;
    Ok(PathBuf::from(OsStr::from_bytes(bytes.cast::<PyBytes>()?.as_bytes())))
}

/// The options of a new ring, by name; `keep` is in seconds.
fn options(capacity: u64, wishes: Option<&Bound<'_, PyDict>>) -> PyResult<Options> {
    let mut options = Options::new(capacity);
    for (name, value) in wishes.iter().flat_map(|wishes| wishes.iter()) {
        match name.extract::<PyBackedStr>()?.as_ref() {
            "message_size" => options.msg_size = value.extract()?,
            "publishers" => options.publishers = value.extract()?,
            "readers" => options.readers = value.extract::<Option<u64>>()?.unwrap_or(NO_READERS),
            "mode" => options.mode = value.extract()?,
            "lossless" => options.lossless = value.extract()?,
            "keep" => options.keep_ms = milliseconds(value.extract()?)?,
            "prefault" => options.prefault = value.extract()?,
            "stamped" => options.stamped = value.extract()?,
            other => return Err(PyTypeError::new_err(format!("unexpected option '{other}'"))),
        }
    }
    Ok(options)
}

fn milliseconds(seconds: f64) -> PyResult<u32> {
    let milliseconds = (seconds * 1000.0).round();
    if !(0.0..=f64::from(u32::MAX)).contains(&milliseconds) {
        return Err(PyValueError::new_err(format!("keep must be 0 to 4294967 seconds, not {seconds}")));
    }
    Ok(milliseconds as u32)
}

impl Ring {
    fn new(ring: Core) -> Self {
        Ring(Mutex::new(Some(Arc::new(ring))))
    }

    /// The mutex is held only for an expression, and no code panics while it holds it.
    fn place(&self) -> std::sync::MutexGuard<'_, Option<Arc<Core>>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn core(&self) -> PyResult<Arc<Core>> {
        self.place().clone().ok_or_else(|| PyValueError::new_err("this ring is closed"))
    }
}

/// Waits until a lossless ring has room for `count` messages. Returns false if the clock reaches `deadline`. Other threads and
/// signal handlers run during the wait.
fn room(python: Python<'_>, ring: &Core, count: usize, deadline: u64) -> PyResult<bool> {
    loop {
        match python.detach(|| ring.wait_for_room(count as u64, deadline, || false)).map_err(raised)? {
            Wait::Interrupted => python.check_signals()?,
            how => return Ok(how != Wait::TimedOut),
        }
    }
}

/// Calls `attempt` until it has published `count` messages. Returns false if there is no room until `deadline`.
fn published(
    python: Python<'_>,
    ring: &Core,
    count: usize,
    deadline: u64,
    mut attempt: impl FnMut() -> data_pubsub_shared::Result<bool>,
) -> PyResult<bool> {
    loop {
        match attempt() {
            Ok(true) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                // All spare blocks are in use, perhaps by other threads of this interpreter.
                python.check_signals()?;
                python.detach(std::thread::yield_now);
                continue;
            }
            Err(error) if error.kind() != ErrorKind::Full => return Err(raised(error)),
            Ok(false) | Err(_) => {}
        }
        if !room(python, ring, count, deadline)? {
            return Ok(false);
        }
    }
}

fn publish_strs(python: Python<'_>, ring: &Core, messages: &[Bytes], deadline: u64) -> PyResult<bool> {
    // SAFETY: the caller keeps the objects from which the bytes are borrowed.
    published(python, ring, messages.len(), deadline, || unsafe { ring.publish_strs(messages) }.map(|()| true))
}

/// Publishes numbers of `width` bytes, in pieces. Returns how many were published.
fn publish_packed(python: Python<'_>, ring: &Core, bytes: &[u8], width: usize) -> PyResult<usize> {
    let mut done = 0;
    loop {
        done += ring.try_publish_packed(&bytes[done * width..]).map_err(raised)?;
        let left = bytes.len() / width - done;
        if left == 0 {
            return Ok(done);
        }
        room(python, ring, left.min(ring.capacity() as usize).min(PIECE), NEVER)?;
    }
}

/// The maximum number of packed numbers that are adjacent in a ring.
const PIECE: usize = 8192;

#[pymethods]
impl Ring {
    #[new]
    #[pyo3(signature = (path, kind = None, capacity = 0, **wishes))]
    fn open(
        path: &Bound<'_, PyAny>,
        kind: Option<&str>,
        capacity: u64,
        wishes: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let (python, options, given) = (path.py(), options(capacity, wishes)?, file_path(path)?);
        let opened = match kind {
            Some(kind) => {
                let variant = variant(kind)?;
                python.detach(|| options.open(variant, &given))
            }
            None if capacity == 0 => python.detach(|| Core::attach(&given)),
            None => return Err(PyTypeError::new_err("kind is required to create a ring")),
        };
        opened.map(Ring::new).map_err(raised)
    }

    #[staticmethod]
    fn open_read_only(python: Python<'_>, path: &Bound<'_, PyAny>) -> PyResult<Self> {
        let path = file_path(path)?;
        python.detach(|| Core::attach_read_only(&path)).map(Ring::new).map_err(raised)
    }

    #[staticmethod]
    #[pyo3(signature = (kind, capacity, **wishes))]
    fn anonymous(kind: &str, capacity: u64, wishes: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        options(capacity, wishes)?.anonymous(variant(kind)?).map(Ring::new).map_err(raised)
    }

    #[staticmethod]
    #[pyo3(signature = (name, kind, capacity, **wishes))]
    fn memfd(name: &str, kind: &str, capacity: u64, wishes: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let name = CString::new(name).map_err(|_| PyValueError::new_err("name must not contain NUL"))?;
        options(capacity, wishes)?.memfd(variant(kind)?, &name).map(Ring::new).map_err(raised)
    }

    #[staticmethod]
    fn from_fd(fd: i32) -> PyResult<Self> {
        if fd < 0 {
            return Err(PyValueError::new_err(format!("fd must not be negative, and is {fd}")));
        }
        // SAFETY: the number is used for one call, which duplicates the descriptor, or fails if it is not open.
        Core::attach_fd(unsafe { BorrowedFd::borrow_raw(fd) }).map(Ring::new).map_err(raised)
    }

    #[pyo3(signature = (value, timeout = None))]
    fn publish(&self, value: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<()> {
        let (python, ring, deadline) = (value.py(), self.core()?, deadline(timeout)?);
        let done = match ring.variant() {
            Variant::Str => publish_strs(python, &ring, &[Text::new(value)?.bytes()], deadline)?,
            Variant::Num => {
                let number = value.extract()?;
                published(python, &ring, 1, deadline, || ring.try_publish_num(number))?
            }
            variant => {
                let number = integer(variant, value)?;
                published(python, &ring, 1, deadline, || ring.try_publish_int(number))?
            }
        };
        if !done {
            return Err(PyTimeoutError::new_err(
                "a reader has not read the messages that would be overwritten, and the time is up",
            ));
        }
        Ok(())
    }

    fn publish_many(&self, values: &Bound<'_, PyAny>) -> PyResult<usize> {
        let (python, ring) = (values.py(), self.core()?);
        let items = values.try_iter()?;
        if ring.variant() == Variant::Str {
            let texts = items.map(|item| Text::new(&item?)).collect::<PyResult<Vec<_>>>()?;
            let bytes: Vec<_> = texts.iter().map(Text::bytes).collect();
            return publish_strs(python, &ring, &bytes, NEVER).map(|_| bytes.len());
        }
        let (mut bytes, (format, width)) = (Vec::new(), item(ring.variant())?);
        for value in items {
            let value = value?;
            match format {
                "d" => bytes.extend(value.extract::<f64>()?.to_ne_bytes()),
                "q" => bytes.extend(integer(ring.variant(), &value)?.to_ne_bytes()),
                "i" => bytes.extend((integer(ring.variant(), &value)? as i32).to_ne_bytes()),
                _ => bytes.extend((integer(ring.variant(), &value)? as i16).to_ne_bytes()),
            }
        }
        publish_packed(python, &ring, &bytes, width)
    }

    fn publish_packed(&self, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let ring = self.core()?;
        let numbers = unpack(ring.variant(), buffer)?;
        publish_packed(buffer.py(), &ring, numbers.as_bytes(), item(ring.variant())?.1)
    }

    #[pyo3(signature = (timeout = None))]
    fn wait_for_readers(&self, python: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let (ring, deadline) = (self.core()?, deadline(timeout)?);
        loop {
            match python.detach(|| ring.wait_for_readers(deadline, || false)).map_err(raised)? {
                Wait::Interrupted => python.check_signals()?,
                how => return Ok(how != Wait::TimedOut),
            }
        }
    }

    #[pyo3(signature = (*, oldest = false, strict = false, lossy = false, name = None, prefix = None))]
    fn subscribe(
        &self,
        oldest: bool,
        strict: bool,
        lossy: bool,
        name: Option<&str>,
        prefix: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Subscriber> {
        let mut options = SubscribeOptions::default();
        (options.all, options.lossy, options.name) = (oldest, lossy, name);
        let mut core = self.core()?.subscribe_with(&options).map_err(raised)?;
        if let Some(prefix) = prefix {
            set_prefixes(&mut core, prefix)?;
        }
        Ok(Subscriber::new(core, strict))
    }

    fn readers<'py>(&self, python: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let readers = self.core()?.readers();
        let listed = readers.into_iter().map(|reader| {
            let dict = PyDict::new(python);
            dict.set_item("name", reader.name)?;
            dict.set_item("pid", reader.pid)?;
            dict.set_item("position", reader.position)?;
            dict.set_item("lag", reader.lag)?;
            dict.set_item("lost", reader.lost)?;
            dict.set_item("delivered", reader.delivered)?;
            dict.set_item("waits", reader.waits)?;
            dict.set_item("lossy", reader.lossy)?;
            dict.set_item("alive", reader.alive)?;
            dict.set_item("since", reader.since as f64 / 1e9)?;
            Ok(dict)
        });
        listed.collect()
    }

    fn forget(&self, name: &str) -> PyResult<bool> {
        self.core()?.forget(name).map_err(raised)
    }

    fn clear(&self) -> PyResult<()> {
        self.core()?.clear().map_err(raised)
    }

    fn sync(&self, python: Python<'_>) -> PyResult<()> {
        let ring = self.core()?;
        python.detach(|| ring.sync()).map_err(raised)
    }

    fn unlink(&self) -> PyResult<()> {
        self.core()?.unlink().map_err(raised)
    }

    fn is_gone(&self) -> PyResult<bool> {
        Ok(self.core()?.is_gone())
    }

    fn reopen(&self, python: Python<'_>) -> PyResult<()> {
        let ring = self.core()?;
        let path = ring.path().ok_or_else(|| PyValueError::new_err("this ring has no path"))?;
        let read_only = ring.is_read_only();
        let next = python.detach(|| if read_only { Core::attach_read_only(path) } else { Core::attach(path) });
        let next = next.map_err(raised)?;
        if next.variant() != ring.variant() {
            let text = format!("{} is a ring of {} now", path.display(), kind(next.variant()));
            return Err(Incompatible::new_err(text));
        }
        *self.place() = Some(Arc::new(next));
        Ok(())
    }

    fn stats<'py>(&self, python: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.core()?.stats();
        let dict = PyDict::new(python);
        for (name, value) in [
            ("capacity", stats.capacity),
            ("message_size", stats.msg_size),
            ("mmap_size", stats.mmap_size),
            ("write_position", stats.write_pos),
            ("published", stats.publish_ok),
            ("recoveries", stats.recoveries),
            ("abandoned", stats.abandoned),
            ("waiters", stats.sub_waiters),
            ("publishers", stats.publishers),
            ("leaked", stats.leaked),
            ("readers", stats.readers),
            ("unlisted", stats.unlisted),
        ] {
            dict.set_item(name, value)?;
        }
        dict.set_item("lossless", stats.lossless)?;
        dict.set_item("stamped", stats.stamped)?;
        dict.set_item("keep", f64::from(stats.keep_ms) / 1000.0)?;
        Ok(dict)
    }

    /// For a memfd.
    fn fileno(&self) -> PyResult<i32> {
        self.core()?
            .as_memfd()
            .ok_or_else(|| PyValueError::new_err("this ring has no descriptor: it is not of a memfd"))
    }

    #[getter]
    fn kind(&self) -> PyResult<&'static str> {
        Ok(kind(self.core()?.variant()))
    }

    #[getter]
    fn capacity(&self) -> PyResult<u64> {
        Ok(self.core()?.capacity())
    }

    #[getter]
    fn message_size(&self) -> PyResult<u64> {
        Ok(self.core()?.msg_size())
    }

    #[getter]
    fn write_position(&self) -> PyResult<u64> {
        Ok(self.core()?.write_pos())
    }

    #[getter]
    fn path(&self) -> PyResult<Option<OsString>> {
        Ok(self.core()?.path().map(|path| path.as_os_str().to_owned()))
    }

    #[getter]
    fn read_only(&self) -> PyResult<bool> {
        Ok(self.core()?.is_read_only())
    }

    #[getter]
    fn closed(&self) -> bool {
        self.place().is_none()
    }

    fn close(&self) {
        *self.place() = None;
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyResult<PyRef<'_, Self>> {
        slf.core()?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, PyTuple>) {
        self.close();
    }

    fn __repr__(&self) -> String {
        match self.core() {
            Ok(ring) => {
                let place = ring.path().map_or("in memory".to_owned(), |path| format!("at {:?}", path));
                format!("<pubsub_shared.Ring of {} {}, capacity {}>", kind(ring.variant()), place, ring.capacity())
            }
            Err(_) => "<pubsub_shared.Ring, closed>".to_owned(),
        }
    }
}

/// Removes the ring's file at the path. A missing file is not an error.
#[pyfunction]
pub(crate) fn unlink(path: &Bound<'_, PyAny>) -> PyResult<()> {
    data_pubsub_shared::unlink(&file_path(path)?).map_err(raised)
}
