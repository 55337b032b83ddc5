//! Token buckets, against sums over all windows.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use pepita_virtio::{Rate, RateLimiter, RateLimits};
use proptest::prelude::*;

fn rate(per_second: u64, burst: u64) -> Rate {
    let per_second = NonZeroU64::new(per_second).expect("more than 0");
    Rate { per_second, burst }
}

fn rates() -> impl Strategy<Value = Option<Rate>> {
    let pair = (1..5_000_000_000_u64, 0..100_000_u64);
    prop::option::of(pair.prop_map(|(per_second, burst)| rate(per_second, burst)))
}

/// Whether what began, each with its nanosecond and tokens, is within the rate: from any one on, what came before the last
/// is at most the burst and what the time has brought.
fn is_within(rate: Rate, began: &[(u128, u64)]) -> bool {
    (0..began.len()).all(|first| {
        let mut before = 0;
        began[first..].iter().all(|(at, tokens)| {
            let brought = (at - began[first].0) * u128::from(rate.per_second.get());
            let is_right =
                before * 1_000_000_000 <= u128::from(rate.burst) * 1_000_000_000 + brought;
            before += u128::from(*tokens);
            is_right
        })
    })
}

proptest! {
    #[test]
    fn what_begins_is_within_the_limits_and_what_waits_begins_as_soon_as_it_may(
        bytes in rates(),
        operations in rates(),
        requests in prop::collection::vec((0..3_000_000_u64, 0..200_000_u64), 0..60),
    ) {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(RateLimits { bytes, operations }, start);
        let mut now = start;
        let mut began = Vec::new();
        for (pause, len) in requests {
            now += Duration::from_nanos(pause);
            if let Err(until) = limiter.check(now) {
                prop_assert!(until > now && (bytes.is_some() || operations.is_some()));
                let just_before = until - Duration::from_nanos(1);
                prop_assert_eq!(limiter.clone().check(just_before), Err(until));
                now = until;
                prop_assert_eq!(limiter.check(now), Ok(()));
            }
            limiter.spend(len);
            began.push(((now - start).as_nanos(), len));
        }
        if let Some(rate) = bytes {
            prop_assert!(is_within(rate, &began));
        }
        if let Some(rate) = operations {
            let each: Vec<_> = began.iter().map(|(at, _)| (*at, 1)).collect();
            prop_assert!(is_within(rate, &each));
        }
    }
}

#[test]
fn a_pause_fills_a_bucket_up_to_its_burst() {
    let start = Instant::now();
    let limits = RateLimits {
        bytes: Some(rate(1000, 500)),
        operations: None,
    };
    let mut limiter = RateLimiter::new(limits, start);
    let later = start + Duration::from_secs(1000);
    for at in [start, later] {
        for _ in 0..6 {
            assert_eq!(limiter.check(at), Ok(()));
            limiter.spend(100);
        }
        assert_eq!(limiter.check(at), Err(at + Duration::from_millis(100)));
    }
}

#[test]
fn a_request_larger_than_any_burst_goes_and_is_paid_by_those_behind() {
    let start = Instant::now();
    let limits = RateLimits {
        bytes: Some(rate(1, 0)),
        operations: Some(rate(1_000_000, 10)),
    };
    let mut limiter = RateLimiter::new(limits, start);
    assert_eq!(limiter.check(start), Ok(()));
    limiter.spend(3600);
    let hour = start + Duration::from_secs(3600);
    assert_eq!(limiter.check(start), Err(hour));
    assert_eq!(limiter.check(hour), Ok(()));
    limiter.spend(u64::MAX);
    assert!(limiter.check(hour).is_err());
}

#[test]
fn time_that_goes_back_brings_nothing_and_takes_nothing() {
    let start = Instant::now() + Duration::from_secs(10);
    let limits = RateLimits {
        bytes: None,
        operations: Some(rate(1, 0)),
    };
    let mut limiter = RateLimiter::new(limits, start);
    limiter.spend(0);
    let earlier = start - Duration::from_secs(5);
    assert!(limiter.check(earlier).is_err());
    assert!(limiter.check(start).is_err());
    assert_eq!(limiter.check(start + Duration::from_secs(1)), Ok(()));
}
