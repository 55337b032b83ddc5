//! [`Engine`]: the pool as `pepita run` uses it.
//!
//! Everything a run waits for arrives on one of a few channels, so that each mode of running is
//! one loop over them.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::SystemTime;

use crossbeam_channel::{Receiver, Sender, unbounded};
use pepita::executor::{Backend, CpuExecutor, Executor, TaskContext};
use pepita::pool::{Canceller, Pool, PoolEvent, PoolEventKind, TaskHandle};
use pepita::task::{ExecutionResult, Task, TaskError, TaskId, TaskState, Unsupported};

use rustix::process::{Resource, getrlimit};

use super::brake::Brake;
use super::spool::Outputs;

/// Jobs that wait in the pool's queue, so that a worker that is done has the next one at hand,
/// and the loop that submits them need not wake for each.
fn lookahead(workers: usize) -> usize {
    (2 * workers).max(64)
}

/// When the loop hears of a task that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// At once.
    Each,
    /// At once, unless it succeeded, printed nothing, and enough others are under way: then with
    /// the next one of which it hears. A wake-up of the loop takes a CPU from a task.
    Batched,
}

/// Runs tasks, each known by a key of the caller.
pub(crate) struct Engine {
    pool: Pool,
    executor: Arc<CpuExecutor>,
    brake: Arc<Brake>,
    is_braked: Cell<bool>,
    room: usize,
    /// The tasks that were submitted and have not come back.
    active: HashMap<u64, TaskHandle>,
    sender: Sender<Done>,
    done: Receiver<Done>,
    notice: Notice,
    quiet: Arc<Mutex<Quiet>>,
}

/// What workers and loop share: a task is counted as back, and put here or sent, under one lock,
/// so that nothing is put here after the last one was sent.
#[derive(Debug, Default)]
struct Quiet {
    under_way: usize,
    /// Tasks that came back and of which the loop has not been told.
    done: Vec<Done>,
}

fn lock(quiet: &Mutex<Quiet>) -> MutexGuard<'_, Quiet> {
    quiet.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A task that came back.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) key: u64,
    pub(crate) id: TaskId,
    pub(crate) result: Result<ExecutionResult, TaskError>,
    /// What it printed, if it was told to print to [`Outputs::collectors`].
    pub(crate) outputs: Outputs,
    pub(crate) ended: SystemTime,
}

impl Done {
    fn is_silent_success(&self) -> bool {
        self.outputs.is_empty() && self.result.as_ref().is_ok_and(ExecutionResult::is_success)
    }
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    #[error(transparent)]
    Executor(#[from] pepita::executor::ExecutorBuildError),
    #[error(transparent)]
    Pool(#[from] pepita::pool::PoolBuildError),
    #[error(
        "{workers} jobs at the same time need {needed} open files, and the limit is {limit}; \
         raise it (`ulimit -n {needed}`) or run fewer (`-j`)"
    )]
    Descriptors {
        workers: usize,
        needed: u64,
        limit: u64,
    },
}

/// Descriptors that a run has open beside those of its jobs.
const DESCRIPTORS: u64 = 16;

/// Descriptors that a job has open: four ends of pipes, its pidfd, an eventfd, three of its cgroup.
const DESCRIPTORS_PER_JOB: u64 = 9;

/// Whether so many jobs can be open at the same time: one that finds no descriptor left would fail.
fn check_descriptors(workers: usize) -> Result<(), EngineError> {
    let needed = DESCRIPTORS + DESCRIPTORS_PER_JOB * workers as u64;
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < needed => Err(EngineError::Descriptors {
            workers,
            needed,
            limit,
        }),
        _ => Ok(()),
    }
}

impl Engine {
    /// An engine that runs `workers` tasks at the same time, until `brake` is pulled.
    pub(crate) fn new(workers: usize, brake: Brake, notice: Notice) -> Result<Self, EngineError> {
        check_descriptors(workers)?;
        let brake = Arc::new(brake);
        let executor = Arc::new(
            CpuExecutor::builder()
                .slots(workers)
                .subreaper()
                .move_to_leaf_group()
                .build()?,
        );
        let braked = Braked {
            inner: executor.clone(),
            brake: brake.clone(),
        };
        let queue = lookahead(workers);
        let pool = Pool::builder()
            .executor(braked)
            .queue_capacity(queue)
            .build()?;
        let (sender, done) = unbounded();
        let room = workers + queue;
        Ok(Self {
            pool,
            executor,
            brake,
            is_braked: Cell::new(false),
            room,
            active: HashMap::new(),
            sender,
            done,
            notice,
            quiet: Arc::default(),
        })
    }

    /// Whether this host has what `task` asks for.
    pub(crate) fn check(&self, task: &Task) -> Result<(), Unsupported> {
        self.executor.supports(task)
    }

