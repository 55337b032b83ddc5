//! When workers sleep, and who wakes them.
//!
//! # Protocol
//! A worker is *busy* (runs a job), *searching* (looks for one) or *asleep*. Two counters tell
//! how many are searching and asleep.
//!
//! * Who adds a job wakes one sleeper, unless somebody searches: a searcher will find the job.
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

use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(super) struct Sleep {
    searching: AtomicUsize,
    /// Workers asleep that nobody has woken yet; changed under `wakes` only.
    asleep: AtomicUsize,
    /// Wake-ups that no worker has taken yet.
    wakes: Mutex<usize>,
    woken: Condvar,
}

impl Sleep {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called after a job was added to a queue.
    pub(super) fn added(&self) {
        fence(Ordering::SeqCst);
        if self.searching.load(Ordering::Relaxed) == 0 && self.asleep.load(Ordering::Relaxed) > 0 {
            self.wake_one();
        }
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

    /// Wakes every worker.
    pub(super) fn wake_all(&self) {
        while self.asleep.load(Ordering::SeqCst) > 0 {
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
