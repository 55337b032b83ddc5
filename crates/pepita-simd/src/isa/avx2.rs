//! AVX2 with FMA: 16 registers of 32 bytes.
#![expect(unsafe_code, reason = "calls instructions that only some CPUs have")]

use core::arch::x86_64::{
    __m256, __m256d, _CMP_LT_OQ, _CMP_UNORD_Q, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT,
    _MM_HINT_T0, _mm_prefetch, _mm_sfence, _mm256_add_pd, _mm256_add_ps, _mm256_andnot_pd,
    _mm256_andnot_ps, _mm256_blendv_pd, _mm256_blendv_ps, _mm256_castpd_si256, _mm256_castps_si256,
    _mm256_castsi256_pd, _mm256_castsi256_ps, _mm256_cmp_pd, _mm256_cmp_ps, _mm256_div_pd,
    _mm256_div_ps, _mm256_fmadd_pd, _mm256_fmadd_ps, _mm256_loadu_pd, _mm256_loadu_ps,
    _mm256_max_pd, _mm256_max_ps, _mm256_min_pd, _mm256_min_ps, _mm256_movemask_pd,
    _mm256_movemask_ps, _mm256_mul_pd, _mm256_mul_ps, _mm256_or_pd, _mm256_or_ps, _mm256_round_pd,
    _mm256_round_ps, _mm256_set1_pd, _mm256_set1_ps, _mm256_slli_epi32, _mm256_slli_epi64,
    _mm256_storeu_pd, _mm256_storeu_ps, _mm256_stream_pd, _mm256_stream_ps, _mm256_sub_pd,
    _mm256_sub_ps,
};

use super::shared::lanes;
use super::{Lanes, Op, host};

/// That this CPU has AVX2, FMA, BMI1 and BMI2.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// Asks the CPU.
    #[inline]
    pub(crate) fn new() -> Option<Self> {
        host().avx2.then_some(Self(()))
    }
}

/// The methods whose instructions differ only in their names.
macro_rules! avx2 {
    (
        $element:ty, $vector:ty, $lanes:literal, magic = $magic:expr, shift = $shift:literal,
        splat = $splat:ident, load = $load:ident, store = $store:ident,
        add = $add:ident, sub = $sub:ident, mul = $mul:ident, div = $div:ident, min = $min:ident, max = $max:ident,
        fma = $fma:ident, andnot = $andnot:ident, round = $round:ident, bits = $bits:ident,
        from_bits = $from_bits:ident, shl = $shl:ident, compare = $compare:ident,
        blend = $blend:ident, or = $or:ident, movemask = $movemask:ident, stream = $stream:ident,
    ) => {
        lanes! {
            Avx2, $element, $vector, $vector, $lanes, 16, "avx2,fma,bmi1,bmi2",
            splat = $splat, load = $load, store = $store,
            add = $add, sub = $sub, mul = $mul, div = $div, min = $min, max = $max,
            {
                #[inline(always)]
                fn stream(self, v: $vector, to: &mut Self::Array) {
                    debug_assert!(to.as_ptr().addr().is_multiple_of(32), "streamed to {to:p}");
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
                    // SAFETY: cpu-has-it.
                    unsafe { $fma(a, b, c) }
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
                    unsafe { $compare::<_CMP_LT_OQ>(a, b) }
                }

                #[inline(always)]
                fn is_nan(self, a: $vector) -> $vector {
                    // SAFETY: cpu-has-it.
                    unsafe { $compare::<_CMP_UNORD_Q>(a, a) }
                }

                #[inline(always)]
                fn is_either_nan(self, a: $vector, b: $vector) -> $vector {
                    // SAFETY: cpu-has-it.
                    unsafe { $compare::<_CMP_UNORD_Q>(a, b) }
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

avx2! {
    f32, __m256, 8, magic = 8_388_735.0, shift = 23,
    splat = _mm256_set1_ps, load = _mm256_loadu_ps, store = _mm256_storeu_ps,
    add = _mm256_add_ps, sub = _mm256_sub_ps, mul = _mm256_mul_ps, div = _mm256_div_ps,
    min = _mm256_min_ps, max = _mm256_max_ps,
    fma = _mm256_fmadd_ps, andnot = _mm256_andnot_ps, round = _mm256_round_ps,
    bits = _mm256_castps_si256, from_bits = _mm256_castsi256_ps, shl = _mm256_slli_epi32,
    compare = _mm256_cmp_ps, blend = _mm256_blendv_ps, or = _mm256_or_ps, movemask = _mm256_movemask_ps,
    stream = _mm256_stream_ps,
}

avx2! {
    f64, __m256d, 4, magic = 4_503_599_627_371_519.0, shift = 52,
    splat = _mm256_set1_pd, load = _mm256_loadu_pd, store = _mm256_storeu_pd,
    add = _mm256_add_pd, sub = _mm256_sub_pd, mul = _mm256_mul_pd, div = _mm256_div_pd,
    min = _mm256_min_pd, max = _mm256_max_pd,
    fma = _mm256_fmadd_pd, andnot = _mm256_andnot_pd, round = _mm256_round_pd,
    bits = _mm256_castpd_si256, from_bits = _mm256_castsi256_pd, shl = _mm256_slli_epi64,
    compare = _mm256_cmp_pd, blend = _mm256_blendv_pd, or = _mm256_or_pd, movemask = _mm256_movemask_pd,
    stream = _mm256_stream_pd,
}