    /// Whether another task can be submitted without waiting.
    pub(crate) fn has_room(&self) -> bool {
        self.active.len() < self.room
    }

    /// Whether every task that was submitted has come back.
    pub(crate) fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// Hands a task to the pool; it comes back on [`done`](Self::done) whatever happens.
    pub(crate) fn submit(&mut self, key: u64, task: Task) {
        let id = task.id();
        let sender = self.sender.clone();
        let brake = self.brake.clone();
        let quiet = self.quiet.clone();
        // Below this the loop is needed, to submit more or to end.
        let enough = match self.notice {
            Notice::Each => usize::MAX,
            Notice::Batched => self.room / 2,
        };
        lock(&quiet).under_way += 1;
        let submitted = self.pool.submit_then(task, move |result| {
            // Here, on the worker, before it turns to its next task.
            let outputs = Outputs::take_current();
            brake.count(&result, &outputs);
            let done = Done {
                key,
                id,
                result,
                outputs,
                ended: SystemTime::now(),
            };
            let mut quiet = lock(&quiet);
            quiet.under_way -= 1;
            if quiet.under_way > enough && done.is_silent_success() {
                quiet.done.push(done);
            } else {
                drop(quiet);
                // The receiver is gone only when the run is given up.
                let _ = sender.send(done);
            }
        });
        match submitted {
            Ok(handle) => {
                self.active.insert(key, handle);
            }
            Err(error) => {
                lock(&self.quiet).under_way -= 1;
                let result = Err(TaskError::Executor(Box::new(error)));
                let done = Done {
                    key,
                    id,
                    result,
                    outputs: Outputs::default(),
                    ended: SystemTime::now(),
                };
                let _ = self.sender.send(done);
            }
        }
    }

    /// Where tasks come back; the caller passes each to [`retire`](Self::retire).
    pub(crate) fn done(&self) -> &Receiver<Done> {
        &self.done
    }

    /// Those that came back without a word; to be asked each time the loop wakes.
    pub(crate) fn take_quiet(&self) -> Vec<Done> {
        std::mem::take(&mut lock(&self.quiet).done)
    }

    /// Notes that a task came back.
    pub(crate) fn retire(&mut self, key: u64) {
        self.active.remove(&key);
    }

    /// What happens to the tasks from now on.
    pub(crate) fn events(&self) -> Receiver<PoolEvent> {
        self.pool.subscribe().receiver().clone()
    }

    /// Lets no attempt begin any more; those that run go on, and what waits for its next attempt,
    /// now or when it has failed, ends.
    pub(crate) fn brake(&self) {
        if self.is_braked.replace(true) {
            return;
        }
        self.brake.pull();
        if self.active.is_empty() {
            return;
        }
        let events = self.pool.subscribe();
        let cancellers: HashMap<TaskId, Canceller> = self
            .active
            .values()
            .map(|handle| (handle.id(), handle.canceller()))
            .collect();
        for handle in self.active.values() {
            if handle.state() == TaskState::Waiting {
                handle.cancel();
            }
        }
        let end_retries = move || {
            for event in events {
                if let PoolEventKind::Retrying { .. } = event.kind
                    && let Some(canceller) = cancellers.get(&event.id)
                {
                    canceller.cancel();
                }
            }
        };
        // Without a thread for it, a retry ends when its time comes and the brake stops it.
        let watching = thread::Builder::new()
            .name("brake".into())
            .spawn(end_retries);
        tracing::debug!(is_watching = watching.is_ok(), "no attempt begins any more");
    }

    /// Ends the tasks that run, each with its grace, and those that wait.
    pub(crate) fn cancel_all(&self) {
        self.brake();
        self.active.values().for_each(TaskHandle::cancel);
    }

    /// Ends the tasks that run, without grace, and those that wait.
    pub(crate) fn kill_all(&self) {
        self.brake();
        self.active.values().for_each(TaskHandle::kill);
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("active", &self.active.len())
            .finish_non_exhaustive()
    }
}

impl Drop for Engine {
    /// A run that breaks off leaves nothing running.
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// The process executor, as long as the brake is not pulled: then what is queued does not begin.
#[derive(Debug)]
struct Braked {
    inner: Arc<CpuExecutor>,
    brake: Arc<Brake>,
}

impl Executor for Braked {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn backend(&self) -> Backend {
        self.inner.backend()
    }

    fn slots(&self) -> usize {
        self.inner.slots()
    }

    fn supports(&self, task: &Task) -> Result<(), Unsupported> {
        self.inner.supports(task)
    }

    fn execute(&self, task: &Task, context: &TaskContext) -> Result<ExecutionResult, TaskError> {
        Outputs::reset_current();
        if self.brake.is_pulled() {
            return Err(TaskError::Cancelled);
        }
        self.inner.execute(task, context)
    }
}

/// Which key a task has, for its events.
pub(crate) type Keys = HashMap<TaskId, u64>;
