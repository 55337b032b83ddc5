//! Operations on vectors.

use super::{SimdOps, fits};
use crate::vector::exp::{Exp, Softmax};
use crate::vector::map::{
    Abs, Add, Axpy, Clamp, Div, InPlace1, InPlace2, Map1, Map2, Map3, Max, Min, Mul, MulAdd, Scale,
    Sub,
};
use crate::vector::reduce::{
    Absolute, Extreme, Find, Locate, Plain, SquaredDifference, Sum, Term, Times,
};
use crate::{Element, ShapeError};

/// Whether `operand` is as long as the first one.
fn same(
    operation: &'static str,
    operand: &'static str,
    len: usize,
    want: usize,
) -> Result<(), ShapeError> {
    if len == want {
        return Ok(());
    }
    Err(ShapeError::Length {
        operation,
        operand,
        len,
        want,
    })
}

/// An operation of two vectors into a third, checked and panicking.
macro_rules! two_to_one {
    ($($(#[$doc:meta])* $name:ident $try_name:ident $function:ident;)*) => {
        impl SimdOps {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// [`ShapeError::Length`] when the lengths differ.
            pub fn $try_name<T: Element>(&self, x: &[T], y: &[T], out: &mut [T]) -> Result<(), ShapeError> {
                same(stringify!($name), "y", y.len(), x.len())?;
                same(stringify!($name), "out", out.len(), x.len())?;
                T::dispatch(self.tier(), Map2 { f: $function, x, y, out });
                Ok(())
            }

            $(#[$doc])*
            ///
            /// # Panics
            /// When the lengths differ.
            #[track_caller]
            pub fn $name<T: Element>(&self, x: &[T], y: &[T], out: &mut [T]) {
                fits(self.$try_name(x, y, out));
            }
        )*}
    };
}

two_to_one! {
    /// `out = x + y`, each sum correctly rounded. From 16 MiB on `out` is written past the caches.
    add try_add Add;
    /// `out = x - y`, each difference correctly rounded. From 16 MiB on `out` is written past the caches.
    sub try_sub Sub;
    /// `out = x * y`, each product correctly rounded. From 16 MiB on `out` is written past the caches.
    mul try_mul Mul;
    /// `out = x / y`, each quotient correctly rounded. From 16 MiB on `out` is written past the caches.
    div try_div Div;
    /// The smaller of `x` and `y`; NaN where one is. Of 0 and -0 it is either.
    min try_min Min;
    /// The larger of `x` and `y`; NaN where one is. Of 0 and -0 it is either.
    max try_max Max;
}

/// An operation of one vector into another, checked and panicking, and in place.
macro_rules! one_to_one {
    ($($(#[$doc:meta])* $name:ident $try_name:ident $in_place:ident $function:ident;)*) => {
        impl SimdOps {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// [`ShapeError::Length`] when the lengths differ.
            pub fn $try_name<T: Element>(&self, x: &[T], out: &mut [T]) -> Result<(), ShapeError> {
                same(stringify!($name), "out", out.len(), x.len())?;
                T::dispatch(self.tier(), Map1 { f: $function, x, out });
                Ok(())
            }

            $(#[$doc])*
            ///
            /// # Panics
            /// When the lengths differ.
            #[track_caller]
            pub fn $name<T: Element>(&self, x: &[T], out: &mut [T]) {
                fits(self.$try_name(x, out));
            }

            $(#[$doc])*
            ///
            /// Here `x` is `out`.
            pub fn $in_place<T: Element>(&self, out: &mut [T]) {
                T::dispatch(self.tier(), InPlace1 { f: $function, out });
            }
        )*}
    };
}

one_to_one! {
    /// `out = |x|`, exactly; the sign of NaN goes as well.
    abs try_abs abs_in_place Abs;
    /// `out = exp(x)`, within 4 units in the last place; infinity where the true value is above the largest number,
    /// within 1 unit more where it is below the smallest normal one.
    exp try_exp exp_in_place Exp;
}

impl SimdOps {
    /// `out = x * y + z`, rounded once where the tier has fused multiply-add ([`Tier::has_fma`](crate::Tier::has_fma)),
    /// else after the product and after the sum.
    ///
    /// # Errors
    /// [`ShapeError::Length`] when the lengths differ.
    pub fn try_mul_add<T: Element>(
        &self,
        x: &[T],
        y: &[T],
        z: &[T],
        out: &mut [T],
    ) -> Result<(), ShapeError> {
        same("mul_add", "y", y.len(), x.len())?;
        same("mul_add", "z", z.len(), x.len())?;
        same("mul_add", "out", out.len(), x.len())?;
        let f = MulAdd;
        T::dispatch(self.tier(), Map3 { f, x, y, z, out });
        Ok(())
    }

    /// [`try_mul_add`](Self::try_mul_add).
    ///
    /// # Panics
    /// When the lengths differ.
    #[track_caller]
    pub fn mul_add<T: Element>(&self, x: &[T], y: &[T], z: &[T], out: &mut [T]) {
        fits(self.try_mul_add(x, y, z, out));
    }

    /// `y = alpha * x + y`, rounded as [`try_mul_add`](Self::try_mul_add).
    ///
    /// # Errors
    /// [`ShapeError::Length`] when the lengths differ.
    pub fn try_axpy<T: Element>(&self, alpha: T, x: &[T], y: &mut [T]) -> Result<(), ShapeError> {
        same("axpy", "y", y.len(), x.len())?;
        let f = Axpy(alpha);
        T::dispatch(self.tier(), InPlace2 { f, x, out: y });
        Ok(())
    }

    /// [`try_axpy`](Self::try_axpy).
    ///
    /// # Panics
    /// When the lengths differ.
    #[track_caller]
    pub fn axpy<T: Element>(&self, alpha: T, x: &[T], y: &mut [T]) {
        fits(self.try_axpy(alpha, x, y));
    }

    /// `x = alpha * x`, each product correctly rounded. NaN and infinity times 0 are NaN.
    pub fn scale<T: Element>(&self, alpha: T, x: &mut [T]) {
        let f = Scale(alpha);
        T::dispatch(self.tier(), InPlace1 { f, out: x });
    }

    /// `x`, but at least `low` and at most `high`; NaN stays NaN.
    ///
    /// # Panics
    /// When `low` is above `high` or one is NaN.
    #[track_caller]
    pub fn clamp<T: Element>(&self, low: T, high: T, x: &mut [T]) {
        assert!(
            low <= high,
            "clamp: nothing is between {low:?} and {high:?}"
        );
        let f = Clamp { low, high };
        T::dispatch(self.tier(), InPlace1 { f, out: x });
    }

    /// The sum of `x`; 0 of nothing.
    ///
    /// # Accuracy
    /// Within γ(d) · Σ|xᵢ|, with d = min(n, 520 + log₂(n / 4096)): blocks are added up side by side, their sums in
    /// pairs. γ(d) is d·u / (1 − d·u), u the unit roundoff.
    #[must_use]
    pub fn sum<T: Element>(&self, x: &[T]) -> T {
        self.total(Plain, x, x)
    }

    /// The sum of amounts, Σ|xᵢ|, with the accuracy of [`sum`](Self::sum).
    #[must_use]
    pub fn norm1<T: Element>(&self, x: &[T]) -> T {
        self.total(Absolute, x, x)
    }

    /// The Euclidean norm, √Σxᵢ².
    ///
    /// # Accuracy
    /// Within γ(d + 3) of the true one, relatively; d as of [`sum`](Self::sum). It is infinite only where the true one
    /// is above the largest number or an element is infinite, and small ones are not lost: where squares leave the range
    /// of numbers, it is taken of x over its largest amount, and d is n / 64.
    #[must_use]
    pub fn norm2<T: Element>(&self, x: &[T]) -> T {
        let squares = self.total(Times, x, x);
        // With squares of at least this, those that were lost below the range do not count.
        let safe = T::SMALL_SQUARES;
        if squares >= safe && squares < T::ONE / T::ZERO || squares.is_not_a_number() {
            return squares.square_root();
        }
        self.scaled_norm2(x)
    }

    /// [`norm2`](Self::norm2) where squares leave the range.
    #[cold]
    fn scaled_norm2<T: Element>(&self, x: &[T]) -> T {
        let amount = |x: T| if x < T::ZERO { -x } else { x };
        let largest = x.iter().fold(T::ZERO, |largest, &x| {
            let x = amount(x);
            if x > largest { x } else { largest }
        });
        if largest == T::ZERO || largest == T::ONE / T::ZERO {
            return largest;
        }
        let mut strip = [T::ZERO; 64];
        let mut squares = T::ZERO;
        for x in x.chunks(strip.len()) {
            for (to, x) in strip.iter_mut().zip(x) {
                *to = *x / largest;
            }
            let strip = &strip[..x.len()];
            squares = squares + self.total(Times, strip, strip);
        }
        largest * squares.square_root()
    }

    /// Σxᵢyᵢ; 0 of nothing.
    ///
    /// # Accuracy
    /// Within γ(d + 1) · Σ|xᵢyᵢ|; d as of [`sum`](Self::sum).
    ///
    /// # Errors
    /// [`ShapeError::Length`] when the lengths differ.
    pub fn try_dot<T: Element>(&self, x: &[T], y: &[T]) -> Result<T, ShapeError> {
        same("dot", "y", y.len(), x.len())?;
        Ok(self.total(Times, x, y))
    }

    /// [`try_dot`](Self::try_dot).
    ///
    /// # Panics
    /// When the lengths differ.
    #[must_use]
    #[track_caller]
    pub fn dot<T: Element>(&self, x: &[T], y: &[T]) -> T {
        fits(self.try_dot(x, y))
    }

    /// The square of the Euclidean distance, Σ(xᵢ − yᵢ)².
    ///
    /// # Accuracy
    /// Within γ(d + 3) of the true one, relatively, unless squares leave the range of numbers; d as of
    /// [`sum`](Self::sum).
    ///
    /// # Errors
    /// [`ShapeError::Length`] when the lengths differ.
    pub fn try_distance2<T: Element>(&self, x: &[T], y: &[T]) -> Result<T, ShapeError> {
        same("distance2", "y", y.len(), x.len())?;
        Ok(self.total(SquaredDifference, x, y))
    }

    /// [`try_distance2`](Self::try_distance2).
    ///
    /// # Panics
    /// When the lengths differ.
    #[must_use]
    #[track_caller]
    pub fn distance2<T: Element>(&self, x: &[T], y: &[T]) -> T {
        fits(self.try_distance2(x, y))
    }

    /// The smallest of `x`: NaN if there is one, `None` of nothing. Of 0 and -0 it is either.
    #[must_use]
    pub fn smallest<T: Element>(&self, x: &[T]) -> Option<T> {
        let extreme = Extreme::Min;
        T::dispatch(self.tier(), Find { extreme, x })
    }

    /// The largest of `x`: NaN if there is one, `None` of nothing. Of 0 and -0 it is either.
    #[must_use]
    pub fn largest<T: Element>(&self, x: &[T]) -> Option<T> {
        let extreme = Extreme::Max;
        T::dispatch(self.tier(), Find { extreme, x })
    }

    /// Where the first of the smallest of `x` is: that of the first NaN if there is one, `None` of nothing. 0 and -0 are
    /// equal.
    #[must_use]
    pub fn argmin<T: Element>(&self, x: &[T]) -> Option<usize> {
        let extreme = Extreme::Min;
        T::dispatch(self.tier(), Locate { extreme, x })
    }

    /// Where the first of the largest of `x` is: that of the first NaN if there is one, `None` of nothing. 0 and -0 are
    /// equal.
    #[must_use]
    pub fn argmax<T: Element>(&self, x: &[T]) -> Option<usize> {
        let extreme = Extreme::Max;
        T::dispatch(self.tier(), Locate { extreme, x })
    }

    /// `x = exp(xᵢ) / Σexp(xⱼ)`, taken of x less its largest, so that nothing overflows. With NaN or +∞ in `x`, or
    /// nothing but −∞, all of it becomes NaN.
    ///
    /// # Accuracy
    /// With D the largest of `x` less the smallest that is not −∞, and s = n / 2048, within (2·D + s + 300) · u of the
    /// true one, relatively, where that is a normal number; below, within the smallest one.
    pub fn softmax<T: Element>(&self, x: &mut [T]) {
        T::dispatch(self.tier(), Softmax { out: x });
    }

    /// `c = a + b`: [`add`](Self::add).
    ///
    /// # Panics
    /// When the lengths differ.
    #[track_caller]
    pub fn vadd_f32(&self, a: &[f32], b: &[f32], c: &mut [f32]) {
        self.add(a, b, c);
    }

    /// `c = a + b`: [`add`](Self::add).
    ///
    /// # Panics
    /// When the lengths differ.
    #[track_caller]
    pub fn vadd_f64(&self, a: &[f64], b: &[f64], c: &mut [f64]) {
        self.add(a, b, c);
    }

    /// `c = a * b`, element by element: [`mul`](Self::mul).
    ///
    /// # Panics
    /// When the lengths differ.
    #[track_caller]
    pub fn vmul_f32(&self, a: &[f32], b: &[f32], c: &mut [f32]) {
        self.mul(a, b, c);
    }

    /// Σaᵢbᵢ: [`dot`](Self::dot).
    ///
    /// # Panics
    /// When the lengths differ.
    #[must_use]
    #[track_caller]
    pub fn dot_f32(&self, a: &[f32], b: &[f32]) -> f32 {
        self.dot(a, b)
    }

    fn total<T: Element, F: Term<T>>(&self, term: F, x: &[T], y: &[T]) -> T {
        T::dispatch(self.tier(), Sum { term, x, y })
    }
}
