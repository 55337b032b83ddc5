#![expect(unsafe_code, reason = "pushes the entries of operations")]
//! The ring of a thread, with what is in flight on it.
//!
//! # Invariants
//! * kept: what a pushed entry leads to is owned by its operation, which is in the future, or in the slot
//!   as an orphan. The future gives it up only to the slot, to the caller after the last completion, or,
//!   forgotten, to nobody ever. The slot gives it up only after the last completion, or leaks it.

use std::cell::RefCell;
use std::mem;
use std::task::Waker;
use std::time::{Duration, Instant};

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::{
    IORING_ASYNC_CANCEL_ALL, IORING_ASYNC_CANCEL_ANY, IoUringCqe, IoUringSqe,
};

use super::slots::{Ended, Key, Orphan, Slots, Tell};
use crate::ring::{Ring, Wait};

/// `user_data` of entries whose completions say nothing; no slot has it.
const NOBODY: u64 = u64::MAX;
/// `user_data` of the poll that other threads end to wake this one; no slot has it.
pub(super) const WAKE: u64 = u64::MAX - 1;

/// How long a ring that is dropped waits for operations that it has cancelled. A disk's end by themselves; a
/// device or a server that does not answer would hold the program for ever.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// The ring and what is in flight.
#[derive(Debug)]
pub(super) struct Driver {
    inner: RefCell<Inner>,
}

#[derive(Debug)]
struct Inner {
    ring: Ring,
    slots: Slots,
    /// Kept for its memory; empty between turns.
    wakers: Vec<Waker>,
    woken_from_elsewhere: bool,
    wake_is_armed: bool,
}

/// How long a turn waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Not at all.
    Now,
    /// Until something has completed.
    UntilSome,
    /// So long.
    AtMost(Duration),
}

impl Driver {
    pub(super) fn new(ring: Ring) -> Self {
        Self {
            inner: RefCell::new(Inner {
                ring,
                slots: Slots::default(),
                wakers: Vec::new(),
                woken_from_elsewhere: false,
                wake_is_armed: false,
            }),
        }
    }

    /// Looks at the ring itself.
    pub(super) fn with_ring<T>(&self, look: impl FnOnce(&Ring) -> T) -> T {
        look(&self.inner.borrow().ring)
    }

    /// Pushes an operation's entry.
    ///
    /// # Safety
    /// * kept holds for what it leads to.
    #[inline]
    pub(super) unsafe fn start(&self, entry: IoUringSqe) -> Result<Key> {
        let mut inner = self.inner.borrow_mut();
        let key = inner.slots.insert();
        // SAFETY: the caller's duty.
        match unsafe { inner.push(entry.user_data(key.user_data())) } {
            Ok(()) => Ok(key),
            Err(error) => {
                inner.slots.remove_unpushed(key);
                Err(error)
            }
        }
    }

    /// The outcome, if it is there; else `waker` will hear of it.
    #[inline]
    pub(super) fn poll(&self, key: Key, waker: &Waker) -> Option<IoUringCqe> {
        self.inner.borrow_mut().slots.poll(key, waker)
    }

    /// Leaves an operation to itself: it is cancelled, and `orphan` gets what comes of it.
    pub(super) fn abandon(&self, key: Key, orphan: Box<dyn Orphan>) {
        let mut inner = self.inner.borrow_mut();
        let ended = inner.slots.abandon(key, orphan);
        if ended.is_none() {
            // Without room it goes on until it ends by itself.
            let cancel = IoUringSqe::cancel(key.user_data(), 0).user_data(NOBODY);
            // SAFETY: the entry leads nowhere.
            let _ = unsafe { inner.push(cancel) };
        }
        drop(inner);
        // What it keeps may be of any type, whose drop may come back to this driver.
        if let Some((orphan, cqe)) = ended {
            orphan.end(cqe);
        }
    }

    /// Hands over what was pushed, waits as `turn` says, and tells everybody of what has completed.
    pub(super) fn turn(&self, turn: Turn) -> Result<()> {
        let mut inner = self.inner.borrow_mut();
        let entered = inner.enter(turn);
        let (mut wakers, orphans) = inner.reap();
        drop(inner);
        for waker in wakers.drain(..) {
            waker.wake();
        }
        for (orphan, cqe) in orphans {
            orphan.end(cqe);
        }
        self.inner.borrow_mut().wakers = wakers;
        entered
    }

