#![expect(
    unsafe_code,
    reason = "signal masks by system calls, the C library's own signals included"
)]
//! The calling thread's signal mask.

use super::raw;

/// Sets the calling thread's signal mask, the C library's own signals included, and returns the
/// one before.
pub(super) fn set_mask(mask: u64) -> u64 {
    change_mask(libc::SIG_SETMASK, mask)
}

fn change_mask(how: i32, mask: u64) -> u64 {
    let mut before = 0_u64;
    let new = (&raw const mask).expose_provenance();
    let old = (&raw mut before).expose_provenance();
    let arguments = [raw::word(how), new, old, size_of::<u64>(), 0, 0];
    // SAFETY: both pointers are to live masks of the kernel's size.
    let _ = unsafe { raw::syscall(libc::SYS_rt_sigprocmask, arguments) };
    before
}

/// Every signal of the calling thread is blocked while this lives.
pub(super) struct SignalsBlocked {
    before: u64,
}

impl SignalsBlocked {
    pub(super) fn all() -> Self {
        Self {
            before: set_mask(u64::MAX),
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        set_mask(self.before);
    }
}

const SIGPIPE: u64 = 1 << (libc::SIGPIPE - 1);

/// A write to a pipe without a reader says so by its error alone while this lives: the signal that
/// comes with it, which ends a program that does not ignore it, is held back and thrown away.
pub(super) struct SigpipeHeld {
    before: u64,
    was_pending: bool,
}

impl SigpipeHeld {
    pub(super) fn new() -> Self {
        let before = change_mask(libc::SIG_BLOCK, SIGPIPE);
        Self {
            before,
            was_pending: is_sigpipe_pending(),
        }
    }
}

impl Drop for SigpipeHeld {
    fn drop(&mut self) {
        if !self.was_pending && is_sigpipe_pending() {
            take_sigpipe();
        }
        set_mask(self.before);
    }
}

fn is_sigpipe_pending() -> bool {
    let mut pending = 0_u64;
    let set = (&raw mut pending).expose_provenance();
    // SAFETY: a live mask of the kernel's size.
    let _ = unsafe { raw::syscall(libc::SYS_rt_sigpending, [set, size_of::<u64>(), 0, 0, 0, 0]) };
    pending & SIGPIPE != 0
}

/// Takes a SIGPIPE that is pending.
fn take_sigpipe() {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let set = (&raw const SIGPIPE_SET).expose_provenance();
    let time = (&raw const time).expose_provenance();
    // SAFETY: a live mask of the kernel's size and a live time.
    let _ = unsafe {
        raw::syscall(
            libc::SYS_rt_sigtimedwait,
            [set, 0, time, size_of::<u64>(), 0, 0],
        )
    };
}

static SIGPIPE_SET: u64 = SIGPIPE;
