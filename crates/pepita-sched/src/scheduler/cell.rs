//! [`OneShot`]: a result that is set once, and waited for by a thread or a future.

use std::sync::PoisonError;
#[cfg(not(all(test, pepita_loom)))]
use std::sync::{Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

#[cfg(all(test, pepita_loom))]
use loom::sync::{Condvar, Mutex, MutexGuard};

/// A value on its way from one thread to another.
#[derive(Debug)]
pub(crate) struct OneShot<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    is_set: bool,
    /// Threads in `wait`: without one, setting the value makes no system call.
    waiting: usize,
    waker: Option<Waker>,
}

impl<T> OneShot<T> {
    pub(crate) fn new() -> Self {
        let state = State {
            value: None,
            is_set: false,
            waiting: 0,
            waker: None,
        };
        Self {
            state: Mutex::new(state),
            arrived: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the value; a second one is dropped.
    pub(crate) fn set(&self, value: T) {
        let mut state = self.lock();
        if state.is_set {
            return;
        }
        state.value = Some(value);
        state.is_set = true;
        let waker = state.waker.take();
        if state.waiting > 0 {
            self.arrived.notify_all();
        }
        drop(state);
        // Outside the lock: a waker may run anything.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.lock().is_set
    }

    /// Waits until the value is set, or until `deadline`; says whether it is.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        self.wait_or(deadline, || false)
    }

    /// As [`wait`](Self::wait), and also ends when `enough` says so, which is asked again after
    /// each [`nudge`](Self::nudge).
    pub(crate) fn wait_or(&self, deadline: Option<Instant>, enough: impl Fn() -> bool) -> bool {
        let mut state = self.lock();
        while !state.is_set && !enough() {
            state.waiting += 1;
            state = match deadline {
                None => self
                    .arrived
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        state.waiting -= 1;
                        return false;
                    }
                    let waited = self.arrived.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.waiting -= 1;
        }
        state.is_set
    }

    /// Has those who wait ask again whether it is enough.
    pub(crate) fn nudge(&self) {
        if self.lock().waiting > 0 {
            self.arrived.notify_all();
        }
    }

    /// Waits for the value and takes it.
    ///
    /// # Panics
    /// When the value was taken already, by a future that was polled until it was ready.
    pub(crate) fn wait_take(&self) -> T {
        self.wait(None);
        self.take()
            .expect("waited for a result that a poll has taken already")
    }

    /// Takes the value, if it is set and nobody took it.
    pub(crate) fn take(&self) -> Option<T> {
        self.lock().value.take()
    }

    /// Takes the value, or has the context's waker called when it is set.
    ///
    /// # Panics
    /// When the value was taken already: a future must not be polled after it was ready.
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<T> {
        let mut state = self.lock();
        if let Some(value) = state.value.take() {
            return Poll::Ready(value);
        }
        assert!(!state.is_set, "polled after it was ready");
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            slot => *slot = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

#[cfg(all(test, pepita_loom))]
mod models {
    use std::sync::Arc as StdArc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: StdArc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A poll, another with a second waker, and the result, in any order: who was told to wait is called. An early version of
    /// tokio's handle lost the second waker.
    #[test]
    fn loom_a_future_that_waits_is_woken_by_its_last_waker() {
        loom::model(|| {
            let cell = Arc::new(OneShot::new());
            let setter = thread::spawn({
                let cell = cell.clone();
                move || cell.set(7)
            });
            let calls = StdArc::new(Calls::default());
            let poll = |waker: &Waker| cell.poll(&Context::from_waker(waker));
            let mut seen = poll(Waker::noop());
            if seen.is_pending() {
                seen = poll(&Waker::from(calls.clone()));
            }
            setter.join().unwrap();
            let called = calls.0.load(Ordering::Relaxed);
            match seen {
                Poll::Ready(value) => assert_eq!((value, called), (7, 0)),
                Poll::Pending => assert_eq!((cell.take(), called), (Some(7), 1)),
            }
        });
    }

    /// The handle goes while the result comes: the result is dropped once, and its waker with it.
    #[test]
    fn loom_a_handle_that_is_dropped_takes_its_waker_and_the_result_along() {
        loom::model(|| {
            let cell = Arc::new(OneShot::new());
            let (result, calls) = (StdArc::new(()), StdArc::new(Calls::default()));
            let setter = thread::spawn({
                let (cell, result) = (cell.clone(), result.clone());
                move || cell.set(result)
            });
            let waker = Waker::from(calls.clone());
            drop(cell.poll(&Context::from_waker(&waker)));
            drop((cell, waker));
            setter.join().unwrap();
            assert_eq!(StdArc::strong_count(&result), 1);
            assert_eq!(StdArc::strong_count(&calls), 1);
        });
    }

    #[test]
    fn loom_a_thread_that_waits_has_the_result() {
        loom::model(|| {
            let cell = Arc::new(OneShot::new());
            let setter = thread::spawn({
                let cell = cell.clone();
                move || cell.set(7)
            });
            assert_eq!(cell.wait_take(), 7);
            setter.join().unwrap();
        });
    }
}
