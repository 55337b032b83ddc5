//! Sums and extremes.
//!
//! A sum is taken in blocks of [`BLOCK`] numbers, each by [`SUMS`] vectors side by side, and the blocks' sums are added
//! in pairs, then the pairs' sums in pairs, and so on: the error grows with the logarithm of the number of blocks.

use crate::Element;
use crate::isa::{Lanes, Op};

/// Vectors that are added to in turn: as many as hide the latency of an addition on two units.
const SUMS: usize = 8;

/// Numbers of a block.
pub(crate) const BLOCK: usize = 4096;

/// Numbers among which an extreme is looked for.
const LOCATE_BLOCK: usize = 1024;

/// What is added up.
pub(crate) trait Term<T: Element>: Copy {
    /// `sum` and the terms of `x` and `y`.
    fn add<S: Lanes<T>>(self, s: S, x: S::V, y: S::V, sum: S::V) -> S::V;
}

/// `x`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plain;

/// `|x|`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Absolute;

/// `x * y`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times;

/// `(x - y)²`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SquaredDifference;

impl<T: Element> Term<T> for Plain {
    #[inline(always)]
    fn add<S: Lanes<T>>(self, s: S, x: S::V, _: S::V, sum: S::V) -> S::V {
        s.add(sum, x)
    }
}

impl<T: Element> Term<T> for Absolute {
    #[inline(always)]
    fn add<S: Lanes<T>>(self, s: S, x: S::V, _: S::V, sum: S::V) -> S::V {
        s.add(sum, s.abs(x))
    }
}

impl<T: Element> Term<T> for Times {
    #[inline(always)]
    fn add<S: Lanes<T>>(self, s: S, x: S::V, y: S::V, sum: S::V) -> S::V {
        s.mul_add(x, y, sum)
    }
}

impl<T: Element> Term<T> for SquaredDifference {
    #[inline(always)]
    fn add<S: Lanes<T>>(self, s: S, x: S::V, y: S::V, sum: S::V) -> S::V {
        let difference = s.sub(x, y);
        s.mul_add(difference, difference, sum)
    }
}

/// The sum of the terms of `x[i]` and `y[i]`; the lengths are the same.
pub(crate) struct Sum<'a, T, F> {
    pub(crate) term: F,
    pub(crate) x: &'a [T],
    pub(crate) y: &'a [T],
}

impl<T: Element, F: Term<T>> Op<T> for Sum<'_, T, F> {
    type Output = T;

    #[inline(always)]
    fn run<S: Lanes<T>>(self, s: S) -> T {
        let Self { term, x, y } = self;
        if x.len() <= BLOCK {
            return block(s, term, x, y);
        }
        // A binary counter of sums: level i holds the sum of 2^i blocks, where its bit of `count` is set.
        let mut levels = [T::ZERO; usize::BITS as usize];
        let mut count = 0_usize;
        for (x, y) in x.chunks(BLOCK).zip(y.chunks(BLOCK)) {
            let mut sum = block(s, term, x, y);
            let mut level = 0;
            while count >> level & 1 == 1 {
                sum = levels[level] + sum;
                level += 1;
            }
            levels[level] = sum;
            count += 1;
        }
        let mut total = T::ZERO;
        for (level, sum) in levels.into_iter().enumerate() {
            if count >> level & 1 == 1 {
                total = sum + total;
            }
        }
        total
    }
}

/// The sum of one block.
#[inline(always)]
fn block<T: Element, S: Lanes<T>, F: Term<T>>(s: S, term: F, x: &[T], y: &[T]) -> T {
    let mut sums = [s.splat(T::ZERO); SUMS];
    let ((xs, x_rest), (ys, y_rest)) = (S::arrays(x), S::arrays(y));
    let ((x_many, x_few), (y_many, y_few)) = (xs.as_chunks::<SUMS>(), ys.as_chunks::<SUMS>());
    for (x, y) in x_many.iter().zip(y_many) {
        for i in 0..SUMS {
            sums[i] = term.add(s, s.load(&x[i]), s.load(&y[i]), sums[i]);
        }
    }
    let mut few = s.splat(T::ZERO);
    for (x, y) in x_few.iter().zip(y_few) {
        few = term.add(s, s.load(x), s.load(y), few);
    }
    if !x_rest.is_empty() {
        // What is not there is zero in both, and adds nothing.
        few = term.add(s, s.load_part(x_rest), s.load_part(y_rest), few);
    }
    let four = [
        s.add(sums[0], sums[4]),
        s.add(sums[1], sums[5]),
        s.add(sums[2], sums[6]),
        s.add(sums[3], sums[7]),
    ];
    let all = s.add(s.add(four[0], four[2]), s.add(four[1], four[3]));
    across(s, s.add(all, few))
}

/// The sum of the lanes, in pairs.
#[inline(always)]
pub(crate) fn across<T: Element, S: Lanes<T>>(s: S, v: S::V) -> T {
    let mut array = S::ZEROS;
    s.store(v, &mut array);
    let lanes = array.as_mut();
    let mut width = S::LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            lanes[lane] = lanes[lane] + lanes[lane + width];
        }
    }
    lanes[0]
}

