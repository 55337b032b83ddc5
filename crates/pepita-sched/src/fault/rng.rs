//! The random source behind jitter and seeded schedulers: small, fast, replayable, not for secrets.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Returns a seed that differs between calls and between processes, for
/// [`RetryPolicy::backoff`](super::RetryPolicy::backoff).
///
/// It comes from the standard library's hash keys: the kernel is asked once a thread, and a
/// caller needs no error path. Tests pass a constant instead.
///
/// # Examples
/// ```
/// use pepita_sched::fault::random_seed;
///
/// assert_ne!(random_seed(), random_seed());
/// ```
#[must_use]
pub fn random_seed() -> u64 {
    RandomState::new().hash_one(0_u64)
}

/// SplitMix64: a counter with a strong output function. Every seed is a good seed.
///
/// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
#[derive(Debug, Clone)]
pub(crate) struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A uniform value in `[0, 1)`, a multiple of 2^-53.
    fn next_unit(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * STEP
    }

    /// A uniform duration in `[low, high]`; `low` when the interval is empty.
    pub(super) fn duration_between(&mut self, low: Duration, high: Duration) -> Duration {
        let span = high.saturating_sub(low);
        let part = Duration::try_from_secs_f64(span.as_secs_f64() * self.next_unit());
        // The span of a long interval rounds up in `f64`; nothing drawn may pass `high` for that.
        low.saturating_add(part.unwrap_or(span).min(span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The first outputs for seed 1234567, as in the reference implementation's test vector.
    #[test]
    fn splitmix64_matches_its_reference_vector() {
        let mut rng = SplitMix64::new(1_234_567);
        assert_eq!(rng.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next_u64(), 3_203_168_211_198_807_973);
        assert_eq!(rng.next_u64(), 9_817_491_932_198_370_423);
    }

    #[test]
    fn units_fill_the_interval_evenly() {
        let mut rng = SplitMix64::new(0);
        let mut histogram = [0_u32; 10];
        for _ in 0..10_000 {
            let unit = rng.next_unit();
            let bin = (1..10).filter(|edge| unit >= f64::from(*edge) / 10.0);
            histogram[bin.count()] += 1;
        }
        // 1,000 expected a bin; 150 is five standard deviations.
        assert!(histogram.iter().all(|n| n.abs_diff(1000) < 150));
    }

    proptest! {
        #[test]
        fn durations_stay_between_their_bounds(seed: u64, low: Duration, high: Duration) {
            let drawn = SplitMix64::new(seed).duration_between(low, high);
            prop_assert!(drawn >= low);
            prop_assert!(drawn <= high.max(low));
        }
    }
}
