//! When workers sleep, and who wakes them.
//!
//! # Protocol
//! A worker is *busy* (runs a job), *searching* (looks for one) or *asleep*. Two counters tell
//! how many are searching and asleep.
//!
//! * Who adds a job, or moves some to another queue, wakes one sleeper, unless somebody searches: a searcher will
//!   find the job.
//! * A searcher that finds a job and was the last one searching wakes one sleeper if there are
//!   more jobs: so workers come up one after the other, as long as there is work for them.
//! * A searcher that gives up first stops counting as searching, then counts as asleep, then
//!   looks at every queue once more, and only then waits.
//!
//! # Why no wake-up is lost
//! Adding is "push, fence, read the counters"; giving up is "write the counters, fence, look at
//! the queues", all fences `SeqCst`. So either the one who adds sees a sleeper and no searcher,
//! and wakes it, or the one who gives up sees the job (Dekker's argument). If a searcher was
//! seen, it either finds this very job, or it finds another and looks for more as the last one
//! to search, or it gives up after the push and sees the job then.

use std::sync::PoisonError;
#[cfg(not(all(test, pepita_loom)))]
use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering, fence},
};

#[cfg(all(test, pepita_loom))]
use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering, fence},
};

#[derive(Debug)]
pub(super) struct Sleep {
    searching: AtomicUsize,
    /// Workers asleep that nobody has woken yet; changed under `wakes` only.
    asleep: AtomicUsize,
    /// Wake-ups that no worker has taken yet.
    wakes: Mutex<usize>,
    woken: Condvar,
}

