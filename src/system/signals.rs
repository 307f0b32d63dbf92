//! What a call leaves as it was: signals that may not interrupt it, and `errno`.

/// `errno` of this thread as it was, restored at the end: a program that looks at it did not ask for our system calls.
pub(crate) struct KeptErrno(i32);

impl KeptErrno {
    pub(crate) fn new() -> Self {
        KeptErrno(crate::error::last_os_code())
    }
}

impl Drop for KeptErrno {
    fn drop(&mut self) {
        // SAFETY: always a place to write to.
        unsafe { *libc::__errno_location() = self.0 };
    }
}

/// All signals, blocked in this thread while alive: a thread that is started meanwhile never gets one.
pub(crate) struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    pub(crate) fn new() -> Self {
        // SAFETY: two signal sets of our own; all zero is a valid one.
        unsafe {
            let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
            BlockedSignals(before)
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the set that the system gave us.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }
}
