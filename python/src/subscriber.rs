//! The receiving role.

use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use data_pubsub_shared::{monotonic_ns, Subscriber as Core, Variant, Wait, NEVER};
use pyo3::exceptions::{PyRuntimeError, PyStopIteration, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt, PyList, PyTuple};

use crate::errors::{raised, Gone, Lagged};
use crate::message::{kind, prefixes, text, Text};
use crate::packed::{item, pack};

/// The default limit of a call: a batch that fits into memory.
const MOST: usize = 1 << 20;

/// A reader of a ring; None once it was closed. A waiting call holds the mutex, and other calls fail instead of waiting for it.
#[pyclass(frozen, module = "pubsub_shared", weakref)]
pub(crate) struct Subscriber(Mutex<Option<Reader>>);

pub(crate) struct Reader {
    pub(crate) core: Core,
    /// Whether losses are exceptions at their position.
    strict: bool,
    /// The number of losses already reported.
    told: u64,
    /// The bytes of the last message.
    bytes: Vec<u8>,
}

/// Where a subscriber's reader is, for one call.
pub(crate) type Place<'a> = MutexGuard<'a, Option<Reader>>;

/// The next item.
enum Next<T> {
    Message(T),
    Gap(u64),
    Nothing,
}

impl Reader {
    /// The next message, as converted by `take`.
    fn next<T>(&mut self, mut take: impl FnMut(&mut Reader) -> PyResult<Option<T>>) -> PyResult<Next<T>> {
        loop {
            let lost = self.core.overflow_count();
            if lost != self.told && self.strict {
                return Ok(Next::Gap(lost - std::mem::replace(&mut self.told, lost)));
            }
            if let Some(message) = take(self)? {
                return Ok(Next::Message(message));
            }
            if !self.core.advance() && (!self.strict || self.core.overflow_count() == self.told) {
                return Ok(Next::Nothing);
            }
        }
    }

    fn next_value<'py>(&mut self, python: Python<'py>) -> PyResult<Next<Bound<'py, PyAny>>> {
        self.next(|reader| match reader.core.variant() {
            Variant::Str => {
                let flag = reader.core.take_str(&mut reader.bytes).map_err(raised)?;
                Ok(flag.map(|utf8| text(python, &reader.bytes, utf8)))
            }
            Variant::Num => {
                let number = reader.core.take_num().map_err(raised)?;
                Ok(number.map(|number| PyFloat::new(python, number).into_any()))
            }
            _ => {
                let number = reader.core.take_int().map_err(raised)?;
                Ok(number.map(|number| PyInt::new(python, number).into_any()))
            }
        })
    }

    /// Sleeps until there is a message or a loss to report, and runs signal handlers.
    fn wait(&mut self, python: Python<'_>, deadline: u64) -> PyResult<Wait> {
        loop {
            match python.detach(|| self.core.wait(deadline)) {
                Wait::Interrupted => python.check_signals()?,
                _ if self.is_untold() => return Ok(Wait::Ready),
                how => return Ok(how),
            }
        }
    }

    /// Whether there is a loss to report.
    fn is_untold(&self) -> bool {
        self.strict && self.core.overflow_count() != self.told
    }

    /// Whether there is a message or a loss to report.
    pub(crate) fn is_ready(&mut self) -> bool {
        self.is_untold() || self.core.is_ready()
    }

    /// Takes items until `limit`, a gap, or the end of the ring at the beginning of the call.
    fn batch<T>(&mut self, limit: usize, mut next: impl FnMut(&mut Reader) -> PyResult<Next<T>>) -> PyResult<Vec<T>> {
        let mut items = Vec::new();
        let lag = usize::try_from(self.core.lag()).unwrap_or(usize::MAX);
        while items.len() < limit.min(lag) {
            match next(self)? {
                Next::Message(item) => items.push(item),
                Next::Gap(count) if items.is_empty() => return Err(Lagged::new_err(count)),
                Next::Gap(count) => {
                    self.told -= count;
                    break;
                }
                Next::Nothing => break,
            }
        }
        Ok(items)
    }

    /// As [`batch`](Self::batch), for numbers in their memory format.
    fn packed(&mut self, limit: usize) -> PyResult<Vec<u8>> {
        let (_, width) = item(self.core.variant())?;
        let lag = usize::try_from(self.core.lag()).unwrap_or(usize::MAX);
        let mut bytes = vec![0; limit.min(lag).min(self.core.capacity() as usize) * width];
        let mut len = 0;
        while len < bytes.len() {
            let taken = self.next(|reader| {
                let count = reader.core.take_packed(&mut bytes[len..]).map_err(raised)?;
                Ok(Some(count).filter(|count| *count != 0))
            })?;
            match taken {
                Next::Message(count) => len += count * width,
                Next::Gap(count) if len == 0 => return Err(Lagged::new_err(count)),
                Next::Gap(count) => {
                    self.told -= count;
                    break;
                }
                Next::Nothing => break,
            }
        }
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Calls `take` until it returns an item, or until the deadline.
    fn until<T>(
        &mut self,
        python: Python<'_>,
        deadline: u64,
        mut take: impl FnMut(&mut Reader) -> PyResult<Option<T>>,
    ) -> PyResult<T> {
        loop {
            if let Some(taken) = take(self)? {
                return Ok(taken);
            }
            match self.wait(python, deadline)? {
                Wait::TimedOut => return Err(PyTimeoutError::new_err("no message came in time")),
                Wait::Gone => return Err(Gone::new_err("the ring's file was removed or replaced")),
                _ => {}
            }
        }
    }
}

