//! [`SimdCapabilities`] and [`Tier`]: what this CPU has, and what of it is used.

use core::fmt;

use crate::isa::{Host, host};

/// The instruction set that operations use, from the plainest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Tier {
    /// None: plain Rust, one number at a time.
    Scalar,
    /// NEON of aarch64: 32 registers of 16 bytes, fused multiply-add.
    Neon,
    /// SSE4.1: 16 registers of 16 bytes. It has no fused multiply-add.
    Sse41,
    /// AVX2 with FMA, BMI1 and BMI2: 16 registers of 32 bytes.
    Avx2,
    /// AVX-512 with F, BW, DQ and VL, and AVX2: 32 registers of 64 bytes.
    Avx512,
}

impl Tier {
    /// Every tier, from the plainest on.
    pub const ALL: [Self; 5] = [
        Self::Scalar,
        Self::Neon,
        Self::Sse41,
        Self::Avx2,
        Self::Avx512,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "Scalar",
            Self::Neon => "NEON",
            Self::Sse41 => "SSE4.1",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
        }
    }

    /// Bytes of a vector: that of one `f64` without an instruction set.
    #[must_use]
    pub const fn vector_bytes(self) -> usize {
        match self {
            Self::Scalar => 8,
            Self::Neon | Self::Sse41 => 16,
            Self::Avx2 => 32,
            Self::Avx512 => 64,
        }
    }

    /// Whether `a * b + c` is rounded once.
    #[must_use]
    pub const fn has_fma(self) -> bool {
        !matches!(self, Self::Scalar | Self::Sse41)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A tier that this CPU does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierError {
    /// What was asked for.
    pub tier: Tier,
    /// The best that is here.
    pub best: Tier,
}

impl fmt::Display for TierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tier, best } = self;
        write!(f, "this CPU has no {tier}; its best is {best}")
    }
}

impl core::error::Error for TierError {}

/// The vector instructions of this CPU that the operating system lets programs use.
///
/// ```
/// use pepita_simd::{SimdCapabilities, Tier};
///
/// let host = SimdCapabilities::detect();
/// println!("{}: {} f32 at a time", host.description(), host.best_f32_width());
/// let plain = SimdCapabilities::with_tier(Tier::Scalar)?; // for a comparison
/// assert!(!plain.has_simd());
/// # Ok::<(), pepita_simd::TierError>(())
/// ```
///
/// The names are the CPU's; Intel SDM volume 2, `CPUID`; AMD APM volume 3, appendix E. A feature counts only together
/// with the registers that it needs: `avx` is false where the operating system does not keep them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a set of features, as the CPU has it"
)]
pub struct SimdCapabilities {
    /// SSE4.1.
    pub sse41: bool,
    /// SSE4.2.
    pub sse42: bool,
    /// AVX.
    pub avx: bool,
    /// AVX2, with FMA, BMI1 and BMI2, which every CPU with AVX2 but some emulators has.
    pub avx2: bool,
    /// Fused multiply-add of three operands.
    pub fma: bool,
    /// The foundation of AVX-512.
    pub avx512f: bool,
    /// AVX-512 on shorter vectors.
    pub avx512vl: bool,
    /// F, BW, DQ and VL of AVX-512, and AVX2: what [`Tier::Avx512`] needs.
    pub avx512: bool,
    /// Dot products of 8-bit integers.
    pub avx512vnni: bool,
    /// Dot products of bf16.
    pub avx512bf16: bool,
    /// Arithmetic on f16.
    pub avx512fp16: bool,
    /// NEON of aarch64.
    pub neon: bool,
}

impl SimdCapabilities {
    /// What this CPU has. It is asked once in the life of the program.
    #[must_use]
    pub fn detect() -> Self {
        Self::of(host())
    }

    /// What this CPU has up to `tier`.
    ///
    /// # Errors
    /// [`TierError`] when it does not have `tier`.
    pub fn with_tier(tier: Tier) -> Result<Self, TierError> {
        let all = Self::detect();
        let is_here = match tier {
            Tier::Scalar => true,
            Tier::Neon => all.neon,
            Tier::Sse41 => all.sse41,
            Tier::Avx2 => all.avx2,
            Tier::Avx512 => all.avx512,
        };
        if !is_here {
            let best = all.tier();
            return Err(TierError { tier, best });
        }
        let avx = tier >= Tier::Avx2;
        let avx512 = tier >= Tier::Avx512;
        Ok(all.and(Self {
            sse41: tier >= Tier::Sse41,
            sse42: avx,
            avx,
            avx2: avx,
            fma: avx,
            avx512f: avx512,
            avx512vl: avx512,
            avx512,
            avx512vnni: avx512,
            avx512bf16: avx512,
            avx512fp16: avx512,
            neon: tier == Tier::Neon,
        }))
    }

