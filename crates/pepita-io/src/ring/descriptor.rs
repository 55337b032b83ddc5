#![expect(unsafe_code, reason = "lends the ring's descriptor")]
//! The ring's descriptor, as the standard library has descriptors.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use super::{CqEntry, Ring, SqEntry};

/// A thread that waits for the descriptor by poll(2) or epoll(7) may miss completions of a ring with
/// `IORING_SETUP_DEFER_TASKRUN`, which rings have unless they are polled or made otherwise: on Linux 6.18, what a
/// worker has done does not wake it. An eventfd ([`Ring::register_eventfd`]) is rung for it.
impl<S: SqEntry, C: CqEntry> AsFd for Ring<S, C> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: open-fd: it is the ring's, which closes it when it is dropped.
        unsafe { BorrowedFd::borrow_raw(self.fd()) }
    }
}

/// See [`AsFd`](#impl-AsFd-for-Ring<S,+C>).
impl<S: SqEntry, C: CqEntry> AsRawFd for Ring<S, C> {
    fn as_raw_fd(&self) -> RawFd {
        self.fd()
    }
}
