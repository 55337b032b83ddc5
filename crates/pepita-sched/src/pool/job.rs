//! One task on its way through an engine, and the handle to it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::engine::Shared;
use crate::executor::CancelToken;
use crate::fault::{Backoff, Failure, random_seed};
use crate::scheduler::{OneShot, current_worker};
use crate::task::{ExecutionResult, Exit, FailedAttempt, Stop, Task, TaskError, TaskId, TaskState};

type Outcome = Result<ExecutionResult, TaskError>;

/// Who is told of an outcome instead of the handle.
pub(super) type Done = Box<dyn FnOnce(Outcome) + Send>;

/// A task, its state and its outcome, in one allocation.
///
/// # States
/// `QUEUED → RUNNING → DONE`, or `RUNNING → WAITING → QUEUED` between attempts. Whoever moves it
/// out of `QUEUED` or `WAITING` owns it: a worker that begins an attempt, a waiter that runs it
/// itself, the timer, or a cancellation. So an outcome is set once.
pub(super) struct TaskJob {
    task: Task,
    state: AtomicU8,
    cancel: CancelToken,
    progress: Mutex<Progress>,
    outcome: OneShot<Outcome>,
}

const QUEUED: u8 = 0;
const RUNNING: u8 = 1;
const WAITING: u8 = 2;
const DONE: u8 = 3;

/// What is known after the attempts so far.
#[derive(Default)]
struct Progress {
    /// Where it runs, and on which lane; given up with the outcome, so that a handle that is kept
    /// keeps no engine.
    home: Option<(Arc<Shared>, usize)>,
    attempts: u32,
    began: Option<Instant>,
    backoff: Option<Box<Backoff>>,
    failed: Vec<FailedAttempt>,
    /// The result of the last attempt, if it had one, while the next one is awaited.
    last: Option<Box<ExecutionResult>>,
    done: Option<Done>,
}

impl TaskJob {
    pub(super) fn new(task: Task, home: Option<(Arc<Shared>, usize)>, done: Option<Done>) -> Self {
        Self {
            task,
            state: AtomicU8::new(QUEUED),
            cancel: CancelToken::new(),
            progress: Mutex::new(Progress {
                home,
                done,
                ..Progress::default()
            }),
            outcome: OneShot::new(),
        }
    }

    pub(super) fn task(&self) -> &Task {
        &self.task
    }

