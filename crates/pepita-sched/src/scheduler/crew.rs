//! [`Crew`]: how many of the workers are at work.
//!
//! # Protocol
//! A worker is *in* (it runs jobs, looks for some, or is [asleep](super::sleep)), *out*, or in a *blocking section*, where it runs
//! something that is not to count. So many are wanted in as the scheduler was told to have. All changes happen under a lock.
//!
//! * Who wants more, or begins a blocking section, calls one that is out for each that is missing, if there is one.
//! * A worker that sees more in than wanted goes out before it takes another job. What lies in its queue goes to where all
//!   take from. It comes back when it is called.
//!
//! # What has to hold
//! * *Enough*: outside of the lock, fewer are in than wanted only if nobody is out.
//! * *Not asleep*: a call counts for one that is out, and as in at once; so who goes out at the same time finds the call, or another
//!   one does.
//! * *Not lost*: who goes out while it searches says so as one does that has found something ([`Sleep::found`](super::sleep::Sleep)): so a
//!   wake-up that it had goes on to another one. One at least is wanted in, and looks at every queue before it sleeps.

use std::sync::PoisonError;
#[cfg(not(all(test, pepita_loom)))]
use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

#[cfg(all(test, pepita_loom))]
use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// Lies in lines of its own: every worker looks at the hint before each job.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Crew {
    /// How many are wanted in; changed under the lock.
    wanted: AtomicUsize,
    /// A hint that more are in than wanted; changed under the lock.
    has_surplus: AtomicBool,
    state: Mutex<State>,
    called: Condvar,
}

#[derive(Debug)]
struct State {
    inside: usize,
    outside: usize,
    /// Calls that nobody has heard yet; not more than are out.
    calls: usize,
    /// Nobody stays out.
    has_ended: bool,
}

impl Crew {
    /// Of `total` workers the last ones are out, so that `wanted` are in.
    pub(super) fn new(wanted: usize, total: usize) -> Self {
        let state = State {
            inside: wanted,
            outside: total - wanted,
            calls: 0,
            has_ended: false,
        };
        Self {
            wanted: AtomicUsize::new(wanted),
            has_surplus: AtomicBool::new(false),
            state: Mutex::new(state),
            called: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wanted(&self) -> usize {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Whether more are in than wanted; only a hint.
    #[inline]
    pub(super) fn has_surplus(&self) -> bool {
        self.has_surplus.load(Ordering::Relaxed)
    }

    /// Calls those who are missing.
    fn settle(&self, state: &mut State) {
        let wanted = self.wanted();
        while state.inside < wanted && state.outside > state.calls {
            state.inside += 1;
            state.calls += 1;
            self.called.notify_one();
        }
        let has_surplus = state.inside > wanted && !state.has_ended;
        self.has_surplus.store(has_surplus, Ordering::Relaxed);
    }

    /// Sets how many are wanted in, at least one.
    pub(super) fn resize(&self, wanted: usize) {
        let mut state = self.lock();
        self.wanted.store(wanted, Ordering::Relaxed);
        self.settle(&mut state);
    }

    /// The calling worker begins a blocking section.
    pub(super) fn lend(&self) {
        let mut state = self.lock();
        state.inside -= 1;
        self.settle(&mut state);
    }

    /// It ends the section.
    pub(super) fn reclaim(&self) {
        let mut state = self.lock();
        state.inside += 1;
        self.settle(&mut state);
    }

    /// The calling worker goes out if there are too many, and comes back when it is called; between `leave` is called.
    pub(super) fn go_out(&self, leave: impl FnOnce()) {
        let mut state = self.lock();
        let goes = state.inside > self.wanted() && !state.has_ended;
        if goes {
            state.inside -= 1;
            state.outside += 1;
        }
        self.settle(&mut state);
        drop(state);
        if goes {
            leave();
            self.stay_out();
        }
    }

    /// Waits for a call, or for the end; for who is out.
    pub(super) fn stay_out(&self) {
        let mut state = self.lock();
        while state.calls == 0 && !state.has_ended {
            state = self
                .called
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.outside -= 1;
        if state.calls > 0 {
            state.calls -= 1;
        } else {
            state.inside += 1;
        }
    }

    /// Has all come in, to end.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.has_ended = true;
        self.settle(&mut state);
        self.called.notify_all();
    }
}

#[cfg(all(test, pepita_loom))]
mod models {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    fn check(run: impl Fn() + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(run);
    }

    /// The section waits for what only another worker can do: else loom fails. Then one of both goes out, and hears of the end.
    #[test]
    fn loom_who_is_out_comes_in_for_a_blocking_section() {
        check(|| {
            let crew = Arc::new(Crew::new(1, 2));
            let done = Arc::new((Mutex::new(false), Condvar::new()));
            let other = thread::spawn({
                let (crew, done) = (crew.clone(), done.clone());
                move || {
                    crew.stay_out();
                    *done.0.lock().unwrap() = true;
                    done.1.notify_all();
                    if crew.has_surplus() {
                        crew.go_out(|| ());
                    }
                }
            });
            crew.lend();
            let mut is_done = done.0.lock().unwrap();
            while !*is_done {
                is_done = done.1.wait(is_done).unwrap();
            }
            drop(is_done);
            crew.reclaim();
            crew.end();
            other.join().unwrap();
            let state = crew.lock();
            assert_eq!((state.inside, state.outside, state.calls), (2, 0, 0));
        });
    }

    /// Two workers go out, or not, while fewer and then again both are wanted: both come back.
    #[test]
    fn loom_who_goes_out_while_more_are_wanted_comes_back() {
        check(|| {
            let crew = Arc::new(Crew::new(2, 2));
            let worker = |crew: Arc<Crew>| {
                thread::spawn(move || {
                    if crew.has_surplus() {
                        crew.go_out(|| ());
                    }
                })
            };
            let workers = [worker(crew.clone()), worker(crew.clone())];
            crew.resize(1);
            crew.resize(2);
            workers
                .into_iter()
                .for_each(|worker| worker.join().unwrap());
            let state = crew.lock();
            assert_eq!((state.inside, state.outside, state.calls), (2, 0, 0));
        });
    }
}
