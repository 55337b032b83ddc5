//! What a pool tells its subscribers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::task::{Exit, Stop, TaskId};

/// How many events wait for a subscriber before further ones are dropped.
const EVENTS_MAX: usize = 64 << 10;

/// Something happened to a task.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PoolEvent {
    /// Which task.
    pub id: TaskId,
    /// When.
    pub at: Instant,
    /// What.
    pub kind: PoolEventKind,
}

/// What happened to a task.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PoolEventKind {
    /// It was queued.
    Queued,
    /// An attempt began.
    Started {
        /// Which attempt, counted from 1.
        attempt: u32,
        /// The executor.
        executor: Arc<str>,
        /// The worker of that executor.
        worker: usize,
    },
    /// An attempt failed, and another one follows.
    Retrying {
        /// Which attempt failed.
        attempt: u32,
        /// What went wrong.
        error: String,
        /// How long the pool waits before the next one.
        delay: Duration,
    },
    /// It has its outcome.
    Finished {
        /// How it ended; `None` if it could not be run.
        exit: Option<Exit>,
        /// Why it was ended from outside, if it was.
        stopped: Option<Stop>,
        /// How many attempts were made.
        attempts: u32,
    },
}

/// The events of a pool since [`Pool::subscribe`](super::Pool::subscribe).
///
/// Up to 65,536 events wait here for a slow subscriber; further ones are dropped and counted, so
/// that watching never slows the pool down. Iterating ends when the pool is gone.
#[derive(Debug, Clone)]
pub struct Events {
    receiver: Receiver<PoolEvent>,
    lost: Arc<AtomicU64>,
}

impl Events {
    /// The channel that the events come through, to wait for them in a `select!`.
    #[must_use]
    pub fn receiver(&self) -> &Receiver<PoolEvent> {
        &self.receiver
    }

    /// How many events were dropped because too many waited.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Iterator for Events {
    type Item = PoolEvent;

    /// Waits for the next event; `None` when the pool is gone.
    fn next(&mut self) -> Option<PoolEvent> {
        self.receiver.recv().ok()
    }
}

/// The subscribers of a pool.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    /// Spares the lock, and the event itself, while there is none.
    any: AtomicBool,
    list: Mutex<Vec<(Sender<PoolEvent>, Arc<AtomicU64>)>>,
}

impl Subscribers {
    pub(super) fn add(&self) -> Events {
        // Not a bounded channel, which would make room for all of them at once.
        let (sender, receiver) = unbounded();
        let lost = Arc::new(AtomicU64::new(0));
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.push((sender, lost.clone()));
        self.any.store(true, Ordering::Release);
        Events { receiver, lost }
    }

    /// Tells every subscriber; `kind` is only made if there is one.
    pub(super) fn tell(&self, id: TaskId, kind: impl FnOnce() -> PoolEventKind) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let event = PoolEvent {
            id,
            at: Instant::now(),
            kind: kind(),
        };
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|(sender, lost)| {
            if sender.len() >= EVENTS_MAX {
                lost.fetch_add(1, Ordering::Relaxed);
                return true;
            }
            sender.send(event.clone()).is_ok()
        });
        self.any.store(!list.is_empty(), Ordering::Release);
    }
}
