//! Suspects a member the more, the longer its heartbeat is overdue.

mod config;
mod history;
#[cfg(test)]
mod tests;

pub use config::{DetectorError, FailureDetectorBuilder};

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use self::config::Rules;
use self::history::{History, phi};
use super::clock::Clock;
use super::lock;

/// How a [`FailureDetector`] sees a member. Ordered from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HealthStatus {
    /// Heartbeats come as expected: φ is below `suspect_phi`.
    Healthy,
    /// A heartbeat is overdue: φ is at or above `suspect_phi`. Give it no new work.
    Suspected,
    /// The member is taken for dead: φ is at or above `failed_phi`. Give its work to others.
    Failed,
    /// No heartbeat was ever heard, or the member was removed.
    Unknown,
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Suspected => "suspected",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        })
    }
}

/// A φ accrual failure detector for members that send heartbeats.
///
/// A fixed timeout is too short for a busy network and too long for a quiet one. This detector
/// learns each member's intervals and returns φ = -log10(P), where P is the probability that a
/// heartbeat comes later than now although the member is alive. Declaring it dead at φ = 1 is
/// wrong once in 10 times, at φ = 3 once in 1,000, at φ = 8 once in 100 million, as far as
/// intervals are normally distributed.
///
/// # Formula
/// With the mean `m` and the standard deviation `s` of the last intervals, and silence `t`:
///
/// * `y = (t - (m + acceptable_pause)) / max(s, min_std_deviation)`
/// * `P = 1 / (1 + exp(y * (1.5976 + 0.070566 * y²)))`
///
/// P is the logistic approximation that Akka uses in place of the normal distribution's tail; its
/// error is below 0.00015. It is evaluated in logarithms, where Akka's own form turns infinite
/// around φ = 320.
///
/// * A member starts with two intervals made from the expected one: `m ± m / 4`.
/// * The interval that ends a failure is not learned: it measures the outage, not the network.
///
/// # Bounds
/// A heartbeat takes constant time. Memory is at most `max_members` members of `max_samples`
/// intervals of 8 bytes each. An interval above 78 hours is learned as 78 hours.
///
/// # Examples
/// ```
/// use pepita_sched::fault::{FailureDetector, HealthStatus, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let detector = FailureDetector::builder(Duration::from_secs(1)).clock(clock.clone()).build()?;
/// for _ in 0..10 {
///     detector.heartbeat(&"worker-1")?;
///     clock.advance(Duration::from_secs(1));
/// }
/// assert_eq!(detector.status(&"worker-1"), HealthStatus::Healthy);
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(detector.status(&"worker-1"), HealthStatus::Failed);
/// assert_eq!(detector.status(&"worker-2"), HealthStatus::Unknown);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Sources: N. Hayashibara, X. Défago, R. Yared, T. Katayama, "The φ Accrual Failure Detector",
/// SRDS 2004; Akka's `PhiAccrualFailureDetector`; S. Bowling et al., "A logistic approximation to
/// the cumulative normal distribution", JIEM 2009.
#[derive(Debug)]
pub struct FailureDetector<K> {
    rules: Rules,
    clock: Arc<dyn Clock>,
    members: Mutex<HashMap<K, Member>>,
}

#[derive(Debug)]
struct Member {
    last: Duration,
    history: History,
}

impl Member {
    fn phi(&self, rules: &Rules, now: Duration) -> f64 {
        let silence = now.saturating_sub(self.last).as_secs_f64();
        let mean = self.history.mean_secs() + rules.acceptable_pause.as_secs_f64();
        let least = rules.min_std_deviation.as_secs_f64();
        phi(silence, mean, self.history.std_deviation_secs().max(least))
    }
}

impl<K: Eq + Hash + Clone> FailureDetector<K> {
    /// Starts a detector of members that send a heartbeat about every `interval`.
    pub fn builder(interval: Duration) -> FailureDetectorBuilder<K> {
        FailureDetectorBuilder::new(interval)
    }

    fn from_parts(rules: Rules, clock: Arc<dyn Clock>) -> Self {
        Self {
            rules,
            clock,
            members: Mutex::new(HashMap::new()),
        }
    }

    /// Notes that `id` is alive now. The first heartbeat adds the member, with a clone of `id`.
    ///
    /// # Errors
    /// [`TooManyMembers`] if `id` is new and there is no room: heartbeats that come over a network
    /// must not make the process grow without limit.
    pub fn heartbeat(&self, id: &K) -> Result<(), TooManyMembers> {
        let (mut members, now) = self.members_now();
        if let Some(member) = members.get_mut(id) {
            if member.phi(&self.rules, now) < self.rules.failed_phi {
                member.history.record(now.saturating_sub(member.last));
            }
            member.last = now.max(member.last);
            return Ok(());
        }
        if members.len() >= self.rules.max_members {
            return Err(TooManyMembers {
                max: self.rules.max_members,
            });
        }
        let history = History::starting_from(self.rules.interval, self.rules.max_samples);
        members.insert(id.clone(), Member { last: now, history });
        Ok(())
    }

    /// Returns the suspicion level of `id`, 0 or more; `None` if it is unknown.
    ///
    /// Between two heartbeats it never falls.
    ///
    /// # Examples
    /// ```
    /// use pepita_sched::fault::FailureDetector;
    /// use std::time::Duration;
    ///
    /// let detector = FailureDetector::builder(Duration::from_secs(60)).build()?;
    /// assert_eq!(detector.phi(&7), None);
    /// detector.heartbeat(&7)?;
    /// assert!(detector.phi(&7).is_some_and(|phi| phi < 0.1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn phi(&self, id: &K) -> Option<f64> {
        let (members, now) = self.members_now();
        members.get(id).map(|member| member.phi(&self.rules, now))
    }

    /// Returns what `id`'s suspicion level means by the detector's thresholds.
    #[must_use]
    pub fn status(&self, id: &K) -> HealthStatus {
        self.phi(id)
            .map_or(HealthStatus::Unknown, |phi| self.rules.judge(phi))
    }

    /// Returns all members with their status, in no order.
    ///
    /// # Examples
    /// ```
    /// use pepita_sched::fault::{FailureDetector, HealthStatus};
    /// use std::time::Duration;
    ///
    /// let detector = FailureDetector::builder(Duration::from_secs(60)).build()?;
    /// detector.heartbeat(&7)?;
    /// assert_eq!(detector.statuses(), [(7, HealthStatus::Healthy)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn statuses(&self) -> Vec<(K, HealthStatus)> {
        let (members, now) = self.members_now();
        let status = |member: &Member| self.rules.judge(member.phi(&self.rules, now));
        members
            .iter()
            .map(|(id, member)| (id.clone(), status(member)))
            .collect()
    }

    /// Forgets `id` and returns whether it was known. A later heartbeat adds it anew.
    pub fn remove(&self, id: &K) -> bool {
        lock(&self.members).remove(id).is_some()
    }

    /// The clock is read under the lock, so that threads see its readings in order.
    fn members_now(&self) -> (MutexGuard<'_, HashMap<K, Member>>, Duration) {
        let members = lock(&self.members);
        let now = self.clock.now();
        (members, now)
    }
}

/// The detector watches as many members as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{max} members are watched already, the limit set by max_members")]
#[non_exhaustive]
pub struct TooManyMembers {
    /// The limit.
    pub max: usize,
}
