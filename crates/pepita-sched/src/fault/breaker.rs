//! Stops calling what keeps failing, and finds out with a few probes when it is back.

mod config;
mod machine;
#[cfg(test)]
mod tests;
mod window;

pub use config::{CircuitBreakerBuilder, CircuitError};
pub use window::CallWindow;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use self::config::Rules;
use self::machine::Machine;
use self::window::Call;
use super::clock::Clock;
use super::lock;

/// What a [`CircuitBreaker`] does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CircuitState {
    /// Lets every call through and counts outcomes.
    Closed,
    /// Rejects every call until the open time has passed.
    Open,
    /// Lets a limited number of probes through; their outcomes decide what follows.
    HalfOpen,
}

impl fmt::Display for CircuitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        })
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// It did what it should.
    Success,
    /// It did not.
    Failure,
}

/// Guards one dependency: a host, a device, a service.
///
/// # States
/// * *Closed*: the last calls, or those of the last seconds ([`CallWindow`]), are counted. Once
///   there are `minimum_calls` and the failure rate or the slow-call rate has reached its
///   threshold, the breaker opens.
/// * *Open*: calls are rejected for `open_for`.
/// * *Half-open*: `probes` calls are let through, never more than that at once. When all have
///   ended, the thresholds decide between closed, with an empty window, and open.
///
/// Time alone moves open to half-open; no thread is needed for it, since every method first
/// applies what time has brought.
///
/// # Guarantees
/// * A record counts in the state in which its call began, or nowhere: a call that outlives its
///   state does not touch the next one's window.
/// * In the half-open state, permits in flight plus probes recorded never exceed `probes`.
///
/// Clones share one state. Each operation takes a lock for a few dozen instructions; a time window
/// also clears the seconds that have passed since the last one.
///
/// # Examples
/// ```
/// use pepita_sched::fault::{CallWindow, CircuitBreaker, CircuitState};
///
/// let breaker = CircuitBreaker::builder(CallWindow::Calls(10)).failure_rate(0.5).build()?;
/// for _ in 0..10 {
///     let permit = breaker.try_acquire().expect("closed: lets every call through");
///     permit.failure(); // or `success`
/// }
/// assert_eq!(breaker.state(), CircuitState::Open);
/// let rejected = breaker.try_acquire().unwrap_err();
/// assert!(rejected.retry_after.is_some());
/// # Ok::<(), pepita_sched::fault::CircuitError>(())
/// ```
///
/// Source: resilience4j 2, `CircuitBreakerStateMachine` and `FixedSizeSlidingWindowMetrics`.
#[derive(Debug, Clone)]
pub struct CircuitBreaker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    rules: Rules,
    clock: Arc<dyn Clock>,
    machine: Mutex<Machine>,
}

