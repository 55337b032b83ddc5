//! [`CancelToken`]: asks work to stop, and wakes the thread that waits for it.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Asks an attempt to stop. Clones are the same token.
///
/// ```
/// use pepita_sched::executor::CancelToken;
///
/// let token = CancelToken::new();
/// assert!(!token.is_cancelled());
/// token.clone().cancel();
/// assert!(token.is_cancelled());
/// ```
#[derive(Clone, Default)]
pub struct CancelToken(Arc<State>);

#[derive(Default)]
struct State {
    /// 0, `CANCELLED` or `KILLED`; only rises.
    wish: AtomicU8,
    waiting: Mutex<Option<Arc<dyn Interrupt>>>,
}

const CANCELLED: u8 = 1;
const KILLED: u8 = 2;

/// Ends the wait of a thread that is blocked in a system call, for instance by an eventfd.
pub trait Interrupt: Send + Sync {
    /// Makes the wait return. May be called when nobody waits.
    fn interrupt(&self);
}

impl CancelToken {
    /// A token that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels: programs get SIGTERM, their grace, then SIGKILL. Again is no change.
    pub fn cancel(&self) {
        self.wish(CANCELLED);
    }

    /// Cancels without grace: programs get SIGKILL, also those that have their grace already.
    pub fn kill(&self) {
        self.wish(KILLED);
    }

    fn wish(&self, wish: u8) {
        self.0.wish.fetch_max(wish, Ordering::SeqCst);
        let waiting = self.0.waiting.lock();
        let waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        if let Some(interrupt) = waiting.as_ref() {
            interrupt.interrupt();
        }
    }

    /// Whether it was cancelled, with grace or without.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.wish.load(Ordering::SeqCst) >= CANCELLED
    }

    /// Whether it was cancelled without grace.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.0.wish.load(Ordering::SeqCst) == KILLED
    }

    /// Has `interrupt` called at the cancellation, until the guard is dropped; at once if the
    /// token is cancelled already. One interrupt at a time: a second call replaces the first.
    #[must_use = "dropping the guard ends the registration"]
    pub fn on_cancel(&self, interrupt: Arc<dyn Interrupt>) -> InterruptGuard<'_> {
        let mut waiting = self
            .0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Under the lock: `cancel` sets the flag before it takes the lock, so either it finds
        // this registration, or the flag is seen here.
        if self.is_cancelled() {
            interrupt.interrupt();
        }
        *waiting = Some(interrupt);
        InterruptGuard { token: self }
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancelToken")
            .field(&self.is_cancelled())
            .finish()
    }
}

/// Ends a registration of [`CancelToken::on_cancel`] when it is dropped; afterwards the interrupt
/// is not called any more.
#[derive(Debug)]
pub struct InterruptGuard<'a> {
    token: &'a CancelToken,
}

impl Drop for InterruptGuard<'_> {
    fn drop(&mut self) {
        *self
            .token
            .0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }
}
