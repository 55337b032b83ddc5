//! The settings of a policy and their limits.

use std::time::Duration;

use super::{DECORRELATED_FACTOR, Jitter, RetryPolicy};
use crate::fault::failure::RetryOn;

/// The cap on delays when none is set, unless the base delay is longer.
const DEFAULT_MAX_DELAY: Duration = Duration::from_secs(30);
const DEFAULT_FACTOR: f64 = 2.0;
pub(super) const FACTOR_LIMIT: f64 = 1000.0;

/// Settings of a [`RetryPolicy`]; [`build`](Self::build) checks them.
///
/// # Examples
/// ```
/// use pepita_sched::fault::{Jitter, RetryPolicy};
/// use std::time::Duration;
///
/// let every_second = RetryPolicy::builder(10, Duration::from_secs(1))
///     .constant()
///     .jitter(Jitter::None)
///     .build()?;
/// assert_eq!(every_second.delay_for_attempt(9), Duration::from_secs(1));
/// # Ok::<(), pepita_sched::fault::RetryPolicyError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct RetryPolicyBuilder {
    max_attempts: u32,
    base_delay: Duration,
    max_delay: Option<Duration>,
    factor: Option<f64>,
    jitter: Jitter,
    total_time: Option<Duration>,
    retry_on: RetryOn,
}

impl RetryPolicyBuilder {
    pub(super) fn new(max_attempts: u32, base_delay: Duration) -> Self {
        Self {
            max_attempts,
            base_delay,
            max_delay: None,
            factor: None,
            jitter: Jitter::default(),
            total_time: None,
            retry_on: RetryOn::default(),
        }
    }

    /// Sets the cap that no delay exceeds. Unset: 30 s, or the base delay if that is longer.
    pub const fn max_delay(mut self, max_delay: Duration) -> Self {
        self.max_delay = Some(max_delay);
        self
    }

    /// Sets by how much the delay grows from one retry to the next, 1 to 1000. Unset: 2.
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = Some(factor);
        self
    }

    /// Makes all delays the base delay; the same as a factor of 1.
    pub const fn constant(self) -> Self {
        self.factor(1.0)
    }

    /// Sets how random the delays are. Unset: [`Jitter::Full`].
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// Sets the time from the begin of the first attempt within which the last one must begin.
    /// Unset: no limit.
    pub const fn total_time(mut self, total_time: Duration) -> Self {
        self.total_time = Some(total_time);
        self
    }

    /// Sets which failures run again. Unset: [`RetryOn::default`].
    pub fn retry_on(mut self, retry_on: RetryOn) -> Self {
        self.retry_on = retry_on;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// The first setting that is out of its limits, or that another one makes meaningless.
    pub fn build(self) -> Result<RetryPolicy, RetryPolicyError> {
        if self.max_attempts == 0 {
            return Err(RetryPolicyError::MaxAttempts { max_attempts: 0 });
        }
        let factor = match (self.factor, self.jitter) {
            (Some(factor), Jitter::Decorrelated) => {
                return Err(RetryPolicyError::FactorUnused { factor });
            }
            (None, Jitter::Decorrelated) => f64::from(DECORRELATED_FACTOR),
            (factor, _) => factor.unwrap_or(DEFAULT_FACTOR),
        };
        if !(1.0..=FACTOR_LIMIT).contains(&factor) {
            return Err(RetryPolicyError::Factor {
                factor,
                max: FACTOR_LIMIT,
            });
        }
        let max_delay = self
            .max_delay
            .unwrap_or_else(|| DEFAULT_MAX_DELAY.max(self.base_delay));
        if max_delay < self.base_delay {
            return Err(RetryPolicyError::MaxDelay {
                max_delay,
                base_delay: self.base_delay,
            });
        }
        if self.total_time == Some(Duration::ZERO) {
            return Err(RetryPolicyError::TotalTime);
        }
        Ok(RetryPolicy {
            max_attempts: self.max_attempts,
            base_delay: self.base_delay,
            max_delay,
            factor,
            jitter: self.jitter,
            total_time: self.total_time,
            retry_on: self.retry_on,
        })
    }
}

/// Why [`RetryPolicyBuilder::build`] refused its settings.
///
/// # Examples
/// ```
/// use pepita_sched::fault::RetryPolicy;
/// use std::time::Duration;
///
/// let builder = RetryPolicy::builder(3, Duration::from_secs(90)).max_delay(Duration::from_secs(60));
/// let error = builder.build().unwrap_err();
/// assert_eq!(error.to_string(), "max_delay 60s is below base_delay 90s");
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RetryPolicyError {
    /// No attempt at all, not even the first run.
    #[error("max_attempts is {max_attempts}, must be at least 1")]
    MaxAttempts {
        /// The value given.
        max_attempts: u32,
    },
    /// The factor is not a number, would shrink the delay, or is absurd.
    #[error("factor {factor} is not between 1 and {max}")]
    Factor {
        /// The value given.
        factor: f64,
        /// The largest value accepted.
        max: f64,
    },
    /// A factor was set that the jitter formula does not use.
    #[error("factor {factor} has no effect with decorrelated jitter, whose formula has its own")]
    FactorUnused {
        /// The value given.
        factor: f64,
    },
    /// The cap would cut the first delay already.
    #[error("max_delay {max_delay:?} is below base_delay {base_delay:?}")]
    MaxDelay {
        /// The value given.
        max_delay: Duration,
        /// The smallest value accepted.
        base_delay: Duration,
    },
    /// No retry could ever begin in time.
    #[error("total_time is 0, must be above 0 (leave it out for no limit)")]
    TotalTime,
}