impl CircuitBreaker {
    /// Starts a breaker that judges by the calls in `window`.
    pub fn builder(window: CallWindow) -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::new(window)
    }

    fn from_parts(name: String, rules: Rules, clock: Arc<dyn Clock>) -> Self {
        let machine = Mutex::new(Machine::new(&rules));
        Self {
            shared: Arc::new(Shared {
                name,
                rules,
                clock,
                machine,
            }),
        }
    }

    /// Asks to make one call. The [`Permit`] must live as long as the call.
    ///
    /// # Errors
    /// [`Rejected`] when open, or when half-open with all probes given out.
    pub fn try_acquire(&self) -> Result<Permit, Rejected> {
        self.with(|machine, rules, now| {
            let generation = machine.reserve(rules, now)?;
            Ok(Permit {
                breaker: self.clone(),
                generation,
                begun: now,
                settled: false,
            })
        })
    }

    /// The state after applying what time has brought.
    #[must_use]
    pub fn state(&self) -> CircuitState {
        self.with(|machine, _, _| machine.state())
    }

    /// As [`try_acquire`](Self::try_acquire), for callers that cannot keep a permit.
    ///
    /// Every `true` must be followed by one [`record_success`](Self::record_success),
    /// [`record_failure`](Self::record_failure) or [`record`](Self::record): in the half-open
    /// state, it holds a probe until then. Without a permit the breaker cannot tell a probe's
    /// record from that of a call begun earlier, so the latter may be taken for the former.
    ///
    /// # Examples
    /// ```
    /// use pepita_sched::fault::{CallWindow, CircuitBreaker};
    ///
    /// let breaker = CircuitBreaker::builder(CallWindow::Calls(1)).build()?;
    /// assert!(breaker.allows_execution());
    /// breaker.record_failure();
    /// assert!(!breaker.allows_execution());
    /// # Ok::<(), pepita_sched::fault::CircuitError>(())
    /// ```
    #[must_use = "`true` reserves a probe in the half-open state"]
    pub fn allows_execution(&self) -> bool {
        self.with(|machine, rules, now| machine.reserve_unowned(rules, now))
    }

    /// Records the success of a call without a permit, whose duration is unknown and so not slow.
    pub fn record_success(&self) {
        self.record(CallOutcome::Success, Duration::ZERO);
    }

    /// Records the failure of a call without a permit, whose duration is unknown and so not slow.
    pub fn record_failure(&self) {
        self.record(CallOutcome::Failure, Duration::ZERO);
    }

    /// Records a call without a permit that took `took`.
    ///
    /// Counts when closed; when half-open, only if a probe given out by
    /// [`allows_execution`](Self::allows_execution) waits for its record.
    ///
    /// # Examples
    /// ```
    /// use pepita_sched::fault::{CallOutcome, CallWindow, CircuitBreaker};
    /// use std::time::Duration;
    ///
    /// let breaker = CircuitBreaker::builder(CallWindow::Calls(10))
    ///     .slow_calls(Duration::from_secs(1), 0.5)
    ///     .build()?;
    /// breaker.record(CallOutcome::Success, Duration::from_secs(3));
    /// assert_eq!(breaker.snapshot().slow_calls, 1);
    /// # Ok::<(), pepita_sched::fault::CircuitError>(())
    /// ```
    pub fn record(&self, outcome: CallOutcome, took: Duration) {
        self.with(|machine, rules, now| {
            machine.settle_unowned(rules, now, Call::new(rules, outcome, took));
        });
    }

    /// Closes the breaker with an empty window. Permits in flight lose their meaning.
    ///
    /// # Examples
    /// ```
    /// use pepita_sched::fault::{CallWindow, CircuitBreaker, CircuitState};
    ///
    /// let breaker = CircuitBreaker::builder(CallWindow::Calls(1)).build()?;
    /// breaker.record_failure();
    /// assert_eq!(breaker.state(), CircuitState::Open);
    /// breaker.reset();
    /// assert_eq!(breaker.state(), CircuitState::Closed);
    /// # Ok::<(), pepita_sched::fault::CircuitError>(())
    /// ```
    pub fn reset(&self) {
        self.with(|machine, _, _| machine.reset());
    }

    /// Returns the figures of the current state.
    ///
    /// # Examples
    /// ```
    /// use pepita_sched::fault::{CallWindow, CircuitBreaker};
    ///
    /// let breaker = CircuitBreaker::builder(CallWindow::Seconds(60)).build()?;
    /// breaker.record_success();
    /// breaker.record_failure();
    /// assert_eq!(breaker.snapshot().failure_rate(), Some(0.5));
    /// # Ok::<(), pepita_sched::fault::CircuitError>(())
    /// ```
    #[must_use]
    pub fn snapshot(&self) -> CircuitSnapshot {
        self.with(|machine, _, now| machine.snapshot(now))
    }

    /// The name given to the builder; empty without one.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Runs `act` on the state machine brought up to date, then tells of a change of state outside the lock.
    /// The clock is read under the lock, so that threads see its readings in order.
    fn with<T>(&self, act: impl FnOnce(&mut Machine, &Rules, Duration) -> T) -> T {
        let Shared {
            name,
            rules,
            clock,
            machine,
        } = &*self.shared;
        let mut machine = lock(machine);
        let now = clock.now();
        let from = machine.state();
        machine.advance(rules, now);
        let value = act(&mut machine, rules, now);
        let to = machine.state();
        drop(machine);
        if from != to {
            tracing::info!(breaker = %name, %from, %to, "circuit breaker changed state");
        }
        value
    }
}

