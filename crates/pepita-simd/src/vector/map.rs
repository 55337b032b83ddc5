//! Operations that treat each element by itself.

use crate::Element;
use crate::isa::{Lanes, Op};

/// An operation on one vector.
pub(crate) trait Unary<T: Element>: Copy {
    fn apply<S: Lanes<T>>(self, s: S, x: S::V) -> S::V;
}

/// An operation on two vectors.
pub(crate) trait Binary<T: Element>: Copy {
    fn apply<S: Lanes<T>>(self, s: S, x: S::V, y: S::V) -> S::V;
}

/// An operation on three vectors.
pub(crate) trait Ternary<T: Element>: Copy {
    fn apply<S: Lanes<T>>(self, s: S, x: S::V, y: S::V, z: S::V) -> S::V;
}

/// `out[i] = f(x[i])`; the lengths are the same.
pub(crate) struct Map1<'a, T, F> {
    pub(crate) f: F,
    pub(crate) x: &'a [T],
    pub(crate) out: &'a mut [T],
}

/// `out[i] = f(out[i])`.
pub(crate) struct InPlace1<'a, T, F> {
    pub(crate) f: F,
    pub(crate) out: &'a mut [T],
}

/// `out[i] = f(x[i], y[i])`; the lengths are the same.
pub(crate) struct Map2<'a, T, F> {
    pub(crate) f: F,
    pub(crate) x: &'a [T],
    pub(crate) y: &'a [T],
    pub(crate) out: &'a mut [T],
}

/// `out[i] = f(x[i], out[i])`; the lengths are the same.
pub(crate) struct InPlace2<'a, T, F> {
    pub(crate) f: F,
    pub(crate) x: &'a [T],
    pub(crate) out: &'a mut [T],
}

/// `out[i] = f(x[i], y[i], z[i])`; the lengths are the same.
pub(crate) struct Map3<'a, T, F> {
    pub(crate) f: F,
    pub(crate) x: &'a [T],
    pub(crate) y: &'a [T],
    pub(crate) z: &'a [T],
    pub(crate) out: &'a mut [T],
}

/// Bytes of an output that is written past the caches: it would drive out all that is in them, and be read into them
/// before it is written. Half of the last-level cache that a core of a server has for itself.
const STREAMED_BYTES: usize = 16 << 20;

/// Numbers to the first boundary of a vector in `out`, if `out` is worth streaming.
#[inline(always)]
fn head<T: Element, S: Lanes<T>>(out: &[T]) -> Option<usize> {
    let bytes = S::LANES * size_of::<T>();
    let head = out.as_ptr().align_offset(bytes);
    (size_of_val(out) >= STREAMED_BYTES && head < S::LANES).then_some(head)
}

impl<T: Element, F: Unary<T>> Op<T> for Map1<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes<T>>(self, s: S) {
        let Self { f, x, out } = self;
        let (xs, x_rest) = S::arrays(x);
        let (outs, out_rest) = S::arrays_mut(out);
        for (x, out) in xs.iter().zip(outs) {
            s.store(f.apply(s, s.load(x)), out);
        }
        if !x_rest.is_empty() {
            s.store_part(f.apply(s, s.load_part(x_rest)), out_rest);
        }
    }
}

impl<T: Element, F: Unary<T>> Op<T> for InPlace1<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes<T>>(self, s: S) {
        let Self { f, out } = self;
        let (outs, rest) = S::arrays_mut(out);
        for out in outs {
            s.store(f.apply(s, s.load(out)), out);
        }
        if !rest.is_empty() {
            s.store_part(f.apply(s, s.load_part(rest)), rest);
        }
    }
}

impl<T: Element, F: Binary<T>> Op<T> for Map2<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes<T>>(self, s: S) {
        let Self { f, x, y, out } = self;
        let Some(head) = head::<T, S>(out) else {
            return map2(s, f, x, y, out);
        };
        let ((x_head, x), (y_head, y)) = (x.split_at(head), y.split_at(head));
        let (out_head, out) = out.split_at_mut(head);
        map2(s, f, x_head, y_head, out_head);
        let ((xs, x), (ys, y)) = (S::arrays(x), S::arrays(y));
        let (outs, out) = S::arrays_mut(out);
        for ((x, y), out) in xs.iter().zip(ys).zip(outs) {
            s.stream(f.apply(s, s.load(x), s.load(y)), out);
        }
        s.fence();
        map2(s, f, x, y, out);
    }
}