    /// Lets `eventfd`, which lives as long as the process, end the waits of this thread.
    pub(super) fn arm_wake(&self, eventfd: i32) -> Result<()> {
        let mut inner = self.inner.borrow_mut();
        if inner.wake_is_armed {
            return Ok(());
        }
        let poll = IoUringSqe::poll_add(eventfd, POLLIN, 0).user_data(WAKE);
        // SAFETY: the entry names a file that is not closed, and leads to no memory.
        unsafe { inner.push(poll) }?;
        inner.wake_is_armed = true;
        Ok(())
    }

    /// Whether another thread has ended a wait since this was last asked.
    pub(super) fn was_woken(&self) -> bool {
        mem::take(&mut self.inner.borrow_mut().woken_from_elsewhere)
    }
}

/// `POLLIN` of poll(2).
const POLLIN: u32 = 1;

impl Inner {
    /// Pushes an entry, after handing over others if there is no room.
    ///
    /// # Safety
    /// * kept holds for what it leads to.
    #[inline]
    unsafe fn push(&mut self, entry: IoUringSqe) -> Result<()> {
        // SAFETY: the caller's duty.
        if unsafe { self.ring.push(entry) }.is_ok() {
            return Ok(());
        }
        self.make_room()?;
        // SAFETY: the caller's duty.
        unsafe { self.ring.push(entry) }.map_err(KernelError::from)
    }

    #[cold]
    fn make_room(&mut self) -> Result<()> {
        self.ring.submit().map(drop)
    }

    #[inline]
    fn enter(&mut self, turn: Turn) -> Result<()> {
        let entered = match turn {
            Turn::Now => self.ring.submit(),
            Turn::UntilSome => self.ring.submit_and_wait(1),
            Turn::AtMost(timeout) => self
                .ring
                .submit_and_wait_for(1, &Wait::new().timeout(timeout)),
        };
        match entered {
            Ok(_) => Ok(()),
            // A signal, or the time: there is nothing to take, and the caller looks around.
            Err(error) if matches!(error.to_errno(), Errno::EINTR | Errno::ETIME) => Ok(()),
            // Completions stand in the way; they are taken now.
            Err(error) if matches!(error.to_errno(), Errno::EBUSY | Errno::EAGAIN) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes completions, and says whom to tell when the borrow has ended.
    #[inline]
    fn reap(&mut self) -> (Vec<Waker>, Vec<Ended>) {
        let mut wakers = mem::take(&mut self.wakers);
        let mut orphans = Vec::new();
        for cqe in self.ring.completions() {
            if cqe.user_data >= WAKE {
                if cqe.user_data == WAKE {
                    self.woken_from_elsewhere = true;
                    self.wake_is_armed = false;
                }
                continue;
            }
            match self.slots.complete(cqe) {
                Tell::Nobody => {}
                Tell::Waker(waker) => wakers.push(waker),
                Tell::Orphan(ended) => orphans.push(ended),
            }
        }
        (wakers, orphans)
    }

    /// Cancels everything and waits for its end; says whether all has ended.
    fn drain(&mut self) -> bool {
        let deadline = Instant::now() + DRAIN_LIMIT;
        let flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
        while self.slots.in_flight() > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let cancel = IoUringSqe::cancel(0, flags).user_data(NOBODY);
            // SAFETY: the entry leads nowhere.
            let _ = unsafe { self.push(cancel) };
            // The cancellation itself completes; operations that it does not reach take their time.
            let wait = left.min(Duration::from_millis(10));
            if self.enter(Turn::AtMost(wait)).is_err() {
                return false;
            }
            let (_, orphans) = self.reap();
            for (orphan, cqe) in orphans {
                orphan.end(cqe);
            }
        }
        true
    }
}

impl Drop for Inner {
    /// Ends what is in flight, since closing the ring does not; what does not end is leaked.
    fn drop(&mut self) {
        if !self.drain() {
            mem::forget(self.slots.take_orphans());
        }
    }
}
