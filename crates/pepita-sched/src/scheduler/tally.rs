//! [`Tally`]: how many jobs of a scope have not ended.
//!
//! # Protocol
//! The owner of the scope counts what it spawns and ends by itself in a cell, the others in a shared word, which starts at
//! [`OPEN`] and goes up and down from there. So jobs that do not leave the owner cost no atomic operation. When the owner has
//! nothing left to spawn or run, it *closes* the tally: it adds its own count to the word and takes `OPEN` off. From then on
//! the word is the number of jobs that have not ended, and who brings it to 0 sets the latch.
//!
//! # What has to hold
//! * *Not early*: a job that spawns another is counted until it ends, so the word is 0 only when all have ended. Before the
//!   close it is near `OPEN`, and nobody takes it for 0.
//! * *Not never*: the word comes to 0 once, by the close or by the end of a job, and who brings it there sets the latch.
//! * *Last touch*: the end of a job that is not the last one is the last access of its thread to the scope; the last one's
//!   is the setting of the latch.
//! * *Seen*: every end releases and acquires, so what the jobs wrote is seen by who sees the latch set.

use std::sync::atomic::{AtomicBool, AtomicIsize as OwnCount};

#[cfg(not(all(test, pepita_loom)))]
use std::sync::atomic::{AtomicIsize, Ordering};

#[cfg(all(test, pepita_loom))]
use loom::sync::atomic::{AtomicIsize, Ordering};

use super::latch::Latch;

/// More than there will ever be jobs.
const OPEN: isize = isize::MAX / 2;

/// Both counts in lines of their own, which the CPU fetches by two: one is written for each job that is spawned, the other for each
/// that ends elsewhere.
#[derive(Debug)]
pub(super) struct Tally {
    own: Own,
    shared: Shared,
    pub(super) latch: Latch,
}

/// The owner loads and stores these, and nobody else looks.
#[derive(Debug)]
#[repr(align(128))]
struct Own {
    count: OwnCount,
    is_closed: AtomicBool,
}

#[derive(Debug)]
#[repr(align(128))]
struct Shared(AtomicIsize);

/// For any thread.
impl Tally {
    pub(super) fn new() -> Self {
        Self {
            own: Own {
                count: OwnCount::new(0),
                is_closed: AtomicBool::new(false),
            },
            shared: Shared(AtomicIsize::new(OPEN)),
            latch: Latch::new(),
        }
    }

    pub(super) fn add(&self) {
        self.shared.0.fetch_add(1, Ordering::Relaxed);
    }

    /// A job has ended. `true` says that it was the last one: then the latch must be set. Else the tally may be gone.
    #[must_use]
    pub(super) fn end(&self) -> bool {
        self.shared.0.fetch_sub(1, Ordering::AcqRel) == 1
    }

    pub(super) fn is_over(&self) -> bool {
        self.latch.is_set()
    }
}

/// For the owner.
impl Tally {
    #[inline]
    pub(super) fn add_own(&self) {
        if self.own.is_closed.load(Ordering::Relaxed) {
            self.add();
        } else {
            self.count(1);
        }
    }

    #[inline]
    pub(super) fn end_own(&self) {
        if !self.own.is_closed.load(Ordering::Relaxed) {
            self.count(-1);
        } else if self.end() {
            self.set();
        }
    }

    /// The owner has nothing to run; it may have again later.
    pub(super) fn close(&self) {
        if !self.own.is_closed.load(Ordering::Relaxed) {
            self.own.is_closed.store(true, Ordering::Relaxed);
            let own = self.own.count.load(Ordering::Relaxed) - OPEN;
            if self.shared.0.fetch_add(own, Ordering::AcqRel) + own == 0 {
                self.set();
            }
        }
    }

    #[inline]
    fn count(&self, change: isize) {
        let own = self.own.count.load(Ordering::Relaxed);
        self.own.count.store(own + change, Ordering::Relaxed);
    }

    fn set(&self) {
        let is_asleep = self.latch.set();
        debug_assert!(!is_asleep, "the owner is awake");
    }
}

#[cfg(all(test, pepita_loom))]
mod models {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    struct Shared {
        tally: Tally,
        /// What the jobs write.
        written: [UnsafeCell<u32>; 2],
    }

    impl Shared {
        fn end(&self, owner: &thread::Thread) {
            if self.tally.end() && self.tally.latch.set() {
                owner.unpark();
            }
        }
    }

    /// The owner waits for a job on another thread, which spawns one on a third: it returns when both have ended, and sees
    /// what they wrote; else loom fails.
    fn check(closes_early: bool) {
        loom::model(move || {
            let shared = Arc::new(Shared {
                tally: Tally::new(),
                written: [UnsafeCell::new(0), UnsafeCell::new(0)],
            });
            let owner = thread::current();
            shared.tally.add_own();
            if closes_early {
                shared.tally.close();
            }
            let first = thread::spawn({
                let shared = shared.clone();
                move || {
                    shared.written[0].with_mut(|_| ());
                    shared.tally.add();
                    let second = thread::spawn({
                        let (shared, owner) = (shared.clone(), owner.clone());
                        move || {
                            shared.written[1].with_mut(|_| ());
                            shared.end(&owner);
                        }
                    });
                    shared.end(&owner);
                    second.join().unwrap();
                }
            });
            shared.tally.close();
            while !shared.tally.is_over() {
                shared.tally.latch.sleep(thread::park);
            }
            shared.written.iter().for_each(|cell| cell.with(|_| ()));
            first.join().unwrap();
        });
    }

    #[test]
    fn loom_a_scope_ends_with_its_last_job_and_not_before() {
        check(false);
    }

    #[test]
    fn loom_a_scope_whose_owner_waits_already_ends_with_its_last_job() {
        check(true);
    }
}
