//! Medians of paired ratios, and how sure they are.

use crate::Unit;

/// How many times the rounds are drawn anew for an interval.
const RESAMPLES: usize = 10_000;

/// The same draws in every run: an interval depends on the measured rounds alone.
const BOOTSTRAP_SEED: u64 = 0x7065_7069_7461;

/// How ours compares with one peer; above 1 is ahead.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// The median of the paired ratios.
    pub ratio: f64,
    /// The lower end of its 95 % bootstrap interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// What may be said of a [`Comparison`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The whole interval is above 1.
    Ahead,
    /// The interval holds 1.
    Level,
    /// The whole interval is below 1.
    Behind,
}

impl Comparison {
    /// Compares round `n` of ours with round `n` of the peer, for each `n`.
    ///
    /// # Panics
    /// If there is no round, or one side has more rounds than the other.
    #[must_use]
    pub fn of(ours: &[f64], peer: &[f64], unit: Unit) -> Self {
        assert_eq!(ours.len(), peer.len(), "rounds come in pairs");
        let ratio = |(ours, peer): (&f64, &f64)| match unit {
            Unit::Time(_) => peer / ours,
            Unit::Rate(_) => ours / peer,
        };
        let ratios: Vec<f64> = ours.iter().zip(peer).map(ratio).collect();
        let (low, high) = median_interval(&ratios);
        Self {
            ratio: median(&ratios),
            low,
            high,
        }
    }

    /// Whether "at least `bar`" holds: the interval reaches it, and the median comes within 3 %.
    #[must_use]
    pub fn reaches(&self, bar: f64) -> bool {
        self.high >= bar && self.ratio >= 0.97 * bar
    }

    /// What may be said.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.low > 1.0 {
            Verdict::Ahead
        } else if self.high < 1.0 {
            Verdict::Behind
        } else {
            Verdict::Level
        }
    }
}

/// The middle value, or the mean of the two in the middle.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    median_of(&mut values.to_vec())
}

fn median_of(values: &mut [f64]) -> f64 {
    assert!(!values.is_empty(), "the median of nothing");
    let is_even = values.len().is_multiple_of(2);
    let (below, &mut upper, _) = values.select_nth_unstable_by(values.len() / 2, f64::total_cmp);
    if is_even {
        let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        f64::midpoint(lower, upper)
    } else {
        upper
    }
}

/// The 95 % bootstrap interval of the median: its 2.5th and 97.5th percentile over medians of values
/// drawn from `values` with replacement.
///
/// # Panics
/// If there is no value.
#[must_use]
pub fn median_interval(values: &[f64]) -> (f64, f64) {
    let mut random = Random::new(BOOTSTRAP_SEED);
    let mut drawn = vec![0.0; values.len()];
    let mut medians = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        drawn.fill_with(|| values[random.below(values.len())]);
        medians.push(median_of(&mut drawn));
    }
    medians.sort_unstable_by(f64::total_cmp);
    (
        medians[RESAMPLES / 40],
        medians[RESAMPLES - 1 - RESAMPLES / 40],
    )
}

/// Numbers that look random, the same for the same seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts the sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `end`, each as likely as the next.
    ///
    /// # Panics
    /// If `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        assert!(end > 0, "no number is below 0");
        // The high half of the product; its bias is below 2^-32 for any count of rounds.
        let product = u128::from(self.next_u64()) * end as u128;
        usize::try_from(product >> 64).unwrap_or(0)
    }

    /// Puts `items` into random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Unit = Unit::Time("ms");

    #[test]
    fn the_median_of_an_even_count_is_the_mean_of_the_middle_two() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
    }

    #[test]
    fn a_peer_that_takes_twice_the_time_is_a_ratio_of_two_and_so_is_half_the_rate() {
        let (fast, slow) = ([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]);
        let time = Comparison::of(&fast, &slow, MS);
        let rate = Comparison::of(&slow, &fast, Unit::Rate("tasks/s"));
        assert_eq!((time.ratio, time.low, time.high), (2.0, 2.0, 2.0));
        assert_eq!(time, rate);
        assert_eq!(time.verdict(), Verdict::Ahead);
        assert_eq!(Comparison::of(&slow, &fast, MS).verdict(), Verdict::Behind);
    }

    #[test]
    fn what_disturbs_both_of_a_pair_does_not_disturb_the_ratio() {
        let drift: Vec<f64> = (1..=30).map(f64::from).collect();
        let peer: Vec<f64> = drift.iter().map(|ours| ours * 1.5).collect();
        let seen = Comparison::of(&drift, &peer, MS);
        assert!((seen.ratio - 1.5).abs() < 1e-12 && seen.high - seen.low < 1e-12);
    }

    #[test]
    fn the_interval_is_the_same_each_time_and_holds_the_median() {
        let mut random = Random::new(1);
        let noisy = || -> Vec<f64> {
            (0..30)
                .map(|_| 1.0 + 0.01 * f64::from(u32::try_from(random.below(100)).unwrap()))
                .collect()
        };
        let values = std::iter::repeat_with(noisy).take(20);
        for values in values {
            let (low, high) = median_interval(&values);
            assert_eq!((low, high), median_interval(&values));
            assert!(low <= median(&values) && median(&values) <= high);
            assert!(high - low < 0.6, "{low} .. {high}");
        }
    }

    #[test]
    fn about_95_of_100_intervals_hold_the_true_median() {
        let mut random = Random::new(2);
        let mut holding = 0;
        for _ in 0..100 {
            let values: Vec<f64> = (0..30)
                .map(|_| f64::from(u32::try_from(random.below(10_001)).unwrap()))
                .collect();
            let (low, high) = median_interval(&values);
            holding += u32::from(low <= 5000.0 && 5000.0 <= high);
        }
        assert!((88..=100).contains(&holding), "{holding}");
    }

    #[test]
    fn a_bar_is_reached_by_the_interval_with_a_median_close_by() {
        let seen = |ratio, high| Comparison {
            ratio,
            low: 0.5,
            high,
        };
        assert!(seen(1.36, 1.4).reaches(1.35));
        assert!(seen(1.32, 1.36).reaches(1.35));
        assert!(!seen(1.32, 1.34).reaches(1.35));
        assert!(!seen(1.30, 1.40).reaches(1.35));
    }

    #[test]
    fn a_shuffle_keeps_every_item_and_reaches_every_order() {
        let mut random = Random::new(3);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let mut items = [0, 1, 2];
            random.shuffle(&mut items);
            seen.insert(items);
        }
        assert_eq!(seen.len(), 6);
    }
}