/// The right to make one call, from [`CircuitBreaker::try_acquire`].
///
/// Ends with [`success`](Self::success), [`failure`](Self::failure) or [`record`](Self::record).
/// Dropped without one, as when the call was never made or its thread panicked, it records nothing
/// and gives its probe back.
///
/// # Examples
/// ```
/// use pepita_sched::fault::{CallWindow, CircuitBreaker};
///
/// let breaker = CircuitBreaker::builder(CallWindow::Calls(10)).build()?;
/// let permit = breaker.try_acquire()?;
/// match "42".parse::<u32>() {
///     Ok(_) => permit.success(),
///     Err(_) => permit.failure(),
/// }
/// assert_eq!(breaker.snapshot().calls, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a permit that is dropped records nothing"]
pub struct Permit {
    breaker: CircuitBreaker,
    generation: u64,
    begun: Duration,
    settled: bool,
}

impl Permit {
    /// Records a success that took the time since the permit was given.
    pub fn success(self) {
        self.settle(CallOutcome::Success, None);
    }

    /// Records a failure that took the time since the permit was given.
    pub fn failure(self) {
        self.settle(CallOutcome::Failure, None);
    }

    /// Records a call that took `took`, where the permit was held for longer than the call ran.
    pub fn record(self, outcome: CallOutcome, took: Duration) {
        self.settle(outcome, Some(took));
    }

    fn settle(mut self, outcome: CallOutcome, took: Option<Duration>) {
        self.settled = true;
        self.breaker.with(|machine, rules, now| {
            let took = took.unwrap_or_else(|| now.saturating_sub(self.begun));
            let call = Call::new(rules, outcome, took);
            machine.settle(self.generation, rules, now, call);
        });
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.settled {
            self.breaker
                .with(|machine, _, _| machine.release(self.generation));
        }
    }
}

/// The breaker did not let a call through.
///
/// # Examples
/// ```
/// use pepita_sched::fault::{CallWindow, CircuitBreaker, Failure, RetryPolicy};
/// use std::time::Duration;
///
/// let breaker = CircuitBreaker::builder(CallWindow::Calls(1)).build()?;
/// breaker.record_failure();
/// let rejected = breaker.try_acquire().unwrap_err();
/// assert_eq!(rejected.to_string(), "circuit breaker is open");
///
/// // The time to wait makes a hint for the backoff.
/// let policy = RetryPolicy::builder(9, Duration::ZERO).max_delay(Duration::from_secs(5)).build()?;
/// let hint = rejected.retry_after.unwrap_or_default();
/// let delay = policy.backoff(42).next_delay_after(&Failure::Other, Duration::ZERO, hint);
/// assert_eq!(delay, Some(Duration::from_secs(5))); // still capped
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("circuit breaker is {state}")]
#[non_exhaustive]
pub struct Rejected {
    /// The state that rejected the call: open, or half-open with all probes given out.
    pub state: CircuitState,
    /// Time until a probe is let through; `None` when half-open, for a probe may end any moment.
    pub retry_after: Option<Duration>,
}

/// Figures of a [`CircuitBreaker`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CircuitSnapshot {
    /// The state at that moment.
    pub state: CircuitState,
    /// Calls in the window; when half-open, probes that have ended; when open, zero.
    pub calls: u64,
    /// Those of `calls` that failed.
    pub failures: u64,
    /// Those of `calls` that were slow, failed or not.
    pub slow_calls: u64,
    /// Permits given out whose outcome decides the half-open state; zero in the others.
    pub probes_in_flight: u32,
    /// Calls rejected since the breaker was made.
    pub rejected: u64,
    /// Times the breaker has opened since it was made.
    pub opened: u64,
}

impl CircuitSnapshot {
    /// Failures per call, 0 to 1; `None` without calls.
    #[must_use]
    pub fn failure_rate(&self) -> Option<f64> {
        (self.calls > 0).then(|| self.failures as f64 / self.calls as f64)
    }

    /// Slow calls per call, 0 to 1; `None` without calls.
    #[must_use]
    pub fn slow_call_rate(&self) -> Option<f64> {
        (self.calls > 0).then(|| self.slow_calls as f64 / self.calls as f64)
    }
}
