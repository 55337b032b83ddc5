//! What holds for all parts: they survive a clock that breaks its contract.

use super::*;
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A clock that can be set back.
#[derive(Debug, Clone, Default)]
struct JumpingClock(Arc<AtomicU64>);

impl Clock for JumpingClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

proptest! {
    #[test]
    fn a_clock_that_jumps_back_makes_nothing_panic_or_overspend(
        times_ms in prop::collection::vec(prop_oneof![0_u64..40_000, any::<u64>()], 1..100),
    ) {
        let clock = JumpingClock::default();
        let breaker = CircuitBreaker::builder(CallWindow::Seconds(5))
            .minimum_calls(3)
            .probes(2)
            .clock(clock.clone())
            .build()
            .unwrap();
        let budget = RetryBudget::builder(0.5)
            .min_retries_per_sec(0)
            .clock(clock.clone())
            .build()
            .unwrap();
        let detector = FailureDetector::builder(Duration::from_secs(1))
            .max_samples(5)
            .clock(clock.clone())
            .build()
            .unwrap();
        let (mut deposits, mut withdrawals) = (0_u32, 0_u32);
        for time_ms in times_ms {
            clock.0.store(time_ms, Ordering::Relaxed);
            if let Ok(permit) = breaker.try_acquire() {
                permit.failure();
            }
            budget.deposit();
            deposits += 1;
            withdrawals += u32::from(budget.try_withdraw());
            prop_assert!(2 * withdrawals <= deposits);
            detector.heartbeat(&()).unwrap();
            prop_assert!(detector.phi(&()).is_some_and(f64::is_finite));
        }
    }
}

#[test]
fn a_clock_set_back_does_not_age_the_calls_of_a_breaker() {
    let clock = JumpingClock::default();
    let breaker = CircuitBreaker::builder(CallWindow::Seconds(5))
        .clock(clock.clone())
        .build()
        .unwrap();
    for time_ms in [10_000, 1_000, 10_000] {
        clock.0.store(time_ms, Ordering::Relaxed);
        breaker.record_success();
    }
    assert_eq!(breaker.snapshot().calls, 3);
}

#[test]
fn a_clock_set_back_does_not_refill_a_budget() {
    let clock = JumpingClock::default();
    let budget = RetryBudget::builder(0.0)
        .min_retries_per_sec(1)
        .clock(clock.clone())
        .build()
        .unwrap();
    clock.0.store(20_000, Ordering::Relaxed);
    while budget.try_withdraw() {}
    for time_ms in [1_000, 20_000] {
        clock.0.store(time_ms, Ordering::Relaxed);
        assert_eq!(budget.available(), 0);
    }
}

#[test]
fn a_clock_set_back_does_not_make_a_member_look_silent() {
    let clock = JumpingClock::default();
    let detector = FailureDetector::builder(Duration::from_secs(1))
        .clock(clock.clone())
        .build()
        .unwrap();
    for time_ms in [20_000, 1_000] {
        clock.0.store(time_ms, Ordering::Relaxed);
        detector.heartbeat(&()).unwrap();
    }
    clock.0.store(20_000, Ordering::Relaxed);
    assert_eq!(detector.status(&()), HealthStatus::Healthy);
}
