//! A fixed set of worker threads that steal from each other: [`Scheduler`].
//!
//! A closure that is spawned by a worker goes to that worker's own deck, a [`WorkerDeque`] with a backlog
//! for what is too much for it: the worker takes the newest, thieves take the oldest, many at once where
//! they are small. Each [`scope`](fn@scope) has another deck. A closure from outside, and one with a
//! [`Priority`], goes to a queue that all workers take from. A worker that finds nothing searches for a
//! moment and then sleeps.

mod appetite;
mod backlog;
mod blocking;
mod builder;
mod cell;
mod crew;
mod deck;
mod deque;
mod dice;
mod entry;
mod frames;
mod handle;
mod install;
mod job;
mod join;
mod latch;
mod local;
mod loops;
mod metrics;
mod nearness;
mod offer;
mod parallel;
mod patience;
mod rest;
mod scope;
mod sleep;
mod sort;
mod tally;
mod terms;
mod workers;

use std::fmt;
use std::sync::{Arc, OnceLock};

pub use blocking::blocking;
pub use builder::{SchedulerBuildError, SchedulerBuilder};
pub(crate) use cell::OneShot;
pub use deque::{Stealer, WorkerDeque};
pub use entry::QueueFull;
pub(crate) use handle::panic_message;
pub use handle::{JoinError, JoinHandle};
pub(crate) use job::Job;
pub use join::join;
pub(crate) use local::current_worker;
pub use metrics::{Metrics, WorkerMetrics};
pub use parallel::{
    for_each, for_each_chunk_mut, for_each_mut, for_each_part_mut, map_reduce, map_reduce_parts,
};
pub use scope::{Scope, scope};
pub use sort::{sort_unstable, sort_unstable_by};
pub use terms::Terms;
pub(crate) use workers::{Setup, Workers};

use entry::Entry;

use crate::executor::CpuExecutor;
use crate::pool::{Engine, Shutdown, TaskHandle};
use crate::task::{Priority, Task, TaskError};

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
    /// For closures from outside, if they are bounded.
    entry: Option<Entry>,
    /// Runs tasks; made with the first one.
    engine: OnceLock<Result<Engine, Arc<crate::executor::ExecutorBuildError>>>,
}

impl Scheduler {
    /// Starts `workers` worker threads. For other settings, and for errors instead of panics, see [`builder`](Self::builder).
    ///
    /// # Panics
    /// When `workers` is 0, or the system has no thread left for one of them.
    #[must_use]
    pub fn with_workers(workers: usize) -> Self {
        assert!(workers > 0, "a scheduler needs at least one worker");
        let builder = Self::builder().workers(workers);
        builder.start().expect("the system starts a thread")
    }

    /// The settings of a scheduler: names and stacks of its threads, and the CPUs they are bound to.
    pub fn builder() -> SchedulerBuilder {
        SchedulerBuilder::new()
    }

    fn of(workers: Arc<Workers>, entry: Option<Entry>) -> Self {
        Self {
            workers,
            entry,
            engine: OnceLock::new(),
        }
    }

    /// Runs `closure` on a worker, at [`Priority::Normal`]. Dropping the handle lets it run on.
    ///
    /// It may outlive its caller, so it borrows nothing:
    ///
    /// ```compile_fail,E0373
    /// let scheduler = pepita_sched::scheduler::Scheduler::with_workers(1);
    /// let number = 1;
    /// drop(scheduler.spawn(|| number + 1));
    /// ```
    ///
    /// and it moves to another thread:
    ///
    /// ```compile_fail,E0277
    /// let scheduler = pepita_sched::scheduler::Scheduler::with_workers(1);
    /// let counter = std::rc::Rc::new(1);
    /// drop(scheduler.spawn(move || *counter));
    /// ```
    pub fn spawn<F, T>(&self, closure: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (job, handle) = handle::spawned(closure);
        self.workers.push_closure(self.admitted(job));
        handle
    }

