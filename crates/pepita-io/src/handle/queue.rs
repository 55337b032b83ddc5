//! How operations come to the ring's thread.
//!
//! Who finds the queue empty wakes the thread; who comes later finds somebody before them who has, or will.
//! The thread takes all at once, so many operations cost one wake-up and one system call.

use std::mem;
#[cfg(not(all(test, pepita_loom)))]
use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

#[cfg(all(test, pepita_loom))]
use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};
use std::sync::PoisonError;

/// What is handed over, and how many operations are in flight.
pub(super) struct Queue<T> {
    limit: u64,
    inner: Mutex<Inner<T>>,
    /// How many operations have ended; only the ring's thread counts them.
    ended: AtomicU64,
}

struct Inner<T> {
    items: Vec<T>,
    /// How many operations were handed over.
    started: u64,
    is_closed: bool,
}

/// What to do after something was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Pushed {
    /// Wake the ring's thread.
    First,
    /// Somebody else wakes it.
    Behind,
}

/// Why an operation is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// As many as allowed are in flight.
    Full,
    Closed,
}

/// Whether more can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Door {
    Open,
    Closed,
}

impl Door {
    pub(super) fn is_closed(self) -> bool {
        self == Self::Closed
    }
}

impl<T> Queue<T> {
    /// An open queue that is empty.
    pub(super) fn new(in_flight_limit: usize) -> Self {
        Self {
            limit: in_flight_limit as u64,
            inner: Mutex::new(Inner {
                items: Vec::new(),
                started: 0,
                is_closed: false,
            }),
            ended: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over an operation.
    #[inline]
    pub(super) fn push_operation(&self, item: T) -> Result<Pushed, Refused> {
        self.push_operations(item, 1)
    }

    /// Hands over an item that stands for `count` operations.
    #[inline]
    pub(super) fn push_operations(&self, item: T, count: u64) -> Result<Pushed, Refused> {
        let mut inner = self.lock();
        if inner.is_closed {
            return Err(Refused::Closed);
        }
        // Whoever has seen the end of an operation sees it counted.
        let in_flight = inner.started - self.ended.load(Ordering::Relaxed);
        if in_flight + count > self.limit {
            return Err(Refused::Full);
        }
        inner.started += count;
        Ok(inner.push(item))
    }

    /// Hands over something else, if the queue is open.
    pub(super) fn push(&self, item: T) -> Pushed {
        let mut inner = self.lock();
        if inner.is_closed {
            return Pushed::Behind;
        }
        inner.push(item)
    }

    /// Counts the end of an operation. For the ring's thread alone.
    #[inline]
    pub(super) fn count_end(&self) {
        let ended = self.ended.load(Ordering::Relaxed) + 1;
        self.ended.store(ended, Ordering::Relaxed);
    }

    /// Moves what was handed over into `into`, which is empty; what has come before the end stays for
    /// [`close_and_take`](Self::close_and_take).
    pub(super) fn take(&self, into: &mut Vec<T>) -> Door {
        let mut inner = self.lock();
        if inner.is_closed {
            return Door::Closed;
        }
        mem::swap(&mut inner.items, into);
        Door::Open
    }

    /// Lets nothing more in. Wake the ring's thread afterwards.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
    }

    /// The same, and takes what is there.
    pub(super) fn close_and_take(&self) -> Vec<T> {
        let mut inner = self.lock();
        inner.is_closed = true;
        mem::take(&mut inner.items)
    }
}

impl<T> Inner<T> {
    fn push(&mut self, item: T) -> Pushed {
        self.items.push(item);
        if self.items.len() == 1 {
            Pushed::First
        } else {
            Pushed::Behind
        }
    }
}

#[cfg(test)]
mod tests;
