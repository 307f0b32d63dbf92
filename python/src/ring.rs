//! The publishing role.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use data_pubsub_shared::{Bytes, ErrorKind, Options, Ring as Core, Variant};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::errors::{raised, Incompatible};
use crate::message::{integer, kind, variant, Text};
use crate::packed::unpack;
use crate::subscriber::Subscriber;

/// A handle on a ring; None once it was closed.
#[pyclass(frozen, module = "pubsub_shared", weakref)]
pub(crate) struct Ring(Mutex<Option<Arc<Core>>>);

/// A path as Python's own functions take it: `str`, `bytes`, or what has `__fspath__`.
fn file_path(path: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    let bytes = path.py().import("os")?.call_method1("fsencode", (path,))?;
    Ok(PathBuf::from(OsStr::from_bytes(bytes.cast::<PyBytes>()?.as_bytes())))
}

fn options(capacity: u64, message_size: u64, publishers: u64, mode: u32) -> Options {
    Options { capacity, msg_size: message_size, publishers, mode }
}

impl Ring {
    fn new(ring: Core) -> Self {
        Ring(Mutex::new(Some(Arc::new(ring))))
    }

    /// Nobody panics with the mutex, and nobody holds it for longer than this.
    fn place(&self) -> std::sync::MutexGuard<'_, Option<Arc<Core>>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn core(&self) -> PyResult<Arc<Core>> {
        self.place().clone().ok_or_else(|| PyValueError::new_err("this ring is closed"))
    }
}

/// Publishes; where all spare blocks are in use, signal handlers run in between, and other threads.
fn publish_strs(python: Python<'_>, ring: &Core, messages: &[Bytes]) -> PyResult<()> {
    // The slices behind it are borrowed from objects that the caller keeps.
    struct Shared<'a>(&'a [Bytes]);
    // SAFETY: immutable bytes, whoever reads them.
    unsafe impl Send for Shared<'_> {}
    // SAFETY: as above.
    unsafe impl Sync for Shared<'_> {}
    impl Shared<'_> {
        fn publish(&self, ring: &Core) -> data_pubsub_shared::Result<()> {
            // SAFETY: as above.
            unsafe { ring.publish_strs(self.0) }
        }
    }
    let shared = Shared(messages);
    let mut result = shared.publish(ring);
    while matches!(&result, Err(error) if error.kind() == ErrorKind::Interrupted) {
        python.check_signals()?;
        result = python.detach(|| shared.publish(ring));
    }
    result.map_err(raised)
}

#[pymethods]
impl Ring {
    #[new]
    #[pyo3(signature = (path, kind = None, capacity = 0, *, message_size = 256, publishers = 0, mode = 0o600))]
    fn open(
        python: Python<'_>,
        path: &Bound<'_, PyAny>,
        kind: Option<&str>,
        capacity: u64,
        message_size: u64,
        publishers: u64,
        mode: u32,
    ) -> PyResult<Self> {
        let path = file_path(path)?;
        let opened = match kind {
            Some(kind) => {
                let (variant, options) = (variant(kind)?, options(capacity, message_size, publishers, mode));
                python.detach(|| options.open(variant, &path))
            }
            None if capacity == 0 => python.detach(|| Core::attach(&path)),
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
    #[pyo3(signature = (kind, capacity, *, message_size = 256, publishers = 0))]
    fn anonymous(kind: &str, capacity: u64, message_size: u64, publishers: u64) -> PyResult<Self> {
        let options = options(capacity, message_size, publishers, 0o600);
        options.anonymous(variant(kind)?).map(Ring::new).map_err(raised)
    }

    #[staticmethod]
    #[pyo3(signature = (name, kind, capacity, *, message_size = 256, publishers = 0))]
    fn memfd(name: &str, kind: &str, capacity: u64, message_size: u64, publishers: u64) -> PyResult<Self> {
        let name = CString::new(name).map_err(|_| PyValueError::new_err("name must not contain NUL"))?;
        let options = options(capacity, message_size, publishers, 0o600);
        options.memfd(variant(kind)?, &name).map(Ring::new).map_err(raised)
    }

    #[staticmethod]
    fn from_fd(fd: i32) -> PyResult<Self> {
        if fd < 0 {
            return Err(PyValueError::new_err(format!("fd must not be negative, and is {fd}")));
        }
        // SAFETY: a number for one call, which duplicates it, or says that it is not open.
        Core::attach_fd(unsafe { BorrowedFd::borrow_raw(fd) }).map(Ring::new).map_err(raised)
    }

    fn publish(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let ring = self.core()?;
        match ring.variant() {
            Variant::Str => publish_strs(value.py(), &ring, &[Text::new(value)?.bytes()]),
            Variant::Num => ring.publish_num(value.extract()?).map_err(raised),
            variant => ring.publish_int(integer(variant, value)?).map_err(raised),
        }
    }

    fn publish_many(&self, values: &Bound<'_, PyAny>) -> PyResult<usize> {
        let ring = self.core()?;
        let items = values.try_iter()?;
        match ring.variant() {
            Variant::Str => {
                let texts = items.map(|item| Text::new(&item?)).collect::<PyResult<Vec<_>>>()?;
                let bytes: Vec<_> = texts.iter().map(Text::bytes).collect();
                publish_strs(values.py(), &ring, &bytes).map(|()| bytes.len())
            }
            Variant::Num => {
                let mut bytes = Vec::new();
                for item in items {
                    bytes.extend(item?.extract::<f64>()?.to_ne_bytes());
                }
                ring.publish_packed(&bytes).map_err(raised)
            }
            variant => {
                let numbers = items.map(|item| integer(variant, &item?)).collect::<PyResult<Vec<_>>>()?;
                ring.publish_ints(&numbers).map_err(raised)
            }
        }
    }

    fn publish_packed(&self, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let ring = self.core()?;
        let numbers = unpack(ring.variant(), buffer)?;
        let bytes = numbers.as_bytes();
        buffer.py().detach(|| ring.publish_packed(bytes)).map_err(raised)
    }

    #[pyo3(signature = (*, oldest = false, strict = false))]
    fn subscribe(&self, oldest: bool, strict: bool) -> PyResult<Subscriber> {
        Ok(Subscriber::new(self.core()?.subscribe(oldest), strict))
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
        ] {
            dict.set_item(name, value)?;
        }
        Ok(dict)
    }

    /// Of a memfd.
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

/// Removes the ring's file at the path; it may be gone already.
#[pyfunction]
pub(crate) fn unlink(path: &Bound<'_, PyAny>) -> PyResult<()> {
    data_pubsub_shared::unlink(&file_path(path)?).map_err(raised)
}
