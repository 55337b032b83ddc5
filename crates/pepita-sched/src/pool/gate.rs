//! [`Gate`]: how many tasks or closures may wait, and who waits to add one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A counting semaphore that can be closed. Entering and leaving without contention is one
/// atomic operation each.
#[derive(Debug)]
pub(crate) struct Gate {
    capacity: usize,
    /// Tasks inside; `CLOSED` is added once when no more may enter.
    inside: AtomicUsize,
    /// Submitters that wait in `enter`; changed under `lock`.
    waiting: AtomicUsize,
    lock: Mutex<()>,
    changed: Condvar,
}

/// Submitters are woken by the batch; one that no batch comes for looks by itself after this time.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

const CLOSED: usize = 1 << (usize::BITS - 1);

/// Nobody may enter any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed;

impl Gate {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            inside: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            lock: Mutex::new(()),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn inside(&self) -> usize {
        self.inside.load(Ordering::Relaxed) & !CLOSED
    }

    /// Enters if there is room; says whether it did.
    pub(crate) fn try_enter(&self) -> Result<bool, Closed> {
        let mut inside = self.inside.load(Ordering::SeqCst);
        loop {
            if inside & CLOSED != 0 {
                return Err(Closed);
            }
            if inside >= self.capacity {
                return Ok(false);
            }
            let order = Ordering::SeqCst;
            match self
                .inside
                .compare_exchange_weak(inside, inside + 1, order, order)
            {
                Ok(_) => return Ok(true),
                Err(now) => inside = now,
            }
        }
    }

    /// Enters, when there is room.
    pub(crate) fn enter(&self) -> Result<(), Closed> {
        if self.try_enter()? {
            return Ok(());
        }
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        // Who leaves after this look sees that somebody waits; who left before made room.
        let entered = loop {
            match self.try_enter() {
                Ok(false) => {
                    let waited = self.changed.wait_timeout(lock, LOOK_AGAIN);
                    lock = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                Ok(true) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        entered
    }

    /// Makes room for one.
    pub(crate) fn leave(&self) {
        let before = self.inside.fetch_sub(1, Ordering::SeqCst) & !CLOSED;
        // A submitter is woken when there is room for a batch of its tasks, not for each one: a
        // wake-up costs more than a small task.
        let room = self.capacity - (before - 1);
        if self.waiting.load(Ordering::SeqCst) > 0 && (room > self.capacity / 4 || before == 1) {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.changed.notify_all();
        }
    }

    /// Lets nobody in any more.
    pub(super) fn close(&self) {
        self.inside.fetch_or(CLOSED, Ordering::SeqCst);
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn no_more_enter_than_there_is_room_for_and_all_get_in_at_last() {
        let gate = Arc::new(Gate::new(3));
        let most = Arc::new(AtomicUsize::new(0));
        let submitters = (0..4).map(|_| {
            let (gate, most) = (gate.clone(), most.clone());
            thread::spawn(move || {
                for _ in 0..1000 {
                    gate.enter().unwrap();
                    most.fetch_max(gate.inside(), Ordering::SeqCst);
                    gate.leave();
                }
            })
        });
        submitters
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert!(most.load(Ordering::SeqCst) <= 3);
        assert_eq!(gate.inside(), 0);
    }

    #[test]
    fn a_submitter_that_waits_is_told_of_the_shutdown() {
        let gate = Arc::new(Gate::new(1));
        gate.enter().unwrap();
        let waiter = thread::spawn({
            let gate = gate.clone();
            move || gate.enter()
        });
        gate.close();
        assert_eq!(waiter.join().unwrap(), Err(Closed));
        assert!(gate.try_enter().is_err());
    }
}
