#![expect(unsafe_code, reason = "starts operations")]
//! The future of an operation.
//!
//! # Invariants
//! * there: a future has its operation until its key is spent.

use std::fmt;
use std::future::Future;
use std::mem::{self, ManuallyDrop};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use pepita_sys::io_uring::{IoUringCqe, IoUringSqe, Timespec};

use super::driver::{CLOSED, Driver};
use super::slots::{Key, Orphan};
use crate::ops::Operation;

/// An operation on its way; resolves to what comes of it.
///
/// It is handed over at the next turn of its ring, whether this is polled or not. Dropping it cancels the
/// operation, which may yet be done; what it owns is put away when the kernel is done with it.
#[must_use = "dropping it cancels the operation"]
pub struct Submitted<O: Operation> {
    driver: Rc<Driver>,
    /// [`Key::SPENT`] after it has resolved.
    key: Key,
    /// There until the key is spent.
    operation: ManuallyDrop<O>,
}

impl<O: Operation> Submitted<O> {
    /// Starts an operation on a ring that may have been dropped.
    #[inline]
    pub(super) fn start_if_open(driver: &Rc<Driver>, mut operation: O) -> Self {
        if driver.is_closed() {
            operation.entry();
            return Self::of(driver, CLOSED, operation);
        }
        Self::start(driver, operation)
    }

    #[inline(always)]
    pub(super) fn start(driver: &Rc<Driver>, mut operation: O) -> Self {
        let entry = operation.entry();
        // SAFETY: kept: the operation keeps what its entry leads to, and is in this future, which does with
        // it what the invariant says.
        let key = unsafe { driver.start(entry) };
        Self::of(driver, key, operation)
    }
}

impl<O: Operation> Submitted<Limited<O>> {
    pub(super) fn start_limited(driver: &Rc<Driver>, mut operation: Limited<O>) -> Self {
        let entry = operation.entry();
        // SAFETY: kept: the operation keeps what its entry leads to, and the time, and is in this future.
        let key = unsafe { driver.start_limited(entry, &raw const *operation.limit) };
        Self::of(driver, key, operation)
    }
}

impl<O: Operation> Submitted<O> {
    #[inline(always)]
    pub(super) fn of(driver: &Rc<Driver>, key: Key, operation: O) -> Self {
        Self {
            driver: Rc::clone(driver),
            key,
            operation: ManuallyDrop::new(operation),
        }
    }

    /// Spends the key and gives up the operation.
    ///
    /// # Safety
    /// * there: the key is not spent.
    #[inline]
    unsafe fn take(&mut self) -> (Key, O) {
        let key = mem::replace(&mut self.key, Key::SPENT);
        // SAFETY: there, the caller's duty; the key says from now on that it is not.
        (key, unsafe { ManuallyDrop::take(&mut self.operation) })
    }

    /// Asks the kernel to end the operation. Its outcome still comes here, with what it owns: `ECANCELED`,
    /// `EINTR`, or what was done before.
    ///
    /// It goes over at the next turn. Nothing happens when the operation has ended already. A kernel that
    /// takes no entries at all, for lack of memory, leaves it to end by itself.
    ///
    /// ```
    /// use std::os::unix::net::UnixStream;
    /// use std::rc::Rc;
    /// use pepita_io::{LocalRing, ops};
    /// use pepita_sys::error::Errno;
    ///
    /// let ring = LocalRing::new(8)?;
    /// let (_theirs, ours) = UnixStream::pair()?;
    /// let recv = ring.submit(ops::recv(&Rc::new(ours), vec![1, 2, 3]));
    /// recv.cancel();
    /// let (result, buf) = ring.block_on(recv);
    /// assert_eq!((result.unwrap_err().to_errno(), buf), (Errno::ECANCELED, vec![1, 2, 3]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(&self) {
        if !self.key.is_failed() {
            self.driver.cancel(self.key.user_data());
        }
    }
}

/// An operation that is cancelled after a time: its error is `ECANCELED` then.
pub struct Limited<O> {
    operation: O,
    limit: Box<Timespec>,
}

impl<O> Limited<O> {
    pub(super) fn new(operation: O, limit: Duration) -> Self {
        Self {
            operation,
            limit: Box::new(limit.into()),
        }
    }
}

impl<O> fmt::Debug for Limited<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limited")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

// SAFETY: as the operation.
unsafe impl<O: Operation> Operation for Limited<O> {
    type Output = O::Output;

    fn entry(&mut self) -> IoUringSqe {
        self.operation.entry()
    }

    fn complete(self, cqe: IoUringCqe) -> O::Output {
        self.operation.complete(cqe)
    }

    fn discard(self, cqe: IoUringCqe) {
        self.operation.discard(cqe);
    }
}

impl<O: Operation> fmt::Debug for Submitted<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submitted")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Nothing in it is pinned: the kernel knows what the operation keeps, not the operation.
impl<O: Operation> Unpin for Submitted<O> {}

impl<O: Operation> Future for Submitted<O> {
    type Output = O::Output;

    /// # Panics
    /// When it has resolved before.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O::Output> {
        let Some(cqe) = self.driver.poll(self.key, cx.waker()) else {
            return Poll::Pending;
        };
        // SAFETY: there: a spent key has no outcome.
        let (_, operation) = unsafe { self.take() };
        Poll::Ready(operation.complete(cqe))
    }
}

impl<O: Operation> Drop for Submitted<O> {
    #[inline]
    fn drop(&mut self) {
        if self.key != Key::SPENT {
            // SAFETY: there, as just seen.
            let (key, operation) = unsafe { self.take() };
            self.driver.abandon(key, Box::new(Abandoned(operation)));
        }
    }
}

struct Abandoned<O>(O);

impl<O: Operation> Orphan for Abandoned<O> {
    fn end(self: Box<Self>, cqe: IoUringCqe) {
        self.0.discard(cqe);
    }
}
