//! The core's errors as exceptions.

use data_pubsub_shared::{Error, ErrorKind};
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

create_exception!(pubsub_shared, PubSubError, PyException, "Base class of this package's own exceptions.");
create_exception!(
    pubsub_shared,
    Incompatible,
    PubSubError,
    "The file is not a ring of this kind and version, or is damaged."
);
create_exception!(
    pubsub_shared,
    Lagged,
    PubSubError,
    "Messages were overwritten before they were read; args[0] says how many."
);
create_exception!(pubsub_shared, Gone, PubSubError, "No message will come: the ring's file was removed or replaced.");

create_exception!(pubsub_shared, Busy, PubSubError, "A reader of this name lives, or the table of readers is full.");

pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let python = module.py();
    module.add("PubSubError", python.get_type::<PubSubError>())?;
    module.add("Incompatible", python.get_type::<Incompatible>())?;
    module.add("Lagged", python.get_type::<Lagged>())?;
    module.add("Busy", python.get_type::<Busy>())?;
    module.add("Gone", python.get_type::<Gone>())
}

/// The exception for a failed call of the core.
pub(crate) fn raised(error: Error) -> PyErr {
    let text = error.to_string();
    match error.kind() {
        // OSError selects its subclass, such as FileNotFoundError, by the number.
        ErrorKind::System => PyOSError::new_err((error.os_code(), text)),
        ErrorKind::Argument | ErrorKind::TooLong => PyValueError::new_err(text),
        ErrorKind::Incompatible => Incompatible::new_err(text),
        ErrorKind::Busy => Busy::new_err(text),
        _ => PyRuntimeError::new_err(text),
    }
}