    pub(super) fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claim(&self, from: u8, to: u8) -> bool {
        self.state
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Ends it as soon as may be: at once if nobody runs it.
    pub(super) fn cancel(&self) {
        self.cancel.cancel();
        self.give_up();
    }

    /// Ends it without grace.
    pub(super) fn kill(&self) {
        self.cancel.kill();
        self.give_up();
    }

    /// Ends it now if nobody runs it.
    fn give_up(&self) {
        if self.claim(QUEUED, DONE) {
            self.leave_queue();
            self.finish(Err(TaskError::Cancelled));
        } else if self.claim(WAITING, DONE) {
            self.finish(Err(TaskError::Cancelled));
        }
    }

    fn home(&self) -> Option<(Arc<Shared>, usize)> {
        self.progress().home.clone()
    }

    /// The time of its next attempt has come.
    pub(super) fn requeue(self: Arc<Self>) {
        if self.claim(WAITING, QUEUED)
            && let Some((shared, lane)) = self.home()
        {
            shared.queue_again(lane, self.clone());
            // A worker that waits for this task runs it itself.
            self.outcome.nudge();
        }
    }

    fn leave_queue(&self) {
        let (attempts, home) = {
            let progress = self.progress();
            (progress.attempts, progress.home.clone())
        };
        if let (0, Some((shared, _))) = (attempts, home) {
            shared.left_queue();
        }
    }

    /// Runs one attempt on the calling worker, unless somebody else has begun to.
    pub(super) fn run(self: &Arc<Self>) {
        if let Some(worker) = current_worker() {
            self.run_on(worker);
        }
    }

    fn run_on(self: &Arc<Self>, worker: usize) {
        if !self.claim(QUEUED, RUNNING) {
            return;
        }
        self.leave_queue();
        let Some((shared, lane)) = self.home() else {
            return;
        };
        let refusal = match (shared.is_aborting(), self.cancel.is_cancelled()) {
            (true, _) => Some(TaskError::ShutDown),
            (false, true) => Some(TaskError::Cancelled),
            (false, false) => None,
        };
        if let Some(refusal) = refusal {
            self.state.store(DONE, Ordering::SeqCst);
            return self.finish(Err(refusal));
        }
        let attempt = {
            let mut progress = self.progress();
            progress.attempts += 1;
            progress.began.get_or_insert_with(Instant::now);
            progress.attempts
        };
        let begin = Instant::now();
        let outcome = shared.attempt(lane, worker, self, attempt);
        match self.next_attempt(&shared, &outcome, begin.elapsed()) {
            None => {
                self.state.store(DONE, Ordering::SeqCst);
                self.finish(outcome);
            }
            Some((delay, error)) => {
                self.progress().last = outcome.ok().map(Box::new);
                self.state.store(WAITING, Ordering::SeqCst);
                if self.cancel.is_cancelled() {
                    return self.cancel();
                }
                shared.retry_in(delay, self.clone(), attempt, &error);
            }
        }
    }

    /// When another attempt follows, and what went wrong with this one.
    fn next_attempt(
        &self,
        shared: &Shared,
        outcome: &Outcome,
        wall: Duration,
    ) -> Option<(Duration, String)> {
        let (failure, error) = failure(outcome)?;
        let policy = shared.retry_policy(&self.task);
        let mut progress = self.progress();
        let elapsed = progress
            .began
            .map_or(Duration::ZERO, |began| began.elapsed());
        let backoff = progress
            .backoff
            .get_or_insert_with(|| Box::new(policy.backoff(random_seed())));
        let delay = backoff.next_delay(&failure, elapsed)?;
        if !shared.pays_for_retry() {
            return None;
        }
        progress.failed.push(FailedAttempt {
            error: error.clone(),
            wall,
            delay,
        });
        Some((delay, error))
    }

    /// Sets the outcome. The caller has moved the state to `DONE`.
    fn finish(&self, outcome: Outcome) {
        let Progress {
            home,
            attempts,
            failed,
            last,
            done,
            ..
        } = std::mem::take(&mut *self.progress());
        let mut outcome = match (outcome, last) {
            // Ended between two attempts: the last one's result says what came of it.
            (Err(TaskError::Cancelled | TaskError::ShutDown), Some(mut last)) => {
                last.stopped = Some(Stop::Cancelled);
                Ok(*last)
            }
            (outcome, _) => outcome,
        };
        if let Ok(result) = &mut outcome {
            result.failed_attempts = failed;
        }
        let shared = home.map(|(shared, _)| shared);
        // However the rest goes: the task counts as ended.
        let _retire = Retire(shared.as_deref());
        if let Some(shared) = &shared {
            shared.finished(self.task.id(), attempts, &outcome);
        }
        match (done, &shared) {
            (Some(done), Some(shared)) => {
                shared.deliver(self.task.id(), || done(outcome));
                self.outcome.set(Err(TaskError::Delivered));
            }
            (_, _) => self.outcome.set(outcome),
        }
    }

    /// Waits until it has its outcome. On a worker of its lane it is run here if nobody else does:
    /// so waiting for it cannot bring the pool to a stand.
    pub(super) fn wait(self: &Arc<Self>) {
        let is_ours = |(shared, lane): (Arc<Shared>, usize)| shared.is_current(lane);
        if let Some(worker) = current_worker()
            && self.home().is_some_and(is_ours)
        {
            let is_queued = || self.state.load(Ordering::SeqCst) == QUEUED;
            while !self.outcome.wait_or(None, is_queued) {
                self.run_on(worker);
            }
        }
        self.outcome.wait(None);
    }
}

/// Counts a task as ended when it is dropped.
struct Retire<'a>(Option<&'a Shared>);

impl Drop for Retire<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.retire();
        }
    }
}

