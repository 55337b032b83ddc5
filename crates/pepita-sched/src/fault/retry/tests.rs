//! Delays against the published formulas, for any policy, seed and attempt number.

use super::config::FACTOR_LIMIT;
use super::*;
use crate::fault::rng::SplitMix64;
use proptest::prelude::*;

const EXIT: Failure = Failure::Exit(1);

fn constant(max_attempts: u32, delay: Duration) -> RetryPolicyBuilder {
    RetryPolicy::builder(max_attempts, delay)
        .constant()
        .max_delay(Duration::MAX)
        .jitter(Jitter::None)
}

/// Base delays up to `Duration::MAX`, most of them as in use.
fn base() -> impl Strategy<Value = Duration> {
    prop_oneof![
        4 => (0_u64..=60_000_000_000).prop_map(Duration::from_nanos),
        1 => any::<Duration>(),
    ]
}

fn policy(jitter: Jitter) -> impl Strategy<Value = RetryPolicy> {
    let cap = prop_oneof![base(), Just(Duration::MAX)];
    let factor = prop_oneof![4 => 1.0..=FACTOR_LIMIT, 1 => Just(1.0)];
    (base(), cap, factor).prop_map(move |(base, cap, factor)| {
        let mut builder = RetryPolicy::builder(u32::MAX, base)
            .max_delay(cap.max(base))
            .jitter(jitter);
        if jitter != Jitter::Decorrelated {
            builder = builder.factor(factor);
        }
        builder.build().unwrap()
    })
}

/// Any policy, without an end to its attempts.
fn endless() -> impl Strategy<Value = RetryPolicy> {
    any::<RetryPolicy>().prop_map(|policy| RetryPolicy {
        max_attempts: u32::MAX,
        total_time: None,
        retry_on: RetryOn::anything(),
        ..policy
    })
}

/// Attempt numbers around every boundary: the first, the seed's overflow at 33, the last.
fn attempt() -> impl Strategy<Value = u32> {
    prop_oneof![0_u32..70, any::<u32>(), Just(u32::MAX)]
}