impl Sleep {
    pub(super) fn new() -> Self {
        Self {
            searching: AtomicUsize::new(0),
            asleep: AtomicUsize::new(0),
            wakes: Mutex::new(0),
            woken: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called after a job was added to a queue, or some were moved from one to another.
    pub(super) fn added(&self) {
        fence(Ordering::SeqCst);
        if self.searching.load(Ordering::Relaxed) == 0 && self.asleep.load(Ordering::Relaxed) > 0 {
            self.wake_one();
        }
    }

    /// Whether a worker sleeps while nobody searches; only a hint.
    pub(super) fn may_call(&self) -> bool {
        self.asleep.load(Ordering::Relaxed) > 0 && self.searching.load(Ordering::Relaxed) == 0
    }

    /// Whether somebody searches; only a hint.
    pub(super) fn has_searchers(&self) -> bool {
        self.searching.load(Ordering::Relaxed) > 0
    }

    fn wake_one(&self) {
        let mut wakes = self.lock();
        if self.asleep.load(Ordering::Relaxed) > 0 {
            self.asleep.fetch_sub(1, Ordering::Relaxed);
            // A woken worker searches: counted here already, so that the next job that is added
            // does not wake another one.
            self.searching.fetch_add(1, Ordering::SeqCst);
            *wakes += 1;
            self.woken.notify_one();
        }
    }

    /// Wakes every worker; called after the order to stop.
    pub(super) fn wake_all(&self) {
        fence(Ordering::SeqCst);
        while self.asleep.load(Ordering::Relaxed) > 0 {
            self.wake_one();
        }
    }

    /// The calling worker begins to search.
    pub(super) fn begin_search(&self) {
        self.searching.fetch_add(1, Ordering::SeqCst);
    }

    /// The calling worker found a job while searching; `has_more` says whether there are others.
    pub(super) fn found(&self, has_more: impl FnOnce() -> bool) {
        if self.searching.fetch_sub(1, Ordering::SeqCst) == 1 {
            fence(Ordering::SeqCst);
            if has_more() {
                self.added();
            }
        }
    }

    /// The calling worker gives up its search, and sleeps unless `has_more`, which must look at
    /// every queue and at the order to stop. It searches again when this returns.
    pub(super) fn sleep(&self, has_more: impl FnOnce() -> bool) {
        let mut wakes = self.lock();
        self.searching.fetch_sub(1, Ordering::SeqCst);
        self.asleep.fetch_add(1, Ordering::SeqCst);
        drop(wakes);
        fence(Ordering::SeqCst);
        let stay = has_more();
        wakes = self.lock();
        if stay && self.asleep.load(Ordering::Relaxed) > 0 {
            // A wake-up that is under way belongs to another sleeper, which may be waiting: we
            // take ourselves off the list and leave it alone.
            self.asleep.fetch_sub(1, Ordering::Relaxed);
            self.searching.fetch_add(1, Ordering::SeqCst);
            return;
        }
        while *wakes == 0 {
            wakes = self
                .woken
                .wait(wakes)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *wakes -= 1;
    }
}

#[cfg(all(test, pepita_loom))]
mod models {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// Jobs that are nothing but their number, and workers that search once before they sleep.
    struct Jobs {
        left: AtomicUsize,
        stopping: AtomicUsize,
        /// What is taken is dropped from now on.
        aborting: AtomicUsize,
        sleep: Sleep,
    }

    impl Jobs {
        fn take(&self) -> bool {
            let left = self.left.load(Ordering::Acquire);
            left > 0
                && self
                    .left
                    .compare_exchange(left, left - 1, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
        }

        fn add(&self) {
            self.left.fetch_add(1, Ordering::Release);
            self.sleep.added();
        }

        fn has_more(&self) -> bool {
            self.left.load(Ordering::Acquire) > 0
        }

        /// Takes jobs until the order to stop; says how many it ran, and how many it dropped.
        fn work(&self) -> [usize; 2] {
            let mut done = [0; 2];
            loop {
                self.sleep.begin_search();
                loop {
                    if self.take() {
                        self.sleep.found(|| self.has_more());
                        done[self.aborting.load(Ordering::Relaxed)] += 1;
                        break;
                    }
                    let is_stopping = self.stopping.load(Ordering::SeqCst) == 1;
                    if is_stopping && !self.has_more() {
                        self.sleep.found(|| false);
                        return done;
                    }
                    self.sleep
                        .sleep(|| self.has_more() || self.stopping.load(Ordering::SeqCst) == 1);
                }
            }
        }
    }

    /// loom fails where a worker sleeps for ever: a job left to nobody, or an order to stop not heard.
    fn check(workers: usize, jobs: usize, aborts: bool, preemptions: usize) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(preemptions);
        model.check(move || {
            let shared = Arc::new(Jobs {
                left: AtomicUsize::new(0),
                stopping: AtomicUsize::new(0),
                aborting: AtomicUsize::new(0),
                sleep: Sleep::new(),
            });
            let threads: Vec<_> = (0..workers)
                .map(|_| {
                    let shared = shared.clone();
                    thread::spawn(move || shared.work())
                })
                .collect();
            (0..jobs).for_each(|_| shared.add());
            if aborts {
                shared.aborting.store(1, Ordering::SeqCst);
            }
            shared.stopping.store(1, Ordering::SeqCst);
            shared.sleep.wake_all();
            let done = threads.into_iter().map(|thread| thread.join().unwrap());
            let [ran, dropped] =
                done.fold([0; 2], |sum, done| [sum[0] + done[0], sum[1] + done[1]]);
            assert_eq!(ran + dropped, jobs);
            assert!(aborts || dropped == 0);
        });
    }

    #[test]
    fn loom_one_worker_hears_of_every_job_and_of_the_end() {
        check(1, 2, false, 3);
    }

    /// A worker that went to sleep while the scheduler stopped once took the wake-up of another one.
    #[test]
    fn loom_two_workers_hear_of_every_job_and_of_the_end() {
        check(2, 1, false, 2);
    }

    #[test]
    fn loom_a_job_that_waits_at_an_abort_is_run_or_dropped() {
        check(1, 2, true, 3);
    }
}
