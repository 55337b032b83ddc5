//! [`Terms`]: until when a spawned closure is wanted.

use std::time::Instant;

use super::handle::JoinError;
use crate::executor::CancelToken;
use crate::task::Priority;

/// On what terms a closure is run; see [`Scheduler::spawn_on`](super::Scheduler::spawn_on).
///
/// ```
/// use pepita_sched::executor::CancelToken;
/// use pepita_sched::scheduler::{JoinError, Scheduler, Terms};
///
/// let scheduler = Scheduler::with_workers(1);
/// let token = CancelToken::new();
/// let terms = Terms::new().cancelled_by(&token);
/// token.cancel();
/// // As many closures as there are, one token ends them all.
/// let closure = scheduler.spawn_on(&terms, || 1);
/// assert_eq!(closure.wait(), Err(JoinError::Cancelled));
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "terms do nothing until a closure is spawned on them"]
pub struct Terms {
    priority: Priority,
    token: Option<CancelToken>,
    deadline: Option<Instant>,
}

impl Terms {
    /// [`Priority::Normal`], wanted for ever.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has closures run before or after others that wait.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Drops a closure that is not begun when `token` is cancelled: [`JoinError::Cancelled`]. One that runs may look at the token
    /// itself.
    pub fn cancelled_by(mut self, token: &CancelToken) -> Self {
        self.token = Some(token.clone());
        self
    }

    /// Drops a closure that is not begun by then: [`JoinError::Late`].
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    pub(super) fn at(&self) -> Priority {
        self.priority
    }

    /// Why a closure is not wanted any more, if it is not.
    pub(super) fn refusal(&self) -> Option<JoinError> {
        if self.token.as_ref().is_some_and(CancelToken::is_cancelled) {
            Some(JoinError::Cancelled)
        } else if self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            Some(JoinError::Late)
        } else {
            None
        }
    }
}
