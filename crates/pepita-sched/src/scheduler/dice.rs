//! [`Dice`]: what decides in a deterministic scheduler where otherwise thieves do.

use std::cell::RefCell;

use crate::fault::SplitMix64;

/// A parting of a loop goes no deeper.
const DEEPEST: u32 = 5;

#[derive(Debug)]
pub(super) struct Dice(RefCell<SplitMix64>);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(RefCell::new(SplitMix64::new(seed)))
    }

    /// A number below 2^32.
    fn roll(&self) -> u64 {
        self.0.borrow_mut().next_u64() >> 32
    }

    /// Whether a thief would have come.
    pub(super) fn flip(&self) -> bool {
        self.roll() % 2 == 1
    }

    /// One of four.
    pub(super) fn quarter(&self) -> u32 {
        (0..2).fold(0, |number, _| number * 2 + u32::from(self.flip()))
    }

    /// Where a range of `count` is cut, if it is; both parts have something. `depth` is that of the range in others that were cut.
    pub(super) fn cut(&self, count: usize, depth: u32) -> Option<usize> {
        if count < 2 || depth == DEEPEST || self.flip() {
            return None;
        }
        let part = (u128::from(self.roll()) * (count as u128 - 1)) >> 32;
        Some(1 + usize::try_from(part).unwrap_or(0))
    }
}

#[cfg(all(test, not(pepita_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_cut_leaves_something_on_both_sides_whatever_the_count() {
        let dice = Dice::new(1);
        for count in [0, 1, 2, 3, 10, usize::MAX] {
            for depth in 0..=DEEPEST {
                for _ in 0..100 {
                    let cut = dice.cut(count, depth);
                    assert!(cut.is_none_or(|cut| 0 < cut && cut < count && depth < DEEPEST));
                }
            }
        }
        let quarters = (0..100).fold(0, |seen, _| seen | 1 << dice.quarter());
        assert_eq!(quarters, 0b1111);
    }
}
