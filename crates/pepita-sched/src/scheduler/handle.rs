//! [`JoinHandle`]: the result of a closure that was spawned.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
#[cfg(not(all(test, pepita_loom)))]
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

#[cfg(all(test, pepita_loom))]
use loom::sync::Mutex;

use super::cell::OneShot;
use super::job::Job;
use super::local::current_worker;

/// The result of a closure given to [`Scheduler::spawn`](super::Scheduler::spawn).
///
/// It is a `Future`, for any async runtime, and has [`wait`](Self::wait), for none. Dropping it
/// lets the closure run on.
#[must_use = "a result that nobody takes is lost; drop the handle to let the closure run on"]
pub struct JoinHandle<T> {
    closure: Arc<dyn Spawned<T>>,
}

/// Why a closure has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// It panicked.
    #[error("a closure on a worker panicked: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// It was cancelled, by its handle or by a token, before a worker had begun it.
    #[error("a closure was cancelled before it began")]
    Cancelled,
    /// Its [deadline](super::Terms::deadline) came before a worker had begun it.
    #[error("the deadline of a closure came before it began")]
    Late,
    /// The scheduler was shut down before a worker had begun it.
    #[error("a closure was dropped with its scheduler")]
    ShutDown,
}

impl<T> JoinHandle<T> {
    /// Waits for the result.
    ///
    /// On a worker, a closure that no worker has begun is run here and now, so that waiting for
    /// it cannot bring the scheduler to a stand.
    ///
    /// # Errors
    /// [`JoinError`] if the closure panicked, or was dropped before it began.
    pub fn wait(self) -> Result<T, JoinError> {
        if current_worker().is_some() {
            self.closure.run_here();
        }
        self.closure.cell().wait_take()
    }

    /// Drops the closure if nobody has begun to run it; says whether that was so. The result is
    /// [`JoinError::Cancelled`] then, else what the closure comes to.
    ///
    /// ```
    /// use pepita_sched::scheduler::{JoinError, Scheduler};
    ///
    /// let scheduler = Scheduler::with_workers(1);
    /// let closure = scheduler.spawn(|| 1);
    /// let is_cancelled = closure.cancel();
    /// match closure.wait() {
    ///     Ok(result) => assert!(!is_cancelled && result == 1),
    ///     Err(error) => assert!(is_cancelled && error == JoinError::Cancelled),
    /// }
    /// ```
    pub fn cancel(&self) -> bool {
        self.closure.give_up(JoinError::Cancelled)
    }

    /// Whether the result is there.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.closure.cell().is_set()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.closure.cell().poll(context)
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("is_finished", &self.is_finished())
            .finish()
    }
}

/// What a handle needs of the closure it waits for.
pub(super) trait Spawned<T>: Send + Sync {
    fn cell(&self) -> &OneShot<Result<T, JoinError>>;
    /// Runs it, unless somebody has begun to.
    fn run_here(&self);
    /// Drops it for `reason`; `false` if somebody has begun to run it, or it was dropped before.
    fn give_up(&self, reason: JoinError) -> bool;
}

/// A closure and the place for its result, in one allocation.
struct ClosureCell<F, T, U> {
    /// Says why it is not to be run any more.
    refusal: U,
    closure: Mutex<Option<F>>,
    result: OneShot<Result<T, JoinError>>,
}

impl<F, T, U> ClosureCell<F, T, U> {
    /// Who has the closure sets the result.
    fn take(&self) -> Option<F> {
        let mut closure = self.closure.lock().unwrap_or_else(PoisonError::into_inner);
        closure.take()
    }
}

