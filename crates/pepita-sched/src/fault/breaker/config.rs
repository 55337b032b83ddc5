//! The settings of a breaker and their limits.

use std::sync::Arc;
use std::time::Duration;

use super::window::Tally;
use super::{CallWindow, CircuitBreaker};
use crate::fault::clock::{Clock, SystemClock};

const CALLS_LIMIT: u32 = 65_536;
const SECONDS_LIMIT: u32 = 3_600;
const DEFAULT_MINIMUM_CALLS: u32 = 100;
const PROBES_LIMIT: u32 = 65_536;

/// Checked settings.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) window: CallWindow,
    pub(super) minimum_calls: u64,
    pub(super) failure_rate: f64,
    pub(super) slow: Option<Slow>,
    pub(super) open_for: Duration,
    pub(super) probes: u32,
    pub(super) probe_time: Option<Duration>,
}

/// Which calls are slow, and how many of them open the breaker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slow {
    pub(super) above: Duration,
    pub(super) rate: f64,
}

impl Rules {
    /// Whether either rate has reached its threshold.
    ///
    /// Divides rather than multiplies: 7.0 / 100.0 is the number that `0.07` is read as, while
    /// 0.07 * 100.0 is above 7.0.
    pub(super) fn exceeded_by(&self, tally: Tally) -> bool {
        let rate = |count: u64| count as f64 / tally.calls as f64;
        tally.calls > 0
            && (rate(tally.failures) >= self.failure_rate
                || self.slow.is_some_and(|slow| rate(tally.slow) >= slow.rate))
    }
}

/// Settings of a [`CircuitBreaker`]; [`build`](Self::build) checks them.
///
/// What is left unset has resilience4j's default.
///
/// # Examples
/// ```
/// use pepita_sched::fault::{CallWindow, CircuitBreaker};
/// use std::time::Duration;
///
/// let breaker = CircuitBreaker::builder(CallWindow::Seconds(30))
///     .minimum_calls(20)
///     .failure_rate(0.25)
///     .slow_calls(Duration::from_secs(2), 0.8)
///     .open_for(Duration::from_secs(10))
///     .probes(3)
///     .name("object store")
///     .build()?;
/// assert_eq!(breaker.name(), "object store");
/// # Ok::<(), pepita_sched::fault::CircuitError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct CircuitBreakerBuilder {
    window: CallWindow,
    minimum_calls: Option<u32>,
    failure_rate: f64,
    slow: Option<Slow>,
    open_for: Duration,
    probes: u32,
    probe_time: Option<Duration>,
    name: String,
    clock: Option<Arc<dyn Clock>>,
}

impl CircuitBreakerBuilder {
    pub(super) fn new(window: CallWindow) -> Self {
        Self {
            window,
            minimum_calls: None,
            failure_rate: 0.5,
            slow: None,
            open_for: Duration::from_secs(60),
            probes: 10,
            probe_time: None,
            name: String::new(),
            clock: None,
        }
    }

    /// Sets how many calls the window must hold before the rates mean anything; at least 1, and
    /// at most the size of a window of calls. Unset: 100, or that size if it is smaller.
    pub const fn minimum_calls(mut self, calls: u32) -> Self {
        self.minimum_calls = Some(calls);
        self
    }

    /// Sets the share of failures, above 0 to 1, at which the breaker opens. Unset: 0.5.
    pub const fn failure_rate(mut self, rate: f64) -> Self {
        self.failure_rate = rate;
        self
    }

    /// Also opens when the share of calls that took longer than `above` reaches `rate`, above 0
    /// to 1. Unset: no call is slow.
    pub const fn slow_calls(mut self, above: Duration, rate: f64) -> Self {
        self.slow = Some(Slow { above, rate });
        self
    }

    /// Sets how long the breaker rejects before it probes; above 0. Unset: 60 s.
    pub const fn open_for(mut self, open_for: Duration) -> Self {
        self.open_for = open_for;
        self
    }

