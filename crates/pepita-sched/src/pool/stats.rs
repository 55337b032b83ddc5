//! [`PoolStats`]: what a pool has done.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of a pool at one moment. The counters are read one after the other, so a task that
/// ends meanwhile may be missing from two of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Tasks that were taken.
    pub submitted: u64,
    /// Tasks that have no outcome yet: those that wait, those that run, and those between two
    /// attempts.
    pub active: u64,
    /// Tasks that wait for their first attempt.
    pub queued: u64,
    /// Attempts that run.
    pub running: u64,
    /// Tasks that succeeded.
    pub succeeded: u64,
    /// Tasks that ran and failed: a code other than 0, a signal, or a limit.
    pub failed: u64,
    /// Tasks that could not be run, or panicked.
    pub errors: u64,
    /// Tasks that were cancelled, or refused at an abort.
    pub cancelled: u64,
    /// Of those that failed, how many ran into their timeout.
    pub timed_out: u64,
    /// Attempts beyond the first of each task.
    pub retries: u64,
}

impl PoolStats {
    /// Tasks that have an outcome.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.succeeded + self.failed + self.errors + self.cancelled
    }
}

/// The counters behind [`PoolStats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) submitted: AtomicU64,
    pub(super) running: AtomicU64,
    pub(super) succeeded: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) cancelled: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) retries: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self, queued: u64) -> PoolStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut stats = PoolStats {
            submitted: 0,
            active: 0,
            queued,
            running: read(&self.running),
            succeeded: read(&self.succeeded),
            failed: read(&self.failed),
            errors: read(&self.errors),
            cancelled: read(&self.cancelled),
            timed_out: read(&self.timed_out),
            retries: read(&self.retries),
        };
        // Read last: what is completed was submitted before.
        stats.submitted = read(&self.submitted);
        stats.active = stats.submitted.saturating_sub(stats.completed());
        stats
    }
}