proptest! {
    #[test]
    fn unjittered_delays_never_decrease_and_never_exceed_the_cap(
        policy: RetryPolicy, n in attempt(),
    ) {
        let delay = policy.delay_for_attempt(n);
        prop_assert!(delay <= policy.max_delay());
        prop_assert!(policy.delay_for_attempt(n.saturating_add(1)) >= delay);
    }

    #[test]
    fn the_first_delay_is_the_base_delay(policy: RetryPolicy) {
        prop_assert_eq!(policy.delay_for_attempt(0), Duration::ZERO);
        prop_assert_eq!(policy.delay_for_attempt(1), policy.base_delay());
    }

    #[test]
    fn no_task_runs_more_often_longer_or_after_other_failures_than_its_policy_says(
        policy: RetryPolicy, failure: Failure, made in attempt(), seed: u64, elapsed: Duration,
    ) {
        let matches = policy.retry_on().matches(&failure);
        let may = matches && made < policy.max_attempts();
        prop_assert_eq!(policy.should_retry(made, &failure), may);
        let delay = policy.backoff(seed).next_delay(&failure, elapsed);
        prop_assert!(delay.is_none() || (matches && policy.max_attempts() > 1));
        if let (Some(delay), Some(total)) = (delay, policy.total_time()) {
            prop_assert!(elapsed.saturating_add(delay) < total);
        }
        prop_assert!(delay.is_none_or(|delay| delay <= policy.max_delay()));
    }

    #[test]
    fn whole_factors_give_the_exact_product(
        base_ms in 1_u32..10_000, factor in 1_u32..=10, n in 1_u32..=12,
    ) {
        let policy = RetryPolicy::builder(99, Duration::from_millis(base_ms.into()))
            .factor(factor.into())
            .max_delay(Duration::from_secs(3600))
            .build()
            .unwrap();
        let product = u64::from(base_ms) * u64::from(factor).pow(n - 1);
        let want = Duration::from_millis(product).min(Duration::from_secs(3600));
        prop_assert_eq!(policy.delay_for_attempt(n), want);
    }

    #[test]
    fn no_jitter_returns_the_computed_delays(policy in policy(Jitter::None), seed: u64) {
        let mut backoff = policy.backoff(seed);
        for n in 1..50 {
            let want = Some(policy.delay_for_attempt(n));
            prop_assert_eq!(backoff.next_delay(&EXIT, Duration::ZERO), want);
        }
    }

    #[test]
    fn full_jitter_stays_between_zero_and_the_delay(policy in policy(Jitter::Full), seed: u64) {
        let mut backoff = policy.backoff(seed);
        for n in 1..50 {
            let delay = backoff.next_delay(&EXIT, Duration::ZERO).unwrap();
            prop_assert!(delay <= policy.delay_for_attempt(n));
        }
    }

    #[test]
    fn equal_jitter_stays_between_half_the_delay_and_the_delay(
        policy in policy(Jitter::Equal), seed: u64,
    ) {
        let mut backoff = policy.backoff(seed);
        for n in 1..50 {
            let delay = backoff.next_delay(&EXIT, Duration::ZERO).unwrap();
            let full = policy.delay_for_attempt(n);
            prop_assert!(full / 2 <= delay && delay <= full);
        }
    }

    #[test]
    fn decorrelated_jitter_stays_between_the_base_and_three_times_the_previous(
        policy in policy(Jitter::Decorrelated), seed: u64,
    ) {
        let mut backoff = policy.backoff(seed);
        let mut previous = policy.base_delay();
        for n in 1..50 {
            let delay = backoff.next_delay(&EXIT, Duration::ZERO).unwrap();
            let high = previous.saturating_mul(3).min(policy.max_delay());
            prop_assert!(policy.base_delay() <= delay && delay <= high);
            // The slack is for the rounding of the power in f64.
            let plain = policy.delay_for_attempt(n);
            prop_assert!(delay <= plain.saturating_mul(3).saturating_add(plain / (1 << 30)));
            previous = delay;
        }
    }

    /// `sleep = min(cap, random_between(base, sleep * 3))`, with the same random numbers.
    #[test]
    fn decorrelated_jitter_is_the_published_recurrence(
        policy in policy(Jitter::Decorrelated), seed: u64,
    ) {
        let (mut backoff, mut rng) = (policy.backoff(seed), SplitMix64::new(seed));
        let mut sleep = policy.base_delay();
        for _ in 0..20 {
            sleep = rng
                .duration_between(policy.base_delay(), sleep.saturating_mul(3))
                .min(policy.max_delay());
            prop_assert_eq!(backoff.next_delay(&EXIT, Duration::ZERO), Some(sleep));
        }
    }

    #[test]
    fn neither_jitter_nor_hint_exceeds_the_cap(
        policy in endless(), seed: u64, hints in prop::collection::vec(base(), 1..50),
    ) {
        let mut backoff = policy.backoff(seed);
        for hint in hints {
            let delay = backoff.next_delay_after(&EXIT, Duration::ZERO, hint).unwrap();
            prop_assert!(delay <= policy.max_delay());
            prop_assert!(delay >= hint.min(policy.max_delay()));
        }
    }

    #[test]
    fn equal_seeds_give_equal_delays(policy: RetryPolicy, seed: u64) {
        let (mut one, mut two) = (policy.backoff(seed), policy.backoff(seed));
        for _ in 0..20 {
            let delay = one.next_delay(&EXIT, Duration::ZERO);
            prop_assert_eq!(delay, two.next_delay(&EXIT, Duration::ZERO));
        }
    }

    #[test]
    fn a_hint_raises_one_delay_and_not_the_next(
        policy in endless(), seed: u64, hint in base(),
    ) {
        let (mut hinted, mut plain) = (policy.backoff(seed), policy.backoff(seed));
        let raised = hinted.next_delay_after(&EXIT, Duration::ZERO, hint).unwrap();
        prop_assert!(raised >= plain.next_delay(&EXIT, Duration::ZERO).unwrap());
        for _ in 0..10 {
            let delay = hinted.next_delay(&EXIT, Duration::ZERO);
            prop_assert_eq!(delay, plain.next_delay(&EXIT, Duration::ZERO));
        }
    }

    #[test]
    fn no_attempt_begins_at_or_after_the_total_time(
        policy in endless(), total_ns in 1_u64.., elapsed: Duration, seed: u64,
    ) {
        let total_time = Duration::from_nanos(total_ns);
        let policy = RetryPolicy { total_time: Some(total_time), ..policy };
        if let Some(delay) = policy.backoff(seed).next_delay(&EXIT, elapsed) {
            prop_assert!(elapsed.checked_add(delay).is_some_and(|begin| begin < total_time));
        }
    }

    #[test]
    fn a_task_makes_exactly_max_attempts_attempts(max_attempts in 1_u32..200, seed: u64) {
        let policy = RetryPolicy::builder(max_attempts, Duration::ZERO).build().unwrap();
        let mut backoff = policy.backoff(seed);
        let retries = std::iter::from_fn(|| backoff.next_delay(&EXIT, Duration::ZERO)).count();
        prop_assert_eq!(retries + 1, usize::try_from(max_attempts).unwrap());
        prop_assert_eq!(backoff.attempts(), max_attempts);
    }
}