    /// As [`spawn`](Self::spawn), but does not wait where the queue is [bounded](SchedulerBuilder::queue_capacity) and full.
    ///
    /// # Errors
    /// [`QueueFull`] gives the closure back.
    pub fn try_spawn<F, T>(&self, closure: F) -> Result<JoinHandle<T>, QueueFull<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let place = match self.bound() {
            None => None,
            Some(entry) => match entry.try_enter() {
                Some(place) => Some(place),
                None => {
                    let capacity = entry.capacity();
                    return Err(QueueFull { closure, capacity });
                }
            },
        };
        let (job, handle) = handle::spawned(closure);
        let job = match place {
            Some(place) => place.with(job),
            None => job,
        };
        self.workers.push_closure(job);
        Ok(handle)
    }

    /// Where the calling thread enters; `None` for no bound, and for a worker, which must not wait for itself.
    #[inline]
    fn bound(&self) -> Option<&Entry> {
        let entry = self.entry.as_ref();
        entry.filter(|_| !self.workers.is_current())
    }

    /// The job, when there is a place for it.
    #[inline]
    fn admitted(&self, job: Job) -> Job {
        match self.bound() {
            Some(entry) => entry.enter().with(job),
            None => job,
        }
    }

    /// Runs `closure` on a worker, before or after others that wait.
    pub fn spawn_at<F, T>(&self, priority: Priority, closure: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (job, handle) = handle::spawned(closure);
        self.workers.push(priority, self.admitted(job));
        handle
    }

    /// Runs `closure` on a worker, unless it is not wanted any more when one comes to it: that a token was cancelled or a deadline
    /// passed is seen then, and not before.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use pepita_sched::scheduler::{Scheduler, Terms};
    ///
    /// let scheduler = Scheduler::with_workers(1);
    /// let terms = Terms::new().deadline(Instant::now() + Duration::from_secs(60));
    /// assert_eq!(scheduler.spawn_on(&terms, || "in time").wait(), Ok("in time"));
    /// ```
    pub fn spawn_on<F, T>(&self, terms: &Terms, closure: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let its = terms.clone();
        let (job, handle) = handle::spawned_unless(move || its.refusal(), closure);
        self.workers.push(terms.at(), self.admitted(job));
        handle
    }

    /// Runs `closure` on a worker, without a handle. One that captures up to three words takes no memory of its own.
    ///
    /// A panic in it is logged, and the worker goes on.
    #[inline]
    pub fn spawn_detached<F>(&self, closure: F)
    where
        F: FnOnce() + Send + 'static,
    {
        self.workers.push_closure(self.admitted(Job::new(closure)));
    }

    /// [`scope`](fn@scope) on a worker.
    ///
    /// # Panics
    /// As [`scope`](fn@scope).
    pub fn scope<'scope, F, R>(&self, body: F) -> R
    where
        F: FnOnce(&Scope<'scope>) -> R + Send,
        R: Send,
    {
        self.install(|| scope(body))
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

    /// Ends the workers, and waits for that. With [`Shutdown::Drain`] what waits is run before, as it is when the scheduler is
    /// dropped; with [`Shutdown::Abort`] closures that wait are dropped ([`JoinError::ShutDown`]), tasks that wait are refused,
    /// and those that run are cancelled.
    ///
    /// On one of its own workers it does not wait for itself.
    pub fn shutdown(self, how: Shutdown) {
        if how == Shutdown::Abort {
            if let Some(Ok(engine)) = self.engine.get() {
                engine.shutdown(how);
            }
            self.workers.abort();
        }
    }

    /// Sets how many workers it has, from 1 to [`max_workers`](SchedulerBuilder::max_workers), while it runs. A worker that is one too
    /// many goes when it has ended what it runs, and others take what waited for it.
    ///
    /// How many tasks run at the same time stays as it was with the first one.
    ///
    /// # Errors
    /// [`ResizeError`] for another number.
    ///
    /// ```
    /// use pepita_sched::scheduler::Scheduler;
    ///
    /// let scheduler = Scheduler::builder().workers(1).max_workers(4).start()?;
    /// scheduler.resize(4)?;
    /// assert_eq!(scheduler.num_workers(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resize(&self, workers: usize) -> Result<(), ResizeError> {
        let most = self.workers.most();
        if workers == 0 || workers > most {
            return Err(ResizeError { workers, most });
        }
        self.workers.resize(workers);
        Ok(())
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

    /// What the workers have done since they were started, and what waits.
    ///
    /// ```
    /// use pepita_sched::scheduler::Scheduler;
    ///
    /// let scheduler = Scheduler::with_workers(2);
    /// let closures: Vec<_> = (0..100).map(|number| scheduler.spawn(move || number)).collect();
    /// closures.into_iter().try_for_each(|closure| closure.wait().map(drop))?;
    /// assert_eq!(scheduler.metrics().tasks(), 100);
    /// # Ok::<(), pepita_sched::scheduler::JoinError>(())
    /// ```
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.workers.metrics()
    }

    /// For each worker, those [to spare](SchedulerBuilder::max_workers) too, how many jobs it holds: those in its own queue, and the one it runs.
    #[must_use]
    pub fn worker_loads(&self) -> Vec<usize> {
        self.workers.loads()
    }
}

impl Default for Scheduler {
    /// One worker for each CPU that this process may use.
    fn default() -> Self {
        Self::with_workers(builder::default_workers())
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

/// A scheduler cannot have so many workers; see [`Scheduler::resize`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a scheduler of 1 to {most} workers cannot have {workers}")]
pub struct ResizeError {
    /// How many were asked for.
    pub workers: usize,
    /// How many there may be.
    pub most: usize,
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
