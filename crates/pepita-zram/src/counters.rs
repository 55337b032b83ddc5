//! [`Counters`]: numbers that many threads change and few read.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::threads::{self, Apart, SHARDS};

/// `N` counts, each in one part for each few threads, so that threads do not wait for each other's cache lines.
#[derive(Debug)]
pub(crate) struct Counters<const N: usize> {
    shards: Box<[Apart<[AtomicU64; N]>; SHARDS]>,
}

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        let zeroes = || std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            shards: Box::new(std::array::from_fn(|_| Apart(zeroes()))),
        }
    }
}

impl<const N: usize> Counters<N> {
    pub(crate) fn add(&self, count: usize, change: i64) {
        let count = &self.shards[threads::shard()].0[count];
        count.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
    }

    /// The sum over all threads: what each part had at some moment.
    pub(crate) fn sum(&self, count: usize) -> u64 {
        let parts = self.shards.iter().map(|shard| &shard.0[count]);
        let sum = parts.fold(0_u64, |sum, part| {
            sum.wrapping_add(part.load(Ordering::Relaxed))
        });
        // What one thread has added and another taken away may be seen the wrong way round.
        if sum.cast_signed() < 0 { 0 } else { sum }
    }

    /// Lets a count begin with 0.
    pub(crate) fn clear(&self, count: usize) {
        for shard in self.shards.iter() {
            shard.0[count].store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_add_and_take_away_is_summed() {
        let counters = Counters::<2>::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| counters.add(1, 10));
            }
        });
        counters.add(1, -15);
        assert_eq!((counters.sum(0), counters.sum(1)), (0, 25));
        counters.add(0, -1);
        counters.clear(1);
        assert_eq!((counters.sum(0), counters.sum(1)), (0, 0), "never below 0");
    }
}
