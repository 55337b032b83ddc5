//! [`Latch`]: a word that one thread waits for and another sets once.
//!
//! # Protocol
//! `PENDING` → `ASLEEP` by the waiter, before it parks; `ASLEEP` → `PENDING` by who has something for the
//! waiter to do; either → `SET` by the setter, once. Whoever turns `ASLEEP` into something else owes the
//! waiter an unpark.
//!
//! # What has to hold
//! * *No lost wake-up*: the waiter parks only after it exchanged `PENDING` for `ASLEEP`, so each later change
//!   sees `ASLEEP`, and an unpark that comes before the park makes it return at once.
//! * *Last touch*: `SET` is the setter's last access; the memory of the latch may be gone right after. So
//!   the setter finds out whom to unpark before.
//! * *Seen*: what the setter wrote before, the waiter sees after.

#[cfg(not(all(test, pepita_loom)))]
use std::sync::atomic::{AtomicU32, Ordering};

#[cfg(all(test, pepita_loom))]
use loom::sync::atomic::{AtomicU32, Ordering};

const PENDING: u32 = 0;
const ASLEEP: u32 = 1;
const SET: u32 = 2;

#[derive(Debug)]
pub(super) struct Latch(AtomicU32);

impl Latch {
    pub(super) fn new() -> Self {
        Self(AtomicU32::new(PENDING))
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire) == SET
    }

    /// Sets it; `true` says that the waiter has to be unparked. The latch may be gone after this.
    #[must_use]
    pub(super) fn set(&self) -> bool {
        self.0.swap(SET, Ordering::AcqRel) == ASLEEP
    }

    /// Wakes the waiter for something else; `true` says that it has to be unparked.
    #[must_use]
    pub(super) fn rouse(&self) -> bool {
        let roused = self
            .0
            .compare_exchange(ASLEEP, PENDING, Ordering::AcqRel, Ordering::Relaxed);
        roused.is_ok()
    }

    /// Whether the waiter sleeps; only a hint.
    pub(super) fn is_asleep(&self) -> bool {
        self.0.load(Ordering::Relaxed) == ASLEEP
    }

    /// Parks the calling thread, the waiter, with `park` until the latch is set or the waiter is roused.
    pub(super) fn sleep(&self, park: impl Fn()) {
        let asleep = self
            .0
            .compare_exchange(PENDING, ASLEEP, Ordering::AcqRel, Ordering::Acquire);
        if asleep.is_ok() {
            while self.0.load(Ordering::Acquire) == ASLEEP {
                park();
            }
        }
    }
}

#[cfg(all(test, pepita_loom))]
mod models {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// The waiter ends, whatever the order of its sleep, a rousing and the setting.
    #[test]
    fn loom_a_waiter_that_sleeps_is_woken() {
        loom::model(|| {
            let latch = Arc::new(Latch::new());
            let waiter = thread::current();
            let setter = thread::spawn({
                let latch = latch.clone();
                move || {
                    if latch.rouse() {
                        waiter.unpark();
                    }
                    if latch.set() {
                        waiter.unpark();
                    }
                }
            });
            while !latch.is_set() {
                latch.sleep(thread::park);
            }
            setter.join().unwrap();
        });
    }
}
