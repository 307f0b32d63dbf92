//! State of the thread that a call saves and restores: blocked signals and `errno`.

/// Restores `errno` of this thread when it is dropped, so that our system calls do not change it for the program.
pub(crate) struct KeptErrno(i32);

impl KeptErrno {
    pub(crate) fn new() -> Self {
        KeptErrno(crate::error::last_os_code())
    }
}

impl Drop for KeptErrno {
    fn drop(&mut self) {
        // SAFETY: always valid.
        unsafe { *libc::__errno_location() = self.0 };
    }
}

/// Blocks all signals in this thread until it is dropped. A thread that is started meanwhile inherits that.
pub(crate) struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    pub(crate) fn new() -> Self {
        // SAFETY: two signal sets of our own; all zeros is a valid one.
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
        // SAFETY: the set that the kernel returned.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }
}