/// The smallest or the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extreme {
    Min,
    Max,
}

/// The extreme of `x`: NaN if there is one, none if there is nothing.
pub(crate) struct Find<'a, T> {
    pub(crate) extreme: Extreme,
    pub(crate) x: &'a [T],
}

impl<T: Element> Op<T> for Find<'_, T> {
    type Output = Option<T>;

    #[inline(always)]
    fn run<S: Lanes<T>>(self, s: S) -> Option<T> {
        match self.extreme {
            Extreme::Min => extreme::<T, S, true>(s, self.x),
            Extreme::Max => extreme::<T, S, false>(s, self.x),
        }
    }
}

/// Where the first of the extremes of `x` is: that of the first NaN if there is one, none if there is nothing.
pub(crate) struct Locate<'a, T> {
    pub(crate) extreme: Extreme,
    pub(crate) x: &'a [T],
}

impl<T: Element> Op<T> for Locate<'_, T> {
    type Output = Option<usize>;

    #[inline(always)]
    fn run<S: Lanes<T>>(self, s: S) -> Option<usize> {
        match self.extreme {
            Extreme::Min => locate::<T, S, true>(s, self.x),
            Extreme::Max => locate::<T, S, false>(s, self.x),
        }
    }
}

/// Finds the block with the extreme, and looks for it there only.
#[inline(always)]
fn locate<T: Element, S: Lanes<T>, const MIN: bool>(s: S, x: &[T]) -> Option<usize> {
    let mut best = *x.first()?;
    let mut start = 0;
    for (number, part) in x.chunks(LOCATE_BLOCK).enumerate() {
        let Some(found) = extreme::<T, S, MIN>(s, part) else {
            continue;
        };
        if found.is_not_a_number() {
            best = found;
            start = number * LOCATE_BLOCK;
            break;
        }
        if is_beyond::<T, MIN>(found, best) {
            best = found;
            start = number * LOCATE_BLOCK;
        }
    }
    let (xs, _) = S::arrays(&x[start..]);
    let wanted = s.splat(best);
    for part in xs {
        let part = s.load(part);
        // Nothing of the block is beyond it, so what it is not beyond is the same.
        let beyond = if MIN {
            s.lt(wanted, part)
        } else {
            s.lt(part, wanted)
        };
        let zeros = s.splat(T::ZERO);
        let others = s.select(beyond, zeros, s.splat(T::ONE));
        if s.any(s.lt(zeros, others)) {
            break;
        }
        start += S::LANES;
    }
    for (at, &x) in x.iter().enumerate().skip(start) {
        if x == best || x.is_not_a_number() {
            return Some(at);
        }
    }
    None
}

/// Whether `x` is more extreme than `than`.
#[inline(always)]
fn is_beyond<T: Element, const MIN: bool>(x: T, than: T) -> bool {
    if MIN { x < than } else { than < x }
}

#[inline(always)]
fn extreme<T: Element, S: Lanes<T>, const MIN: bool>(s: S, x: &[T]) -> Option<T> {
    let mut found = *x.first()?;
    let mut best = [s.splat(found); SUMS];
    // Where NaN was: one comparison tells of two vectors.
    let none = s.lt(best[0], best[0]);
    let mut nans = [none; SUMS / 2];
    let (xs, rest) = S::arrays(x);
    let (many, few) = xs.as_chunks::<SUMS>();
    for x in many {
        let mut v = best;
        for i in 0..SUMS {
            v[i] = s.load(&x[i]);
            best[i] = better::<T, S, MIN>(s, v[i], best[i]);
        }
        for i in 0..SUMS / 2 {
            nans[i] = s.or(nans[i], s.is_either_nan(v[2 * i], v[2 * i + 1]));
        }
    }
    for x in few {
        let x = s.load(x);
        best[0] = better::<T, S, MIN>(s, x, best[0]);
        nans[0] = s.or(nans[0], s.is_nan(x));
    }
    let mut is_nan = s.any(s.or(s.or(nans[0], nans[1]), s.or(nans[2], nans[3])));
    for &x in rest {
        is_nan |= x.is_not_a_number();
        if is_beyond::<T, MIN>(x, found) {
            found = x;
        }
    }
    let mut width = SUMS;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            best[i] = better::<T, S, MIN>(s, best[i], best[i + width]);
        }
    }
    let mut array = S::ZEROS;
    s.store(best[0], &mut array);
    for &x in array.as_ref() {
        if is_beyond::<T, MIN>(x, found) {
            found = x;
        }
    }
    is_nan |= found.is_not_a_number();
    Some(if is_nan { T::NAN } else { found })
}

/// The more extreme of each lane.
#[inline(always)]
fn better<T: Element, S: Lanes<T>, const MIN: bool>(s: S, a: S::V, b: S::V) -> S::V {
    if MIN { s.min(a, b) } else { s.max(a, b) }
}