#[test]
fn the_last_attempt_may_begin_just_before_the_total_time() {
    let second = Duration::from_secs(1);
    let policy = constant(9, second).total_time(10 * second).build().unwrap();
    let just_in_time = 9 * second - Duration::from_nanos(1);
    assert_eq!(
        policy.backoff(0).next_delay(&EXIT, just_in_time),
        Some(second)
    );
    assert_eq!(policy.backoff(0).next_delay(&EXIT, 9 * second), None);
}

#[test]
fn a_failure_that_is_not_listed_ends_the_task_at_once() {
    let policy = RetryPolicy::builder(9, Duration::ZERO).build().unwrap();
    assert_eq!(
        policy
            .backoff(0)
            .next_delay(&Failure::Start, Duration::ZERO),
        None
    );
    assert!(policy.should_retry(1, &EXIT));
    assert!(!policy.should_retry(1, &Failure::Start));
}

#[test]
fn the_default_policy_never_retries() {
    let mut backoff = RetryPolicy::default().backoff(0);
    assert_eq!(backoff.next_delay(&EXIT, Duration::ZERO), None);
    assert_eq!(RetryPolicy::default().max_attempts(), 1);
    assert_eq!(
        RetryPolicy::default().delay_for_attempt(u32::MAX),
        Duration::ZERO
    );
}

#[test]
fn different_seeds_spread_the_delays() {
    let policy = RetryPolicy::builder(2, Duration::from_secs(1))
        .build()
        .unwrap();
    let mut delays: Vec<_> = (0..1000)
        .filter_map(|seed| policy.backoff(seed).next_delay(&EXIT, Duration::ZERO))
        .collect();
    delays.sort_unstable();
    // The quartiles of U[0, 1 s]; 0.07 is five standard deviations of a quartile of 1,000.
    for (rank, want) in [(250, 0.25), (500, 0.5), (750, 0.75)] {
        let quartile = delays[rank].as_secs_f64();
        assert!((quartile - want).abs() < 0.07, "{quartile} is not {want}");
    }
}

#[test]
fn the_cap_defaults_to_thirty_seconds_or_a_longer_base() {
    let short = RetryPolicy::builder(2, Duration::from_secs(1)).build();
    assert_eq!(short.unwrap().max_delay(), Duration::from_secs(30));
    let long = RetryPolicy::builder(2, Duration::from_secs(90)).build();
    assert_eq!(long.unwrap().max_delay(), Duration::from_secs(90));
}

#[test]
fn policies_go_between_threads() {
    fn check<T: Clone + std::fmt::Debug + Send + Sync + 'static>() {}
    check::<RetryPolicy>();
    check::<Backoff>();
}

#[track_caller]
fn refused(builder: RetryPolicyBuilder, want: &str) {
    assert_eq!(builder.build().unwrap_err().to_string(), want);
}

#[test]
fn bad_settings_are_refused_with_value_and_limit() {
    let second = Duration::from_secs(1);
    let good = || RetryPolicy::builder(3, second);
    refused(
        RetryPolicy::builder(0, second),
        "max_attempts is 0, must be at least 1",
    );
    refused(good().factor(0.5), "factor 0.5 is not between 1 and 1000");
    refused(
        good().factor(f64::NAN),
        "factor NaN is not between 1 and 1000",
    );
    refused(
        good().factor(f64::INFINITY),
        "factor inf is not between 1 and 1000",
    );
    refused(
        good().factor(2.0).jitter(Jitter::Decorrelated),
        "factor 2 has no effect with decorrelated jitter, whose formula has its own",
    );
    refused(
        good().max_delay(second / 2),
        "max_delay 500ms is below base_delay 1s",
    );
    refused(
        good().total_time(Duration::ZERO),
        "total_time is 0, must be above 0 (leave it out for no limit)",
    );
}

#[test]
fn rounding_never_takes_a_delay_below_the_base() {
    // An f64 has no room for the last nanosecond.
    let base = Duration::new(1 << 60, 1);
    let policy = constant(9, base).build().unwrap();
    assert_eq!(policy.delay_for_attempt(2), base);
}
