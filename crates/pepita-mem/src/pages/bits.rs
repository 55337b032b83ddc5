//! [`BitTree`]: a set of small numbers that finds its least one in a few steps.
//!
//! Level 0 has a bit for each number; each level above has a bit for each word below, set while that
//! word is not 0. So the least number is found by one `trailing_zeros` a level, and a level is touched
//! only when a word below becomes 0 or stops being 0. With words of 64 bits, a million numbers have four
//! levels, of which all but the lowest fit into a few cache lines.
//!
//! The words of all trees of an allocator lie in one slice that the caller lends; a tree only knows
//! where its levels begin. It is the shape of a van Emde Boas tree cut off at one fan-out, as
//! schedulers and `FIND_FIRST_SET` queues have it.

/// Levels of the largest tree, of 2^30 numbers.
const LEVELS_MAX: usize = 5;

/// How many numbers a tree may hold.
pub(super) const NUMBERS_MAX: u32 = 1 << (6 * LEVELS_MAX);

/// Where the words of a set lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct BitTree {
    /// The first word of each level.
    starts: [u32; LEVELS_MAX],
    levels: u8,
}

impl BitTree {
    /// A tree for the numbers below `numbers`, at most [`NUMBERS_MAX`], whose words begin with
    /// `first`; and the word after its last.
    pub(super) const fn lay(numbers: u32, first: u32) -> (Self, u32) {
        let mut starts = [0; LEVELS_MAX];
        let (mut levels, mut next, mut words) = (0, first, numbers.div_ceil(u64::BITS));
        loop {
            starts[levels as usize] = next;
            levels += 1;
            next += words;
            if words <= 1 {
                return (Self { starts, levels }, next);
            }
            words = words.div_ceil(u64::BITS);
        }
    }

    /// The level's word for `at`, and the bit in it.
    fn place(&self, level: u8, at: u32) -> (usize, u64) {
        let word = self.starts[usize::from(level)] + at / u64::BITS;
        (word as usize, 1 << (at % u64::BITS))
    }

    /// Whether `number` is in the set.
    pub(super) fn has(&self, words: &[u64], number: u32) -> bool {
        let (word, bit) = self.place(0, number);
        words[word] & bit != 0
    }

    /// Puts `number` in.
    #[inline]
    pub(super) fn insert(&self, words: &mut [u64], number: u32) {
        let (word, bit) = self.place(0, number);
        let before = words[word];
        words[word] = before | bit;
        if before == 0 {
            self.insert_above(words, number / u64::BITS);
        }
    }

    /// Takes `number` out; whether it was in.
    #[inline]
    pub(super) fn remove(&self, words: &mut [u64], number: u32) -> bool {
        let (word, bit) = self.place(0, number);
        let before = words[word];
        words[word] = before & !bit;
        if before == bit {
            self.remove_above(words, number / u64::BITS);
        }
        before & bit != 0
    }

    /// Notes that word `at` of level 0 has stopped being 0.
    fn insert_above(&self, words: &mut [u64], mut at: u32) {
        for level in 1..self.levels {
            let (word, bit) = self.place(level, at);
            let before = words[word];
            words[word] = before | bit;
            if before != 0 {
                return;
            }
            at /= u64::BITS;
        }
    }

    /// Notes that word `at` of level 0 has become 0.
    fn remove_above(&self, words: &mut [u64], mut at: u32) {
        for level in 1..self.levels {
            let (word, bit) = self.place(level, at);
            words[word] &= !bit;
            if words[word] != 0 {
                return;
            }
            at /= u64::BITS;
        }
    }

    /// The least number of the set.
    #[inline]
    pub(super) fn least(&self, words: &[u64]) -> Option<u32> {
        let mut at = 0;
        for level in (0..self.levels).rev() {
            let word = words[self.place(level, at * u64::BITS).0];
            if word == 0 {
                return None;
            }
            at = at * u64::BITS + word.trailing_zeros();
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tree_has_a_level_for_each_factor_of_64() {
        for (numbers, words, levels) in [
            (1, 1, 1),
            (64, 1, 1),
            (65, 2 + 1, 2),
            (4096, 64 + 1, 2),
            (4097, 65 + 2 + 1, 3),
            (1 << 20, (1 << 14) + (1 << 8) + 4 + 1, 4),
            (
                NUMBERS_MAX,
                (1 << 24) + (1 << 18) + (1 << 12) + (1 << 6) + 1,
                5,
            ),
        ] {
            let (tree, end) = BitTree::lay(numbers, 7);
            assert_eq!((end, tree.levels), (7 + words, levels), "{numbers}");
        }
    }

    proptest! {
        #[test]
        fn a_tree_is_an_ordered_set(
            numbers in prop_oneof![1..200_u32, 4000..4200_u32, 260_000..270_000_u32],
            steps in proptest::collection::vec((any::<bool>(), any::<u32>()), 1..300),
        ) {
            let (tree, end) = BitTree::lay(numbers, 3);
            let mut words = vec![0; end as usize];
            let mut set = BTreeSet::new();
            for (is_insert, number) in steps {
                let number = number % numbers;
                if is_insert {
                    tree.insert(&mut words, number);
                    set.insert(number);
                } else {
                    prop_assert_eq!(tree.remove(&mut words, number), set.remove(&number));
                }
                prop_assert_eq!(tree.least(&words), set.first().copied());
                prop_assert_eq!(tree.has(&words, number), is_insert);
            }
            for number in set {
                prop_assert!(tree.remove(&mut words, number));
            }
            prop_assert!(words.iter().all(|word| *word == 0));
        }
    }
}
