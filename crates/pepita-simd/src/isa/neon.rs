//! NEON of aarch64, which is part of the architecture: 32 registers of 16 bytes, fused multiply-add.
#![expect(unsafe_code, reason = "calls instructions of NEON")]

use core::arch::aarch64::{
    float32x4_t, float64x2_t, uint32x4_t, uint64x2_t, vabsq_f32, vabsq_f64, vaddq_f32, vaddq_f64,
    vbslq_f32, vbslq_f64, vceqq_f32, vceqq_f64, vceqzq_u32, vceqzq_u64, vcltq_f32, vcltq_f64,
    vdivq_f32, vdivq_f64, vdupq_n_f32, vdupq_n_f64, vfmaq_f32, vfmaq_f64, vld1q_f32, vld1q_f64,
    vmaxq_f32, vmaxq_f64, vmaxvq_u32, vminq_f32, vminq_f64, vmulq_f32, vmulq_f64, vorrq_u32,
    vorrq_u64, vreinterpretq_f32_u32, vreinterpretq_f64_u64, vreinterpretq_u32_f32,
    vreinterpretq_u32_u64, vreinterpretq_u64_f64, vrndnq_f32, vrndnq_f64, vshlq_n_u32, vshlq_n_u64,
    vst1q_f32, vst1q_f64, vsubq_f32, vsubq_f64,
};

use super::shared::lanes;
use super::{Lanes, Op};

/// That this is aarch64.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neon(());

impl Neon {
    /// Every aarch64 has it.
    #[inline]
    pub(crate) fn new() -> Self {
        Self(())
    }
}

/// The methods whose instructions differ only in their names.
macro_rules! neon {
    (
        $element:ty, $vector:ty, $mask:ty, $lanes:literal, magic = $magic:expr, shift = $shift:literal,
        splat = $splat:ident, load = $load:ident, store = $store:ident,
        add = $add:ident, sub = $sub:ident, mul = $mul:ident, div = $div:ident, min = $min:ident, max = $max:ident,
        fma = $fma:ident, abs = $abs:ident, round = $round:ident, bits = $bits:ident, from_bits = $from_bits:ident,
        shl = $shl:ident, lt = $lt:ident, eq = $eq:ident, select = $select:ident, or = $or:ident, not = $not:ident, any = $any:ident,
    ) => {
        lanes! {
            Neon, $element, $vector, $mask, $lanes, 32, "neon",
            splat = $splat, load = $load, store = $store,
            add = $add, sub = $sub, mul = $mul, div = $div, min = $min, max = $max,
            {
                #[inline(always)]
                fn stream(self, v: $vector, to: &mut Self::Array) {
                    Lanes::<$element>::store(self, v, to);
                }

                #[inline(always)]
                fn fence(self) {}

                #[inline(always)]
                fn mul_add(self, a: $vector, b: $vector, c: $vector) -> $vector {
                    // SAFETY: cpu-has-it.
                    unsafe { $fma(c, a, b) }
                }

                #[inline(always)]
                fn abs(self, a: $vector) -> $vector {
                    // SAFETY: cpu-has-it.
                    unsafe { $abs(a) }
                }

                #[inline(always)]
                fn round(self, a: $vector) -> $vector {
                    // SAFETY: cpu-has-it.
                    unsafe { $round(a) }
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
                    unsafe { $lt(a, b) }
                }

                #[inline(always)]
                fn is_nan(self, a: $vector) -> $mask {
                    // SAFETY: cpu-has-it.
                    let numbers = unsafe { $eq(a, a) };
                    // SAFETY: cpu-has-it.
                    unsafe { $not(numbers) }
                }

                #[inline(always)]
                fn is_either_nan(self, a: $vector, b: $vector) -> $mask {
                    let (a, b) = (Lanes::<$element>::is_nan(self, a), Lanes::<$element>::is_nan(self, b));
                    Lanes::<$element>::or(self, a, b)
                }

                #[inline(always)]
                fn or(self, a: $mask, b: $mask) -> $mask {
                    // SAFETY: cpu-has-it.
                    unsafe { $or(a, b) }
                }

                #[inline(always)]
                fn select(self, mask: $mask, yes: $vector, no: $vector) -> $vector {
                    // SAFETY: cpu-has-it.
                    unsafe { $select(mask, yes, no) }
                }

                #[inline(always)]
                fn any(self, mask: $mask) -> bool {
                    // SAFETY: cpu-has-it.
                    let largest = unsafe { $any(mask) };
                    largest != 0
                }

                #[inline(always)]
                fn prefetch(self, _: &[$element]) {}
            }
        }
    };
}

/// Not 0 if a lane is not.
#[target_feature(enable = "neon")]
#[inline]
fn largest_of_two(mask: uint64x2_t) -> u32 {
    vmaxvq_u32(vreinterpretq_u32_u64(mask))
}

neon! {
    f32, float32x4_t, uint32x4_t, 4, magic = 8_388_735.0, shift = 23,
    splat = vdupq_n_f32, load = vld1q_f32, store = vst1q_f32,
    add = vaddq_f32, sub = vsubq_f32, mul = vmulq_f32, div = vdivq_f32, min = vminq_f32, max = vmaxq_f32,
    fma = vfmaq_f32, abs = vabsq_f32, round = vrndnq_f32, bits = vreinterpretq_u32_f32, from_bits = vreinterpretq_f32_u32,
    shl = vshlq_n_u32, lt = vcltq_f32, eq = vceqq_f32, select = vbslq_f32, or = vorrq_u32, not = vceqzq_u32, any = vmaxvq_u32,
}

neon! {
    f64, float64x2_t, uint64x2_t, 2, magic = 4_503_599_627_371_519.0, shift = 52,
    splat = vdupq_n_f64, load = vld1q_f64, store = vst1q_f64,
    add = vaddq_f64, sub = vsubq_f64, mul = vmulq_f64, div = vdivq_f64, min = vminq_f64, max = vmaxq_f64,
    fma = vfmaq_f64, abs = vabsq_f64, round = vrndnq_f64, bits = vreinterpretq_u64_f64, from_bits = vreinterpretq_f64_u64,
    shl = vshlq_n_u64, lt = vcltq_f64, eq = vceqq_f64, select = vbslq_f64, or = vorrq_u64, not = vceqzq_u64, any = largest_of_two,
}
