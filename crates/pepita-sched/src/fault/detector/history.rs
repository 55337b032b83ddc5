//! The last heartbeat intervals of one member, and φ.

use std::time::Duration;

/// Longer intervals are learned as this one, 2^48 ns or 78 hours.
///
/// With at most [`SAMPLES_MAX`] < 2^14 samples, `count * sum_of_squares` stays below
/// 2^14 * 2^14 * 2^96 = 2^124, so the sums below are exact.
const INTERVAL_MAX_NS: u64 = 1 << 48;
pub(super) const SAMPLES_MAX: usize = 10_000;

/// A ring of intervals with its sum and sum of squares, so that mean and deviation take constant
/// time. The sums are whole numbers: floating-point ones would drift over years of heartbeats.
///
/// # Invariants
/// * `sum_ns` and `sum_ns2` are those of `intervals_ns`, which holds between 2 and `limit` values.
/// * once `intervals_ns.len() == limit`, `oldest` is the index of the oldest value.
#[derive(Debug)]
pub(super) struct History {
    intervals_ns: Vec<u64>,
    limit: usize,
    oldest: usize,
    sum_ns: u128,
    sum_ns2: u128,
}

impl History {
    /// The history of a member of which only the expected interval is known: two intervals
    /// around it, a quarter of it to either side, as Akka does.
    pub(super) fn starting_from(interval: Duration, limit: usize) -> Self {
        let mut history = Self {
            intervals_ns: Vec::new(),
            limit,
            oldest: 0,
            sum_ns: 0,
            sum_ns2: 0,
        };
        let quarter = interval / 4;
        history.record(interval.saturating_sub(quarter));
        history.record(interval.saturating_add(quarter));
        history
    }

    pub(super) fn record(&mut self, interval: Duration) {
        let interval_ns = u64::try_from(interval.as_nanos())
            .unwrap_or(u64::MAX)
            .min(INTERVAL_MAX_NS);
        let count = self.intervals_ns.len();
        if count < self.limit {
            if count == self.intervals_ns.capacity() {
                // Doubles as `push` would, but not past the limit.
                let more = count.max(4).min(self.limit - count);
                self.intervals_ns.reserve_exact(more);
            }
            self.intervals_ns.push(interval_ns);
        } else {
            let forgotten = std::mem::replace(&mut self.intervals_ns[self.oldest], interval_ns);
            self.oldest = (self.oldest + 1) % self.limit;
            self.sum_ns -= u128::from(forgotten);
            self.sum_ns2 -= u128::from(forgotten).pow(2);
        }
        self.sum_ns += u128::from(interval_ns);
        self.sum_ns2 += u128::from(interval_ns).pow(2);
    }

    pub(super) fn mean_secs(&self) -> f64 {
        self.sum_ns as f64 / self.intervals_ns.len() as f64 / 1e9
    }

    /// The standard deviation of the intervals taken as the whole population.
    pub(super) fn std_deviation_secs(&self) -> f64 {
        let count = self.intervals_ns.len();
        // count² * variance; not negative, by the Cauchy-Schwarz inequality.
        let scaled_ns2 = count as u128 * self.sum_ns2 - self.sum_ns.pow(2);
        (scaled_ns2 as f64).sqrt() / count as f64 / 1e9
    }

    /// Recomputes the invariants from the intervals.
    #[cfg(test)]
    pub(super) fn has_exact_sums(&self) -> bool {
        let wide = || self.intervals_ns.iter().copied().map(u128::from);
        (2..=self.limit).contains(&self.intervals_ns.len())
            && self.intervals_ns.capacity() <= self.limit
            && self.sum_ns == wide().sum::<u128>()
            && self.sum_ns2 == wide().map(|x| x * x).sum::<u128>()
    }
}

/// φ after `silence` seconds, for intervals of `mean` and `std_deviation` seconds.
///
/// With `k = y * (1.5976 + 0.070566 * y²)`, the tail is `P = 1 / (1 + e^k)` and so
/// `-log10(P) = ln(1 + e^k) / ln(10)`, which is computed without overflow on either side.
pub(super) fn phi(silence: f64, mean: f64, std_deviation: f64) -> f64 {
    let y = (silence - mean) / std_deviation;
    let k = y * (1.5976 + 0.070566 * y * y);
    (k.max(0.0) + (-k.abs()).exp().ln_1p()) / std::f64::consts::LN_10
}
