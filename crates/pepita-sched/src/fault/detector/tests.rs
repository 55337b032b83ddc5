//! φ against the published formulas, computed in the plainest way from all intervals.

use super::history::SAMPLES_MAX;
use super::*;
use crate::fault::ManualClock;
use proptest::prelude::*;
use std::thread;

const SECOND: Duration = Duration::from_secs(1);

fn secs(range: std::ops::Range<f64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_secs_f64)
}

/// Akka's code, branch by branch: the reference within the range where it has its digits.
fn akka_phi(silence: f64, mean: f64, std_deviation: f64) -> f64 {
    let y = (silence - mean) / std_deviation;
    let e = (-y * (1.5976 + 0.070566 * y * y)).exp();
    if silence > mean {
        -(e / (1.0 + e)).log10()
    } else {
        -(1.0 - 1.0 / (1.0 + e)).log10()
    }
}

/// The upper tail of the standard normal distribution beyond `y`, by Simpson's rule.
fn normal_tail(y: f64) -> f64 {
    const STEPS: u32 = 2000;
    let density = |x: f64| (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
    let width = (12.0 - y) / f64::from(STEPS);
    let sum: f64 = (0..=STEPS)
        .map(|i| {
            let weight = match i {
                0 | STEPS => 1.0,
                odd if odd % 2 == 1 => 4.0,
                _ => 2.0,
            };
            weight * density(y + f64::from(i) * width)
        })
        .sum();
    sum * width / 3.0
}

/// Mean and standard deviation of the population, in two passes.
fn moments(intervals: &[f64]) -> (f64, f64) {
    let count = intervals.len() as f64;
    let mean = intervals.iter().sum::<f64>() / count;
    let squares: f64 = intervals.iter().map(|x| (x - mean).powi(2)).sum();
    (mean, (squares / count).sqrt())
}

proptest! {
    #[test]
    fn phi_is_akkas_where_akkas_has_its_digits(
        mean in 0.001_f64..100.0, std_deviation in 0.001_f64..100.0, y in -5.0_f64..15.0,
    ) {
        let silence = mean + y * std_deviation;
        let (got, want) = (
            phi(silence, mean, std_deviation),
            akka_phi(silence, mean, std_deviation),
        );
        prop_assert!((got - want).abs() <= 1e-9 * want.max(1e-3), "{got} is not {want}");
    }

    #[test]
    fn phi_is_the_normal_tail_up_to_the_approximations_error(y in -8.0_f64..8.0) {
        let tail = 10_f64.powf(-phi(y, 0.0, 1.0));
        prop_assert!((tail - normal_tail(y)).abs() < 0.000_15);
    }

    #[test]
    fn phi_is_finite_and_never_negative(silence: Duration, mean: Duration, deviation in 1_u64..) {
        let deviation = Duration::from_nanos(deviation).as_secs_f64();
        let phi = phi(silence.as_secs_f64(), mean.as_secs_f64(), deviation);
        prop_assert!(phi.is_finite() && phi >= 0.0);
    }

    #[test]
    fn phi_never_falls_while_a_member_is_silent(
        intervals in prop::collection::vec(secs(0.0..5.0), 0..30),
        silences in prop::collection::vec(secs(0.0..3.0), 1..50),
    ) {
        let clock = ManualClock::new();
        let detector = FailureDetector::builder(SECOND).clock(clock.clone()).build().unwrap();
        detector.heartbeat(&()).unwrap();
        for interval in intervals {
            clock.advance(interval);
            detector.heartbeat(&()).unwrap();
        }
        let mut last = (detector.phi(&()).unwrap(), detector.status(&()));
        for silence in silences {
            clock.advance(silence);
            let next = (detector.phi(&()).unwrap(), detector.status(&()));
            prop_assert!(next.0 >= last.0 && next.1 >= last.1);
            last = next;
        }
    }

    /// The whole detector, recomputed from the list of learned intervals at every heartbeat.
    #[test]
    fn phi_is_the_formula_applied_to_the_last_intervals(
        expected in secs(0.01..10.0),
        max_samples in 2_usize..20,
        least in secs(0.001..1.0),
        pause in secs(0.0..3.0),
        intervals in prop::collection::vec(secs(0.0..20.0), 1..60),
    ) {
        let clock = ManualClock::new();
        let detector = FailureDetector::builder(expected)
            .max_samples(max_samples)
            .min_std_deviation(least)
            .acceptable_pause(pause)
            .clock(clock.clone())
            .build()
            .unwrap();
        detector.heartbeat(&()).unwrap();
        let expected = expected.as_secs_f64();
        let mut learned = vec![expected * 0.75, expected * 1.25];
        for interval in intervals {
            clock.advance(interval);
            let recent = &learned[learned.len().saturating_sub(max_samples)..];
            let (mean, deviation) = moments(recent);
            let want = phi(
                interval.as_secs_f64(),
                mean + pause.as_secs_f64(),
                deviation.max(least.as_secs_f64()),
            );
            let got = detector.phi(&()).unwrap();
            prop_assert!((got - want).abs() <= 1e-4 * want.max(1e-3), "{got} is not {want}");
            if got < 8.0 {
                learned.push(interval.as_secs_f64());
            }
            detector.heartbeat(&()).unwrap();
        }
    }

    #[test]
    fn sums_stay_exact_and_memory_bounded_for_any_intervals(
        limit in 2_usize..8, intervals in prop::collection::vec(any::<Duration>(), 0..40),
    ) {
        let mut history = History::starting_from(SECOND, limit);
        for interval in intervals {
            history.record(interval);
            prop_assert!(history.has_exact_sums());
        }
    }
}

#[test]
fn the_largest_history_of_the_longest_intervals_does_not_overflow() {
    let mut history = History::starting_from(Duration::MAX, SAMPLES_MAX);
    for _ in 0..=SAMPLES_MAX {
        history.record(Duration::MAX);
    }
    assert!(history.has_exact_sums());
    assert_eq!(history.std_deviation_secs(), 0.0);
}

/// A detector whose only member has beaten once a second, ten times, and is heard at the end.
fn steady(builder: FailureDetectorBuilder<u8>, clock: &ManualClock) -> FailureDetector<u8> {
    let detector = builder.clock(clock.clone()).build().unwrap();
    detector.heartbeat(&0).unwrap();
    for _ in 0..10 {
        clock.advance(SECOND);
        detector.heartbeat(&0).unwrap();
    }
    detector
}

#[test]
fn a_silent_member_is_suspected_then_failed_and_recovers_with_a_heartbeat() {
    let clock = ManualClock::new();
    let detector = steady(FailureDetector::builder(SECOND), &clock);
    let mut seen = vec![detector.status(&0)];
    for _ in 0..300 {
        clock.advance(Duration::from_millis(10));
        let status = match detector.phi(&0).unwrap() {
            ..3.0 => HealthStatus::Healthy,
            3.0..8.0 => HealthStatus::Suspected,
            _ => HealthStatus::Failed,
        };
        assert_eq!(detector.status(&0), status);
        seen.push(status);
    }
    seen.dedup();
    assert_eq!(
        seen,
        [
            HealthStatus::Healthy,
            HealthStatus::Suspected,
            HealthStatus::Failed
        ]
    );
    detector.heartbeat(&0).unwrap();
    assert_eq!(detector.status(&0), HealthStatus::Healthy);
}

#[test]
fn the_interval_that_ends_a_failure_is_not_learned() {
    let clock = ManualClock::new();
    let detector = steady(FailureDetector::builder(SECOND), &clock);
    clock.advance(2 * SECOND);
    let before = detector.phi(&0);
    clock.advance(3600 * SECOND);
    assert_eq!(detector.status(&0), HealthStatus::Failed);
    detector.heartbeat(&0).unwrap();
    clock.advance(2 * SECOND);
    assert_eq!(detector.phi(&0), before);
}

#[test]
fn each_setting_changes_what_a_silence_means() {
    let status_after = |builder: FailureDetectorBuilder<u8>, silence_ms| {
        let clock = ManualClock::new();
        let detector = steady(builder, &clock);
        clock.advance(Duration::from_millis(silence_ms));
        detector.status(&0)
    };
    let plain = || FailureDetector::builder(SECOND);
    let wide = Duration::from_secs(3);
    assert_eq!(status_after(plain(), 2500), HealthStatus::Failed);
    assert_eq!(
        status_after(plain().failed_phi(1e6), 2500),
        HealthStatus::Suspected
    );
    assert_eq!(
        status_after(plain().failed_phi(1e6).suspect_phi(1e6), 2500),
        HealthStatus::Healthy
    );
    assert_eq!(
        status_after(plain().min_std_deviation(wide), 2500),
        HealthStatus::Healthy
    );
    assert_eq!(
        status_after(plain().acceptable_pause(wide), 2500),
        HealthStatus::Healthy
    );
    // Two samples, both of one second: what was expected at first is forgotten.
    let slow_start = || FailureDetector::builder(20 * SECOND);
    assert_eq!(status_after(slow_start(), 2500), HealthStatus::Healthy);
    assert_eq!(
        status_after(slow_start().max_samples(2), 2500),
        HealthStatus::Failed
    );
}

#[test]
fn members_do_not_affect_each_other_and_can_be_removed() {
    let clock = ManualClock::new();
    let detector = steady(FailureDetector::builder(SECOND), &clock);
    clock.advance(5 * SECOND);
    detector.heartbeat(&1).unwrap();
    let mut statuses = detector.statuses();
    statuses.sort_unstable();
    assert_eq!(
        statuses,
        [(0, HealthStatus::Failed), (1, HealthStatus::Healthy)]
    );
    assert!(detector.remove(&0));
    assert!(!detector.remove(&0));
    assert_eq!(detector.status(&0), HealthStatus::Unknown);
    assert_eq!(detector.phi(&0), None);
}

#[test]
fn no_more_than_max_members_are_watched() {
    let detector = FailureDetector::builder(SECOND)
        .max_members(1)
        .build()
        .unwrap();
    detector.heartbeat(&"a").unwrap();
    let error = detector.heartbeat(&"b").unwrap_err();
    assert_eq!(
        error.to_string(),
        "1 members are watched already, the limit set by max_members"
    );
    detector.heartbeat(&"a").unwrap();
    detector.remove(&"a");
    detector.heartbeat(&"b").unwrap();
}

#[test]
fn threads_can_beat_and_ask_at_once() {
    let clock = ManualClock::new();
    let detector = FailureDetector::builder(SECOND)
        .clock(clock.clone())
        .build()
        .unwrap();
    thread::scope(|scope| {
        for id in 0..4 {
            let (detector, clock) = (&detector, &clock);
            scope.spawn(move || {
                for _ in 0..500 {
                    detector.heartbeat(&id).unwrap();
                    clock.advance(Duration::from_millis(1));
                    assert_ne!(detector.status(&id), HealthStatus::Unknown);
                }
            });
        }
    });
    assert_eq!(detector.statuses().len(), 4);
}

#[track_caller]
fn refused(builder: FailureDetectorBuilder<u8>, want: &str) {
    assert_eq!(builder.build().unwrap_err().to_string(), want);
}

#[test]
fn bad_settings_are_refused_with_value_and_limit() {
    let good = || FailureDetector::builder(SECOND);
    let zero = Duration::ZERO;
    refused(
        FailureDetector::builder(zero),
        "interval is 0, must be above 0",
    );
    refused(
        good().min_std_deviation(zero),
        "min_std_deviation is 0, must be above 0",
    );
    refused(
        good().suspect_phi(9.0),
        "suspect_phi 9 and failed_phi 8 are not 0 < suspect <= failed",
    );
    refused(
        good().failed_phi(f64::NAN),
        "suspect_phi 3 and failed_phi NaN are not 0 < suspect <= failed",
    );
    refused(
        good().max_samples(1),
        "max_samples is 1, must be between 2 and 10000",
    );
    refused(
        good().max_members(0),
        &format!("max_members is 0, must be between 1 and {}", usize::MAX),
    );
}
