//! [`Engine`]: lanes of executors, and the way of a task through them.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Shutdown;
use super::events::{Events, PoolEventKind, Subscribers};
use super::gate::Gate;
use super::job::{Done, TaskHandle, TaskJob};
use super::stats::{Counters, PoolStats};
use super::timer::Timer;
use crate::executor::{CpuExecutor, Executor, TaskContext};
use crate::fault::{RetryBudget, RetryPolicy};
use crate::scheduler::{Job, Setup, Workers};
use crate::task::{ExecutionResult, Priority, Stop, Task, TaskError, TaskId, Unsupported};

/// What holds for every task that does not say otherwise.
#[derive(Debug, Default)]
pub(super) struct EngineSettings {
    pub(super) retry: RetryPolicy,
    pub(super) budget: Option<Arc<RetryBudget>>,
    pub(super) timeout: Option<Duration>,
}

/// Runs tasks on executors, each with workers of its own.
pub(crate) struct Engine {
    shared: Arc<Shared>,
}

/// What the tasks of an engine have in common.
pub(super) struct Shared {
    lanes: Vec<Lane>,
    settings: EngineSettings,
    gate: Option<Arc<Gate>>,
    pub(super) counters: Counters,
    subscribers: Subscribers,
    timer: Timer<Arc<TaskJob>>,
    aborting: AtomicBool,
    /// Tasks without an outcome, and a word for those who wait until there are none.
    active: AtomicU64,
    idle: Mutex<()>,
    became_idle: Condvar,
}

/// An executor and the threads that it runs on.
pub(super) struct Lane {
    executor: Arc<dyn Executor>,
    name: Arc<str>,
    workers: Arc<Workers>,
    /// What each worker runs, so that an abort can cancel it: more than one if a task waits for
    /// another, which then runs on top of it.
    running: Vec<Mutex<Vec<Arc<TaskJob>>>>,
}

impl Lane {
    fn new(executor: Arc<dyn Executor>, workers: Arc<Workers>) -> Self {
        let name = Arc::from(executor.name());
        let running = (0..workers.most()).map(|_| Mutex::default()).collect();
        Self {
            executor,
            name,
            workers,
            running,
        }
    }

    fn push(&self, priority: Priority, job: Arc<TaskJob>) {
        self.workers.push(priority, Job::new(move || job.run()));
    }

    fn slot(&self, worker: usize) -> MutexGuard<'_, Vec<Arc<TaskJob>>> {
        self.running[worker]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Starts the workers of `executors`.
    pub(super) fn start(
        executors: Vec<Arc<dyn Executor>>,
        settings: EngineSettings,
        gate: Option<Arc<Gate>>,
    ) -> std::io::Result<Self> {
        let lanes = executors.into_iter().map(|executor| {
            let name = format!("pepita-{}", executor.name());
            let workers = Workers::start(&Setup::plain(executor.slots(), &name))?;
            Ok(Lane::new(executor, workers))
        });
        Ok(Self::with_lanes(
            lanes.collect::<std::io::Result<_>>()?,
            settings,
            gate,
        ))
    }

    /// One executor on workers that exist already; nothing bounds what waits.
    pub(crate) fn single(executor: CpuExecutor, workers: Arc<Workers>) -> Self {
        let lane = Lane::new(Arc::new(executor), workers);
        Self::with_lanes(vec![lane], EngineSettings::default(), None)
    }

