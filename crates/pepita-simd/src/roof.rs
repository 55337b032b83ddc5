//! What operations are measured against: multiply-adds that wait for nothing, and traffic with next to no arithmetic, by
//! the instructions that operations use.
//!
//! ```
//! use std::time::Instant;
//! use pepita_simd::{SimdOps, roof};
//!
//! let begin = Instant::now();
//! let count = roof::multiply_adds::<f32>(&SimdOps::new(), 1000);
//! println!("{} a second", count as f64 / begin.elapsed().as_secs_f64());
//! ```
//!
//! A figure is the time of many calls, on a thread that has its CPU for itself; `pepita bench cpu` takes them.

use core::hint::black_box;

use crate::isa::{Lanes, Op};
use crate::{Element, SimdOps};

/// Vectors that are added to side by side: more than hide the latency of a multiply-add on two units, and with the factors
/// no more than the 16 registers that some sets have.
const SUMS: usize = 12;

/// Multiply-adds of each sum in a step.
const STEP: usize = 16;

/// Vectors that are moved between two looks at the lengths.
const GROUP: usize = 8;

/// How memory is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stores {
    /// Through the caches, which read each line before.
    Cached,
    /// Past the caches, where the tier can.
    Streamed,
}

/// Does multiply-adds in registers, `steps` times 192 of vectors, and says of how many numbers that were.
#[must_use]
pub fn multiply_adds<T: Element>(ops: &SimdOps, steps: usize) -> u64 {
    T::dispatch(ops.tier(), MultiplyAdds { steps })
}

struct MultiplyAdds {
    steps: usize,
}

impl<T: Element> Op<T> for MultiplyAdds {
    type Output = u64;

    #[inline(always)]
    fn run<S: Lanes<T>>(self, s: S) -> u64 {
        let tiny = T::UNIT_ROUNDOFF;
        // Unknown to the compiler, and each another: equal sums would be computed once.
        let (by, to) = (s.splat(black_box(T::ONE - tiny)), s.splat(black_box(tiny)));
        let mut sums = [s.splat(black_box(T::ONE)); SUMS];
        for i in 1..SUMS {
            sums[i] = s.add(sums[i - 1], s.splat(black_box(T::ONE)));
        }
        for _ in 0..self.steps {
            for _ in 0..STEP {
                for sum in &mut sums {
                    *sum = s.mul_add(*sum, by, to);
                }
            }
        }
        for sum in sums {
            let mut array = S::ZEROS;
            s.store(sum, &mut array);
            black_box(array);
        }
        (self.steps * STEP * SUMS * S::LANES) as u64
    }
}

/// Numbers of the vectors in which [`read`] adds up, at most.
pub const SUMS_LEN: usize = 128;

/// Reads all of `from` side by side, but for what is left of groups of 8 vectors, and leaves in the first of `sums` what
/// together is the sum of it, or of the products of two.
///
/// # Panics
/// When the lengths differ.
pub fn read<T: Element, const N: usize>(ops: &SimdOps, from: [&[T]; N], sums: &mut [T; SUMS_LEN]) {
    let len = from.first().map_or(0, |x| x.len());
    same(&from, len);
    T::dispatch(ops.tier(), Read { from, sums });
}

struct Read<'a, T, const N: usize> {
    from: [&'a [T]; N],
    sums: &'a mut [T; SUMS_LEN],
}

impl<T: Element, const N: usize> Op<T> for Read<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes<T>>(self, s: S) {
        let (groups, count) = groups::<T, S, N>(self.from);
        let mut sums = [s.splat(T::ZERO); GROUP];
        for at in 0..count {
            for (i, sum) in sums.iter_mut().enumerate() {
                let x = load::<T, S, N>(s, &groups, at, i);
                *sum = match N {
                    2 => s.mul_add(x[0], x[1], *sum),
                    _ => s.add(x[0], *sum),
                };
            }
        }
        // Adding up numbers one by one would take longer than reading a first-level cache.
        let (to, _) = S::arrays_mut(self.sums);
        for (to, sum) in to.iter_mut().zip(sums) {
            s.store(sum, to);
        }
    }
}

