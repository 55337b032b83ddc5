//! [`Metrics`]: what the workers have done, and what waits.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a scheduler has done since it was started, and what waits in it; see [`Scheduler::metrics`](super::Scheduler::metrics).
///
/// The numbers are read one after the other while the workers go on, so they need not fit together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Of each worker, by its index, those [to spare](super::SchedulerBuilder::max_workers) too.
    pub workers: Vec<WorkerMetrics>,
    /// Closures and tasks from outside, and those of high or low priority, that wait for any worker.
    pub queued: usize,
}

/// What one worker has done, and what waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerMetrics {
    /// Closures, tasks and jobs of scopes that it began to run, and the parts of joins and loops that it took from others. What a
    /// worker runs itself of its joins and loops does not count, nor what a handle's [`wait`](super::JoinHandle::wait) runs.
    pub tasks: u64,
    /// How often it took something from another worker, be that one job or several.
    pub steals: u64,
    /// How often it went to sleep because there was nothing to do.
    pub parks: u64,
    /// Closures and tasks in its own queue, which other workers may take.
    pub queued: usize,
    /// Whether it runs something now.
    pub is_busy: bool,
}

impl Metrics {
    /// The sum of [`WorkerMetrics::tasks`].
    #[must_use]
    pub fn tasks(&self) -> u64 {
        self.workers.iter().map(|worker| worker.tasks).sum()
    }

    /// The sum of [`WorkerMetrics::steals`].
    #[must_use]
    pub fn steals(&self) -> u64 {
        self.workers.iter().map(|worker| worker.steals).sum()
    }

    /// The sum of [`WorkerMetrics::parks`].
    #[must_use]
    pub fn parks(&self) -> u64 {
        self.workers.iter().map(|worker| worker.parks).sum()
    }
}

/// What a worker notes of itself, in a line of its own: it is written for every job.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Record {
    /// Twice the number of tasks, and one more while it runs something: so a count costs no store of its own.
    tasks: Count,
    steals: Count,
    parks: Count,
}

/// One task in [`Record::tasks`].
const TASK: u64 = 2;

/// A number that one thread changes and all may read.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    #[inline]
    fn add(&self, number: u64) {
        let before = self.get();
        self.0.store(before.wrapping_add(number), Ordering::Relaxed);
    }

    #[inline]
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// For the worker.
impl Record {
    /// It runs one task.
    #[inline]
    pub(super) fn during_task<R>(&self, work: impl FnOnce() -> R) -> R {
        self.tasks.add(TASK + 1);
        let result = work();
        self.tasks.add(u64::MAX);
        result
    }

    /// It runs something of which the tasks are counted one by one.
    pub(super) fn during<R>(&self, work: impl FnOnce() -> R) -> R {
        self.tasks.add(1);
        let result = work();
        self.tasks.add(u64::MAX);
        result
    }

    /// It runs a task while it runs something.
    #[inline]
    pub(super) fn runs(&self) {
        self.tasks.add(TASK);
    }

    pub(super) fn steals(&self) {
        self.steals.add(1);
    }

    pub(super) fn parks(&self) {
        self.parks.add(1);
    }
}

/// For all.
impl Record {
    pub(super) fn is_busy(&self) -> bool {
        self.tasks.get() % TASK == 1
    }

    pub(super) fn read(&self, queued: usize) -> WorkerMetrics {
        WorkerMetrics {
            tasks: self.tasks.get() / TASK,
            steals: self.steals.get(),
            parks: self.parks.get(),
            queued,
            is_busy: self.is_busy(),
        }
    }
}