impl<F, T, U> Spawned<T> for ClosureCell<F, T, U>
where
    F: FnOnce() -> T + Send,
    T: Send,
    U: Fn() -> Option<JoinError> + Send + Sync,
{
    fn cell(&self) -> &OneShot<Result<T, JoinError>> {
        &self.result
    }

    fn run_here(&self) {
        if let Some(reason) = (self.refusal)() {
            self.give_up(reason);
        } else if let Some(closure) = self.take() {
            // The closure is gone after a panic, so nobody sees what it left half done here.
            let result = catch_unwind(AssertUnwindSafe(closure));
            self.result.set(result.map_err(|panic| JoinError::Panicked {
                message: panic_message(panic),
            }));
        }
    }

    fn give_up(&self, reason: JoinError) -> bool {
        let Some(closure) = self.take() else {
            return false;
        };
        // Whatever its captures do when they are dropped: there is a result.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(closure)));
        self.result.set(Err(reason));
        if let Err(panic) = dropped {
            panic_message(panic);
        }
        true
    }
}

/// Has the closure run when the job is, and gives it up if that is dropped instead.
struct Queued<F, T, U>(Arc<ClosureCell<F, T, U>>)
where
    F: FnOnce() -> T + Send,
    T: Send,
    U: Fn() -> Option<JoinError> + Send + Sync;

impl<F, T, U> Drop for Queued<F, T, U>
where
    F: FnOnce() -> T + Send,
    T: Send,
    U: Fn() -> Option<JoinError> + Send + Sync,
{
    fn drop(&mut self) {
        // Nothing, if it has run.
        self.0.give_up(JoinError::ShutDown);
    }
}

/// A job that runs the closure, and the handle to its result.
pub(super) fn spawned<F, T>(closure: F) -> (Job, JoinHandle<T>)
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    spawned_unless(|| None, closure)
}

/// As [`spawned`]; what `refusal` says before the closure is begun ends it.
pub(super) fn spawned_unless<F, T, U>(refusal: U, closure: F) -> (Job, JoinHandle<T>)
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
    U: Fn() -> Option<JoinError> + Send + Sync + 'static,
{
    let cell = Arc::new(ClosureCell {
        refusal,
        closure: Mutex::new(Some(closure)),
        result: OneShot::new(),
    });
    let queued = Queued(cell.clone());
    let job = Job::new(move || {
        // All of it, not its field alone.
        let queued = queued;
        queued.0.run_here();
    });
    (job, JoinHandle { closure: cell })
}

/// What a panic said, if it said it in words.
pub(crate) fn panic_message(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("(without words)").to_owned();
    // What was thrown may panic once more when it is dropped, and so may what that throws.
    let mut thrown = panic;
    for _ in 0..4 {
        match catch_unwind(AssertUnwindSafe(|| drop(thrown))) {
            Ok(()) => return text,
            Err(again) => thrown = again,
        }
    }
    std::mem::forget(thrown);
    text
}

#[cfg(all(test, pepita_loom))]
mod models {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use loom::thread;

    use super::*;

    /// A worker, a cancellation and the end of the scheduler want one closure: it is run or dropped once, its handle says
    /// which, and who cancelled knows whether it was he.
    #[test]
    fn loom_a_closure_is_run_cancelled_or_given_up_once() {
        loom::model(|| {
            let (ran, captured) = (Arc::new(AtomicUsize::new(0)), Arc::new(()));
            let (job, handle) = spawned({
                let (ran, captured) = (ran.clone(), captured.clone());
                move || {
                    drop(captured);
                    ran.fetch_add(1, Ordering::Relaxed)
                }
            });
            let worker = thread::spawn(move || job.run());
            let ender = thread::spawn({
                let closure = handle.closure.clone();
                move || closure.give_up(JoinError::ShutDown)
            });
            let is_cancelled = handle.cancel();
            let result = handle.wait();
            worker.join().unwrap();
            let is_given_up = ender.join().unwrap();
            let expected = match (is_cancelled, is_given_up) {
                (false, false) => Ok(0),
                (true, false) => Err(JoinError::Cancelled),
                (false, true) => Err(JoinError::ShutDown),
                (true, true) => panic!("two had it"),
            };
            assert_eq!(result, expected);
            let runs = usize::from(expected.is_ok());
            assert_eq!(ran.load(Ordering::Relaxed), runs);
            assert_eq!(Arc::strong_count(&captured), 1);
        });
    }
}
