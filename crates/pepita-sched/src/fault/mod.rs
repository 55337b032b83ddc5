//! What to do when a task fails: wait and retry, stop calling, or declare a machine dead.
//!
//! ```
//! use pepita_sched::fault::{Failure, RetryPolicy, random_seed};
//! use std::time::Duration;
//!
//! let policy = RetryPolicy::builder(4, Duration::from_millis(100)).build()?;
//! let mut backoff = policy.backoff(random_seed());
//!
//! // The first attempt ended with exit code 1 after 2 s: how long until the next one?
//! let delay = backoff.next_delay(&Failure::Exit(1), Duration::from_secs(2));
//! assert!(delay.is_some_and(|d| d <= Duration::from_millis(100)));
//! # Ok::<(), pepita_sched::fault::RetryPolicyError>(())
//! ```
//!
//! # Model
//! Four independent parts; each decides, none waits, sleeps or starts a thread.
//!
//! | part | question | scope |
//! |---|---|---|
//! | [`RetryPolicy`], [`Backoff`] | does this task run again, and when? | one task |
//! | [`RetryBudget`] | can everything that shares it afford one more retry? | many tasks |
//! | [`CircuitBreaker`] | is what the tasks depend on worth calling now? | one dependency |
//! | [`FailureDetector`] | is that member still alive? | members that send heartbeats |
//!
//! A caller that uses the first three together asks in the order of the table and the breaker
//! last, because its permit must be held while the attempt runs.
//!
//! # Guarantees
//! * No delay exceeds the policy's cap: jitter and server hints are applied first, the cap last.
//! * Every operation takes constant time (amortised over the clock's ticks) and bounded memory.
//! * No combination of accepted settings, attempt numbers and durations overflows or panics.
//! * All time comes from a [`Clock`] and all randomness from a seed, so a test can replay both.
//!
//! # Not here
//! Time limits and the waiting itself belong to the pool; rate limits and bulkheads are its
//! queue and its number of workers.
//!
//! # Sources
//! * M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: [`Jitter`].
//! * Finagle's `RetryBudget`: [`RetryBudget`].
//! * resilience4j, module `circuitbreaker`: [`CircuitBreaker`].
//! * N. Hayashibara et al., "The φ Accrual Failure Detector", SRDS 2004: [`FailureDetector`].

mod breaker;
mod budget;
mod clock;
mod detector;
mod failure;
mod retry;
mod rng;
#[cfg(test)]
mod tests;

pub use breaker::{
    CallOutcome, CallWindow, CircuitBreaker, CircuitBreakerBuilder, CircuitError, CircuitSnapshot,
    CircuitState, Permit, Rejected,
};
pub use budget::{RetryBudget, RetryBudgetBuilder, RetryBudgetError};
pub use clock::{Clock, ManualClock, SystemClock};
pub use detector::{
    DetectorError, FailureDetector, FailureDetectorBuilder, HealthStatus, TooManyMembers,
};
pub use failure::{Cause, Codes, Failure, RetryOn};
pub use retry::{Backoff, Jitter, RetryPolicy, RetryPolicyBuilder, RetryPolicyError};
pub(crate) use rng::SplitMix64;
pub use rng::random_seed;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, whether or not a thread panicked while holding it.
///
/// No critical section of this module calls foreign code after its first write, so a poisoned
/// lock still guards a consistent value.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
