//! Many tasks at once: [`Map`] and [`AsCompleted`].

use std::collections::{BTreeMap, VecDeque};

use crossbeam_channel::{Receiver, Sender, unbounded};

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
    sender: Sender<Completed>,
    receiver: Receiver<Completed>,
}

#[derive(Debug)]
struct Completed {
    index: u64,
    id: TaskId,
    outcome: Outcome,
}

impl<'a, I: Iterator<Item = Task>> Submitting<'a, I> {
    fn new(pool: &'a Pool, tasks: I) -> Self {
        let (sender, receiver) = unbounded();
        Self {
            pool,
            tasks: Some(tasks),
            held: None,
            submitted: 0,
            open: 0,
            own: VecDeque::new(),
            sender,
            receiver,
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
        self.open -= 1;
        while self.receiver.is_empty()
            && let Some(handle) = self.own.pop_front()
        {
            handle.wait_done();
        }
        // This value holds a sender, so the channel cannot be closed.
        self.receiver.recv().ok()
    }

    /// Submits one task; says whether the next one should be tried.
    fn submit_one(&mut self) -> bool {
        let task = self.held.take().or_else(|| self.tasks.as_mut()?.next());
        let Some(task) = task else {
            self.tasks = None;
            return false;
        };
        let (id, index, sender) = (task.id(), self.submitted, self.sender.clone());
        let done = move |outcome| drop(sender.send(Completed { index, id, outcome }));
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
            drop(self.sender.send(Completed {
                index,
                id,
                outcome: Err(error),
            }));
        }
        true
    }
}
