//! The part of a retry that changes: attempts made, the previous delay, the random source.

use std::time::Duration;

use super::{DECORRELATED_FACTOR, Jitter, RetryPolicy};
use crate::fault::failure::Failure;
use crate::fault::rng::SplitMix64;

/// The retries of one task under one [`RetryPolicy`], made by [`RetryPolicy::backoff`].
///
/// It decides and does not wait: the caller sleeps, or puts the task on a timer.
///
/// # Examples
/// ```
/// use pepita_sched::fault::{Failure, Jitter, RetryPolicy};
/// use std::time::Duration;
///
/// let policy = RetryPolicy::builder(3, Duration::from_secs(1)).jitter(Jitter::None).build()?;
/// let mut backoff = policy.backoff(42);
/// let elapsed = Duration::ZERO; // time since the first attempt began
/// assert_eq!(backoff.next_delay(&Failure::Exit(1), elapsed), Some(Duration::from_secs(1)));
/// assert_eq!(backoff.next_delay(&Failure::Exit(1), elapsed), Some(Duration::from_secs(2)));
/// assert_eq!(backoff.next_delay(&Failure::Exit(1), elapsed), None); // three attempts made
/// # Ok::<(), pepita_sched::fault::RetryPolicyError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Backoff {
    policy: RetryPolicy,
    attempts: u32,
    /// The last random delay, before any hint: what decorrelated jitter grows from.
    previous: Duration,
    rng: SplitMix64,
}

impl Backoff {
    pub(super) fn new(policy: RetryPolicy, seed: u64) -> Self {
        Self {
            attempts: 0,
            previous: policy.base_delay,
            rng: SplitMix64::new(seed),
            policy,
        }
    }

    /// Counts an attempt that ended in `failure` and returns how long to wait before the next
    /// one, or `None` when there is to be none.
    ///
    /// `elapsed` is the time since the first attempt began. `None` is final: a task that is
    /// started over gets a new backoff.
    ///
    /// # Panics
    /// Only if the closure given to [`RetryOn::filter`](super::super::RetryOn::filter) does.
    #[must_use]
    pub fn next_delay(&mut self, failure: &Failure, elapsed: Duration) -> Option<Duration> {
        self.next_delay_after(failure, elapsed, Duration::ZERO)
    }

    /// As [`next_delay`](Self::next_delay), but waits at least `hint`, as far as the cap allows.
    ///
    /// The hint is what the failed side asked for: HTTP's `Retry-After`, or
    /// [`Rejected::retry_after`](super::super::Rejected). It raises this delay alone, not those
    /// that follow.
    ///
    /// # Panics
    /// Only if the closure given to [`RetryOn::filter`](super::super::RetryOn::filter) does.
    ///
    /// # Examples
    /// ```
    /// use pepita_sched::fault::{Failure, RetryPolicy};
    /// use std::time::Duration;
    ///
    /// let policy = RetryPolicy::builder(9, Duration::from_millis(10)).build()?;
    /// let mut backoff = policy.backoff(42);
    /// let hint = Duration::from_secs(5);
    /// let delay = backoff.next_delay_after(&Failure::Other, Duration::ZERO, hint);
    /// assert_eq!(delay, Some(hint));
    /// # Ok::<(), pepita_sched::fault::RetryPolicyError>(())
    /// ```
    #[must_use]
    pub fn next_delay_after(
        &mut self,
        failure: &Failure,
        elapsed: Duration,
        hint: Duration,
    ) -> Option<Duration> {
        self.attempts = self.attempts.saturating_add(1);
        if !self.policy.should_retry(self.attempts, failure) {
            return None;
        }
        self.previous = self.draw().min(self.policy.max_delay);
        let delay = self.previous.max(hint).min(self.policy.max_delay);
        let in_time = self
            .policy
            .total_time
            .is_none_or(|total| elapsed.saturating_add(delay) < total);
        in_time.then_some(delay)
    }

    /// Attempts that have failed so far.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The jitter formulas. Only the decorrelated one can exceed the cap.
    fn draw(&mut self) -> Duration {
        let delay = self.policy.delay_for_attempt(self.attempts);
        match self.policy.jitter {
            Jitter::None => delay,
            Jitter::Full => self.rng.duration_between(Duration::ZERO, delay),
            Jitter::Equal => self.rng.duration_between(delay / 2, delay),
            Jitter::Decorrelated => self.rng.duration_between(
                self.policy.base_delay,
                self.previous.saturating_mul(DECORRELATED_FACTOR),
            ),
        }
    }
}
