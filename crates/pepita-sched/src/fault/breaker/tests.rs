//! The breaker against an oracle that remembers every call and recounts them all each time.

mod oracle;

use self::oracle::{Oracle, outcome, setup, step_both, steps};
use super::*;
use crate::fault::ManualClock;
use proptest::prelude::*;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

const SECOND: Duration = Duration::from_secs(1);

fn half_open(probes: u32, clock: &ManualClock) -> CircuitBreaker {
    let breaker = CircuitBreaker::builder(CallWindow::Calls(1))
        .open_for(SECOND)
        .probes(probes)
        .clock(clock.clone())
        .build()
        .unwrap();
    breaker.record_failure();
    clock.advance(SECOND);
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    breaker
}

proptest! {
    #[test]
    fn any_history_leads_where_the_oracle_says(setup in setup(), steps in steps()) {
        let clock = ManualClock::new();
        let breaker = setup.build(&clock);
        let mut oracle = Oracle::new(setup);
        let mut permits = Vec::new();
        for step in steps {
            step_both(step, &breaker, &clock, &mut permits, &mut oracle)?;
            let now = u64::try_from(clock.now().as_millis()).unwrap();
            let got = breaker.snapshot();
            prop_assert_eq!(got.state, oracle.state);
            let counts = (got.calls, got.failures, got.slow_calls);
            prop_assert_eq!(counts, oracle.counts(now));
            if got.state == CircuitState::HalfOpen {
                prop_assert_eq!(got.probes_in_flight as usize, oracle.in_flight());
                let bound = u64::from(oracle.setup.probes);
                prop_assert!(u64::from(got.probes_in_flight) + got.calls <= bound);
            }
        }
    }

    /// 7 of 100 is 7 %, though `0.07 * 100.0` is above 7.
    #[test]
    fn a_rate_that_equals_its_threshold_opens(one in 1_u32..=1000, other in 1_u32..=1000) {
        let (failures, calls) = (one.min(other), one.max(other));
        let breaker = CircuitBreaker::builder(CallWindow::Calls(calls))
            .minimum_calls(calls)
            .failure_rate(f64::from(failures) / f64::from(calls))
            .build()
            .unwrap();
        for n in 0..calls {
            prop_assert_eq!(breaker.state(), CircuitState::Closed);
            breaker.record(outcome(n < failures), Duration::ZERO);
        }
        prop_assert_eq!(breaker.state(), CircuitState::Open);
    }
}

#[test]
fn a_permit_measures_the_time_since_it_was_given() {
    let clock = ManualClock::new();
    let breaker = CircuitBreaker::builder(CallWindow::Calls(10))
        .slow_calls(SECOND, 1.0)
        .clock(clock.clone())
        .build()
        .unwrap();
    let (exact, late) = (
        breaker.try_acquire().unwrap(),
        breaker.try_acquire().unwrap(),
    );
    clock.advance(SECOND);
    exact.success();
    assert_eq!(breaker.snapshot().slow_calls, 0);
    clock.advance(Duration::from_nanos(1));
    late.failure();
    assert_eq!(breaker.snapshot().slow_calls, 1);
    assert_eq!(breaker.snapshot().slow_call_rate(), Some(0.5));
}

#[test]
fn a_record_from_an_earlier_state_touches_no_window() {
    let clock = ManualClock::new();
    let breaker = half_open(1, &clock);
    let outlived = breaker.try_acquire().unwrap();
    breaker.reset();
    outlived.failure();
    assert_eq!(breaker.state(), CircuitState::Closed);
    assert_eq!(breaker.snapshot().calls, 0);
}

#[test]
fn a_permit_dropped_in_a_later_half_open_state_frees_none_of_its_probes() {
    let clock = ManualClock::new();
    let breaker = half_open(1, &clock);
    let outlived = breaker.try_acquire().unwrap();
    breaker.reset();
    breaker.record_failure();
    clock.advance(SECOND);
    let probe = breaker.try_acquire().unwrap();
    drop(outlived);
    assert!(breaker.try_acquire().is_err());
    probe.success();
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[test]
fn a_permit_lost_to_a_panic_gives_its_probe_back() {
    let breaker = half_open(1, &ManualClock::new());
    let probe = breaker.try_acquire().unwrap();
    let died = thread::spawn(move || {
        let _held = probe;
        std::panic::resume_unwind(Box::new("the call died"));
    });
    assert!(died.join().is_err());
    assert_eq!(breaker.snapshot().probes_in_flight, 0);
    assert!(breaker.try_acquire().is_ok());
}

#[test]
fn simultaneous_callers_share_exactly_the_probes() {
    const THREADS: u32 = 8;
    for probes in 1..THREADS {
        let breaker = half_open(probes, &ManualClock::new());
        let (start, asked) = (
            Barrier::new(THREADS as usize),
            Barrier::new(THREADS as usize),
        );
        let granted = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    let permit = breaker.try_acquire();
                    granted.fetch_add(u32::from(permit.is_ok()), Ordering::Relaxed);
                    asked.wait(); // all permits are held here
                });
            }
        });
        assert_eq!(granted.into_inner(), probes);
    }
}

#[test]
fn never_more_probes_in_flight_than_allowed_while_threads_take_and_drop() {
    const PROBES: u32 = 2;
    let breaker = half_open(PROBES, &ManualClock::new());
    let (in_flight, most) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    if let Ok(permit) = breaker.try_acquire() {
                        let now = in_flight.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        thread::yield_now();
                        in_flight.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                }
            });
        }
    });
    assert!((1..=PROBES).contains(&most.into_inner()));
    assert_eq!(breaker.snapshot().probes_in_flight, 0);
}

#[test]
fn rejections_and_openings_are_counted() {
    let clock = ManualClock::new();
    let breaker = half_open(1, &clock);
    let probe = breaker.try_acquire().unwrap();
    assert_eq!(
        breaker.try_acquire().unwrap_err(),
        Rejected {
            state: CircuitState::HalfOpen,
            retry_after: None
        }
    );
    probe.failure();
    clock.advance(SECOND / 4);
    let rejected = breaker.try_acquire().unwrap_err();
    assert_eq!(rejected.retry_after, Some(SECOND * 3 / 4));
    assert_eq!(rejected.to_string(), "circuit breaker is open");
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.rejected, snapshot.opened), (2, 2));
    assert_eq!(snapshot.failure_rate(), None);
}

#[track_caller]
fn refused(builder: CircuitBreakerBuilder, want: &str) {
    assert_eq!(builder.build().unwrap_err().to_string(), want);
}

#[test]
fn bad_settings_are_refused_with_value_and_limit() {
    let calls = |size| CircuitBreaker::builder(CallWindow::Calls(size));
    let seconds = |size| CircuitBreaker::builder(CallWindow::Seconds(size));
    refused(calls(0), "window is 0, must be between 1 and 65536");
    refused(seconds(3601), "window is 3601, must be between 1 and 3600");
    refused(
        calls(10).minimum_calls(11),
        "minimum_calls is 11, must be between 1 and 10",
    );
    refused(
        calls(9).probes(0),
        "probes is 0, must be between 1 and 65536",
    );
    refused(
        calls(9).failure_rate(0.0),
        "failure_rate is 0, must be above 0 and at most 1",
    );
    refused(
        calls(9).slow_calls(SECOND, f64::NAN),
        "slow_calls rate is NaN, must be above 0 and at most 1",
    );
    refused(
        calls(9).open_for(Duration::ZERO),
        "open_for is 0, must be above 0",
    );
    refused(
        calls(9).probe_time(Duration::ZERO),
        "probe_time is 0, must be above 0",
    );
}
