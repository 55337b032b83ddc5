//! How often a task runs again, and after which delay.

mod backoff;
mod config;
#[cfg(test)]
mod tests;

pub use backoff::Backoff;
pub use config::{RetryPolicyBuilder, RetryPolicyError};

use std::time::Duration;

use super::failure::{Failure, RetryOn};

/// The decorrelated formula's own factor.
const DECORRELATED_FACTOR: u32 = 3;

/// How random a delay is. `d` is the delay that the policy computes, `base` its base delay.
///
/// Without jitter, tasks that failed together retry together. Brooker's simulation has the least
/// work done and the least time spent with [`Jitter::Full`] and [`Jitter::Decorrelated`].
///
/// # Examples
/// ```
/// use pepita_sched::fault::{Failure, Jitter, RetryPolicy};
/// use std::time::Duration;
///
/// let base = Duration::from_secs(1);
/// let policy = RetryPolicy::builder(9, base).jitter(Jitter::Equal).build()?;
/// let delay = policy.backoff(42).next_delay(&Failure::Timeout, Duration::ZERO);
/// assert!(delay.is_some_and(|d| base / 2 <= d && d <= base));
/// # Ok::<(), pepita_sched::fault::RetryPolicyError>(())
/// ```
///
/// Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Jitter {
    /// Exactly `d`.
    None,
    /// Uniform in `[0, d]`.
    #[default]
    Full,
    /// Uniform in `[d / 2, d]`.
    Equal,
    /// Uniform in `[base, 3 * previous]`, where `previous` starts as `base`; then capped.
    ///
    /// Grows by itself, so [`RetryPolicyBuilder::factor`] cannot be set with it.
    Decorrelated,
}

/// Whether and when a failed task runs again.
///
/// # Delays
/// Before jitter, the delay after `n` failed attempts is `min(max_delay, base * factor^(n-1))`.
/// [`Jitter`] then makes it random, a server's hint may raise it, and `max_delay` caps the result.
///
/// # Limits
/// A task is not run again after `max_attempts` attempts (the first run counts), nor when the
/// next one would begin `total_time` or later after the first began.
///
/// # Default
/// [`RetryPolicy::no_retry`]. Running a task twice is wrong unless it is idempotent, which only
/// its author knows.
///
/// Cloning copies a few words and counts up at most three references. The policy is immutable;
/// what changes from attempt to attempt is in the [`Backoff`] of each task.
///
/// # Examples
/// ```
/// use pepita_sched::fault::{Codes, Jitter, RetryOn, RetryPolicy};
/// use std::time::Duration;
///
/// let policy = RetryPolicy::builder(5, Duration::from_millis(200))
///     .max_delay(Duration::from_secs(10))
///     .jitter(Jitter::Equal)
///     .total_time(Duration::from_secs(60))
///     .retry_on(RetryOn::nothing().exits(Codes::only([75])))
///     .build()?;
/// assert_eq!(policy.delay_for_attempt(3), Duration::from_millis(800));
///
/// let error = RetryPolicy::builder(0, Duration::ZERO).build().unwrap_err();
/// assert_eq!(error.to_string(), "max_attempts is 0, must be at least 1");
/// # Ok::<(), pepita_sched::fault::RetryPolicyError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    max_attempts: u32,
    base_delay: Duration,
    max_delay: Duration,
    factor: f64,
    jitter: Jitter,
    total_time: Option<Duration>,
    retry_on: RetryOn,
}

impl RetryPolicy {
    /// Starts a policy of up to `max_attempts` attempts, the first run included, whose first
    /// delay is `base_delay` before jitter.
    pub fn builder(max_attempts: u32, base_delay: Duration) -> RetryPolicyBuilder {
        RetryPolicyBuilder::new(max_attempts, base_delay)
    }

    /// The policy that never runs a task again.
    ///
    /// # Examples
    /// ```
    /// use pepita_sched::fault::{Failure, RetryPolicy};
    ///
    /// assert!(!RetryPolicy::no_retry().should_retry(1, &Failure::Exit(1)));
    /// ```
    #[must_use]
    pub const fn no_retry() -> Self {
        Self {
            max_attempts: 1,
            base_delay: Duration::ZERO,
            max_delay: Duration::ZERO,
            factor: 1.0,
            jitter: Jitter::None,
            total_time: None,
            retry_on: RetryOn::nothing(),
        }
    }

