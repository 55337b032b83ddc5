//! The exponential function, and softmax.
//!
//! With n the integer nearest to x / ln 2 and r = x - n ln 2, exp(x) is 2^n exp(r), and exp(r) is its series up to a
//! term that is below half a unit in the last place for |r| <= ln 2 / 2. ln 2 is taken in two parts, the first with so
//! few bits that its product with n is exact (Cody and Waite, "Software Manual for the Elementary Functions", 1980).

use super::map::{InPlace1, Scale, Unary};
use super::reduce::{Extreme, Find, Plain, Sum};
use crate::Element;
use crate::isa::{Lanes, Op};

/// The constants of a type.
///
/// Part of the bound of a public trait, which only this crate implements.
pub trait ExpOf: Sized + 'static {
    /// 1 / ln 2.
    const PER_LN_2: Self;
    /// The first bits of ln 2.
    const LN_2_HIGH: Self;
    /// The rest of ln 2.
    const LN_2_LOW: Self;
    /// From here on down the result is zero.
    const LOW: Self;
    /// From here on up the result is infinity.
    const HIGH: Self;
    /// 1 / n! from the last term down to n = 2.
    const SERIES: &'static [Self];
    /// 1 / 2.
    const HALF: Self;
}

impl ExpOf for f32 {
    const PER_LN_2: Self = core::f32::consts::LOG2_E;
    const LN_2_HIGH: Self = 355.0 / 512.0;
    const LN_2_LOW: Self = -2.121_944_4e-4;
    const LOW: Self = -105.0;
    const HIGH: Self = 89.0;
    const SERIES: &'static [Self] = &[
        1.0 / 5040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        1.0 / 2.0,
    ];
    const HALF: Self = 0.5;
}

impl ExpOf for f64 {
    const PER_LN_2: Self = core::f64::consts::LOG2_E;
    const LN_2_HIGH: Self = 0.693_145_751_953_125;
    const LN_2_LOW: Self = 1.428_606_820_309_417_2e-6;
    const LOW: Self = -746.0;
    const HIGH: Self = 710.0;
    const SERIES: &'static [Self] = &[
        1.0 / 6_227_020_800.0,
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        1.0 / 2.0,
    ];
    const HALF: Self = 0.5;
}

/// exp(x).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exp;

impl<T: Element> Unary<T> for Exp {
    #[inline(always)]
    fn apply<S: Lanes<T>>(self, s: S, x: S::V) -> S::V {
        let (low, high) = (s.splat(T::LOW), s.splat(T::HIGH));
        let x = s.select(s.lt(x, low), low, x);
        let x = s.select(s.lt(high, x), high, x);
        let n = s.round(s.mul(x, s.splat(T::PER_LN_2)));
        let r = s.mul_add(n, s.splat(-T::LN_2_HIGH), x);
        let r = s.mul_add(n, s.splat(-T::LN_2_LOW), r);
        let mut series = s.splat(T::SERIES[0]);
        for term in &T::SERIES[1..] {
            series = s.mul_add(series, r, s.splat(*term));
        }
        // 1 + (r + r² · series): what is small is added first.
        let small = s.mul_add(s.mul(r, r), series, r);
        let value = s.add(s.splat(T::ONE), small);
        // In two steps, since 2^n itself may be out of range where the result is not.
        let half = s.round(s.mul(n, s.splat(T::HALF)));
        let value = s.mul(value, s.pow2(half));
        s.mul(value, s.pow2(s.sub(n, half)))
    }
}

/// exp(x - shift).
#[derive(Debug, Clone, Copy)]
struct ShiftedExp<T>(T);

impl<T: Element> Unary<T> for ShiftedExp<T> {
    #[inline(always)]
    fn apply<S: Lanes<T>>(self, s: S, x: S::V) -> S::V {
        Exp.apply(s, s.sub(x, s.splat(self.0)))
    }
}

/// Each exp(xᵢ) over the sum of all of them, in place.
pub(crate) struct Softmax<'a, T> {
    pub(crate) out: &'a mut [T],
}

/// Numbers whose exponentials are added up while they are in the first cache.
const STRIP: usize = 2048;

impl<T: Element> Op<T> for Softmax<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes<T>>(self, s: S) {
        let out = self.out;
        let largest = Find {
            extreme: Extreme::Max,
            x: &*out,
        };
        let Some(largest) = largest.run(s) else {
            return;
        };
        let mut sum = T::ZERO;
        for strip in out.chunks_mut(STRIP) {
            let exp = InPlace1 {
                f: ShiftedExp(largest),
                out: &mut *strip,
            };
            exp.run(s);
            let part = Sum {
                term: Plain,
                x: &*strip,
                y: &*strip,
            };
            sum = sum + part.run(s);
        }
        let scale = InPlace1 {
            f: Scale(T::ONE / sum),
            out,
        };
        scale.run(s);
    }
}
