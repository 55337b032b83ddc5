//! One allowance of retries for many tasks, so that retries cannot multiply an outage.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::clock::{Clock, SystemClock};
use super::lock;

/// The window moves in steps of a tenth of itself.
const SLOTS: usize = 10;
/// The price of one retry. Deposits are fractions of it, kept to the millionth.
const RETRY_COST: i64 = 1_000_000;
const NANOS_PER_SEC: u128 = 1_000_000_000;

const RATIO_LIMIT: f64 = 1000.0;
const RESERVE_LIMIT_PER_SEC: u32 = 10_000;
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A token bucket that bounds retries to a share of the work that caused them.
///
/// Backoff limits what one task does; a budget limits what all do together. Each first attempt
/// deposits `ratio` of a retry, each retry withdraws one, and both are forgotten after the `ttl`.
/// A reserve of `min_retries_per_sec * ttl` retries lets a caller with little traffic retry too.
///
/// # Guarantee
/// When a withdrawal succeeds, the retries withdrawn within the window, this one included, are at
/// most `reserve + ratio * deposits` within that window, whatever the threads that share it do.
///
/// Clones share one balance. Each operation takes a lock for a few dozen instructions.
///
/// # Examples
/// ```
/// use pepita_sched::fault::{Failure, RetryBudget, RetryPolicy, random_seed};
/// use std::time::Duration;
///
/// let budget = RetryBudget::builder(0.5).min_retries_per_sec(0).build()?;
/// let policy = RetryPolicy::builder(10, Duration::ZERO).build()?;
/// let mut retries = 0;
/// for _task in 0..100 {
///     let mut backoff = policy.backoff(random_seed());
///     budget.deposit();
///     // Every attempt of every task fails: 900 retries without the budget, 50 with it.
///     while backoff.next_delay(&Failure::Exit(1), Duration::ZERO).is_some()
///         && budget.try_withdraw()
///     {
///         retries += 1;
///     }
/// }
/// assert_eq!(retries, 50);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Source: Finagle, `com.twitter.finagle.service.RetryBudget`.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    deposit: i64,
    reserve: i64,
    slot_ns: u128,
    clock: Arc<dyn Clock>,
    ledger: Mutex<Ledger>,
}

/// Deposits minus withdrawals of each step of the window.
///
/// # Invariants
/// * `newest` is the number, since the clock's origin, of the step that `slots[head]` holds.
/// * the steps before it stand before `head`, cyclically; steps without a deposit hold zero.
#[derive(Debug)]
struct Ledger {
    slots: [i64; SLOTS],
    head: usize,
    newest: u128,
}

impl RetryBudget {
    /// Starts a budget in which each first attempt pays for `ratio` retries, 0 to 1000.
    pub fn builder(ratio: f64) -> RetryBudgetBuilder {
        RetryBudgetBuilder {
            ratio,
            ttl: Duration::from_secs(10),
            min_retries_per_sec: 10,
            clock: None,
        }
    }

    /// Pays in for one first attempt. Retries pay nothing in.
    pub fn deposit(&self) {
        self.with(|ledger| ledger.add(self.shared.deposit));
    }

    /// Takes out one retry, and returns whether there was one to take.
    ///
    /// # Examples
    /// ```
    /// use pepita_sched::fault::{ManualClock, RetryBudget};
    /// use std::time::Duration;
    ///
    /// // No deposits: the reserve of 2 retries a second, for 10 s.
    /// let clock = ManualClock::new();
    /// let budget = RetryBudget::builder(0.2).min_retries_per_sec(2).clock(clock.clone()).build()?;
    /// assert_eq!(budget.available(), 20);
    /// while budget.try_withdraw() {}
    /// assert_eq!(budget.available(), 0);
    /// clock.advance(Duration::from_secs(10));
    /// assert_eq!(budget.available(), 20);
    /// # Ok::<(), pepita_sched::fault::RetryBudgetError>(())
    /// ```
    #[must_use = "a retry may be made only if this returns true"]
    pub fn try_withdraw(&self) -> bool {
        self.with(|ledger| {
            let affordable = ledger.balance(self.shared.reserve) >= RETRY_COST;
            if affordable {
                ledger.add(-RETRY_COST);
            }
            affordable
        })
    }

    /// Retries that could be withdrawn now.
    #[must_use]
    pub fn available(&self) -> u64 {
        let balance = self.with(|ledger| ledger.balance(self.shared.reserve));
        // A balance is negative while withdrawals outlive the deposits that paid for them.
        u64::try_from(balance / RETRY_COST).unwrap_or(0)
    }

    /// Runs `act` on a ledger brought up to date. The clock is read under the lock, so that
    /// threads see its readings in order.
    fn with<T>(&self, act: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut ledger = lock(&self.shared.ledger);
        ledger.advance_to(self.shared.clock.now().as_nanos() / self.shared.slot_ns);
        act(&mut ledger)
    }
}

