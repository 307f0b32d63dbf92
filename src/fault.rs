//! Fault injection points: a test can kill, stop or delay a process there.
//!
//! They are compiled only with the feature `fault`; otherwise [`fault_point!`] expands to nothing. The environment variable
//! `PUBSUB_FAULT` says what to do: `NAME=kill`, `NAME=stop` or `NAME=delay:MICROSECONDS`, each optionally followed by
//! `@N`, so that it happens only at the N-th pass (1 is the first).

/// Passes the point `$name`; expands to nothing in a normal build.
macro_rules! fault_point {
    ($name:literal) => {
        #[cfg(feature = "fault")]
        $crate::fault::pass($name);
    };
}
pub(crate) use fault_point;

#[cfg(feature = "fault")]
pub(crate) use crate::armed::pass;
