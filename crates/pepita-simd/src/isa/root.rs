//! Square roots, which `core` does not have: the instruction of the architecture's base, correctly rounded.
#![expect(unsafe_code, reason = "calls instructions that every such CPU has")]

#[cfg(target_arch = "aarch64")]
use core::arch::aarch64::{
    vdup_n_f32, vdup_n_f64, vget_lane_f32, vget_lane_f64, vsqrt_f32, vsqrt_f64,
};
#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::{
    _mm_cvtsd_f64, _mm_cvtss_f32, _mm_set_sd, _mm_set_ss, _mm_sqrt_sd, _mm_sqrt_ss,
};

/// The square root.
#[inline]
#[cfg(target_arch = "x86_64")]
pub(crate) fn of_f32(x: f32) -> f32 {
    #[target_feature(enable = "sse")]
    fn root(x: f32) -> f32 {
        _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)))
    }
    // SAFETY: part of x86-64.
    unsafe { root(x) }
}

/// The square root.
#[inline]
#[cfg(target_arch = "x86_64")]
pub(crate) fn of_f64(x: f64) -> f64 {
    #[target_feature(enable = "sse2")]
    fn root(x: f64) -> f64 {
        let x = _mm_set_sd(x);
        _mm_cvtsd_f64(_mm_sqrt_sd(x, x))
    }
    // SAFETY: part of x86-64.
    unsafe { root(x) }
}

/// The square root.
#[inline]
#[cfg(target_arch = "aarch64")]
pub(crate) fn of_f32(x: f32) -> f32 {
    #[target_feature(enable = "neon")]
    fn root(x: f32) -> f32 {
        vget_lane_f32::<0>(vsqrt_f32(vdup_n_f32(x)))
    }
    // SAFETY: part of aarch64.
    unsafe { root(x) }
}

/// The square root.
#[inline]
#[cfg(target_arch = "aarch64")]
pub(crate) fn of_f64(x: f64) -> f64 {
    #[target_feature(enable = "neon")]
    fn root(x: f64) -> f64 {
        vget_lane_f64::<0>(vsqrt_f64(vdup_n_f64(x)))
    }
    // SAFETY: part of aarch64.
    unsafe { root(x) }
}
