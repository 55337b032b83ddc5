//! Many tasks at once: [`Map`] and [`AsCompleted`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Pool, SubmitError, TaskHandle, TrySubmitError};
use crate::task::{ExecutionResult, Task, TaskError, TaskId};

type Outcome = Result<ExecutionResult, TaskError>;

/// Outcomes in the order of their tasks; made by [`Pool::map`].
///
/// Dropping it lets the tasks that were submitted run on.
#[derive(Debug)]
#[must_use = "nothing is submitted until the outcomes are taken"]
pub struct Map<'a, I> {
    tasks: Submitting<'a, I>,
    /// Outcomes that came before their turn.
    early: BTreeMap<u64, Outcome>,
    /// Whose turn it is.
    next: u64,
}

/// Outcomes as they come; made by [`Map::as_completed`].
///
/// Dropping it lets the tasks that were submitted run on.
#[derive(Debug)]
#[must_use = "nothing is submitted until the outcomes are taken"]
pub struct AsCompleted<'a, I> {
    tasks: Submitting<'a, I>,
}

impl<'a, I: Iterator<Item = Task>> Map<'a, I> {
    pub(super) fn new(pool: &'a Pool, tasks: I) -> Self {
        Self {
            tasks: Submitting::new(pool, tasks),
            early: BTreeMap::new(),
            next: 0,
        }
    }

    /// Gives the outcomes as they come, each with the id of its task.
    pub fn as_completed(self) -> AsCompleted<'a, I> {
        AsCompleted { tasks: self.tasks }
    }
}

impl<I: Iterator<Item = Task>> Iterator for Map<'_, I> {
    type Item = Outcome;

    fn next(&mut self) -> Option<Outcome> {
        loop {
            // Checked each time: a submission that is refused has its outcome at once.
            if let Some(outcome) = self.early.remove(&self.next) {
                self.next += 1;
                return Some(outcome);
            }
            let completed = self.tasks.next(self.early.len())?;
            if completed.index == self.next {
                self.next += 1;
                return Some(completed.outcome);
            }
            self.early.insert(completed.index, completed.outcome);
        }
    }
}

impl<I: Iterator<Item = Task>> Iterator for AsCompleted<'_, I> {
    type Item = (TaskId, Outcome);

    fn next(&mut self) -> Option<(TaskId, Outcome)> {
        self.tasks
            .next(0)
            .map(|completed| (completed.id, completed.outcome))
    }
}

/// Submits tasks as the pool has room, and gathers their outcomes.
#[derive(Debug)]
struct Submitting<'a, I> {
    pool: &'a Pool,
    /// `None` when it has come to its end.
    tasks: Option<I>,
    /// A task for which the queue had no room.
    held: Option<Task>,
    submitted: u64,
    /// Submitted and not given out.
    open: usize,
    /// What a worker of this pool has submitted: it runs what nobody else does, as
    /// [`TaskHandle::wait`] would.
    own: VecDeque<TaskHandle>,
    completed: Arc<Completions>,
    /// Taken out of `completed` and not given out.
    taken: VecDeque<Completed>,
}

#[derive(Debug)]
struct Completed {
    index: u64,
    id: TaskId,
    outcome: Outcome,
}

impl<'a, I: Iterator<Item = Task>> Submitting<'a, I> {
    fn new(pool: &'a Pool, tasks: I) -> Self {
        Self {
            pool,
            tasks: Some(tasks),
            held: None,
            submitted: 0,
            open: 0,
            own: VecDeque::new(),
            completed: Arc::default(),
            taken: VecDeque::new(),
        }
    }

    /// The next outcome that comes; the caller still holds back `kept` others.
    fn next(&mut self, kept: usize) -> Option<Completed> {
        // Outcomes that nobody takes are bounded, as what waits is.
        let waiting = self.pool.gate.capacity().saturating_mul(2);
        let window = waiting.saturating_add(self.pool.num_workers());
        while self.open + kept < window && self.submit_one() {}
        if self.open == 0 {
            return None;
        }
        while self.taken.is_empty()
            && self.completed.is_empty()
            && let Some(handle) = self.own.pop_front()
        {
            handle.wait_done();
        }
        if self.taken.is_empty() {
            self.taken = self.completed.take(self.open);
        }
        self.open -= 1;
        self.taken.pop_front()
    }

