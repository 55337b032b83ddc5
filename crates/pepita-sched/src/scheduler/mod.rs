//! A fixed set of worker threads that steal from each other: [`Scheduler`].
//!
//! A job that is spawned by a worker goes to that worker's own [`WorkerDeque`], where the worker
//! takes the newest and thieves take the oldest; a job from outside goes to a shared queue, one
//! for each [`Priority`]. A worker that finds nothing searches for a moment and then sleeps.

mod cell;
mod deque;
mod frames;
mod handle;
mod install;
mod join;
mod latch;
mod local;
mod offer;
mod patience;
mod sleep;
mod workers;

use std::fmt;
use std::num::NonZero;
use std::sync::{Arc, OnceLock};

pub(crate) use cell::OneShot;
pub use deque::{Stealer, WorkerDeque};
pub(crate) use handle::panic_message;
pub use handle::{JoinError, JoinHandle};
pub use join::join;
pub(crate) use local::current_worker;
pub(crate) use workers::{Runnable, Workers};

use crate::executor::CpuExecutor;
use crate::pool::{Engine, TaskHandle};
use crate::task::{Priority, Task, TaskError};
use handle::ClosureJob;

/// Runs closures and tasks on a fixed set of worker threads.
///
/// Dropping it runs what has been given to it, then ends the workers; idle workers use no CPU.
///
/// ```
/// use pepita_sched::scheduler::Scheduler;
/// use pepita_sched::task::Task;
///
/// let scheduler = Scheduler::with_workers(2);
/// let sum = scheduler.spawn(|| (1..=10).sum::<u32>());
/// let echo = scheduler.submit(Task::binary("echo").arg("hello").build()?);
/// assert_eq!(sum.wait()?, 55);
/// assert_eq!(echo.wait()?.stdout_string(), "hello\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Scheduler {
    workers: Arc<Workers>,
    /// Runs tasks; made with the first one.
    engine: OnceLock<Result<Engine, Arc<crate::executor::ExecutorBuildError>>>,
}

impl Scheduler {
    /// Starts `workers` worker threads.
    ///
    /// # Panics
    /// When `workers` is 0, or the system has no thread left for one of them.
    #[must_use]
    pub fn with_workers(workers: usize) -> Self {
        assert!(workers > 0, "a scheduler needs at least one worker");
        let workers = Workers::start(workers, "pepita").expect("the system starts a thread");
        Self {
            workers,
            engine: OnceLock::new(),
        }
    }

    /// Runs `job` on a worker, at [`Priority::Normal`]. Dropping the handle lets it run on.
    pub fn spawn<F, T>(&self, job: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_at(Priority::Normal, job)
    }

    /// Runs `job` on a worker, before or after others that wait.
    pub fn spawn_at<F, T>(&self, priority: Priority, job: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let job = Arc::new(ClosureJob::new(job));
        self.workers.push(priority, job.clone());
        JoinHandle::new(job)
    }

    /// Runs `work` on a worker and waits for it; what it borrows need not live longer. On a worker of this scheduler it is
    /// just called.
    ///
    /// # Panics
    /// With the panic of `work`.
    pub fn install<F, R>(&self, work: F) -> R
    where
        F: FnOnce() -> R + Send,
        R: Send,
    {
        install::install(&self.workers, work)
    }

    /// [`join`](fn@join) on a worker.
    ///
    /// # Panics
    /// As [`join`](fn@join).
    pub fn join<A, B, RA, RB>(&self, a: A, b: B) -> (RA, RB)
    where
        A: FnOnce() -> RA + Send,
        B: FnOnce() -> RB + Send,
        RA: Send,
        RB: Send,
    {
        self.install(|| join(a, b))
    }

    /// Runs a task on a [`CpuExecutor`] of this scheduler, one attempt on one worker at a time;
    /// the handle can be awaited on any async runtime, or waited for.
    ///
    /// What the executor cannot run resolves to [`TaskError::Unsupported`]. For limits on what
    /// waits, other executors and statistics, see [`Pool`](crate::pool::Pool).
    ///
    /// ```
    /// use pepita_sched::scheduler::Scheduler;
    /// use pepita_sched::task::{Priority, Task};
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let scheduler = Scheduler::with_workers(4);
    ///
    /// let task = Task::builder()
    ///     .binary("./compute")
    ///     .priority(Priority::High)
    ///     .build()?;
    ///
    /// scheduler.submit(task).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit(&self, task: Task) -> TaskHandle {
        let engine = self.engine.get_or_init(|| {
            let executor = CpuExecutor::builder().slots(self.num_workers()).build();
            executor
                .map(|cpu| Engine::single(cpu, self.workers.clone()))
                .map_err(Arc::new)
        });
        match engine {
            Ok(engine) => engine.submit_unbounded(task),
            Err(error) => TaskHandle::refused(task, TaskError::Executor(Box::new(error.clone()))),
        }
    }

    /// How many workers it has.
    #[must_use]
    pub fn num_workers(&self) -> usize {
        self.workers.len()
    }

    /// How many jobs and tasks wait for a worker.
    #[must_use]
    pub fn pending_tasks(&self) -> usize {
        self.workers.pending()
    }

    /// For each worker, how many jobs it holds: those in its own queue, and the one it runs.
    #[must_use]
    pub fn worker_loads(&self) -> Vec<usize> {
        self.workers.loads()
    }
}

impl Default for Scheduler {
    /// One worker for each CPU that this process may use.
    fn default() -> Self {
        Self::with_workers(std::thread::available_parallelism().map_or(1, NonZero::get))
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // Tasks that wait for their next attempt are in no queue: the engine waits for them.
        drop(self.engine.take());
        // On one of its own workers the last job that holds the workers ends them.
        if !self.workers.is_current() {
            self.workers.stop();
        }
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("num_workers", &self.num_workers())
            .field("pending_tasks", &self.pending_tasks())
            .finish_non_exhaustive()
    }
}

/// Names a worker of a scheduler, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(usize);

impl WorkerId {
    /// The worker that the calling code runs on, if it runs on one.
    #[must_use]
    pub fn current() -> Option<Self> {
        current_worker().map(Self)
    }

    /// Its index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}
