//! The documented rules of the breaker, told in the plainest way, and random histories.

use super::super::*;
use crate::fault::ManualClock;
use proptest::prelude::*;
use std::collections::VecDeque;

#[derive(Debug, Clone)]
pub(super) struct Setup {
    window: CallWindow,
    minimum_calls: u32,
    /// In hundredths.
    failure_rate: u32,
    /// Milliseconds above which a call is slow, and the rate in hundredths.
    slow: Option<(u64, u32)>,
    open_ms: u64,
    pub(super) probes: u32,
    probe_ms: Option<u64>,
}

impl Setup {
    pub(super) fn build(&self, clock: &ManualClock) -> CircuitBreaker {
        let mut builder = CircuitBreaker::builder(self.window)
            .minimum_calls(self.minimum_calls)
            .failure_rate(f64::from(self.failure_rate) / 100.0)
            .open_for(Duration::from_millis(self.open_ms))
            .probes(self.probes)
            .clock(clock.clone());
        if let Some((above_ms, rate)) = self.slow {
            builder = builder.slow_calls(Duration::from_millis(above_ms), f64::from(rate) / 100.0);
        }
        if let Some(probe_ms) = self.probe_ms {
            builder = builder.probe_time(Duration::from_millis(probe_ms));
        }
        builder.build().unwrap()
    }
}

pub(super) fn setup() -> impl Strategy<Value = Setup> {
    let window = prop_oneof![
        (1_u32..70).prop_map(CallWindow::Calls),
        (1_u32..8).prop_map(CallWindow::Seconds),
    ];
    let slow = prop::option::of((0_u64..300, 1_u32..=100));
    let probe_ms = prop::option::of(1_u64..4000);
    (
        window,
        1_u32..12,
        1_u32..=100,
        slow,
        1_u64..4000,
        1_u32..5,
        probe_ms,
    )
        .prop_map(
            |(window, minimum_calls, failure_rate, slow, open_ms, probes, probe_ms)| Setup {
                window,
                minimum_calls: match window {
                    CallWindow::Calls(size) => minimum_calls.min(size),
                    CallWindow::Seconds(_) => minimum_calls,
                },
                failure_rate,
                slow,
                open_ms,
                probes,
                probe_ms,
            },
        )
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Acquire,
    AcquireUnowned,
    /// Ends one of the permits held: which one, failed, milliseconds taken.
    Settle(prop::sample::Index, bool, u64),
    /// The same, of a call without a permit.
    SettleUnowned(bool, u64),
    Drop(prop::sample::Index),
    Wait(u64),
    Reset,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<prop::sample::Index>;
    let step = prop_oneof![
        30 => Just(Step::Acquire),
        4 => Just(Step::AcquireUnowned),
        26 => (index(), any::<bool>(), 0_u64..500).prop_map(|(i, f, t)| Step::Settle(i, f, t)),
        6 => (any::<bool>(), 0_u64..500).prop_map(|(f, t)| Step::SettleUnowned(f, t)),
        5 => index().prop_map(Step::Drop),
        8 => (0_u64..900).prop_map(Step::Wait),
        4 => (0_u64..9000).prop_map(Step::Wait),
        1 => Just(Step::Reset),
    ];
    prop::collection::vec(step, 1..500)
}

/// The documented rules, told in the plainest way. Times are in milliseconds.
pub(super) struct Oracle {
    pub(super) setup: Setup,
    pub(super) state: CircuitState,
    since: u64,
    /// Changes of state so far: what a permit must match to count.
    era: u32,
    /// Second, failed, slow of each call recorded in this era.
    calls: VecDeque<(u64, bool, bool)>,
    permits: Vec<u32>,
    unowned: u32,
}

impl Oracle {
    pub(super) fn new(setup: Setup) -> Self {
        Self {
            setup,
            state: CircuitState::Closed,
            since: 0,
            era: 0,
            calls: VecDeque::new(),
            permits: Vec::new(),
            unowned: 0,
        }
    }

    fn enter(&mut self, state: CircuitState, now: u64) {
        (self.state, self.since) = (state, now);
        self.era += 1;
        self.calls.clear();
        self.unowned = 0;
    }

