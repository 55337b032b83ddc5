//! Monotonic time that a test can hold still.
//!
//! The parts of [`fault`](super) keep their clock as `Arc<dyn Clock>`, not as a type parameter:
//! the virtual call is a small part of what reading the time costs, and a parameter would spread
//! to every type that holds a breaker or a budget.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A source of monotonic time.
///
/// Readings are durations since an origin of the clock's choosing: two readings of one clock can
/// be compared, readings of two clocks cannot.
///
/// # Contract
/// A reading is never below an earlier one. The parts of this module survive a clock that breaks
/// this (they take the difference as zero), but their answers then mean nothing.
///
/// # Examples
/// ```
/// use pepita_sched::fault::{Clock, ManualClock};
/// use std::time::Duration;
///
/// fn is_due(clock: &dyn Clock, at: Duration) -> bool {
///     clock.now() >= at
/// }
///
/// let clock = ManualClock::new();
/// assert!(!is_due(&clock, Duration::from_secs(3600)));
/// clock.advance(Duration::from_secs(3600));
/// assert!(is_due(&clock, Duration::from_secs(3600)));
/// ```
pub trait Clock: fmt::Debug + Send + Sync {
    /// Returns the time since this clock's origin.
    fn now(&self) -> Duration;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Duration {
        (**self).now()
    }
}

/// The machine's monotonic clock, [`Instant`]. Its origin is the moment it was made.
///
/// As `CLOCK_MONOTONIC` does, it stands still while the machine is suspended. Copies share the
/// origin.
///
/// # Examples
/// ```
/// use pepita_sched::fault::{Clock, SystemClock};
///
/// let clock = SystemClock::new();
/// let first = clock.now();
/// assert!(clock.now() >= first);
/// ```
///
/// Source: clock_gettime(2), `CLOCK_MONOTONIC`.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// Makes a clock that reads zero now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// A clock that moves only when told to, for tests. Clones show the same time.
///
/// # Examples
/// ```
/// use pepita_sched::fault::{CallWindow, CircuitBreaker, CircuitState, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let breaker = CircuitBreaker::builder(CallWindow::Calls(1))
///     .open_for(Duration::from_secs(60))
///     .clock(clock.clone())
///     .build()?;
/// breaker.record_failure();
/// assert_eq!(breaker.state(), CircuitState::Open);
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(breaker.state(), CircuitState::HalfOpen);
/// # Ok::<(), pepita_sched::fault::CircuitError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    now_ns: Arc<AtomicU64>,
}

impl ManualClock {
    /// Makes a clock that reads zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock, and all its clones, forward by `by`.
    ///
    /// The clock counts nanoseconds in 64 bits and stops at its end, 584 years after zero.
    ///
    /// # Examples
    /// ```
    /// use pepita_sched::fault::{Clock, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// clock.advance(Duration::from_millis(250));
    /// assert_eq!(clock.now(), Duration::from_millis(250));
    /// ```
    pub fn advance(&self, by: Duration) {
        let by_ns = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        // AcqRel: what the advancing thread did before is visible to whoever reads the new time.
        self.now_ns
            .update(Ordering::AcqRel, Ordering::Acquire, |now_ns| {
                now_ns.saturating_add(by_ns)
            });
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.now_ns.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_still_until_advanced() {
        let clock = ManualClock::new();
        assert_eq!(clock.now(), Duration::ZERO);
        assert_eq!(clock.now(), Duration::ZERO);
        clock.advance(Duration::from_nanos(7));
        assert_eq!(clock.now(), Duration::from_nanos(7));
    }

    #[test]
    fn clones_of_a_manual_clock_show_the_same_time() {
        let clock = ManualClock::new();
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        clock.advance(Duration::from_secs(5));
        assert_eq!(shared.now(), Duration::from_secs(5));
    }

    #[test]
    fn a_manual_clock_stops_at_its_end_instead_of_wrapping() {
        let clock = ManualClock::new();
        clock.advance(Duration::MAX);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn the_system_clock_never_goes_back() {
        let clock = SystemClock::new();
        let readings: Vec<_> = (0..1000).map(|_| clock.now()).collect();
        assert!(readings.is_sorted());
    }
}