    /// Returns the delay after `attempt` attempts have failed, capped, before jitter.
    ///
    /// Zero for attempt 0, for the first run waits for nothing; `base_delay` for attempt 1. Never
    /// decreases with `attempt` and never overflows; exact up to the rounding of an `f64`. Under
    /// [`Jitter::Decorrelated`] the factor is 3, and the random delay is at most three times this.
    ///
    /// # Examples
    /// ```
    /// use pepita_sched::fault::RetryPolicy;
    /// use std::time::Duration;
    ///
    /// let policy = RetryPolicy::builder(9, Duration::from_secs(1)).build()?;
    /// let secs: Vec<_> = (0..8).map(|n| policy.delay_for_attempt(n).as_secs()).collect();
    /// assert_eq!(secs, [0, 1, 2, 4, 8, 16, 30, 30]);
    /// # Ok::<(), pepita_sched::fault::RetryPolicyError>(())
    /// ```
    #[must_use]
    pub fn delay_for_attempt(&self, attempt: u32) -> Duration {
        let Some(exponent) = attempt.checked_sub(1) else {
            return Duration::ZERO;
        };
        if exponent == 0 || self.base_delay.is_zero() {
            return self.base_delay; // the power may be infinite, and zero times that is NaN
        }
        let secs = self.base_delay.as_secs_f64() * self.factor.powf(f64::from(exponent));
        // An error means more than a `Duration` holds. The clamp's lower end undoes the rounding
        // of a base with more digits than an `f64` has.
        Duration::try_from_secs_f64(secs).map_or(self.max_delay, |delay| {
            delay.clamp(self.base_delay, self.max_delay)
        })
    }

    /// Whether a task runs again after `attempts_made` attempts, the last of which ended in
    /// `failure`. Considers neither time nor any [`RetryBudget`](super::RetryBudget).
    ///
    /// # Panics
    /// Only if the closure given to [`RetryOn::filter`] does.
    ///
    /// # Examples
    /// ```
    /// use pepita_sched::fault::{Failure, RetryPolicy};
    /// use std::time::Duration;
    ///
    /// let policy = RetryPolicy::builder(3, Duration::ZERO).build()?;
    /// assert!(policy.should_retry(2, &Failure::Timeout));
    /// assert!(!policy.should_retry(3, &Failure::Timeout));
    /// # Ok::<(), pepita_sched::fault::RetryPolicyError>(())
    /// ```
    #[must_use]
    pub fn should_retry(&self, attempts_made: u32, failure: &Failure) -> bool {
        attempts_made < self.max_attempts && self.retry_on.matches(failure)
    }

    /// Starts the backoff of one task. Equal seeds give equal delays.
    ///
    /// Outside tests the seed is [`random_seed()`](super::random_seed): tasks that share a seed
    /// retry together, which is what jitter is there to prevent.
    ///
    /// # Examples
    /// ```
    /// use pepita_sched::fault::{Failure, RetryPolicy};
    /// use std::time::Duration;
    ///
    /// let policy = RetryPolicy::builder(9, Duration::from_secs(1)).build()?;
    /// let first = |seed| policy.backoff(seed).next_delay(&Failure::Timeout, Duration::ZERO);
    /// assert_eq!(first(7), first(7));
    /// assert_ne!(first(7), first(8));
    /// # Ok::<(), pepita_sched::fault::RetryPolicyError>(())
    /// ```
    #[must_use]
    pub fn backoff(&self, seed: u64) -> Backoff {
        Backoff::new(self.clone(), seed)
    }

    /// Attempts a task may make, the first run included; at least 1.
    #[must_use]
    pub const fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// The first delay, before jitter.
    #[must_use]
    pub const fn base_delay(&self) -> Duration {
        self.base_delay
    }

    /// The longest delay there can be.
    #[must_use]
    pub const fn max_delay(&self) -> Duration {
        self.max_delay
    }

    /// How random the delays are.
    #[must_use]
    pub const fn jitter(&self) -> Jitter {
        self.jitter
    }

    /// Time from the begin of the first attempt within which the last one must begin.
    #[must_use]
    pub const fn total_time(&self) -> Option<Duration> {
        self.total_time
    }

    /// Which failures run again.
    #[must_use]
    pub const fn retry_on(&self) -> &RetryOn {
        &self.retry_on
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::no_retry()
    }
}