/// How an attempt failed, for the retry policy and in words; `None` if it did not, or if trying
/// again makes no sense.
fn failure(outcome: &Outcome) -> Option<(Failure, String)> {
    match outcome {
        Ok(result) => {
            let failure = match (result.stopped, result.exit) {
                (Some(Stop::Cancelled), _) | (None, Exit::Code(0)) => return None,
                (Some(Stop::Timeout), _) => Failure::Timeout,
                (Some(Stop::MemoryLimit), _) => Failure::MemoryLimit,
                (None, Exit::Code(code)) => Failure::Exit(code),
                (None, Exit::Signal(signal)) => Failure::Signal(signal),
            };
            let words = match result.stopped {
                Some(stop) => stop.to_string(),
                None => result.exit.to_string(),
            };
            Some((failure, words))
        }
        Err(error) => {
            let failure = match error {
                TaskError::Spawn(error) if error.is_shortage() => Failure::Other,
                TaskError::Spawn(_) => Failure::Start,
                TaskError::Panicked { .. } => Failure::Panic,
                TaskError::System { .. } | TaskError::Executor(_) => Failure::Other,
                _ => return None,
            };
            Some((failure, error.to_string()))
        }
    }
}

/// The outcome of a task that was submitted.
///
/// It is a `Future`, for any async runtime, and has [`wait`](Self::wait), for none. Dropping it
/// lets the task run on.
#[must_use = "an outcome that nobody takes is lost; drop the handle to let the task run on"]
pub struct TaskHandle {
    job: Arc<TaskJob>,
}

impl TaskHandle {
    pub(super) fn new(job: Arc<TaskJob>) -> Self {
        Self { job }
    }

    /// The handle of a task that is not run, for `error`.
    pub(crate) fn refused(task: Task, error: TaskError) -> Self {
        let job = TaskJob::new(task, None, None);
        job.state.store(DONE, Ordering::SeqCst);
        job.finish(Err(error));
        Self::new(Arc::new(job))
    }

    /// Which task it is.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.job.task.id()
    }

    /// The task itself.
    #[must_use]
    pub fn task(&self) -> &Task {
        &self.job.task
    }

    /// Where the task is on its way.
    #[must_use]
    pub fn state(&self) -> TaskState {
        match self.job.state.load(Ordering::SeqCst) {
            QUEUED => TaskState::Queued,
            RUNNING => TaskState::Running,
            WAITING => TaskState::Waiting,
            _ => TaskState::Done,
        }
    }

    /// Ends the task: at once if it does not run; else as its timeout would (SIGTERM, the grace,
    /// SIGKILL), and the handle resolves when its processes are gone.
    pub fn cancel(&self) {
        self.job.cancel();
    }

    /// Ends the task without grace: its processes get SIGKILL, also if it was cancelled before and
    /// has its grace now.
    pub fn kill(&self) {
        self.job.kill();
    }

    /// Something that cancels the task and can be kept after the handle was waited for.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        Canceller {
            job: self.job.clone(),
        }
    }

    /// Waits for the outcome.
    ///
    /// On a worker of the executor that the task goes to, a task that nobody runs is run here, so
    /// that waiting for it cannot bring the pool to a stand.
    ///
    /// # Errors
    /// [`TaskError`] says why the task did not run to an end.
    pub fn wait(self) -> Result<ExecutionResult, TaskError> {
        self.job.wait();
        self.job.outcome.wait_take()
    }

    /// Waits until the outcome is there, without taking it.
    pub(super) fn wait_done(&self) {
        self.job.wait();
    }

    /// Waits for the outcome for `timeout` at the most; gives the handle back if there is none. It
    /// never runs the task itself.
    ///
    /// # Errors
    /// The handle itself, when the time is over.
    pub fn wait_timeout(
        self,
        timeout: Duration,
    ) -> Result<Result<ExecutionResult, TaskError>, Self> {
        let deadline = Instant::now().checked_add(timeout);
        if self.job.outcome.wait(deadline) {
            Ok(self.wait())
        } else {
            Err(self)
        }
    }

    /// Whether the outcome is there.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.job.outcome.is_set()
    }
}

impl Future for TaskHandle {
    type Output = Result<ExecutionResult, TaskError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.job.outcome.poll(context)
    }
}

impl fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle")
            .field("id", &self.id())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// Cancels a task; made by [`TaskHandle::canceller`].
#[derive(Clone)]
pub struct Canceller {
    job: Arc<TaskJob>,
}

impl Canceller {
    /// As [`TaskHandle::cancel`].
    pub fn cancel(&self) {
        self.job.cancel();
    }

    /// As [`TaskHandle::kill`].
    pub fn kill(&self) {
        self.job.kill();
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller")
            .field("id", &self.job.task.id())
            .finish_non_exhaustive()
    }
}
