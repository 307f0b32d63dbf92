//! The identity of this process, and whether another process lives, as far as its pid tells.
//!
//! A pid is valid only in its pid namespace, and may be reused. So entries of a ring also have the namespace and the start time of
//! their process. Members' locks tell more (see [`crate::member`]) and are checked first.

use std::os::unix::fs::MetadataExt;

use crate::error::last_os_code;
use crate::member::generation;
use crate::signals::KeptErrno;
use crate::sync::AtomicU64;
use crate::sync::Ordering::{Acquire, Relaxed, Release};

/// A process; all zeros is no process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// When it started, in clock ticks since the host booted; 0 if that is not known.
    pub(crate) started: u64,
    /// The inode of its pid namespace; 0 if that is not known.
    pub(crate) namespace: u64,
}

/// The calling process.
pub(crate) fn this() -> Process {
    /// The generation of the process that the values below belong to; stored last.
    static KNOWN: [AtomicU64; 4] = [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)];
    let [of, pid, started, namespace] = &KNOWN;
    let generation = u64::from(generation());
    if of.load(Acquire) != generation {
        let _errno = KeptErrno::new();
        // Threads that do this at the same time store the same values.
        pid.store(std::process::id().into(), Relaxed);
        started.store(stat("self").map_or(0, |stat| stat.started), Relaxed);
        namespace.store(std::fs::metadata("/proc/self/ns/pid").map_or(0, |meta| meta.ino()), Relaxed);
        of.store(generation, Release);
    }
    Process { pid: pid.load(Relaxed) as u32, started: started.load(Relaxed), namespace: namespace.load(Relaxed) }
}

/// The kernel's id of the calling thread; not 0.
pub(crate) fn thread() -> u64 {
    // SAFETY: always succeeds.
    unsafe { libc::pthread_self() as u64 }
}

/// Whether `other` lives; `None` if that is not known.
pub(crate) fn is_alive(other: &Process) -> Option<bool> {
    let this = this();
    if *other == this && this.pid != 0 {
        return Some(true);
    }
    if other.pid == 0 || this.namespace == 0 || other.namespace != this.namespace {
        return None;
    }
    let _errno = KeptErrno::new();
    // SAFETY: no signal is sent.
    if unsafe { libc::kill(other.pid as libc::pid_t, 0) } < 0 && last_os_code() == libc::ESRCH {
        return Some(false);
    }
    // `None`: /proc does not show it to this user.
    stat(&other.pid.to_string()).map(|stat| stat.started == other.started && !matches!(stat.state, b'Z' | b'X'))
}

struct Stat {
    state: u8,
    started: u64,
}

/// The fields of /proc/PID/stat that matter here, see proc(5).
fn stat(pid: &str) -> Option<Stat> {
    let text = std::fs::read(format!("/proc/{}/stat", pid)).ok()?;
    // The second field is the name in parentheses, which may contain any bytes.
    let rest = &text[text.iter().rposition(|byte| *byte == b')')? + 1..];
    let mut fields = std::str::from_utf8(rest).ok()?.split_ascii_whitespace();
    let state = fields.next()?.bytes().next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, started })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lives_is_told_from_who_does_not() {
        let this = this();
        assert!(this.pid == std::process::id() && this.started != 0 && this.namespace != 0, "{:?}", this);
        assert_eq!(is_alive(&this), Some(true));
        assert_eq!(is_alive(&Process { started: this.started + 1, ..this }), Some(false), "another had the pid");
        assert_eq!(is_alive(&Process { namespace: 1, ..this }), None);
        assert_eq!(is_alive(&Process::default()), None);
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let other = Process { pid: child.id(), started: stat(&child.id().to_string()).unwrap().started, ..this };
        assert_eq!(is_alive(&other), Some(true));
        child.kill().unwrap();
        while is_alive(&other) == Some(true) {
            std::thread::yield_now(); // until the kernel has killed it
        }
        assert_eq!(is_alive(&other), Some(false), "also before it is waited for");
        child.wait().unwrap();
        assert_eq!(is_alive(&other), Some(false));
    }
}
