//! [`Rest`]: what is left of a loop, for its owner and for who helps.
//!
//! # Protocol
//! One word holds the first index and the end. The owner takes blocks from the front, helpers take half from the back, both
//! by exchanging the word for a shorter range.
//!
//! # What has to hold
//! * *Once*: the range only becomes shorter, so a word never comes again, and who exchanges it has what it took off.
//! * *All*: what is taken off is run by who took it, and the rest is in the word.
//!
//! Nothing but the range passes through the word: what the indices lead to came with the loop itself.

use std::ops::Range;

#[cfg(not(all(test, pepita_loom)))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

#[cfg(all(test, pepita_loom))]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

#[derive(Debug)]
pub(super) struct Rest {
    range: AtomicU64,
    /// Fewer are not worth the way to a helper.
    least: AtomicU32,
}

fn pack(range: &Range<u32>) -> u64 {
    u64::from(range.start) << 32 | u64::from(range.end)
}

#[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
fn unpack(word: u64) -> Range<u32> {
    (word >> 32) as u32..word as u32
}

impl Rest {
    pub(super) fn new(range: &Range<u32>, least: u32) -> Self {
        Self {
            range: AtomicU64::new(pack(range)),
            least: AtomicU32::new(least),
        }
    }

    /// Exchanges the range for what `cut` keeps of it; gives what that takes off.
    fn cut(&self, cut: impl Fn(Range<u32>) -> Option<[Range<u32>; 2]>) -> Option<Range<u32>> {
        let mut word = self.range.load(Ordering::Relaxed);
        loop {
            let [kept, taken] = cut(unpack(word))?;
            match self.range.compare_exchange_weak(
                word,
                pack(&kept),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(taken),
                Err(now) => word = now,
            }
        }
    }

    /// Takes a block from the front: `size` of what is left, but not more than there is.
    pub(super) fn take(&self, size: impl Fn(u32) -> u32) -> Option<Range<u32>> {
        self.cut(|Range { start, end }| {
            let left = end - start;
            (left > 0).then(|| {
                let middle = start + size(left).clamp(1, left);
                [middle..end, start..middle]
            })
        })
    }

    /// Takes the second half, if both are worth it.
    pub(super) fn halve(&self) -> Option<Range<u32>> {
        let least = self.least().max(1);
        self.cut(|Range { start, end }| {
            let half = (end - start) / 2;
            (half >= least).then_some([start..end - half, end - half..end])
        })
    }

    /// What a half must have at least.
    pub(super) fn least(&self) -> u32 {
        self.least.load(Ordering::Relaxed)
    }

    /// Sets what a half must have at least.
    pub(super) fn set_least(&self, least: u32) {
        self.least.store(least, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(pepita_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_last_indices_there_are_can_be_taken() {
        let rest = Rest::new(&(u32::MAX - 4..u32::MAX), 1);
        assert_eq!(rest.halve(), Some(u32::MAX - 2..u32::MAX));
        assert_eq!(rest.take(|left| left), Some(u32::MAX - 4..u32::MAX - 2));
        assert_eq!((rest.take(|left| left), rest.halve()), (None, None));
        let rest = Rest::new(&(u32::MAX - 1..u32::MAX), 1);
        assert_eq!(rest.take(|_| 5), Some(u32::MAX - 1..u32::MAX));
        assert_eq!(rest.take(|_| 5), None);
    }
}

#[cfg(all(test, pepita_loom))]
mod models {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// The owner takes blocks while a helper halves, twice: each index is had once.
    #[test]
    fn loom_each_index_of_a_loop_is_had_once() {
        loom::model(|| {
            let rest = Arc::new(Rest::new(&(0..6), 1));
            let helper = thread::spawn({
                let rest = rest.clone();
                move || {
                    let taken = [rest.halve(), rest.halve()];
                    taken.into_iter().flatten().flatten().collect::<Vec<u32>>()
                }
            });
            let mut had = Vec::new();
            while let Some(block) = rest.take(|left| left / 2) {
                had.extend(block);
            }
            had.extend(helper.join().unwrap());
            had.sort_unstable();
            assert_eq!(had, [0, 1, 2, 3, 4, 5]);
        });
    }
}
