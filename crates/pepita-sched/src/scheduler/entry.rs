//! [`Entry`]: how many closures from outside may wait, if that is bounded.

use std::fmt;
use std::sync::Arc;

use super::job::Job;
use crate::pool::Gate;

/// A closure that was not taken, since as many wait as may; see [`try_spawn`](super::Scheduler::try_spawn).
#[derive(thiserror::Error)]
#[error("the queue is full: {capacity} closures wait")]
pub struct QueueFull<F> {
    /// The closure.
    pub closure: F,
    /// The [capacity](super::SchedulerBuilder::queue_capacity) of the queue.
    pub capacity: usize,
}

impl<F> fmt::Debug for QueueFull<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueFull")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// Counts closures from when they are spawned until they are begun or dropped.
#[derive(Debug)]
pub(super) struct Entry(Arc<Gate>);

/// A place among those that wait; given up by the drop.
#[derive(Debug)]
pub(super) struct Place(Arc<Gate>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Entry {
    pub(super) fn new(capacity: usize) -> Self {
        Self(Arc::new(Gate::new(capacity)))
    }

    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Waits for a place. The gate is never closed.
    pub(super) fn enter(&self) -> Place {
        let _ = self.0.enter();
        Place(self.0.clone())
    }

    /// A place, if there is one.
    pub(super) fn try_enter(&self) -> Option<Place> {
        let has_entered = self.0.try_enter().unwrap_or(false);
        has_entered.then(|| Place(self.0.clone()))
    }
}

impl Place {
    /// The job, which keeps the place until it is begun.
    pub(super) fn with(self, job: Job) -> Job {
        Job::new(move || {
            drop(self);
            job.run();
        })
    }
}