#[inline(always)]
fn map2<T: Element, S: Lanes<T>, F: Binary<T>>(s: S, f: F, x: &[T], y: &[T], out: &mut [T]) {
    let ((xs, x), (ys, y)) = (S::arrays(x), S::arrays(y));
    let (outs, out) = S::arrays_mut(out);
    for ((x, y), out) in xs.iter().zip(ys).zip(outs) {
        s.store(f.apply(s, s.load(x), s.load(y)), out);
    }
    if !x.is_empty() {
        s.store_part(f.apply(s, s.load_part(x), s.load_part(y)), out);
    }
}

impl<T: Element, F: Binary<T>> Op<T> for InPlace2<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes<T>>(self, s: S) {
        let Self { f, x, out } = self;
        let (xs, x_rest) = S::arrays(x);
        let (outs, rest) = S::arrays_mut(out);
        for (x, out) in xs.iter().zip(outs) {
            s.store(f.apply(s, s.load(x), s.load(out)), out);
        }
        if !rest.is_empty() {
            s.store_part(f.apply(s, s.load_part(x_rest), s.load_part(rest)), rest);
        }
    }
}

impl<T: Element, F: Ternary<T>> Op<T> for Map3<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes<T>>(self, s: S) {
        let Self { f, x, y, z, out } = self;
        let ((xs, x), (ys, y), (zs, z)) = (S::arrays(x), S::arrays(y), S::arrays(z));
        let (outs, out) = S::arrays_mut(out);
        for (((x, y), z), out) in xs.iter().zip(ys).zip(zs).zip(outs) {
            s.store(f.apply(s, s.load(x), s.load(y), s.load(z)), out);
        }
        if !x.is_empty() {
            let z = s.load_part(z);
            s.store_part(f.apply(s, s.load_part(x), s.load_part(y), z), out);
        }
    }
}

/// Marks of the operations, and what they do to vectors.
macro_rules! functions {
    ($($kind:ident $name:ident ($s:ident, $($x:ident),*) $body:expr;)*) => {$(
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $name;

        impl<T: Element> $kind<T> for $name {
            #[inline(always)]
            fn apply<S: Lanes<T>>(self, $s: S, $($x: S::V),*) -> S::V {
                $body
            }
        }
    )*};
}

functions! {
    Binary Add(s, x, y) s.add(x, y);
    Binary Sub(s, x, y) s.sub(x, y);
    Binary Mul(s, x, y) s.mul(x, y);
    Binary Div(s, x, y) s.div(x, y);
    Ternary MulAdd(s, x, y, z) s.mul_add(x, y, z);
    Unary Abs(s, x) s.abs(x);
    Binary Min(s, x, y) with_nan(s, x, y, s.min(x, y));
    Binary Max(s, x, y) with_nan(s, x, y, s.max(x, y));
}

/// `value`, or NaN where `x` or `y` is.
#[inline(always)]
fn with_nan<T: Element, S: Lanes<T>>(s: S, x: S::V, y: S::V, value: S::V) -> S::V {
    // A sum has the NaN of either.
    let sum = s.add(x, y);
    let value = s.select(s.is_nan(x), sum, value);
    s.select(s.is_nan(y), sum, value)
}

/// `x * by`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale<T>(pub(crate) T);

impl<T: Element> Unary<T> for Scale<T> {
    #[inline(always)]
    fn apply<S: Lanes<T>>(self, s: S, x: S::V) -> S::V {
        s.mul(s.splat(self.0), x)
    }
}

/// `alpha * x + y`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axpy<T>(pub(crate) T);

impl<T: Element> Binary<T> for Axpy<T> {
    #[inline(always)]
    fn apply<S: Lanes<T>>(self, s: S, x: S::V, y: S::V) -> S::V {
        s.mul_add(s.splat(self.0), x, y)
    }
}

/// `x`, but at least `low` and at most `high`; NaN stays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clamp<T> {
    pub(crate) low: T,
    pub(crate) high: T,
}

impl<T: Element> Unary<T> for Clamp<T> {
    #[inline(always)]
    fn apply<S: Lanes<T>>(self, s: S, x: S::V) -> S::V {
        let (low, high) = (s.splat(self.low), s.splat(self.high));
        let x = s.select(s.lt(x, low), low, x);
        s.select(s.lt(high, x), high, x)
    }
}