/// One prefix, or several.
pub(crate) fn set_prefixes(core: &mut Core, given: &Bound<'_, PyAny>) -> PyResult<()> {
    let prefixes = prefixes(given)?;
    let bytes: Vec<_> = prefixes.iter().map(Text::bytes).collect();
    // SAFETY: the objects from which the bytes are borrowed are kept until after the call.
    unsafe { core.set_prefixes(&bytes) }.map_err(raised)
}

/// Nanoseconds of the monotonic clock. No timeout: never.
pub(crate) fn deadline(timeout: Option<f64>) -> PyResult<u64> {
    match timeout {
        None => Ok(NEVER),
        Some(seconds) if seconds.is_nan() || seconds < 0.0 => {
            Err(PyValueError::new_err(format!("timeout must be None or at least 0, not {seconds}")))
        }
        Some(seconds) => {
            let wait = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
            let nanoseconds = u64::try_from(wait.as_nanos()).unwrap_or(NEVER);
            Ok(monotonic_ns().saturating_add(nanoseconds))
        }
    }
}

fn count(limit: Option<usize>) -> usize {
    limit.unwrap_or(MOST)
}

impl Subscriber {
    pub(crate) fn new(core: Core, strict: bool) -> Self {
        let told = core.overflow_count();
        Subscriber(Mutex::new(Some(Reader { core, strict, told, bytes: Vec::new() })))
    }

    pub(crate) fn place(&self) -> PyResult<Place<'_>> {
        match self.0.try_lock() {
            Ok(place) => Ok(place),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(PyRuntimeError::new_err(
                "this subscriber is in use, by another thread or by the call that a signal handler interrupted",
            )),
        }
    }

    pub(crate) fn with<T>(&self, call: impl FnOnce(&mut Reader) -> PyResult<T>) -> PyResult<T> {
        let mut place = self.place()?;
        call(place.as_mut().ok_or_else(|| PyValueError::new_err("this subscriber is closed"))?)
    }
}