/// Writes to `to` what stands in `from`, or the sum of two, or the product of two and a third, but for what is left of
/// groups of 8 vectors.
///
/// # Panics
/// When the lengths differ; when `to` does not begin at a multiple of 64 bytes and is streamed.
pub fn write<T: Element, const N: usize>(
    ops: &SimdOps,
    from: [&[T]; N],
    to: &mut [T],
    stores: Stores,
) {
    same(&from, to.len());
    let is_aligned = to.as_ptr().addr().is_multiple_of(64);
    let is_streamed = stores == Stores::Streamed;
    assert!(
        is_aligned || !is_streamed,
        "what is streamed begins at a multiple of 64 bytes"
    );
    let write = Write {
        from,
        to,
        is_streamed,
    };
    T::dispatch(ops.tier(), write);
}

struct Write<'a, T, const N: usize> {
    from: [&'a [T]; N],
    to: &'a mut [T],
    is_streamed: bool,
}

impl<T: Element, const N: usize> Op<T> for Write<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes<T>>(self, s: S) {
        let (groups, count) = groups::<T, S, N>(self.from);
        let (to, _) = S::arrays_mut(self.to);
        let (to, _) = to.as_chunks_mut::<GROUP>();
        for (at, to) in to.iter_mut().enumerate().take(count) {
            for (i, to) in to.iter_mut().enumerate() {
                let x = load::<T, S, N>(s, &groups, at, i);
                let value = match N {
                    1 => x[0],
                    2 => s.add(x[0], x[1]),
                    _ => s.mul_add(x[0], x[1], x[2]),
                };
                if self.is_streamed {
                    s.stream(value, to);
                } else {
                    s.store(value, to);
                }
            }
        }
        if self.is_streamed {
            s.fence();
        }
    }
}

/// Replaces `to` by its amounts, or adds what stands in `from`, but for what is left of groups of 8 vectors.
///
/// # Panics
/// When the lengths differ.
pub fn update<T: Element, const N: usize>(ops: &SimdOps, from: [&[T]; N], to: &mut [T]) {
    same(&from, to.len());
    T::dispatch(ops.tier(), Update { from, to });
}

struct Update<'a, T, const N: usize> {
    from: [&'a [T]; N],
    to: &'a mut [T],
}

impl<T: Element, const N: usize> Op<T> for Update<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes<T>>(self, s: S) {
        let (groups, _) = groups::<T, S, N>(self.from);
        let (to, _) = S::arrays_mut(self.to);
        let (to, _) = to.as_chunks_mut::<GROUP>();
        for (at, to) in to.iter_mut().enumerate() {
            for (i, to) in to.iter_mut().enumerate() {
                let old = s.load(to);
                let value = match N {
                    0 => s.abs(old),
                    _ => s.add(load::<T, S, N>(s, &groups, at, i)[0], old),
                };
                s.store(value, to);
            }
        }
    }
}

#[track_caller]
fn same<T>(from: &[&[T]], len: usize) {
    for x in from {
        assert_eq!(x.len(), len, "the lengths differ");
    }
}

/// Whole vectors, [`GROUP`] at a time.
type Groups<'a, A, const N: usize> = [&'a [[A; GROUP]]; N];

/// The groups of each, and how many there are.
#[inline(always)]
fn groups<T: Element, S: Lanes<T>, const N: usize>(
    from: [&[T]; N],
) -> (Groups<'_, S::Array, N>, usize) {
    let count = from.first().map_or(0, |x| x.len() / (GROUP * S::LANES));
    let mut groups: Groups<'_, S::Array, N> = [&[]; N];
    for (groups, x) in groups.iter_mut().zip(from) {
        // Cut to what is looped over, so that the loop looks at no lengths.
        *groups = &S::arrays(x).0.as_chunks::<GROUP>().0[..count];
    }
    (groups, count)
}

/// Vector `i` of group `at` of each.
#[inline(always)]
fn load<T: Element, S: Lanes<T>, const N: usize>(
    s: S,
    groups: &Groups<'_, S::Array, N>,
    at: usize,
    i: usize,
) -> [S::V; N] {
    let mut x = [s.splat(T::ZERO); N];
    for (x, groups) in x.iter_mut().zip(groups) {
        *x = s.load(&groups[at][i]);
    }
    x
}
