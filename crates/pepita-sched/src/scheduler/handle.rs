//! [`JoinHandle`]: the result of a closure that was spawned.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use super::cell::OneShot;
use super::local::current_worker;
use super::workers::Runnable;

/// The result of a closure given to [`Scheduler::spawn`](super::Scheduler::spawn).
///
/// It is a `Future`, for any async runtime, and has [`wait`](Self::wait), for none. Dropping it
/// lets the closure run on.
#[must_use = "a result that nobody takes is lost; drop the handle to let the closure run on"]
pub struct JoinHandle<T> {
    job: Arc<dyn Job<T>>,
}

/// The closure panicked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a closure on a worker panicked: {message}")]
pub struct JoinError {
    message: String,
}

impl<T> JoinHandle<T> {
    pub(super) fn new(job: Arc<dyn Job<T>>) -> Self {
        Self { job }
    }

    /// Waits for the result.
    ///
    /// On a worker, a closure that no worker has begun is run here and now, so that waiting for
    /// it cannot bring the scheduler to a stand.
    ///
    /// # Errors
    /// [`JoinError`] if the closure panicked.
    pub fn wait(self) -> Result<T, JoinError> {
        if current_worker().is_some() {
            self.job.run_here();
        }
        self.job.cell().wait_take()
    }

    /// Whether the result is there.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.job.cell().is_set()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.job.cell().poll(context)
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("is_finished", &self.is_finished())
            .finish()
    }
}

/// What a handle needs of the job it waits for.
pub(super) trait Job<T>: Send + Sync {
    fn cell(&self) -> &OneShot<Result<T, JoinError>>;
    /// Runs it, unless somebody has begun to.
    fn run_here(&self);
}

/// A closure and the place for its result, in one allocation.
pub(super) struct ClosureJob<F, T> {
    closure: Mutex<Option<F>>,
    result: OneShot<Result<T, JoinError>>,
}

impl<F, T> ClosureJob<F, T> {
    pub(super) fn new(closure: F) -> Self {
        Self {
            closure: Mutex::new(Some(closure)),
            result: OneShot::new(),
        }
    }
}

impl<F, T> Job<T> for ClosureJob<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    fn cell(&self) -> &OneShot<Result<T, JoinError>> {
        &self.result
    }

    fn run_here(&self) {
        let closure = self
            .closure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(closure) = closure {
            // The closure is gone after a panic, so nobody sees what it left half done here.
            let result = catch_unwind(AssertUnwindSafe(closure));
            self.result.set(result.map_err(|panic| JoinError {
                message: panic_message(panic),
            }));
        }
    }
}

impl<F, T> Runnable for ClosureJob<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    fn run(self: Arc<Self>, _worker: usize) {
        self.run_here();
    }
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