    fn tick(&mut self, now: u64) {
        let age = now - self.since;
        if self.state == CircuitState::Open && age >= self.setup.open_ms {
            self.enter(CircuitState::HalfOpen, now);
        } else if self.state == CircuitState::HalfOpen
            && self.setup.probe_ms.is_some_and(|limit| age >= limit)
        {
            self.enter(CircuitState::Open, now);
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        let owned = self.permits.iter().filter(|era| **era == self.era);
        owned.count() + self.unowned as usize
    }

    /// The permit's era, or the time to wait if that is known.
    fn acquire(&mut self, now: u64) -> Result<u32, Option<u64>> {
        match self.state {
            CircuitState::Closed => Ok(self.era),
            CircuitState::Open => Err(Some(self.since + self.setup.open_ms - now)),
            CircuitState::HalfOpen => {
                let free = self.in_flight() + self.calls.len() < self.setup.probes as usize;
                if free { Ok(self.era) } else { Err(None) }
            }
        }
    }

    /// Calls, failures and slow calls that count now.
    pub(super) fn counts(&self, now: u64) -> (u64, u64, u64) {
        let calls: Vec<_> = match (self.state, self.setup.window) {
            (CircuitState::Closed, CallWindow::Calls(size)) => {
                self.calls.iter().rev().take(size as usize).collect()
            }
            (CircuitState::Closed, CallWindow::Seconds(size)) => {
                let in_window = |call: &&(u64, _, _)| call.0 + u64::from(size) > now / 1000;
                self.calls.iter().filter(in_window).collect()
            }
            _ => self.calls.iter().collect(),
        };
        let failures = calls.iter().filter(|(_, failed, _)| *failed).count();
        let slow = calls.iter().filter(|(_, _, slow)| *slow).count();
        (calls.len() as u64, failures as u64, slow as u64)
    }

    fn record(&mut self, now: u64, failed: bool, took: u64) {
        let slow = self.setup.slow.is_some_and(|(above, _)| took > above);
        self.calls.push_back((now / 1000, failed, slow));
        let (calls, failures, slow) = self.counts(now);
        let slow_rate = self.setup.slow.map_or(101, |(_, rate)| u64::from(rate));
        let exceeded = failures * 100 >= calls * u64::from(self.setup.failure_rate)
            || slow * 100 >= calls * slow_rate;
        let enough = match self.state {
            CircuitState::HalfOpen => self.setup.probes,
            _ => self.setup.minimum_calls,
        };
        if calls < u64::from(enough) {
            return;
        }
        if exceeded {
            self.enter(CircuitState::Open, now);
        } else if self.state == CircuitState::HalfOpen {
            self.enter(CircuitState::Closed, now);
        }
    }
}

pub(super) fn outcome(failed: bool) -> CallOutcome {
    if failed {
        CallOutcome::Failure
    } else {
        CallOutcome::Success
    }
}

/// Takes one step on both sides, and compares what the step itself returns.
pub(super) fn step_both(
    step: Step,
    breaker: &CircuitBreaker,
    clock: &ManualClock,
    permits: &mut Vec<Permit>,
    oracle: &mut Oracle,
) -> Result<(), TestCaseError> {
    let now = u64::try_from(clock.now().as_millis()).unwrap();
    match step {
        Step::Acquire => match (breaker.try_acquire(), oracle.acquire(now)) {
            (Ok(permit), Ok(era)) => {
                permits.push(permit);
                oracle.permits.push(era);
            }
            (Err(rejected), Err(wait)) => {
                prop_assert_eq!(rejected.retry_after, wait.map(Duration::from_millis));
            }
            (got, want) => prop_assert!(false, "{got:?} instead of {want:?}"),
        },
        Step::AcquireUnowned => {
            let want = oracle.acquire(now).is_ok();
            oracle.unowned += u32::from(want && oracle.state == CircuitState::HalfOpen);
            prop_assert_eq!(breaker.allows_execution(), want);
        }
        Step::Settle(index, failed, took) if !permits.is_empty() => {
            let index = index.index(permits.len());
            let permit = permits.swap_remove(index);
            permit.record(outcome(failed), Duration::from_millis(took));
            if oracle.permits.swap_remove(index) == oracle.era {
                oracle.record(now, failed, took);
            }
        }
        Step::Drop(index) if !permits.is_empty() => {
            let index = index.index(permits.len());
            drop(permits.swap_remove(index));
            oracle.permits.swap_remove(index);
        }
        Step::SettleUnowned(failed, took) => {
            breaker.record(outcome(failed), Duration::from_millis(took));
            if oracle.state == CircuitState::Closed {
                oracle.record(now, failed, took);
            } else if oracle.unowned > 0 {
                oracle.unowned -= 1;
                oracle.record(now, failed, took);
            }
        }
        Step::Wait(ms) => {
            clock.advance(Duration::from_millis(ms));
            oracle.tick(now + ms);
        }
        Step::Reset => {
            breaker.reset();
            oracle.enter(CircuitState::Closed, now);
        }
        Step::Settle(..) | Step::Drop(_) => {}
    }
    Ok(())
}