impl Ledger {
    /// Forgets the steps that have left the window.
    fn advance_to(&mut self, step: u128) {
        let passed = step.saturating_sub(self.newest);
        let expired = usize::try_from(passed).map_or(SLOTS, |steps| steps.min(SLOTS));
        for _ in 0..expired {
            self.head = (self.head + 1) % SLOTS;
            self.slots[self.head] = 0;
        }
        self.newest = self.newest.max(step);
    }

    fn add(&mut self, amount: i64) {
        let slot = &mut self.slots[self.head];
        *slot = slot.saturating_add(amount);
    }

    fn balance(&self, reserve: i64) -> i64 {
        self.slots
            .iter()
            .fold(reserve, |sum, slot| sum.saturating_add(*slot))
    }
}

/// Settings of a [`RetryBudget`]; [`build`](Self::build) checks them.
///
/// # Examples
/// ```
/// use pepita_sched::fault::RetryBudget;
/// use std::time::Duration;
///
/// let budget = RetryBudget::builder(0.1)
///     .ttl(Duration::from_secs(60))
///     .min_retries_per_sec(1)
///     .build()?;
/// assert_eq!(budget.available(), 60);
/// # Ok::<(), pepita_sched::fault::RetryBudgetError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct RetryBudgetBuilder {
    ratio: f64,
    ttl: Duration,
    min_retries_per_sec: u32,
    clock: Option<Arc<dyn Clock>>,
}

impl RetryBudgetBuilder {
    /// Sets how long deposits and withdrawals count, 1 s to 1 day. Unset: 10 s.
    ///
    /// The window moves in tenths: what is paid in counts for between 0.9 `ttl` and `ttl`.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets the retries a second that need no deposit, 0 to 10,000. Unset: 10.
    pub const fn min_retries_per_sec(mut self, retries: u32) -> Self {
        self.min_retries_per_sec = retries;
        self
    }

    /// Sets the clock. Unset: a [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Checks the settings and makes a budget with the whole reserve available.
    ///
    /// # Errors
    /// The first setting that is out of its limits.
    pub fn build(self) -> Result<RetryBudget, RetryBudgetError> {
        if !(0.0..=RATIO_LIMIT).contains(&self.ratio) {
            return Err(RetryBudgetError::Ratio {
                ratio: self.ratio,
                max: RATIO_LIMIT,
            });
        }
        if !(TTL_MIN..=TTL_MAX).contains(&self.ttl) {
            return Err(RetryBudgetError::Ttl {
                ttl: self.ttl,
                min: TTL_MIN,
                max: TTL_MAX,
            });
        }
        if self.min_retries_per_sec > RESERVE_LIMIT_PER_SEC {
            return Err(RetryBudgetError::Reserve {
                retries: self.min_retries_per_sec,
                max: RESERVE_LIMIT_PER_SEC,
            });
        }
        let ttl_ns = self.ttl.as_nanos();
        let reserve =
            u128::from(self.min_retries_per_sec) * ttl_ns * u128::from(RETRY_COST.unsigned_abs())
                / NANOS_PER_SEC;
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let slot_ns = ttl_ns / SLOTS as u128;
        Ok(RetryBudget {
            shared: Arc::new(Shared {
                deposit: deposit_for(self.ratio),
                reserve: i64::try_from(reserve).unwrap_or(i64::MAX),
                slot_ns,
                ledger: Mutex::new(Ledger {
                    slots: [0; SLOTS],
                    head: 0,
                    newest: clock.now().as_nanos() / slot_ns,
                }),
                clock,
            }),
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a checked ratio gives at most 1e9"
)]
fn deposit_for(ratio: f64) -> i64 {
    (ratio * RETRY_COST as f64).round() as i64
}

/// Why [`RetryBudgetBuilder::build`] refused its settings.
///
/// # Examples
/// ```
/// use pepita_sched::fault::RetryBudget;
///
/// let error = RetryBudget::builder(-1.0).build().unwrap_err();
/// assert_eq!(error.to_string(), "ratio -1 is not between 0 and 1000");
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RetryBudgetError {
    /// The ratio is not a number, negative, or absurd.
    #[error("ratio {ratio} is not between 0 and {max}")]
    Ratio {
        /// The value given.
        ratio: f64,
        /// The largest value accepted.
        max: f64,
    },
    /// The window is too short to have tenths that mean something, or absurdly long.
    #[error("ttl {ttl:?} is not between {min:?} and {max:?}")]
    Ttl {
        /// The value given.
        ttl: Duration,
        /// The smallest value accepted.
        min: Duration,
        /// The largest value accepted.
        max: Duration,
    },
    /// The reserve is so large that the budget would bound nothing.
    #[error("min_retries_per_sec {retries} is above {max}")]
    Reserve {
        /// The value given.
        retries: u32,
        /// The largest value accepted.
        max: u32,
    },
}
