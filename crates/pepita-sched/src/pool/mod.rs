//! Many tasks, a bounded queue, several executors: [`Pool`].
//!
//! [`Pool::submit`] hands a [`Task`] to the first executor that can run it and returns a
//! [`TaskHandle`]. Each executor has worker threads of its own, as many as it has slots, so a
//! busy one does not hold up another. A failed attempt is followed by the next one as the task's
//! [`RetryPolicy`](crate::fault::RetryPolicy), or the pool's, says; the worker does not wait for
//! it meanwhile.

mod builder;
mod engine;
mod events;
mod gate;
mod job;
mod map;
mod stats;
mod timer;

use std::fmt;
use std::sync::Arc;

pub use builder::{PoolBuildError, PoolBuilder, QUEUE_CAPACITY};
pub(crate) use engine::Engine;
pub use events::{Events, PoolEvent, PoolEventKind};
pub use job::{Canceller, TaskHandle};
pub use map::{AsCompleted, Map};
pub use stats::PoolStats;

use crate::executor::Executor;
use crate::task::{ExecutionResult, Task, TaskError, Unsupported};
use gate::Closed;
pub(crate) use gate::Gate;

/// Runs tasks on its executors.
///
/// Dropping it is [`shutdown`](Self::shutdown) with [`Shutdown::Drain`].
///
/// ```
/// use pepita_sched::pool::Pool;
/// use pepita_sched::task::Task;
///
/// let pool = Pool::builder().cpu_workers(2).build()?;
/// let handle = pool.submit(Task::binary("tr").args(["a-z", "A-Z"]).stdin("hello").build()?)?;
/// let result = handle.wait()?;
/// assert!(result.is_success());
/// assert_eq!(result.stdout_string(), "HELLO");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Pool {
    engine: Engine,
    gate: Arc<Gate>,
}

/// How a pool ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shutdown {
    /// Takes no more tasks and runs those it has, retries included.
    Drain,
    /// Takes no more tasks, refuses those that wait, and cancels those that run.
    Abort,
}

/// Why a pool did not take a task.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// No executor can run it.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The pool was shut down.
    #[error("the pool was shut down and takes no more tasks")]
    ShutDown,
}

impl From<Closed> for SubmitError {
    fn from(_: Closed) -> Self {
        Self::ShutDown
    }
}

/// Why a pool did not take a task at once.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrySubmitError {
    /// As many tasks wait as may; this one comes back.
    #[error("the queue is full: {capacity} tasks wait")]
    Full {
        /// The task.
        task: Box<Task>,
        /// The capacity of the queue.
        capacity: usize,
    },
    /// It will not be taken later either.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

impl Pool {
    /// Starts the settings of a pool.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::new()
    }

    /// Queues a task; waits while the queue is full.
    ///
    /// # Errors
    /// [`SubmitError`] if no executor can run it, or the pool was shut down.
    pub fn submit(&self, task: Task) -> Result<TaskHandle, SubmitError> {
        let lane = self.engine.lane_for(&task)?;
        self.gate.enter()?;
        Ok(self.engine.queue(lane, task, None))
    }

    /// Queues a task, if the queue has room.
    ///
    /// # Errors
    /// [`TrySubmitError::Full`] gives the task back.
    pub fn try_submit(&self, task: Task) -> Result<TaskHandle, TrySubmitError> {
        self.try_queue(task, || None)
    }

    /// As [`submit`](Self::submit), and calls `done` with the outcome, on the thread that brings
    /// it about; the handle then resolves to [`TaskError::Delivered`]. It suits a caller that
    /// gathers many outcomes in one channel.
    ///
    /// # Errors
    /// As [`submit`](Self::submit); `done` is not called then.
    pub fn submit_then(
        &self,
        task: Task,
        done: impl FnOnce(Result<ExecutionResult, TaskError>) + Send + 'static,
    ) -> Result<TaskHandle, SubmitError> {
        let lane = self.engine.lane_for(&task)?;
        self.gate.enter()?;
        Ok(self.engine.queue(lane, task, Some(Box::new(done))))
    }

    /// As [`try_submit`](Self::try_submit), with `done` as in [`submit_then`](Self::submit_then).
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit); `done` is not called then.
    pub fn try_submit_then(
        &self,
        task: Task,
        done: impl FnOnce(Result<ExecutionResult, TaskError>) + Send + 'static,
    ) -> Result<TaskHandle, TrySubmitError> {
        self.try_queue(task, || Some(Box::new(done)))
    }

    fn try_queue(
        &self,
        task: Task,
        done: impl FnOnce() -> Option<job::Done>,
    ) -> Result<TaskHandle, TrySubmitError> {
        let lane = self.engine.lane_for(&task).map_err(SubmitError::from)?;
        if !self.gate.try_enter().map_err(SubmitError::from)? {
            let capacity = self.gate.capacity();
            return Err(TrySubmitError::Full {
                task: Box::new(task),
                capacity,
            });
        }
        Ok(self.engine.queue(lane, task, done()))
    }

    /// Runs all of `tasks` and gives their outcomes in the same order.
    ///
    /// Tasks are taken from the iterator as the queue has room for them, so it may be endless.
    /// [`Map::as_completed`] gives the outcomes as they come instead.
    ///
    /// ```
    /// use pepita_sched::pool::Pool;
    /// use pepita_sched::task::Task;
    ///
    /// let pool = Pool::builder().cpu_workers(2).build()?;
    /// let tasks = (1..=3).map(|n| Task::function(move |_| n.to_string()).build().unwrap());
    /// let outputs: Vec<String> = pool
    ///     .map(tasks)
    ///     .map(|outcome| outcome.map(|result| result.stdout_string()))
    ///     .collect::<Result<_, _>>()?;
    /// assert_eq!(outputs, ["1", "2", "3"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map<I: IntoIterator<Item = Task>>(&self, tasks: I) -> Map<'_, I::IntoIter> {
        Map::new(self, tasks.into_iter())
    }

    /// Tells what happens to every task from now on.
    #[must_use]
    pub fn subscribe(&self) -> Events {
        self.engine.subscribe()
    }

    /// Counts of what happened so far, and what goes on now.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.engine.stats()
    }

    /// How many attempts can run at the same time, on all executors together.
    #[must_use]
    pub fn num_workers(&self) -> usize {
        self.engine.num_workers()
    }

    /// How many tasks wait for their first attempt.
    #[must_use]
    pub fn pending_tasks(&self) -> usize {
        self.gate.inside()
    }

    /// The executors, in the order in which they are asked.
    pub fn executors(&self) -> impl Iterator<Item = &dyn Executor> {
        self.engine.executors()
    }

    /// Ends the pool and waits until every task has its outcome; called by one of its own tasks, it
    /// does not wait. A second call changes [`Drain`](Shutdown::Drain) to
    /// [`Abort`](Shutdown::Abort) if it says so.
    pub fn shutdown(&self, how: Shutdown) {
        self.gate.close();
        self.engine.shutdown(how);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shutdown(Shutdown::Drain);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field(
                "executors",
                &self.executors().map(Executor::name).collect::<Vec<_>>(),
            )
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
