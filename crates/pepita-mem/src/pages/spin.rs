#![expect(unsafe_code, reason = "a lock gives out what it guards")]
//! [`Lock`] for places where no thread can be put to sleep.

use core::cell::UnsafeCell;
use core::fmt;
#[cfg(not(all(test, pepita_loom)))]
use core::hint::spin_loop;
#[cfg(not(all(test, pepita_loom)))]
use core::sync::atomic::{AtomicBool, Ordering};
#[cfg(all(test, pepita_loom))]
use loom::hint::spin_loop;
#[cfg(all(test, pepita_loom))]
use loom::sync::atomic::{AtomicBool, Ordering};

/// A spin lock.
///
/// # Invariants
/// * *alone*: `value` is reached only by the one who has set `is_held` from false to true, until it
///   sets it back.
pub(super) struct Lock<T> {
    is_held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: by *alone*, sharing the lock only sends the value from one thread to the next.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            is_held: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Runs `work` alone.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        while self
            .is_held
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            while self.is_held.load(Ordering::Relaxed) {
                spin_loop();
            }
        }
        let _held = Held(&self.is_held);
        // SAFETY: *alone*: the flag was set by this call and is set back by `_held`, after `work`.
        work(unsafe { &mut *self.value.get() })
    }
}

/// Gives the lock up, also when the work panics.
struct Held<'l>(&'l AtomicBool);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl<T> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").finish_non_exhaustive()
    }
}

#[cfg(all(test, pepita_loom))]
mod model {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    use super::*;

    #[test]
    fn loom_threads_are_in_one_at_a_time_and_see_what_the_last_one_wrote() {
        loom::model(|| {
            // Loom fails where two are at the cell, or where one does not see the other's end.
            let lock = Arc::new(Lock::new(UnsafeCell::new(())));
            let thread = loom::thread::spawn({
                let lock = Arc::clone(&lock);
                move || lock.with(|cell| cell.with_mut(|_| ()))
            });
            lock.with(|cell| cell.with_mut(|_| ()));
            thread.join().expect("no panic");
        });
    }
}

#[cfg(test)]
#[cfg(not(pepita_loom))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    use super::*;

    #[test]
    fn threads_are_in_one_at_a_time_and_a_panic_lets_the_next_in() {
        let lock = Lock::new((0, 0));
        let gone = catch_unwind(AssertUnwindSafe(|| lock.with(|_| panic!("on purpose"))));
        assert!(gone.is_err());
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        lock.with(|(a, b)| {
                            assert_eq!(a, b);
                            *a += 1;
                            *b += 1;
                        });
                    }
                });
            }
        });
        lock.with(|counts| assert_eq!(*counts, (40_000, 40_000)));
    }
}
