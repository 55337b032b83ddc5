//! What is computed, and how.

use std::fmt;
use std::hint::black_box;

/// What a case does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Load {
    /// The `n`-th Fibonacci number, by a join of the two before it.
    Fibonacci { n: u32 },
    /// A tree of 1,023 nodes is summed up `times` times, with `units` of work a node.
    Tree { units: u32, times: usize },
}

/// Levels of the tree.
const LEVELS: u32 = 10;

impl Load {
    /// How many joins it has.
    pub(super) fn joins(self) -> usize {
        match self {
            Self::Fibonacci { n } => {
                let (mut this, mut next) = (0_usize, 0_usize);
                for _ in 1..n {
                    (this, next) = (next, this + next + 1);
                }
                next
            }
            Self::Tree { times, .. } => ((1 << LEVELS) - 1) * times,
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fibonacci { n } => {
                write!(f, "Fibonacci number {n}, a join for each but the first two")
            }
            Self::Tree { units, times } => write!(
                f,
                "{times} times the sum of a tree of 1,023 nodes, a join and {units} multiplications each"
            ),
        }
    }
}

#[derive(Debug)]
pub(super) struct Node {
    value: u64,
    pub(super) left: Option<Box<Self>>,
    pub(super) right: Option<Box<Self>>,
}

impl Node {
    pub(super) fn tree() -> Self {
        Self::of(LEVELS)
    }

    fn of(levels: u32) -> Self {
        let child = || (levels > 1).then(|| Box::new(Self::of(levels - 1)));
        Self {
            value: u64::from(levels),
            left: child(),
            right: child(),
        }
    }

    /// What the node itself comes to.
    #[inline]
    pub(super) fn visit(&self, units: u32) -> u64 {
        if units == 0 {
            self.value
        } else {
            multiply(self.value, units)
        }
    }
}

#[inline(never)]
fn multiply(mut value: u64, units: u32) -> u64 {
    for _ in 0..units {
        value = black_box(
            value
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1),
        );
    }
    value & 0xff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fibonacci_number_has_a_join_for_each_call_above_one() {
        fn joins(n: u32) -> usize {
            if n < 2 {
                0
            } else {
                1 + joins(n - 1) + joins(n - 2)
            }
        }
        for n in 0..20 {
            assert_eq!(Load::Fibonacci { n }.joins(), joins(n), "{n}");
        }
    }
}