#[pymethods]
impl Subscriber {
    fn poll<'py>(&self, python: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.with(|reader| match reader.next_value(python)? {
            Next::Message(value) => Ok(Some(value)),
            Next::Gap(count) => Err(Lagged::new_err(count)),
            Next::Nothing => Ok(None),
        })
    }

    #[pyo3(signature = (limit = None))]
    fn poll_many<'py>(&self, python: Python<'py>, limit: Option<usize>) -> PyResult<Bound<'py, PyList>> {
        let items = self.with(|reader| reader.batch(count(limit), |reader| reader.next_value(python)))?;
        PyList::new(python, items)
    }

    #[pyo3(signature = (limit = None))]
    fn poll_packed<'py>(&self, python: Python<'py>, limit: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
        self.with(|reader| {
            let bytes = reader.packed(count(limit))?;
            pack(python, reader.core.variant(), &bytes)
        })
    }

    #[pyo3(signature = (timeout = None))]
    fn recv<'py>(&self, python: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        let deadline = deadline(timeout)?;
        self.with(|reader| {
            reader.until(python, deadline, |reader| match reader.next_value(python)? {
                Next::Message(value) => Ok(Some(value)),
                Next::Gap(count) => Err(Lagged::new_err(count)),
                Next::Nothing => Ok(None),
            })
        })
    }

    #[pyo3(signature = (limit = None, timeout = None))]
    fn recv_many<'py>(
        &self,
        python: Python<'py>,
        limit: Option<usize>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyList>> {
        let (limit, deadline) = (at_least_one(count(limit))?, deadline(timeout)?);
        let items = self.with(|reader| {
            reader.until(python, deadline, |reader| {
                let items = reader.batch(limit, |reader| reader.next_value(python))?;
                Ok(Some(items).filter(|items| !items.is_empty()))
            })
        })?;
        PyList::new(python, items)
    }

    #[pyo3(signature = (limit = None, timeout = None))]
    fn recv_packed<'py>(
        &self,
        python: Python<'py>,
        limit: Option<usize>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (limit, deadline) = (at_least_one(count(limit))?, deadline(timeout)?);
        self.with(|reader| {
            let bytes = reader.until(python, deadline, |reader| {
                let bytes = reader.packed(limit)?;
                Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
            })?;
            pack(python, reader.core.variant(), &bytes)
        })
    }

    #[pyo3(signature = (timeout = None))]
    fn wait(&self, python: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let deadline = deadline(timeout)?;
        self.with(|reader| Ok(reader.wait(python, deadline)? == Wait::Ready))
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, python: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.recv(python, None).map_err(|error| {
            if error.is_instance_of::<Gone>(python) {
                PyStopIteration::new_err(())
            } else {
                error
            }
        })
    }

    fn __aiter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("pubsub_shared._aio")?.call_method1("messages", (slf,))
    }

    #[pyo3(signature = (timeout = None))]
    fn recv_async<'py>(slf: &Bound<'py, Self>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("pubsub_shared._aio")?.call_method1("recv", (slf, timeout))
    }

    fn fileno(&self) -> PyResult<i32> {
        self.with(|reader| reader.core.watch().map_err(raised))
    }

    fn set_prefixes(&self, prefixes: &Bound<'_, PyAny>) -> PyResult<()> {
        self.with(|reader| set_prefixes(&mut reader.core, prefixes))
    }

    fn latest<'py>(&self, python: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.with(|reader| {
            reader.core.skip_to_newest();
            Ok(())
        })?;
        self.poll(python)
    }

    #[getter]
    fn stamp(&self) -> PyResult<Option<(u64, u32)>> {
        self.with(|reader| Ok(reader.core.stamp().map(|stamp| (stamp.time_ns, stamp.pid))))
    }

    #[getter]
    fn filtered(&self) -> PyResult<u64> {
        self.with(|reader| Ok(reader.core.filtered()))
    }

    #[getter]
    fn skipped(&self) -> PyResult<u64> {
        self.with(|reader| Ok(reader.core.skipped()))
    }

    #[getter]
    fn kind(&self) -> PyResult<&'static str> {
        self.with(|reader| Ok(kind(reader.core.variant())))
    }

    #[getter]
    fn capacity(&self) -> PyResult<u64> {
        self.with(|reader| Ok(reader.core.capacity()))
    }

    #[getter]
    fn lag(&self) -> PyResult<u64> {
        self.with(|reader| Ok(reader.core.lag()))
    }

    #[getter]
    fn lost(&self) -> PyResult<u64> {
        self.with(|reader| Ok(reader.core.overflow_count()))
    }

    #[getter]
    fn name(&self) -> PyResult<Option<String>> {
        self.with(|reader| Ok(reader.core.name()))
    }

    fn release(&self) -> PyResult<()> {
        self.with(|reader| {
            reader.core.release();
            Ok(())
        })
    }

    #[getter]
    fn position(&self) -> PyResult<u64> {
        self.with(|reader| Ok(reader.core.cursor()))
    }

    #[getter]
    fn last_position(&self) -> PyResult<u64> {
        self.with(|reader| Ok(reader.core.last_position()))
    }

    fn seek(&self, position: u64) -> PyResult<()> {
        if position > i64::MAX as u64 {
            return Err(PyValueError::new_err(format!("position must be at most 2**63 - 1, not {position}")));
        }
        self.with(|reader| {
            reader.core.seek(position);
            Ok(())
        })
    }

    #[pyo3(signature = (*, oldest = false))]
    fn reset(&self, oldest: bool) -> PyResult<()> {
        self.with(|reader| {
            if oldest {
                reader.core.reset_oldest();
            } else {
                reader.core.reset();
            }
            Ok(())
        })
    }

    fn is_gone(&self) -> PyResult<bool> {
        self.with(|reader| Ok(reader.core.is_gone()))
    }

    fn reopen(&self) -> PyResult<()> {
        self.with(|reader| reader.core.reopen().map_err(raised))
    }

    #[getter]
    fn closed(&self) -> PyResult<bool> {
        Ok(self.place()?.is_none())
    }

    fn close(&self) -> PyResult<()> {
        *self.place()? = None;
        Ok(())
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyResult<PyRef<'_, Self>> {
        slf.with(|_| Ok(()))?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close()
    }

    fn __repr__(&self) -> String {
        let described = self.with(|reader| {
            let core = &reader.core;
            Ok(format!(
                "of {}, position {}, lag {}, lost {}",
                kind(core.variant()),
                core.cursor(),
                core.lag(),
                core.overflow_count()
            ))
        });
        match described {
            Ok(described) => format!("<pubsub_shared.Subscriber {described}>"),
            Err(_) => "<pubsub_shared.Subscriber, closed or in use>".to_owned(),
        }
    }
}

fn at_least_one(limit: usize) -> PyResult<usize> {
    if limit == 0 {
        return Err(PyValueError::new_err("limit must be at least 1 for a call that waits"));
    }
    Ok(limit)
}
