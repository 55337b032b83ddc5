//! The settings of a detector and their limits.

use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::history::SAMPLES_MAX;
use super::{FailureDetector, HealthStatus};
use crate::fault::clock::{Clock, SystemClock};

/// A member's history begins with two samples.
const SAMPLES_MIN: usize = 2;

/// Checked settings.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) interval: Duration,
    pub(super) suspect_phi: f64,
    pub(super) failed_phi: f64,
    pub(super) max_samples: usize,
    pub(super) max_members: usize,
    pub(super) min_std_deviation: Duration,
    pub(super) acceptable_pause: Duration,
}

impl Rules {
    pub(super) fn judge(&self, phi: f64) -> HealthStatus {
        if phi >= self.failed_phi {
            HealthStatus::Failed
        } else if phi >= self.suspect_phi {
            HealthStatus::Suspected
        } else {
            HealthStatus::Healthy
        }
    }
}

/// Settings of a [`FailureDetector`]; [`build`](Self::build) checks them.
///
/// # Examples
/// ```
/// use pepita_sched::fault::{FailureDetector, HealthStatus};
/// use std::time::Duration;
///
/// let detector = FailureDetector::builder(Duration::from_secs(1))
///     .acceptable_pause(Duration::from_secs(3))
///     .failed_phi(12.0)
///     .max_members(100)
///     .build()?;
/// assert_eq!(detector.status(&"worker-1"), HealthStatus::Unknown);
/// # Ok::<(), pepita_sched::fault::DetectorError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct FailureDetectorBuilder<K> {
    interval: Duration,
    suspect_phi: f64,
    failed_phi: f64,
    max_samples: usize,
    max_members: usize,
    min_std_deviation: Duration,
    acceptable_pause: Duration,
    clock: Option<Arc<dyn Clock>>,
    key: PhantomData<fn(K)>,
}

impl<K: Eq + Hash + Clone> FailureDetectorBuilder<K> {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            suspect_phi: 3.0,
            failed_phi: 8.0,
            max_samples: 1000,
            max_members: 65_536,
            min_std_deviation: Duration::from_millis(100),
            acceptable_pause: Duration::ZERO,
            clock: None,
            key: PhantomData,
        }
    }

    /// Sets the φ from which a member is [`HealthStatus::Suspected`]; above 0 and at most
    /// `failed_phi`. Unset: 3, wrong once in 1,000 heartbeats.
    pub const fn suspect_phi(mut self, phi: f64) -> Self {
        self.suspect_phi = phi;
        self
    }

    /// Sets the φ from which a member is [`HealthStatus::Failed`]; finite. Unset: 8, wrong once in
    /// 100 million heartbeats.
    pub const fn failed_phi(mut self, phi: f64) -> Self {
        self.failed_phi = phi;
        self
    }

    /// Sets how many intervals are kept of each member, 2 to 10,000. Unset: 1000.
    pub const fn max_samples(mut self, samples: usize) -> Self {
        self.max_samples = samples;
        self
    }

    /// Sets how many members can be watched, at least 1. Unset: 65,536.
    pub const fn max_members(mut self, members: usize) -> Self {
        self.max_members = members;
        self
    }

    /// Sets the least standard deviation to reckon with, above 0. Unset: 100 ms.
    ///
    /// It keeps a member whose heartbeats have been very regular from failing at the first one
    /// that is a little late.
    pub const fn min_std_deviation(mut self, deviation: Duration) -> Self {
        self.min_std_deviation = deviation;
        self
    }

    /// Sets a pause that is not held against a member: a stop of its machine, a lost heartbeat.
    /// It is added to the mean interval. Unset: none.
    pub const fn acceptable_pause(mut self, pause: Duration) -> Self {
        self.acceptable_pause = pause;
        self
    }

    /// Sets the clock. Unset: a [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Checks the settings and makes a detector without members.
    ///
    /// # Errors
    /// The first setting that is out of its limits.
    pub fn build(self) -> Result<FailureDetector<K>, DetectorError> {
        for (setting, value) in [
            ("interval", self.interval),
            ("min_std_deviation", self.min_std_deviation),
        ] {
            if value.is_zero() {
                return Err(DetectorError::ZeroTime { setting });
            }
        }
        let (suspect_phi, failed_phi) = (self.suspect_phi, self.failed_phi);
        if !(suspect_phi > 0.0 && suspect_phi <= failed_phi && failed_phi.is_finite()) {
            return Err(DetectorError::Phi {
                suspect_phi,
                failed_phi,
            });
        }
        in_range("max_samples", self.max_samples, SAMPLES_MIN, SAMPLES_MAX)?;
        in_range("max_members", self.max_members, 1, usize::MAX)?;
        let rules = Rules {
            interval: self.interval,
            suspect_phi,
            failed_phi,
            max_samples: self.max_samples,
            max_members: self.max_members,
            min_std_deviation: self.min_std_deviation,
            acceptable_pause: self.acceptable_pause,
        };
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        Ok(FailureDetector::from_parts(rules, clock))
    }
}

fn in_range(
    setting: &'static str,
    value: usize,
    min: usize,
    max: usize,
) -> Result<(), DetectorError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(DetectorError::Count {
            setting,
            value,
            min,
            max,
        })
    }
}

/// Why [`FailureDetectorBuilder::build`] refused its settings.
///
/// # Examples
/// ```
/// use pepita_sched::fault::FailureDetector;
/// use std::time::Duration;
///
/// let error = FailureDetector::<u32>::builder(Duration::ZERO).build().unwrap_err();
/// assert_eq!(error.to_string(), "interval is 0, must be above 0");
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DetectorError {
    /// The thresholds are not numbers, not positive, or in the wrong order.
    #[error("suspect_phi {suspect_phi} and failed_phi {failed_phi} are not 0 < suspect <= failed")]
    Phi {
        /// The value given for `suspect_phi`.
        suspect_phi: f64,
        /// The value given for `failed_phi`.
        failed_phi: f64,
    },
    /// A count is out of its limits.
    #[error("{setting} is {value}, must be between {min} and {max}")]
    Count {
        /// Which one: `max_samples` or `max_members`.
        setting: &'static str,
        /// The value given.
        value: usize,
        /// The smallest value accepted.
        min: usize,
        /// The largest value accepted.
        max: usize,
    },
    /// A time that must be above zero is not.
    #[error("{setting} is 0, must be above 0")]
    ZeroTime {
        /// Which one: `interval` or `min_std_deviation`.
        setting: &'static str,
    },
}