    /// Sets how many probes decide the half-open state, 1 to 65,536. Unset: 10.
    pub const fn probes(mut self, probes: u32) -> Self {
        self.probes = probes;
        self
    }

    /// Sets how long the half-open state may take to decide, above 0; then it opens again, and
    /// probes still in flight count for nothing. Unset: no limit.
    pub const fn probe_time(mut self, probe_time: Duration) -> Self {
        self.probe_time = Some(probe_time);
        self
    }

    /// Sets the name under which changes of state are logged. Unset: empty.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the clock. Unset: a [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Checks the settings and makes a closed breaker.
    ///
    /// # Errors
    /// The first setting that is out of its limits.
    pub fn build(self) -> Result<CircuitBreaker, CircuitError> {
        let (size, size_limit) = match self.window {
            CallWindow::Calls(calls) => (calls, CALLS_LIMIT),
            CallWindow::Seconds(seconds) => (seconds, SECONDS_LIMIT),
        };
        in_range("window", size, size_limit)?;
        let calls_limit = match self.window {
            CallWindow::Calls(calls) => calls,
            CallWindow::Seconds(_) => u32::MAX,
        };
        let minimum_calls = self
            .minimum_calls
            .unwrap_or(DEFAULT_MINIMUM_CALLS.min(calls_limit));
        in_range("minimum_calls", minimum_calls, calls_limit)?;
        in_range("probes", self.probes, PROBES_LIMIT)?;
        is_rate("failure_rate", self.failure_rate)?;
        if let Some(slow) = self.slow {
            is_rate("slow_calls rate", slow.rate)?;
        }
        is_some_time("open_for", self.open_for)?;
        if let Some(probe_time) = self.probe_time {
            is_some_time("probe_time", probe_time)?;
        }
        let rules = Rules {
            window: self.window,
            minimum_calls: minimum_calls.into(),
            failure_rate: self.failure_rate,
            slow: self.slow,
            open_for: self.open_for,
            probes: self.probes,
            probe_time: self.probe_time,
        };
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        Ok(CircuitBreaker::from_parts(self.name, rules, clock))
    }
}

fn in_range(setting: &'static str, value: u32, max: u32) -> Result<(), CircuitError> {
    if (1..=max).contains(&value) {
        Ok(())
    } else {
        Err(CircuitError::Count {
            setting,
            value,
            max,
        })
    }
}

fn is_rate(setting: &'static str, value: f64) -> Result<(), CircuitError> {
    if value > 0.0 && value <= 1.0 {
        Ok(())
    } else {
        Err(CircuitError::Rate { setting, value })
    }
}

fn is_some_time(setting: &'static str, value: Duration) -> Result<(), CircuitError> {
    if value.is_zero() {
        Err(CircuitError::ZeroTime { setting })
    } else {
        Ok(())
    }
}

/// Why [`CircuitBreakerBuilder::build`] refused its settings.
///
/// # Examples
/// ```
/// use pepita_sched::fault::{CallWindow, CircuitBreaker};
///
/// // Ten calls never make the minimum of eleven: this breaker could not open.
/// let error = CircuitBreaker::builder(CallWindow::Calls(10)).minimum_calls(11).build().unwrap_err();
/// assert_eq!(error.to_string(), "minimum_calls is 11, must be between 1 and 10");
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CircuitError {
    /// A count is out of its limits.
    #[error("{setting} is {value}, must be between 1 and {max}")]
    Count {
        /// Which one: `window`, `minimum_calls` or `probes`.
        setting: &'static str,
        /// The value given.
        value: u32,
        /// The largest value accepted.
        max: u32,
    },
    /// A rate is not a number, would open the breaker without a cause, or never.
    #[error("{setting} is {value}, must be above 0 and at most 1")]
    Rate {
        /// Which one: `failure_rate` or `slow_calls rate`.
        setting: &'static str,
        /// The value given.
        value: f64,
    },
    /// A state would end when it begins.
    #[error("{setting} is 0, must be above 0")]
    ZeroTime {
        /// Which one: `open_for` or `probe_time`.
        setting: &'static str,
    },
}
