//! Batches of numbers as buffers, the common interface of `array`, `memoryview` and numpy.

use data_pubsub_shared::Variant;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

use crate::message::{format, kind};

/// The format of the items of a ring of numbers, and their size in bytes.
pub(crate) fn item(variant: Variant) -> PyResult<(&'static str, usize)> {
    let format = format(variant).ok_or_else(|| PyTypeError::new_err("packed batches are for rings of numbers"))?;
    Ok((
        format,
        if format == "h" {
            2
        } else if format == "i" {
            4
        } else {
            8
        },
    ))
}

/// The bytes of a buffer whose items are those of the ring.
pub(crate) fn unpack<'py>(variant: Variant, buffer: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let (wanted, width) = item(variant)?;
    let view = PyMemoryView::from(buffer)?;
    let given: String = view.getattr("format")?.extract()?;
    let size: usize = view.getattr("itemsize")?.extract()?;
    // A long is the same as one of two other types; an explicit byte order may be the host's.
    let host = if cfg!(target_endian = "little") { ['@', '=', '<'] } else { ['@', '=', '>'] };
    let plain = given.trim_start_matches(host);
    if size != width || plain != wanted && !(plain == "l" && matches!(wanted, "q" | "i")) {
        let kind = kind(variant);
        let text = format!("a ring of {kind} takes items of format '{wanted}', not '{given}' of {size} bytes");
        return Err(PyValueError::new_err(text));
    }
    Ok(view.call_method0("tobytes")?.cast_into::<PyBytes>()?)
}

/// A memoryview of the numbers in `bytes`.
pub(crate) fn pack<'py>(python: Python<'py>, variant: Variant, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let (format, _) = item(variant)?;
    PyMemoryView::from(PyBytes::new(python, bytes).as_any())?.call_method1("cast", (format,))
}