    /// The tier that operations use with these.
    #[must_use]
    pub const fn tier(&self) -> Tier {
        if self.avx512 {
            Tier::Avx512
        } else if self.avx2 {
            Tier::Avx2
        } else if self.sse41 {
            Tier::Sse41
        } else if self.neon {
            Tier::Neon
        } else {
            Tier::Scalar
        }
    }

    /// The name of the tier.
    #[must_use]
    pub const fn description(&self) -> &'static str {
        self.tier().name()
    }

    /// Bits of a vector; 64 without vector instructions.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "at most 512")]
    pub const fn best_vector_width(&self) -> u32 {
        self.tier().vector_bytes() as u32 * 8
    }

    /// `f32`s that the bits of a vector hold.
    #[must_use]
    pub const fn best_f32_width(&self) -> usize {
        self.tier().vector_bytes() / 4
    }

    /// `f64`s that the bits of a vector hold.
    #[must_use]
    pub const fn best_f64_width(&self) -> usize {
        self.tier().vector_bytes() / 8
    }

    /// Whether there are vector instructions.
    #[must_use]
    pub const fn has_simd(&self) -> bool {
        !matches!(self.tier(), Tier::Scalar)
    }

    /// What is in both.
    pub(crate) fn and(&self, other: Self) -> Self {
        Self {
            sse41: self.sse41 && other.sse41,
            sse42: self.sse42 && other.sse42,
            avx: self.avx && other.avx,
            avx2: self.avx2 && other.avx2,
            fma: self.fma && other.fma,
            avx512f: self.avx512f && other.avx512f,
            avx512vl: self.avx512vl && other.avx512vl,
            avx512: self.avx512 && other.avx512,
            avx512vnni: self.avx512vnni && other.avx512vnni,
            avx512bf16: self.avx512bf16 && other.avx512bf16,
            avx512fp16: self.avx512fp16 && other.avx512fp16,
            neon: self.neon && other.neon,
        }
    }

    fn of(host: Host) -> Self {
        Self {
            sse41: host.sse41,
            sse42: host.sse42,
            avx: host.avx,
            avx2: host.avx2,
            fma: host.fma,
            avx512f: host.avx512f,
            avx512vl: host.avx512vl,
            avx512: host.avx512,
            avx512vnni: host.avx512vnni,
            avx512bf16: host.avx512bf16,
            avx512fp16: host.avx512fp16,
            neon: host.neon,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_is_given_or_refused_with_the_best_one() {
        let best = SimdCapabilities::detect().tier();
        for tier in Tier::ALL {
            match SimdCapabilities::with_tier(tier) {
                Ok(caps) => {
                    assert_eq!(caps.tier(), tier);
                    assert_eq!(caps.description(), tier.name());
                    assert!(tier <= best);
                }
                Err(error) => {
                    assert_eq!((error.tier, error.best), (tier, best));
                    let text = format!("this CPU has no {tier}; its best is {best}");
                    assert_eq!(error.to_string(), text);
                }
            }
        }
    }

    #[test]
    fn widths_are_those_of_the_tier() {
        let widths = |tier| {
            let caps = SimdCapabilities::with_tier(tier).ok()?;
            Some((
                caps.best_vector_width(),
                caps.best_f32_width(),
                caps.best_f64_width(),
            ))
        };
        assert_eq!(widths(Tier::Scalar), Some((64, 2, 1)));
        let wanted = [
            (Tier::Sse41, (128, 4, 2)),
            (Tier::Avx2, (256, 8, 4)),
            (Tier::Avx512, (512, 16, 8)),
        ];
        for (tier, wanted) in wanted {
            assert!(widths(tier).is_none_or(|widths| widths == wanted), "{tier}");
        }
    }

    /// The standard library asks the CPU in its own way.
    #[cfg(all(target_arch = "x86_64", feature = "std"))]
    #[test]
    fn the_standard_library_says_the_same() {
        let caps = SimdCapabilities::detect();
        assert_eq!(caps.sse41, is_x86_feature_detected!("sse4.1"));
        assert_eq!(caps.sse42, is_x86_feature_detected!("sse4.2"));
        assert_eq!(caps.avx, is_x86_feature_detected!("avx"));
        assert_eq!(caps.fma, is_x86_feature_detected!("fma"));
        assert_eq!(caps.avx2, is_x86_feature_detected!("avx2"));
        assert_eq!(caps.avx512f, is_x86_feature_detected!("avx512f"));
        assert_eq!(caps.avx512vl, is_x86_feature_detected!("avx512vl"));
        assert_eq!(caps.avx512vnni, is_x86_feature_detected!("avx512vnni"));
        assert_eq!(caps.avx512bf16, is_x86_feature_detected!("avx512bf16"));
        assert_eq!(caps.avx512fp16, is_x86_feature_detected!("avx512fp16"));
    }
}
