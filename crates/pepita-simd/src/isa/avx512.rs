//! AVX-512: 32 registers of 64 bytes, masks for the edges.
#![expect(unsafe_code, reason = "calls instructions that only some CPUs have")]

use core::arch::x86_64::{
    __m512, __m512d, __mmask8, __mmask16, _CMP_LT_OQ, _CMP_UNORD_Q, _MM_FROUND_NO_EXC,
    _MM_FROUND_TO_NEAREST_INT, _MM_HINT_T0, _mm_prefetch, _mm_sfence, _mm512_abs_pd, _mm512_abs_ps,
    _mm512_add_pd, _mm512_add_ps, _mm512_castpd_si512, _mm512_castps_si512, _mm512_castsi512_pd,
    _mm512_castsi512_ps, _mm512_cmp_pd_mask, _mm512_cmp_ps_mask, _mm512_div_pd, _mm512_div_ps,
    _mm512_fmadd_pd, _mm512_fmadd_ps, _mm512_loadu_pd, _mm512_loadu_ps, _mm512_mask_blend_pd,
    _mm512_mask_blend_ps, _mm512_mask_storeu_pd, _mm512_mask_storeu_ps, _mm512_maskz_loadu_pd,
    _mm512_maskz_loadu_ps, _mm512_max_pd, _mm512_max_ps, _mm512_min_pd, _mm512_min_ps,
    _mm512_mul_pd, _mm512_mul_ps, _mm512_roundscale_pd, _mm512_roundscale_ps, _mm512_set1_pd,
    _mm512_set1_ps, _mm512_slli_epi32, _mm512_slli_epi64, _mm512_storeu_pd, _mm512_storeu_ps,
    _mm512_stream_pd, _mm512_stream_ps, _mm512_sub_pd, _mm512_sub_ps,
};

use super::shared::lanes;
use super::{Lanes, Op, host};

/// That this CPU has AVX-512 F, BW, DQ and VL, and what [`super::avx2::Avx2`] says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// Asks the CPU.
    #[inline]
    pub(crate) fn new() -> Option<Self> {
        host().avx512.then_some(Self(()))
    }
}

/// The methods whose instructions differ only in their names.
macro_rules! avx512 {
    (
        $element:ty, $vector:ty, $mask:ty, $lanes:literal, magic = $magic:expr, shift = $shift:literal,
        splat = $splat:ident, load = $load:ident, store = $store:ident,
        add = $add:ident, sub = $sub:ident, mul = $mul:ident, div = $div:ident, min = $min:ident, max = $max:ident,
        fma = $fma:ident, abs = $abs:ident, round = $round:ident, bits = $bits:ident, from_bits = $from_bits:ident,
        shl = $shl:ident, compare = $compare:ident, blend = $blend:ident, stream = $stream:ident,
        load_masked = $load_masked:ident, store_masked = $store_masked:ident,
    ) => {
        lanes! {
            Avx512, $element, $vector, $mask, $lanes, 32, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2",
            splat = $splat, load = $load, store = $store,
            add = $add, sub = $sub, mul = $mul, div = $div, min = $min, max = $max,
            {
                #[inline(always)]
                fn stream(self, v: $vector, to: &mut Self::Array) {
                    debug_assert!(to.as_ptr().addr().is_multiple_of(64), "streamed to {to:p}");
                    // SAFETY: cpu-has-it, array-long; the caller aligned it.
                    unsafe { $stream(to.as_mut_ptr(), v) }
                }

                #[inline(always)]
                fn fence(self) {
                    // SAFETY: cpu-has-it.
                    unsafe { _mm_sfence() }
                }

                #[inline(always)]
                fn load_part(self, from: &[$element]) -> $vector {
                    let len = from.len();
                    let mask = if len >= $lanes { <$mask>::MAX } else { !(<$mask>::MAX << len) };
                    // SAFETY: cpu-has-it; no more lanes are read than `from` is long.
                    unsafe { $load_masked(mask, from.as_ptr()) }
                }

                #[inline(always)]
                fn store_part(self, v: $vector, to: &mut [$element]) {
                    let len = to.len();
                    let mask = if len >= $lanes { <$mask>::MAX } else { !(<$mask>::MAX << len) };
                    // SAFETY: cpu-has-it; no more lanes are written than `to` is long.
                    unsafe { $store_masked(to.as_mut_ptr(), mask, v) }
                }

                #[inline(always)]
                fn mul_add(self, a: $vector, b: $vector, c: $vector) -> $vector {
                    // SAFETY: cpu-has-it.
                    unsafe { $fma(a, b, c) }
                }

                #[inline(always)]
                fn abs(self, a: $vector) -> $vector {
                    // SAFETY: cpu-has-it.
                    unsafe { $abs(a) }
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
                fn lt(self, a: $vector, b: $vector) -> $mask {
                    // SAFETY: cpu-has-it.
                    unsafe { $compare::<_CMP_LT_OQ>(a, b) }
                }

                #[inline(always)]
                fn is_nan(self, a: $vector) -> $mask {
                    // SAFETY: cpu-has-it.
                    unsafe { $compare::<_CMP_UNORD_Q>(a, a) }
                }

                #[inline(always)]
                fn is_either_nan(self, a: $vector, b: $vector) -> $mask {
                    // SAFETY: cpu-has-it.
                    unsafe { $compare::<_CMP_UNORD_Q>(a, b) }
                }

                #[inline(always)]
                fn or(self, a: $mask, b: $mask) -> $mask {
                    a | b
                }

                #[inline(always)]
                fn select(self, mask: $mask, yes: $vector, no: $vector) -> $vector {
                    // SAFETY: cpu-has-it.
                    unsafe { $blend(mask, no, yes) }
                }

                #[inline(always)]
                fn any(self, mask: $mask) -> bool {
                    mask != 0
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

avx512! {
    f32, __m512, __mmask16, 16, magic = 8_388_735.0, shift = 23,
    splat = _mm512_set1_ps, load = _mm512_loadu_ps, store = _mm512_storeu_ps,
    add = _mm512_add_ps, sub = _mm512_sub_ps, mul = _mm512_mul_ps, div = _mm512_div_ps,
    min = _mm512_min_ps, max = _mm512_max_ps,
    fma = _mm512_fmadd_ps, abs = _mm512_abs_ps, round = _mm512_roundscale_ps,
    bits = _mm512_castps_si512, from_bits = _mm512_castsi512_ps, shl = _mm512_slli_epi32,
    compare = _mm512_cmp_ps_mask, blend = _mm512_mask_blend_ps, stream = _mm512_stream_ps,
    load_masked = _mm512_maskz_loadu_ps, store_masked = _mm512_mask_storeu_ps,
}

avx512! {
    f64, __m512d, __mmask8, 8, magic = 4_503_599_627_371_519.0, shift = 52,
    splat = _mm512_set1_pd, load = _mm512_loadu_pd, store = _mm512_storeu_pd,
    add = _mm512_add_pd, sub = _mm512_sub_pd, mul = _mm512_mul_pd, div = _mm512_div_pd,
    min = _mm512_min_pd, max = _mm512_max_pd,
    fma = _mm512_fmadd_pd, abs = _mm512_abs_pd, round = _mm512_roundscale_pd,
    bits = _mm512_castpd_si512, from_bits = _mm512_castsi512_pd, shl = _mm512_slli_epi64,
    compare = _mm512_cmp_pd_mask, blend = _mm512_mask_blend_pd, stream = _mm512_stream_pd,
    load_masked = _mm512_maskz_loadu_pd, store_masked = _mm512_mask_storeu_pd,
}
