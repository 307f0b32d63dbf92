//! Several subscribers as one.

use std::sync::{Mutex, MutexGuard, TryLockError};

use data_pubsub_shared::{Member, Set as Core, Wait};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::errors::{raised, Gone};
use crate::subscriber::{deadline, Place, Reader, Subscriber};

/// Members are Python objects, which the caller reads with their own methods. A call that waits holds this mutex and theirs.
#[pyclass(frozen, module = "pubsub_shared", weakref)]
pub(crate) struct Set(Mutex<Inner>);

struct Inner {
    core: Core,
    members: Vec<Py<Subscriber>>,
}

/// A locked member, which may be read.
struct Held<'a> {
    member: &'a Py<Subscriber>,
    place: Place<'a>,
}

impl Held<'_> {
    fn reader(&mut self) -> &mut Reader {
        self.place.as_mut().expect("closed ones were left out")
    }
}

impl Inner {
    fn forget_closed(&mut self) {
        self.members.retain(|member| member.get().place().map_or(true, |place| place.is_some()));
    }

    /// The core's part, and its members.
    fn held(&mut self) -> PyResult<(&mut Core, Vec<Held<'_>>)> {
        self.forget_closed();
        let held = self.members.iter().map(|member| Ok(Held { member, place: member.get().place()? }));
        Ok((&mut self.core, held.collect::<PyResult<_>>()?))
    }
}

/// The members for the core: the keys are unique, and do not change.
fn members<'a>(readers: &'a mut [(usize, &mut Reader)]) -> Vec<Member<'a>> {
    readers.iter_mut().map(|(key, reader)| Member { sub: &mut reader.core, key: *key }).collect()
}

fn keyed<'a>(held: &'a mut [Held<'_>]) -> Vec<(usize, &'a mut Reader)> {
    held.iter_mut().map(|held| (held.member.as_ptr() as usize, held.reader())).collect()
}

impl Set {
    fn place(&self) -> PyResult<MutexGuard<'_, Inner>> {
        match self.0.try_lock() {
            Ok(place) => Ok(place),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(PyRuntimeError::new_err(
                "this set is in use, by another thread or by the call that a signal handler interrupted",
            )),
        }
    }
}

#[pymethods]
impl Set {
    #[new]
    #[pyo3(signature = (members = None))]
    fn new(members: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let set = Set(Mutex::new(Inner { core: Core::new(), members: Vec::new() }));
        for member in members.map(|members| members.try_iter()).transpose()?.into_iter().flatten() {
            set.add(member?.cast::<Subscriber>()?)?;
        }
        Ok(set)
    }

    fn add(&self, member: &Bound<'_, Subscriber>) -> PyResult<()> {
        let mut inner = self.place()?;
        if inner.members.iter().any(|other| other.is(member)) {
            return Ok(());
        }
        let key = member.as_ptr() as usize;
        member.get().with(|reader| inner.core.add(Member { sub: &mut reader.core, key }).map_err(raised))?;
        inner.members.push(member.clone().unbind());
        Ok(())
    }

    fn remove(&self, member: &Bound<'_, Subscriber>) -> PyResult<()> {
        let mut inner = self.place()?;
        let at = inner.members.iter().position(|other| other.is(member));
        let at = at.ok_or_else(|| PyValueError::new_err("this subscriber is not a member of the set"))?;
        if let Some(reader) = member.get().place()?.as_mut() {
            inner.core.remove(&mut reader.core);
        }
        inner.members.swap_remove(at);
        Ok(())
    }

    #[pyo3(signature = (timeout = None))]
    fn wait(&self, python: Python<'_>, timeout: Option<f64>) -> PyResult<Vec<Py<Subscriber>>> {
        let deadline = deadline(timeout)?;
        let mut inner = self.place()?;
        let (core, mut held) = inner.held()?;
        if held.is_empty() {
            return Err(PyValueError::new_err("this set has no members"));
        }
        loop {
            // Losses to be reported count, too.
            let ready: Vec<_> = held
                .iter_mut()
                .filter_map(|held| held.reader().is_ready().then(|| held.member.clone_ref(python)))
                .collect();
            if !ready.is_empty() {
                return Ok(ready);
            }
            let mut readers = keyed(&mut held);
            match python.detach(|| core.wait(&mut members(&mut readers), deadline)).map_err(raised)? {
                Wait::Interrupted => python.check_signals()?,
                Wait::TimedOut if readers.iter_mut().all(|(_, reader)| !reader.is_ready()) => return Ok(Vec::new()),
                Wait::Gone if readers.iter_mut().all(|(_, reader)| !reader.is_ready()) => {
                    return Err(Gone::new_err("all rings' files were removed or replaced"));
                }
                _ => {}
            }
        }
    }

    fn fileno(&self) -> PyResult<i32> {
        let mut inner = self.place()?;
        let (core, mut held) = inner.held()?;
        core.watch(&mut members(&mut keyed(&mut held))).map_err(raised)
    }

    fn __len__(&self) -> PyResult<usize> {
        let mut inner = self.place()?;
        inner.forget_closed();
        Ok(inner.members.len())
    }

    fn __contains__(&self, member: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.place()?.members.iter().any(|other| other.is(member)))
    }

    fn __repr__(&self) -> String {
        match self.place() {
            Ok(inner) => format!("<pubsub_shared.Set, members {}>", inner.members.len()),
            Err(_) => "<pubsub_shared.Set, in use>".to_owned(),
        }
    }
}
