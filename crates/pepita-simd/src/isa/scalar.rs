//! No instruction set: one number at a time, in plain Rust.

use super::{Lanes, Op};

/// Every CPU has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scalar;

macro_rules! scalar {
    ($element:ty, magic = $magic:expr, shift = $shift:literal) => {
        impl Lanes<$element> for Scalar {
            type V = $element;
            type Array = [$element; 1];
            type Mask = bool;
            const LANES: usize = 1;
            const REGISTERS: usize = 16;
            const ZEROS: [$element; 1] = [0.0];

            #[inline]
            fn vectorize<O: Op<$element>>(self, op: O) -> O::Output {
                op.run(self)
            }

            #[inline(always)]
            fn arrays(x: &[$element]) -> (&[[$element; 1]], &[$element]) {
                x.as_chunks()
            }

            #[inline(always)]
            fn arrays_mut(x: &mut [$element]) -> (&mut [[$element; 1]], &mut [$element]) {
                x.as_chunks_mut()
            }

            #[inline(always)]
            fn splat(self, x: $element) -> $element {
                x
            }

            #[inline(always)]
            fn load(self, from: &[$element; 1]) -> $element {
                from[0]
            }

            #[inline(always)]
            fn store(self, v: $element, to: &mut [$element; 1]) {
                to[0] = v;
            }

            #[inline(always)]
            fn stream(self, v: $element, to: &mut [$element; 1]) {
                to[0] = v;
            }

            #[inline(always)]
            fn fence(self) {}

            #[inline(always)]
            fn add(self, a: $element, b: $element) -> $element {
                a + b
            }

            #[inline(always)]
            fn sub(self, a: $element, b: $element) -> $element {
                a - b
            }

            #[inline(always)]
            fn mul(self, a: $element, b: $element) -> $element {
                a * b
            }

            #[inline(always)]
            fn div(self, a: $element, b: $element) -> $element {
                a / b
            }

            #[inline(always)]
            fn mul_add(self, a: $element, b: $element, c: $element) -> $element {
                a * b + c
            }

            #[inline(always)]
            fn min(self, a: $element, b: $element) -> $element {
                if a < b { a } else { b }
            }

            #[inline(always)]
            fn max(self, a: $element, b: $element) -> $element {
                if a > b { a } else { b }
            }

            #[inline(always)]
            fn abs(self, a: $element) -> $element {
                a.abs()
            }

            #[inline(always)]
            fn round(self, a: $element) -> $element {
                // So large that the fraction falls off, ties to even.
                let large = 1.5 / <$element>::EPSILON;
                (a + large) - large
            }

            #[inline(always)]
            fn pow2(self, n: $element) -> $element {
                // In the low bits of the sum stands the exponent with its bias.
                <$element>::from_bits((n + $magic).to_bits() << $shift)
            }

            #[inline(always)]
            fn lt(self, a: $element, b: $element) -> bool {
                a < b
            }

            #[inline(always)]
            fn is_nan(self, a: $element) -> bool {
                a.is_nan()
            }

            #[inline(always)]
            fn is_either_nan(self, a: $element, b: $element) -> bool {
                a.is_nan() | b.is_nan()
            }

            #[inline(always)]
            fn or(self, a: bool, b: bool) -> bool {
                a | b
            }

            #[inline(always)]
            fn select(self, mask: bool, yes: $element, no: $element) -> $element {
                if mask { yes } else { no }
            }

            #[inline(always)]
            fn any(self, mask: bool) -> bool {
                mask
            }

            #[inline(always)]
            fn prefetch(self, _: &[$element]) {}
        }
    };
}

scalar!(f32, magic = 8_388_735.0, shift = 23);
scalar!(f64, magic = 4_503_599_627_371_519.0, shift = 52);
