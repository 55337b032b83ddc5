//! What this CPU has, asked once.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// What this CPU has, and the operating system keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a set of features, as the CPU has it"
)]
pub(crate) struct Host {
    pub(crate) sse41: bool,
    pub(crate) sse42: bool,
    pub(crate) avx: bool,
    pub(crate) fma: bool,
    /// With FMA, BMI1 and BMI2.
    pub(crate) avx2: bool,
    pub(crate) avx512f: bool,
    pub(crate) avx512vl: bool,
    /// F, BW, DQ and VL, with AVX2.
    pub(crate) avx512: bool,
    pub(crate) avx512vnni: bool,
    pub(crate) avx512bf16: bool,
    pub(crate) avx512fp16: bool,
    pub(crate) neon: bool,
    /// Of one core; 0 where it is not told.
    pub(crate) l1d_bytes: usize,
    /// Of one core; 0 where it is not told.
    pub(crate) l2_bytes: usize,
}

/// The answer, once it is there: the features with [`ASKED`].
static FEATURES: AtomicU32 = AtomicU32::new(0);
static L1D_BYTES: AtomicUsize = AtomicUsize::new(0);
static L2_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Set in [`FEATURES`] once it says something.
const ASKED: u32 = 1 << 31;

impl Host {
    /// The features, in the order of their bits.
    fn features(&mut self) -> [&mut bool; 12] {
        [
            &mut self.sse41,
            &mut self.sse42,
            &mut self.avx,
            &mut self.fma,
            &mut self.avx2,
            &mut self.avx512f,
            &mut self.avx512vl,
            &mut self.avx512,
            &mut self.avx512vnni,
            &mut self.avx512bf16,
            &mut self.avx512fp16,
            &mut self.neon,
        ]
    }
}

/// What this CPU has. Asks it the first time; two threads that do so at once get the same answer.
#[inline]
pub(crate) fn host() -> Host {
    // Acquire: the sizes were stored before.
    let bits = FEATURES.load(Ordering::Acquire);
    if bits & ASKED == 0 {
        return ask();
    }
    let mut host = Host {
        l1d_bytes: L1D_BYTES.load(Ordering::Relaxed),
        l2_bytes: L2_BYTES.load(Ordering::Relaxed),
        ..Host::default()
    };
    for (bit, feature) in host.features().into_iter().enumerate() {
        *feature = bits >> bit & 1 == 1;
    }
    host
}

#[cold]
fn ask() -> Host {
    let mut host = look();
    let mut bits = ASKED;
    for (bit, feature) in host.features().into_iter().enumerate() {
        bits |= u32::from(*feature) << bit;
    }
    L1D_BYTES.store(host.l1d_bytes, Ordering::Relaxed);
    L2_BYTES.store(host.l2_bytes, Ordering::Relaxed);
    FEATURES.store(bits, Ordering::Release);
    host
}

#[cfg(target_arch = "x86_64")]
use super::cpuid::look;

/// NEON is part of the architecture.
#[cfg(target_arch = "aarch64")]
fn look() -> Host {
    Host {
        neon: true,
        ..Host::default()
    }
}