    /// Submits one task; says whether the next one should be tried.
    fn submit_one(&mut self) -> bool {
        let task = self.held.take().or_else(|| self.tasks.as_mut()?.next());
        let Some(task) = task else {
            self.tasks = None;
            return false;
        };
        let (id, index, completed) = (task.id(), self.submitted, self.completed.clone());
        let done = move |outcome| completed.add(Completed { index, id, outcome });
        // With nothing of our own under way we have to wait for others' tasks to make room.
        let submitted = if self.open == 0 {
            self.pool
                .submit_then(task, done)
                .map_err(TrySubmitError::from)
        } else {
            self.pool.try_submit_then(task, done)
        };
        let refusal = match submitted {
            Ok(handle) => {
                if self.pool.engine.is_own_worker() {
                    self.own.push_back(handle);
                }
                None
            }
            Err(TrySubmitError::Full { task, .. }) => {
                self.held = Some(*task);
                return false;
            }
            Err(TrySubmitError::Submit(SubmitError::Unsupported(reason))) => {
                Some(TaskError::Unsupported(reason))
            }
            Err(TrySubmitError::Submit(SubmitError::ShutDown)) => Some(TaskError::ShutDown),
        };
        self.submitted += 1;
        self.open += 1;
        if let Some(error) = refusal {
            self.completed.add(Completed {
                index,
                id,
                outcome: Err(error),
            });
        }
        true
    }
}

/// How soon after the last time a sleeping taker is woken again, unless [`BATCH`] are there.
const WAKE_INTERVAL: Duration = Duration::from_millis(4);

/// For so many, a taker is woken at once.
const BATCH: usize = 16;

/// Outcomes on their way to who takes them.
///
/// A taker that is woken takes a processor from a program that runs there, which costs more than a
/// small task's bookkeeping. So one who comes back within [`WAKE_INTERVAL`] is woken for many
/// outcomes together; the first one, and those of longer tasks, wake at once.
#[derive(Debug, Default)]
struct Completions {
    waiting: Mutex<Waiting>,
    enough: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    outcomes: VecDeque<Completed>,
    /// How many wake the taker; 0 as long as it does not sleep.
    wanted: usize,
    last_taken: Option<Instant>,
}

impl Completions {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_empty(&self) -> bool {
        self.waiting().outcomes.is_empty()
    }

    fn add(&self, completed: Completed) {
        let mut waiting = self.waiting();
        waiting.outcomes.push_back(completed);
        let is_enough = waiting.outcomes.len() == waiting.wanted;
        drop(waiting);
        if is_enough {
            self.enough.notify_one();
        }
    }

    /// All that are there, at least one: sleeps until then. There is one taker, and `coming` are yet
    /// to be taken. It is back when half of them are there, to submit more before workers run dry.
    fn take(&self, coming: usize) -> VecDeque<Completed> {
        let batch = BATCH.min(coming / 2).max(1);
        let mut waiting = self.waiting();
        let pause_ends = waiting.last_taken.map(|last| last + WAKE_INTERVAL);
        let pause = pause_ends.map(|end| end.saturating_duration_since(Instant::now()));
        if let Some(pause) = pause.filter(|pause| !pause.is_zero()) {
            waiting.wanted = batch;
            let are_few = |waiting: &mut Waiting| waiting.outcomes.len() < batch;
            let (paused, _) = self
                .enough
                .wait_timeout_while(waiting, pause, are_few)
                .unwrap_or_else(PoisonError::into_inner);
            waiting = paused;
        }
        waiting.wanted = 1;
        waiting = self
            .enough
            .wait_while(waiting, |waiting| waiting.outcomes.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        waiting.wanted = 0;
        waiting.last_taken = Some(Instant::now());
        std::mem::take(&mut waiting.outcomes)
    }
}
