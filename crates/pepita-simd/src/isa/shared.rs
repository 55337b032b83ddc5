//! What the instruction sets share.
#![allow(
    unsafe_code,
    reason = "the blocks of this macro come to stand in the modules of the sets"
)]

/// The part of [`Lanes`](super::Lanes) that is the same for every set whose vectors are the compiler's: each method is one
/// instruction, called by a token.
macro_rules! lanes {
    (
        $token:ty, $element:ty, $vector:ty, $mask:ty, $lanes:literal, $registers:literal, $features:literal,
        splat = $splat:ident, load = $load:ident, store = $store:ident,
        add = $add:ident, sub = $sub:ident, mul = $mul:ident, div = $div:ident, min = $min:ident, max = $max:ident,
        { $($rest:tt)* }
    ) => {
        impl Lanes<$element> for $token {
            type V = $vector;
            type Array = [$element; $lanes];
            type Mask = $mask;
            const LANES: usize = $lanes;
            const REGISTERS: usize = $registers;
            const ZEROS: Self::Array = [0.0; $lanes];

            #[inline]
            fn vectorize<O: Op<$element>>(self, op: O) -> O::Output {
                #[target_feature(enable = $features)]
                fn compiled_for_it<O: Op<$element>>(s: $token, op: O) -> O::Output {
                    op.run(s)
                }
                // SAFETY: cpu-has-it.
                unsafe { compiled_for_it(self, op) }
            }

            #[inline(always)]
            fn arrays(x: &[$element]) -> (&[Self::Array], &[$element]) {
                x.as_chunks()
            }

            #[inline(always)]
            fn arrays_mut(x: &mut [$element]) -> (&mut [Self::Array], &mut [$element]) {
                x.as_chunks_mut()
            }

            #[inline(always)]
            fn splat(self, x: $element) -> $vector {
                // SAFETY: cpu-has-it.
                unsafe { $splat(x) }
            }

            #[inline(always)]
            fn load(self, from: &Self::Array) -> $vector {
                // SAFETY: cpu-has-it, array-long.
                unsafe { $load(from.as_ptr()) }
            }

            #[inline(always)]
            fn store(self, v: $vector, to: &mut Self::Array) {
                // SAFETY: cpu-has-it, array-long.
                unsafe { $store(to.as_mut_ptr(), v) }
            }

            lanes!(@binary $vector; add = $add, sub = $sub, mul = $mul, div = $div, min = $min, max = $max);

            $($rest)*
        }
    };
    (@binary $vector:ty; $($name:ident = $function:ident),*) => {
        $(
            #[inline(always)]
            fn $name(self, a: $vector, b: $vector) -> $vector {
                // SAFETY: cpu-has-it.
                unsafe { $function(a, b) }
            }
        )*
    };
}
pub(super) use lanes;
