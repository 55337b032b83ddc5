//! SSE4.1: 16 registers of 16 bytes, no fused multiply-add.
#![expect(unsafe_code, reason = "calls instructions that only some CPUs have")]

use core::arch::x86_64::{
    __m128, __m128d, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _MM_HINT_T0, _mm_add_pd,
    _mm_add_ps, _mm_andnot_pd, _mm_andnot_ps, _mm_blendv_pd, _mm_blendv_ps, _mm_castpd_si128,
    _mm_castps_si128, _mm_castsi128_pd, _mm_castsi128_ps, _mm_cmplt_pd, _mm_cmplt_ps,
    _mm_cmpunord_pd, _mm_cmpunord_ps, _mm_div_pd, _mm_div_ps, _mm_loadu_pd, _mm_loadu_ps,
    _mm_max_pd, _mm_max_ps, _mm_min_pd, _mm_min_ps, _mm_movemask_pd, _mm_movemask_ps, _mm_mul_pd,
    _mm_mul_ps, _mm_or_pd, _mm_or_ps, _mm_prefetch, _mm_round_pd, _mm_round_ps, _mm_set1_pd,
    _mm_set1_ps, _mm_sfence, _mm_slli_epi32, _mm_slli_epi64, _mm_storeu_pd, _mm_storeu_ps,
    _mm_stream_pd, _mm_stream_ps, _mm_sub_pd, _mm_sub_ps,
};

use super::shared::lanes;
use super::{Lanes, Op, host};

/// That this CPU has SSE4.1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sse41(());

impl Sse41 {
    /// Asks the CPU.
    #[inline]
    pub(crate) fn new() -> Option<Self> {
        host().sse41.then_some(Self(()))
    }
}

/// The methods whose instructions differ only in their names.
macro_rules! sse41 {
    (
        $element:ty, $vector:ty, $lanes:literal, magic = $magic:expr, shift = $shift:literal,
        splat = $splat:ident, load = $load:ident, store = $store:ident,
        add = $add:ident, sub = $sub:ident, mul = $mul:ident, div = $div:ident, min = $min:ident, max = $max:ident,
        andnot = $andnot:ident, round = $round:ident, bits = $bits:ident,
        from_bits = $from_bits:ident, shl = $shl:ident, lt = $lt:ident, unordered = $unordered:ident, or = $or:ident,
        blend = $blend:ident, movemask = $movemask:ident, stream = $stream:ident,
    ) => {
        lanes! {
            Sse41, $element, $vector, $vector, $lanes, 16, "sse4.1",
            splat = $splat, load = $load, store = $store,
            add = $add, sub = $sub, mul = $mul, div = $div, min = $min, max = $max,
            {
                #[inline(always)]
                fn stream(self, v: $vector, to: &mut Self::Array) {
                    debug_assert!(to.as_ptr().addr().is_multiple_of(16), "streamed to {to:p}");
                    // SAFETY: cpu-has-it, array-long; the caller aligned it.
                    unsafe { $stream(to.as_mut_ptr(), v) }
                }

                #[inline(always)]
                fn fence(self) {
                    // SAFETY: cpu-has-it.
                    unsafe { _mm_sfence() }
                }

                #[inline(always)]
                fn mul_add(self, a: $vector, b: $vector, c: $vector) -> $vector {
                    let product = Lanes::<$element>::mul(self, a, b);
                    Lanes::<$element>::add(self, product, c)
                }

                #[inline(always)]
                fn abs(self, a: $vector) -> $vector {
                    let sign = Lanes::<$element>::splat(self, -0.0);
                    // SAFETY: cpu-has-it.
                    unsafe { $andnot(sign, a) }
                }

                #[inline(always)]
                fn round(self, a: $vector) -> $vector {
                    // SAFETY: cpu-has-it.
                    unsafe { $round::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
                }

                #[inline(always)]
                fn pow2(self, n: $vector) -> $vector {
                    // In the low bits of the sum stands the exponent with its bias.
                    let magic = Lanes::<$element>::splat(self, $magic);
                    let sum = Lanes::<$element>::add(self, n, magic);
                    // SAFETY: cpu-has-it.
                    let bits = unsafe { $bits(sum) };
                    // SAFETY: cpu-has-it.
                    let shifted = unsafe { $shl::<$shift>(bits) };
                    // SAFETY: cpu-has-it.
                    unsafe { $from_bits(shifted) }
                }

                #[inline(always)]
                fn lt(self, a: $vector, b: $vector) -> $vector {
                    // SAFETY: cpu-has-it.
                    unsafe { $lt(a, b) }
                }

                #[inline(always)]
                fn is_nan(self, a: $vector) -> $vector {
                    // SAFETY: cpu-has-it.
                    unsafe { $unordered(a, a) }
                }

                #[inline(always)]
                fn is_either_nan(self, a: $vector, b: $vector) -> $vector {
                    // SAFETY: cpu-has-it.
                    unsafe { $unordered(a, b) }
                }

                #[inline(always)]
                fn or(self, a: $vector, b: $vector) -> $vector {
                    // SAFETY: cpu-has-it.
                    unsafe { $or(a, b) }
                }

                #[inline(always)]
                fn select(self, mask: $vector, yes: $vector, no: $vector) -> $vector {
                    // SAFETY: cpu-has-it.
                    unsafe { $blend(no, yes, mask) }
                }

                #[inline(always)]
                fn any(self, mask: $vector) -> bool {
                    // SAFETY: cpu-has-it.
                    let lanes = unsafe { $movemask(mask) };
                    lanes != 0
                }

                #[inline(always)]
                fn prefetch(self, at: &[$element]) {
                    // SAFETY: a hint, which no address makes fault.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.as_ptr().cast()) }
                }
            }
        }
    };
}

sse41! {
    f32, __m128, 4, magic = 8_388_735.0, shift = 23,
    splat = _mm_set1_ps, load = _mm_loadu_ps, store = _mm_storeu_ps,
    add = _mm_add_ps, sub = _mm_sub_ps, mul = _mm_mul_ps, div = _mm_div_ps,
    min = _mm_min_ps, max = _mm_max_ps,
    andnot = _mm_andnot_ps, round = _mm_round_ps,
    bits = _mm_castps_si128, from_bits = _mm_castsi128_ps, shl = _mm_slli_epi32,
    lt = _mm_cmplt_ps, unordered = _mm_cmpunord_ps, or = _mm_or_ps, blend = _mm_blendv_ps, movemask = _mm_movemask_ps,
    stream = _mm_stream_ps,
}

sse41! {
    f64, __m128d, 2, magic = 4_503_599_627_371_519.0, shift = 52,
    splat = _mm_set1_pd, load = _mm_loadu_pd, store = _mm_storeu_pd,
    add = _mm_add_pd, sub = _mm_sub_pd, mul = _mm_mul_pd, div = _mm_div_pd,
    min = _mm_min_pd, max = _mm_max_pd,
    andnot = _mm_andnot_pd, round = _mm_round_pd,
    bits = _mm_castpd_si128, from_bits = _mm_castsi128_pd, shl = _mm_slli_epi64,
    lt = _mm_cmplt_pd, unordered = _mm_cmpunord_pd, or = _mm_or_pd, blend = _mm_blendv_pd, movemask = _mm_movemask_pd,
    stream = _mm_stream_pd,
}
