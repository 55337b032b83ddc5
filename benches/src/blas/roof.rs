//! [`Roof`]: fused multiply-adds that wait for nothing.
#![expect(unsafe_code, reason = "calls instructions that only some CPUs have")]

use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_set1_ps};
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::case::Contender;

/// More than hide the latency of one, on two units.
const SUMS: usize = 24;
/// Steps of a round.
const STEPS: u32 = 400_000;
/// Steps between two looks at the sums.
const UNSEEN: u32 = 100;

/// What the CPU can do in registers.
#[derive(Debug)]
pub(super) struct Roof;

impl Roof {
    pub(super) fn new() -> Result<Self> {
        ensure!(
            is_x86_feature_detected!("avx512f"),
            "this CPU has no AVX-512"
        );
        Ok(Self)
    }
}

#[target_feature(enable = "avx512f")]
fn multiply_and_add() {
    let (by, to) = (_mm512_set1_ps(0.999), _mm512_set1_ps(1e-3));
    let mut sums = [_mm512_set1_ps(1.0); SUMS];
    for _ in 0..STEPS / UNSEEN {
        for _ in 0..UNSEEN {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, by, to);
            }
        }
        sums = black_box(sums);
    }
}

impl Contender for Roof {
    /// Whatever the others say: it computes nothing.
    fn answer(&mut self) -> Result<String> {
        Ok(super::product::ANSWER.to_owned())
    }

    fn round(&mut self) -> Result<f64> {
        let begin = Instant::now();
        // SAFETY: `new` saw that the CPU has it.
        unsafe { multiply_and_add() };
        let operations = f64::from(STEPS) * 24.0 * 32.0;
        Ok(operations / begin.elapsed().as_secs_f64() / 1e9)
    }
}
