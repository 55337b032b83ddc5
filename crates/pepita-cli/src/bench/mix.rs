//! [`Mix`]: the reads and writes of an operation, and the roof of memory for them.

use pepita::simd::roof::{self, SUMS_LEN, Stores};
use pepita::simd::{Element, SimdOps};

/// Vectors that an operation reads, and what it writes; each number once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mix {
    Read1,
    Read2,
    Write1,
    Write2,
    Write3,
    Update0,
    Update1,
    /// A product of square matrices: it reads two, writes a third, and is bound by multiply-adds.
    Product,
}

impl Mix {
    pub(super) const ALL: [Self; 8] = [
        Self::Read1,
        Self::Read2,
        Self::Write1,
        Self::Write2,
        Self::Write3,
        Self::Update0,
        Self::Update1,
        Self::Product,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Read1 => "read 1",
            Self::Read2 => "read 2",
            Self::Write1 => "read 1, write 1",
            Self::Write2 => "read 2, write 1",
            Self::Write3 => "read 3, write 1",
            Self::Update0 => "update 1",
            Self::Update1 => "read 1, update 1",
            Self::Product => "product",
        }
    }

    /// Vectors that it works on.
    pub(super) fn operands(self) -> usize {
        match self {
            Self::Read1 | Self::Update0 => 1,
            Self::Read2 | Self::Write1 | Self::Update1 => 2,
            Self::Write2 | Self::Product => 3,
            Self::Write3 => 4,
        }
    }

    /// Reads and writes of a number each.
    pub(super) fn accesses(self) -> usize {
        match self {
            Self::Update0 | Self::Update1 => self.operands() + 1,
            _ => self.operands(),
        }
    }

    /// What moves as much and computes next to nothing, in each way there is.
    pub(super) fn roofs<T: Element>(self) -> Vec<Work<T>> {
        match self {
            Self::Read1 => vec![
                |ops, at| roof::read(ops, [at.x], at.sums),
                // As two streams.
                |ops, at| {
                    let (front, back) = at.x.split_at(at.x.len() / 2);
                    roof::read(ops, [front, back], at.sums);
                },
            ],
            Self::Read2 => vec![|ops, at| roof::read(ops, [at.x, at.y], at.sums)],
            Self::Write1 => vec![
                |ops, at| roof::write(ops, [at.x], at.out, Stores::Cached),
                |ops, at| roof::write(ops, [at.x], at.out, Stores::Streamed),
            ],
            Self::Write2 => vec![
                |ops, at| roof::write(ops, [at.x, at.y], at.out, Stores::Cached),
                |ops, at| roof::write(ops, [at.x, at.y], at.out, Stores::Streamed),
            ],
            Self::Write3 => vec![
                |ops, at| roof::write(ops, [at.x, at.y, at.z], at.out, Stores::Cached),
                |ops, at| roof::write(ops, [at.x, at.y, at.z], at.out, Stores::Streamed),
            ],
            Self::Update0 => vec![|ops, at| roof::update(ops, [], at.out)],
            Self::Update1 => vec![|ops, at| roof::update(ops, [at.x], at.out)],
            Self::Product => Vec::new(),
        }
    }
}

/// Something that is done to operands.
pub(super) type Work<T> = fn(&SimdOps, &mut Operands<'_, T>);

/// As many as the mix has are as long as they should be; the others are empty.
#[derive(Debug)]
pub(super) struct Operands<'a, T> {
    pub(super) x: &'a [T],
    pub(super) y: &'a [T],
    pub(super) z: &'a [T],
    pub(super) out: &'a mut [T],
    /// Rows and columns of each, where they are matrices.
    pub(super) side: usize,
    pub(super) scratch: &'a mut [T],
    /// Of the roofs that read.
    pub(super) sums: &'a mut [T; SUMS_LEN],
}

impl<T: Element> Operands<'_, T> {
    /// Sees to it that what gave `answer` is not left out.
    #[expect(clippy::unused_self, reason = "reads as what it is for")]
    pub(super) fn answer<A>(&self, answer: A) {
        std::hint::black_box(answer);
    }
}
