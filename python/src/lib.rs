//! `pubsub_shared._core`: rings and subscribers for Python. `lib/pubsub_shared/_core.pyi` documents every call.
//!
//! A handle may be used by any thread, but only by one at a time. Calls that may wait release the interpreter's lock.

mod errors;
mod message;
mod packed;
mod ring;
mod set;
mod subscriber;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ring::Ring>()?;
    module.add_class::<subscriber::Subscriber>()?;
    module.add_class::<set::Set>()?;
    module.add_function(wrap_pyfunction!(ring::unlink, module)?)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    errors::add_to(module)
}
