//! The state machine, without locks and clocks: the caller passes the time.

use std::time::Duration;

use super::config::Rules;
use super::window::{Call, Ring, Tally};
use super::{CircuitSnapshot, CircuitState, Rejected};

/// # Invariants
/// * `generation` grows by one with every change of phase and every reset, so a record that
///   carries it belongs to the current phase, and to no other.
/// * in [`Phase::HalfOpen`], `unowned <= in_flight` and `in_flight + ended.calls <= rules.probes`.
#[derive(Debug)]
pub(super) struct Machine {
    phase: Phase,
    generation: u64,
    ring: Ring,
    rejected: u64,
    opened: u64,
}

#[derive(Debug)]
enum Phase {
    Closed,
    Open {
        since: Duration,
    },
    HalfOpen {
        since: Duration,
        /// Probes that have been recorded.
        ended: Tally,
        /// Probes given out and not recorded.
        in_flight: u32,
        /// Those of `in_flight` that no permit stands for.
        unowned: u32,
    },
}

/// Who answers for a reservation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Permit,
    Nobody,
}

impl Machine {
    pub(super) fn new(rules: &Rules) -> Self {
        Self {
            phase: Phase::Closed,
            generation: 0,
            ring: Ring::new(rules.window),
            rejected: 0,
            opened: 0,
        }
    }

    pub(super) const fn state(&self) -> CircuitState {
        match self.phase {
            Phase::Closed => CircuitState::Closed,
            Phase::Open { .. } => CircuitState::Open,
            Phase::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }

    /// Applies what the passing of time changes.
    pub(super) fn advance(&mut self, rules: &Rules, now: Duration) {
        match self.phase {
            Phase::Open { since } if now.saturating_sub(since) >= rules.open_for => {
                self.enter(Phase::HalfOpen {
                    since: now,
                    ended: Tally::default(),
                    in_flight: 0,
                    unowned: 0,
                });
            }
            Phase::HalfOpen { since, .. }
                if rules
                    .probe_time
                    .is_some_and(|limit| now.saturating_sub(since) >= limit) =>
            {
                self.open(now);
            }
            _ => {}
        }
    }

    /// Reserves a call for a permit and returns the generation that it belongs to.
    pub(super) fn reserve(&mut self, rules: &Rules, now: Duration) -> Result<u64, Rejected> {
        self.reserve_for(Owner::Permit, rules, now)
    }

    /// Reserves a call that any record without a permit settles.
    pub(super) fn reserve_unowned(&mut self, rules: &Rules, now: Duration) -> bool {
        self.reserve_for(Owner::Nobody, rules, now).is_ok()
    }

    fn reserve_for(&mut self, owner: Owner, rules: &Rules, now: Duration) -> Result<u64, Rejected> {
        let retry_after = match &mut self.phase {
            Phase::Closed => return Ok(self.generation),
            Phase::Open { since } => {
                Some(rules.open_for.saturating_sub(now.saturating_sub(*since)))
            }
            Phase::HalfOpen {
                ended,
                in_flight,
                unowned,
                ..
            } => {
                if u64::from(*in_flight) + ended.calls < u64::from(rules.probes) {
                    *in_flight += 1;
                    *unowned += u32::from(owner == Owner::Nobody);
                    return Ok(self.generation);
                }
                None
            }
        };
        self.rejected += 1;
        Err(Rejected {
            state: self.state(),
            retry_after,
        })
    }

    /// Gives back the reservation of a permit that was not used.
    pub(super) fn release(&mut self, generation: u64) {
        if let Phase::HalfOpen { in_flight, .. } = &mut self.phase
            && generation == self.generation
        {
            *in_flight -= 1;
        }
    }

    /// Records the call of a permit of `generation`.
    pub(super) fn settle(&mut self, generation: u64, rules: &Rules, now: Duration, call: Call) {
        if generation != self.generation {
            return;
        }
        match self.phase {
            Phase::Closed => self.record_closed(rules, now, call),
            Phase::HalfOpen { .. } => self.record_probe(rules, now, call),
            Phase::Open { .. } => debug_assert!(false, "no permit is given in the open state"),
        }
    }

    /// Records a call without a permit.
    pub(super) fn settle_unowned(&mut self, rules: &Rules, now: Duration, call: Call) {
        match &mut self.phase {
            Phase::Closed => self.record_closed(rules, now, call),
            Phase::HalfOpen { unowned, .. } if *unowned > 0 => {
                *unowned -= 1;
                self.record_probe(rules, now, call);
            }
            Phase::HalfOpen { .. } | Phase::Open { .. } => {}
        }
    }

    fn record_closed(&mut self, rules: &Rules, now: Duration, call: Call) {
        let tally = self.ring.record(now, call);
        if tally.calls >= rules.minimum_calls && rules.exceeded_by(tally) {
            self.open(now);
        }
    }

    fn record_probe(&mut self, rules: &Rules, now: Duration, call: Call) {
        let Phase::HalfOpen {
            ended, in_flight, ..
        } = &mut self.phase
        else {
            return;
        };
        *in_flight -= 1;
        ended.add(call);
        let tally = *ended;
        if tally.calls < u64::from(rules.probes) {
            return;
        }
        if rules.exceeded_by(tally) {
            self.open(now);
        } else {
            self.enter(Phase::Closed);
        }
    }

    pub(super) fn reset(&mut self) {
        self.enter(Phase::Closed);
    }

    fn open(&mut self, now: Duration) {
        self.opened += 1;
        self.enter(Phase::Open { since: now });
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation += 1;
        self.ring.clear();
    }

    pub(super) fn snapshot(&mut self, now: Duration) -> CircuitSnapshot {
        let (tally, probes_in_flight) = match &self.phase {
            Phase::Closed => (self.ring.tally(now), 0),
            Phase::Open { .. } => (Tally::default(), 0),
            Phase::HalfOpen {
                ended, in_flight, ..
            } => (*ended, *in_flight),
        };
        CircuitSnapshot {
            state: self.state(),
            calls: tally.calls,
            failures: tally.failures,
            slow_calls: tally.slow,
            probes_in_flight,
            rejected: self.rejected,
            opened: self.opened,
        }
    }
}
