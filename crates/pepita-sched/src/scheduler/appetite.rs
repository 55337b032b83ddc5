//! [`Appetite`]: how many small jobs a worker without work waits for before it takes them.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::backlog::BLOCK;

/// What is taken together should take so long: some times what the way to another worker costs.
const WORTH: Duration = Duration::from_micros(3);

/// A worker that finds fewer for so long takes those.
pub(super) const PATIENCE: Duration = Duration::from_micros(5);

/// Jobs of some nanoseconds cost less where they are than on the way to another worker. So a worker that had such ones takes
/// many at once, or those that their owner does not get to.
#[derive(Debug)]
pub(super) struct Appetite {
    wanted: Cell<usize>,
    /// When fewer were left where they are first, in this search.
    declined: Cell<Option<Instant>>,
}

impl Default for Appetite {
    fn default() -> Self {
        Self {
            wanted: Cell::new(1),
            declined: Cell::new(None),
        }
    }
}

impl Appetite {
    /// A new search for work begins.
    pub(super) fn begin(&self) {
        self.declined.set(None);
    }

    /// How many are taken together at the most.
    pub(super) fn wanted(&self) -> usize {
        self.wanted.get()
    }

    /// Whether jobs are to be taken where there are so many.
    pub(super) fn accepts(&self, there: usize) -> bool {
        if there >= self.wanted.get() {
            return true;
        }
        let now = Instant::now();
        if let Some(since) = self.declined.get() {
            now - since >= PATIENCE
        } else {
            self.declined.set(Some(now));
            false
        }
    }

    /// So many jobs were taken, and run in this time.
    pub(super) fn learn(&self, count: usize, took: Duration) {
        let each = took.as_nanos() / count.max(1) as u128;
        let worth = WORTH.as_nanos() / each.max(1);
        let worth = usize::try_from(worth).unwrap_or(BLOCK).clamp(1, BLOCK);
        // Slowly up, at once down: what takes long must not wait.
        self.wanted.set(worth.min(self.wanted.get() * 2));
        self.declined.set(None);
    }
}

#[cfg(all(test, not(pepita_loom)))]
mod tests {
    use super::*;

    #[test]
    fn small_jobs_are_wanted_by_the_block_and_long_ones_at_once() {
        let appetite = Appetite::default();
        assert!(appetite.accepts(1));
        for _ in 0..20 {
            appetite.learn(10, Duration::ZERO);
        }
        assert!(!appetite.accepts(BLOCK - 1));
        assert!(appetite.accepts(BLOCK));
        // Those that nobody gets to are taken in the end, wherever they are.
        appetite.declined.set(Some(Instant::now() - PATIENCE));
        assert!(appetite.accepts(1));
        appetite.begin();
        assert!(!appetite.accepts(1));
        appetite.learn(1, WORTH);
        assert!(appetite.accepts(1));
    }
}
