//! What the loops do. Every contender runs the same functions over the same indices.

use std::fmt;
use std::hint::black_box;

use super::pools::Pool;

/// What a case does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Load {
    Sum,
    Dot,
    Sort,
    Bodies,
    Words,
    Even { elements: usize, times: u32 },
    Uneven { elements: usize, times: u32 },
    Nested { elements: usize, times: u32 },
}

/// Numbers of the coarse loops.
const NUMBERS: usize = 10_000_000;

/// Bytes of the text.
const TEXT: usize = 100_000_000;

const BODIES: usize = 3000;

/// Elements that are gone through together where one is next to nothing.
const CHUNK: usize = 4096;

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sum => write!(f, "the sum of {NUMBERS} numbers"),
            Self::Dot => write!(f, "the dot product of two times {NUMBERS} numbers"),
            Self::Sort => write!(f, "{NUMBERS} random numbers are sorted"),
            Self::Bodies => write!(f, "the forces of {BODIES} bodies on each other"),
            Self::Words => write!(
                f,
                "the words of a text of {} MB are counted",
                TEXT / 1_000_000
            ),
            Self::Even { elements, .. } => write!(f, "{elements} elements of some nanoseconds"),
            Self::Uneven { elements, .. } => {
                write!(
                    f,
                    "{elements} elements, each 64th of which takes 64 times as long"
                )
            }
            Self::Nested { elements, .. } => {
                write!(f, "{elements} loops of {elements} elements in a loop")
            }
        }
    }
}

/// A fast mixing of bits, of some nanoseconds for a few units.
#[inline(never)]
fn mix(seed: u64, units: u32) -> u64 {
    let mut value = seed | 1;
    for _ in 0..units {
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
    }
    value
}

/// What a load needs.
pub(super) struct Input {
    load: Load,
    numbers: Vec<u64>,
    reals: Vec<f64>,
    text: Vec<u8>,
    bodies: Vec<[f64; 3]>,
}

impl Input {
    #[expect(
        clippy::cast_precision_loss,
        reason = "small integers, so that sums are exact in any order"
    )]
    pub(super) fn new(load: Load) -> Self {
        let count = |wanted: bool, count: usize| if wanted { count as u64 } else { 0 };
        let is = |wanted: &[&str]| wanted.contains(&load.kind());
        let real = |seed: u64| (mix(seed, 3) % 16) as f64;
        Self {
            load,
            numbers: (0..count(is(&["sum", "sort"]), NUMBERS))
                .map(|seed| mix(seed, 5))
                .collect(),
            reals: (0..count(is(&["dot"]), 2 * NUMBERS)).map(real).collect(),
            text: (0..count(is(&["words"]), TEXT))
                .map(|seed| b"etaoin shr"[(mix(seed, 3) % 10) as usize])
                .collect(),
            bodies: (0..count(is(&["bodies"]), BODIES))
                .map(|seed| [real(seed), real(seed + 7), real(seed + 13)])
                .collect(),
        }
    }

    pub(super) fn times(&self) -> u32 {
        match self.load {
            Load::Even { times, .. } | Load::Uneven { times, .. } | Load::Nested { times, .. } => {
                times
            }
            _ => 1,
        }
    }

    /// A copy for a sort, outside of the time.
    pub(super) fn to_be_sorted(&self) -> Vec<u64> {
        match self.load {
            Load::Sort => self.numbers.clone(),
            _ => Vec::new(),
        }
    }

    pub(super) fn run<P: Pool>(&self, sorted: &mut [u64]) -> u64 {
        match self.load {
            Load::Sum => P::sum(NUMBERS.div_ceil(CHUNK), |chunk| self.sum(chunk)),
            Load::Dot => P::sum(NUMBERS.div_ceil(CHUNK), |chunk| self.dot(chunk)),
            Load::Sort => {
                P::sort(sorted);
                sorted[NUMBERS / 2]
            }
            Load::Bodies => P::sum(BODIES, |body| self.force(body)),
            Load::Words => P::sum(TEXT.div_ceil(CHUNK), |chunk| self.words(chunk)),
            Load::Even { elements, .. } => {
                self.again(|| P::sum(black_box(elements), |index| mix(index as u64, 4)))
            }
            Load::Uneven { elements, .. } => self.again(|| {
                let units = |index: usize| if index.is_multiple_of(64) { 256 } else { 4 };
                P::sum(black_box(elements), |index| mix(index as u64, units(index)))
            }),
            Load::Nested { elements, .. } => self.again(|| {
                P::sum(black_box(elements), |row| {
                    P::sum(elements, |column| mix((row ^ column) as u64, 4))
                })
            }),
        }
    }

    fn again(&self, run: impl Fn() -> u64) -> u64 {
        (0..self.times()).map(|_| run()).fold(0, u64::wrapping_add)
    }

    fn sum(&self, chunk: usize) -> u64 {
        let begin = chunk * CHUNK;
        let numbers = &self.numbers[begin..NUMBERS.min(begin + CHUNK)];
        numbers.iter().copied().fold(0, u64::wrapping_add)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small integer"
    )]
    fn dot(&self, chunk: usize) -> u64 {
        let begin = chunk * CHUNK;
        let end = NUMBERS.min(begin + CHUNK);
        let (left, right) = self.reals.split_at(NUMBERS);
        let mut sums = [0.0; 8];
        for (left, right) in left[begin..end]
            .chunks_exact(8)
            .zip(right[begin..end].chunks_exact(8))
        {
            for lane in 0..8 {
                sums[lane] += left[lane] * right[lane];
            }
        }
        sums.iter().sum::<f64>() as u64
    }

    fn words(&self, chunk: usize) -> u64 {
        let begin = chunk * CHUNK;
        let end = TEXT.min(begin + CHUNK);
        let mut before = begin
            .checked_sub(1)
            .is_none_or(|last| self.text[last] == b' ');
        let mut words = 0;
        for &byte in &self.text[begin..end] {
            let is_space = byte == b' ';
            words += u64::from(before && !is_space);
            before = is_space;
        }
        words
    }

    fn force(&self, body: usize) -> u64 {
        let at = self.bodies[body];
        let mut force = [0.0; 3];
        for other in &self.bodies {
            let away = [other[0] - at[0], other[1] - at[1], other[2] - at[2]];
            let square = away.iter().map(|part| part * part).sum::<f64>() + 0.01;
            let factor = 1.0 / (square * square.sqrt());
            for axis in 0..3 {
                force[axis] += away[axis] * factor;
            }
        }
        force
            .iter()
            .map(|part| part.to_bits())
            .fold(0, u64::wrapping_add)
    }
}

impl Load {
    fn kind(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Dot => "dot",
            Self::Sort => "sort",
            Self::Bodies => "bodies",
            Self::Words => "words",
            Self::Even { .. } | Self::Uneven { .. } | Self::Nested { .. } => "fine",
        }
    }
}
