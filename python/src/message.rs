//! Messages between Python and the core: numbers of the ring's width, and `str` or bytes according to the flag.

use data_pubsub_shared::{Bytes, Variant};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyMemoryView, PyString};

/// The names of the variants, and the formats of their items in a buffer.
const KINDS: [(Variant, &str, Option<&str>); 5] = [
    (Variant::Int, "int", Some("q")),
    (Variant::Int32, "int32", Some("i")),
    (Variant::Int16, "int16", Some("h")),
    (Variant::Num, "float", Some("d")),
    (Variant::Str, "str", None),
];

pub(crate) fn kind(variant: Variant) -> &'static str {
    KINDS.iter().find(|(v, ..)| *v == variant).map_or("unknown", |(_, name, _)| name)
}

/// None for strings.
pub(crate) fn format(variant: Variant) -> Option<&'static str> {
    KINDS.iter().find(|(v, ..)| *v == variant).and_then(|(.., format)| *format)
}

pub(crate) fn variant(name: &str) -> PyResult<Variant> {
    let known = KINDS.map(|(_, name, _)| name).join(", ");
    KINDS
        .iter()
        .find(|(_, n, _)| *n == name)
        .map(|(v, ..)| *v)
        .ok_or_else(|| PyValueError::new_err(format!("kind must be one of {known}, not '{name}'")))
}

/// A value for a ring of integers. A number that does not fit is rejected, and not cut.
pub(crate) fn integer(variant: Variant, value: &Bound<'_, PyAny>) -> PyResult<i64> {
    let number: i64 = value.extract()?;
    check_range(variant, number)?;
    Ok(number)
}

fn check_range(variant: Variant, number: i64) -> PyResult<()> {
    let fits = match variant {
        Variant::Int32 => i32::try_from(number).is_ok(),
        Variant::Int16 => i16::try_from(number).is_ok(),
        _ => true,
    };
    if !fits {
        return Err(PyOverflowError::new_err(format!("{} does not fit into a ring of {}", number, kind(variant))));
    }
    Ok(())
}

/// A value for a ring of strings, kept alive. The flag is set for `str`, but not for bytes and other buffers.
pub(crate) enum Text {
    Str(PyBackedStr),
    Bytes(PyBackedBytes),
}

impl Text {
    pub(crate) fn new(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        if value.is_instance_of::<PyString>() {
            return value.extract().map(Text::Str);
        }
        if let Ok(bytes) = value.cast::<PyBytes>() {
            return Ok(Text::Bytes(bytes.clone().into()));
        }
        let view = PyMemoryView::from(value).map_err(|_| {
            let name = value.get_type().name().map_or_else(|_| "this".to_owned(), |name| name.to_string());
            PyTypeError::new_err(format!("a ring of str takes str, bytes and buffers, not {name}"))
        })?;
        Ok(Text::Bytes(view.call_method0("tobytes")?.cast_into::<PyBytes>()?.into()))
    }

    /// The bytes for the core, valid as long as this value.
    pub(crate) fn bytes(&self) -> Bytes {
        match self {
            Text::Str(text) => Bytes::text(text),
            Text::Bytes(bytes) => Bytes::new(bytes),
        }
    }
}

/// Prefixes: one value that [`Text`] accepts, or several.
pub(crate) fn prefixes(given: &Bound<'_, PyAny>) -> PyResult<Vec<Text>> {
    match Text::new(given) {
        Ok(one) => Ok(vec![one]),
        Err(_) => given.try_iter()?.map(|prefix| Text::new(&prefix?)).collect(),
    }
}

/// `str` if the publisher set the flag and the bytes are UTF-8; otherwise bytes.
pub(crate) fn text<'py>(python: Python<'py>, bytes: &[u8], utf8: bool) -> Bound<'py, PyAny> {
    match std::str::from_utf8(bytes) {
        Ok(text) if utf8 => PyString::new(python, text).into_any(),
        _ => PyBytes::new(python, bytes).into_any(),
    }
}
