//! [`Element`]: the numbers that operations work on.

use core::fmt::Debug;
use core::ops::{Add, Div, Mul, Neg, Sub};

use crate::isa::{Dispatch, root};
use crate::vector::exp::ExpOf;

/// A number that operations work on: `f32` or `f64`.
pub trait Element:
    Dispatch
    + ExpOf
    + Debug
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Not a number.
    const NAN: Self;
    /// Half of the distance from 1 to the next number: what one rounding adds at most, relatively.
    const UNIT_ROUNDOFF: Self;
    /// A sum of squares from which on squares below the range of numbers do not count.
    const SMALL_SQUARES: Self;

    /// The square root, correctly rounded; NaN of what is below zero.
    #[must_use]
    fn square_root(self) -> Self;

    /// Whether it is NaN.
    #[must_use]
    #[inline]
    #[expect(clippy::eq_op, reason = "NaN is what differs from itself")]
    fn is_not_a_number(self) -> bool {
        self != self
    }
}

impl Element for f32 {
    const SMALL_SQUARES: Self = 1e-20;
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NAN: Self = Self::NAN;
    const UNIT_ROUNDOFF: Self = Self::EPSILON / 2.0;

    #[inline]
    fn square_root(self) -> Self {
        root::of_f32(self)
    }
}

impl Element for f64 {
    const SMALL_SQUARES: Self = 1e-200;
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NAN: Self = Self::NAN;
    const UNIT_ROUNDOFF: Self = Self::EPSILON / 2.0;

    #[inline]
    fn square_root(self) -> Self {
        root::of_f64(self)
    }
}