    fn with_lanes(lanes: Vec<Lane>, settings: EngineSettings, gate: Option<Arc<Gate>>) -> Self {
        let shared = Shared {
            lanes,
            settings,
            gate,
            counters: Counters::default(),
            subscribers: Subscribers::default(),
            timer: Timer::new(),
            aborting: AtomicBool::new(false),
            active: AtomicU64::new(0),
            idle: Mutex::new(()),
            became_idle: Condvar::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The first executor that can run `task`.
    pub(super) fn lane_for(&self, task: &Task) -> Result<usize, Unsupported> {
        let mut refusal = None;
        for (index, lane) in self.shared.lanes.iter().enumerate() {
            if !lane.executor.backend().serves(task.backend()) {
                continue;
            }
            match lane.executor.supports(task) {
                Ok(()) => return Ok(index),
                // The first word is kept: it comes from the executor that was preferred.
                Err(unsupported) => refusal = refusal.or(Some(unsupported)),
            }
        }
        Err(refusal.unwrap_or_else(|| {
            let names = self
                .executors()
                .map(|executor| executor.backend().to_string());
            let available = names.collect::<Vec<_>>().join(", ");
            Unsupported::Backend {
                backend: task.backend(),
                available,
            }
        }))
    }

    /// Queues a task; the caller has entered the gate, if there is one.
    pub(super) fn queue(&self, lane: usize, task: Task, done: Option<Done>) -> TaskHandle {
        let shared = &self.shared;
        Counters::add(&shared.counters.submitted);
        shared.active.fetch_add(1, Ordering::SeqCst);
        shared.subscribers.tell(task.id(), || PoolEventKind::Queued);
        let priority = task.priority();
        let job = Arc::new(TaskJob::new(task, Some((shared.clone(), lane)), done));
        shared.lanes[lane].push(priority, job.clone());
        TaskHandle::new(job)
    }

    /// Queues a task, whatever waits; one that cannot be run gets that as its outcome.
    pub(crate) fn submit_unbounded(&self, task: Task) -> TaskHandle {
        match self.lane_for(&task) {
            Ok(lane) => self.queue(lane, task, None),
            Err(unsupported) => TaskHandle::refused(task, unsupported.into()),
        }
    }

    pub(super) fn subscribe(&self) -> Events {
        self.shared.subscribers.add()
    }

    pub(super) fn stats(&self) -> PoolStats {
        let queued = self.shared.gate.as_ref().map_or(0, |gate| gate.inside());
        self.shared.counters.snapshot(queued as u64)
    }

    pub(super) fn num_workers(&self) -> usize {
        self.shared
            .lanes
            .iter()
            .map(|lane| lane.workers.len())
            .sum()
    }

    pub(super) fn executors(&self) -> impl Iterator<Item = &dyn Executor> {
        self.shared.lanes.iter().map(|lane| lane.executor.as_ref())
    }

    /// Waits until every task has its outcome; with [`Shutdown::Abort`], sees to that.
    pub(crate) fn shutdown(&self, how: Shutdown) {
        let shared = &self.shared;
        if how == Shutdown::Abort {
            shared.aborting.store(true, Ordering::SeqCst);
            // What waits for its next attempt ends here; what is queued ends when a worker takes
            // it; what runs is cancelled.
            shared.timer.drain().iter().for_each(|job| job.cancel());
            for lane in &shared.lanes {
                for worker in 0..lane.running.len() {
                    let running = lane.slot(worker).clone();
                    running.iter().for_each(|job| job.cancel());
                }
            }
        }
        if self.is_own_worker() {
            return;
        }
        let mut idle = shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // A task that has entered the gate counts, though it may not be active yet.
        let is_idle = || {
            let inside = shared.gate.as_ref().map_or(0, |gate| gate.inside());
            shared.active.load(Ordering::SeqCst) == 0 && inside == 0
        };
        while !is_idle() {
            idle = shared
                .became_idle
                .wait(idle)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether the calling code is a task of this engine, which must not wait for its own end.
    pub(super) fn is_own_worker(&self) -> bool {
        let is_delivering = DELIVERING.get() == Arc::as_ptr(&self.shared).addr();
        is_delivering
            || self
                .shared
                .lanes
                .iter()
                .any(|lane| lane.workers.is_current())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.is_own_worker() {
            // The tasks that are left hold what they need, and the last one ends the workers.
            return;
        }
        self.shutdown(Shutdown::Drain);
        self.shared
            .lanes
            .iter()
            .for_each(|lane| lane.workers.stop());
    }
}

thread_local! {
    /// The address of the engine one of whose callbacks this thread runs; 0 for none.
    static DELIVERING: Cell<usize> = const { Cell::new(0) };
}

impl Shared {
    /// Runs the callback of a task; a panic in it is logged.
    pub(super) fn deliver(self: &Arc<Self>, id: TaskId, callback: impl FnOnce()) {
        let before = DELIVERING.replace(Arc::as_ptr(self).addr());
        if let Err(panic) = catch_unwind(AssertUnwindSafe(callback)) {
            let message = crate::scheduler::panic_message(panic);
            tracing::error!(task = %id, message, "the callback of a task panicked");
        }
        DELIVERING.set(before);
    }

    /// Whether the calling code runs on a worker of `lane`.
    pub(super) fn is_current(&self, lane: usize) -> bool {
        self.lanes[lane].workers.is_current()
    }

    /// Whether a task that a worker takes now is to be refused.
    pub(super) fn is_aborting(&self) -> bool {
        self.aborting.load(Ordering::SeqCst)
    }

    /// A task leaves the queue for its first attempt, or for good.
    pub(super) fn left_queue(&self) {
        if let Some(gate) = &self.gate {
            gate.leave();
        }
    }

    /// Runs one attempt of `job` on `worker`.
    pub(super) fn attempt(
        &self,
        lane: usize,
        worker: usize,
        job: &Arc<TaskJob>,
        attempt: u32,
    ) -> Result<ExecutionResult, TaskError> {
        let lane = &self.lanes[lane];
        let task = job.task();
        lane.slot(worker).push(job.clone());
        if self.is_aborting() {
            job.cancel();
        }
        self.counters.running.fetch_add(1, Ordering::Relaxed);
        self.subscribers.tell(task.id(), || PoolEventKind::Started {
            attempt,
            executor: lane.name.clone(),
            worker,
        });
        let timeout = task.timeout().or(self.settings.timeout);
        let context = TaskContext::new(job.cancel_token().clone(), timeout, attempt, worker);
        let begin = Instant::now();
        let outcome = contained(task.id(), attempt, || lane.executor.execute(task, &context));
        self.counters.running.fetch_sub(1, Ordering::Relaxed);
        lane.slot(worker).pop();
        outcome.map(|mut result| {
            if result.wall.is_zero() {
                result.wall = begin.elapsed();
            }
            result.attempts = attempt;
            result.executor = lane.name.clone();
            result.worker = worker;
            result
        })
    }

    /// The policy for `task`.
    pub(super) fn retry_policy<'a>(&'a self, task: &'a Task) -> &'a RetryPolicy {
        task.retry().unwrap_or(&self.settings.retry)
    }

    /// Whether the pool can afford one more retry.
    pub(super) fn pays_for_retry(&self) -> bool {
        self.settings
            .budget
            .as_ref()
            .is_none_or(|budget| budget.try_withdraw())
    }

    /// Has `job` queued again in `delay`.
    pub(super) fn retry_in(&self, delay: Duration, job: Arc<TaskJob>, attempt: u32, error: &str) {
        Counters::add(&self.counters.retries);
        let id = job.task().id();
        tracing::debug!(task = %id, attempt, error, ?delay, "attempt failed; another follows");
        self.subscribers.tell(id, || PoolEventKind::Retrying {
            attempt,
            error: error.to_owned(),
            delay,
        });
        let due = Instant::now().checked_add(delay);
        let added = match due {
            Some(due) if !delay.is_zero() => self.timer.add(due, job.clone(), TaskJob::requeue),
            _ => {
                job.clone().requeue();
                Ok(())
            }
        };
        if let Err(error) = added {
            // Without a thread for the timer the attempt comes early rather than never.
            tracing::warn!(%error, "no thread for the timer; the task is retried at once");
            job.requeue();
        } else if self.is_aborting() {
            // The abort may have drained the timer before this one was in.
            job.cancel();
        }
    }

    /// Puts `job` into the queue of its lane again.
    pub(super) fn queue_again(&self, lane: usize, job: Arc<TaskJob>) {
        let priority = job.task().priority();
        self.lanes[lane].push(priority, job);
    }

    /// Counts and tells the outcome of a task.
    pub(super) fn finished(
        &self,
        id: TaskId,
        attempts: u32,
        outcome: &Result<ExecutionResult, TaskError>,
    ) {
        let counters = &self.counters;
        let (exit, stopped) = match outcome {
            Ok(result) => {
                match result.stopped {
                    _ if result.is_success() => {
                        Counters::add(&counters.succeeded);
                        if let Some(budget) = &self.settings.budget {
                            budget.deposit();
                        }
                    }
                    Some(Stop::Cancelled) => Counters::add(&counters.cancelled),
                    stopped => {
                        Counters::add(&counters.failed);
                        if stopped == Some(Stop::Timeout) {
                            Counters::add(&counters.timed_out);
                        }
                    }
                }
                (Some(result.exit), result.stopped)
            }
            Err(TaskError::Cancelled | TaskError::ShutDown) => {
                Counters::add(&counters.cancelled);
                (None, Some(Stop::Cancelled))
            }
            Err(_) => {
                Counters::add(&counters.errors);
                (None, None)
            }
        };
        self.subscribers.tell(id, || PoolEventKind::Finished {
            exit,
            stopped,
            attempts,
        });
    }

    /// A task has its outcome, and its submitter knows.
    pub(super) fn retire(&self) {
        if self.active.fetch_sub(1, Ordering::SeqCst) == 1 {
            drop(self.idle.lock().unwrap_or_else(PoisonError::into_inner));
            self.became_idle.notify_all();
        }
    }
}

/// Runs an attempt; a panic in it is its error.
fn contained(
    id: TaskId,
    attempt: u32,
    run: impl FnOnce() -> Result<ExecutionResult, TaskError>,
) -> Result<ExecutionResult, TaskError> {
    let span = tracing::debug_span!("task", %id, attempt);
    let _entered = span.enter();
    // Executors guard their own state (locks recover, processes are ended on unwinding), and what
    // a task's function left half done is behind `Arc`s that only its own kind can see.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let message = crate::scheduler::panic_message(panic);
        tracing::debug!(message, "the task panicked");
        Err(TaskError::Panicked { message })
    })
}
