//! [`Brake`]: keeps queued tasks from beginning.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pepita::task::{ExecutionResult, SpawnError, Stop, TaskError};

use super::halt::{Halt, Limit};
use super::spool::Outputs;

/// What a program that cannot be started means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unstartable {
    /// Its task failed.
    Fails,
    /// No other task can be started either.
    EndsRun,
}

impl Unstartable {
    /// Whether this result is the end of the run.
    pub(crate) fn ends_run(self, result: &Result<ExecutionResult, TaskError>) -> bool {
        let is_program = matches!(
            result,
            Err(TaskError::Spawn(
                SpawnError::NotFound { .. }
                    | SpawnError::NotExecutable { .. }
                    | SpawnError::NoInterpreter { .. }
                    | SpawnError::BadFormat { .. }
            ))
        );
        self == Self::EndsRun && is_program
    }
}

/// Pulled by ^C, or by itself when `--halt` says so or nothing can be started.
#[derive(Debug)]
pub(crate) struct Brake {
    is_pulled: AtomicBool,
    limit: Option<Limit>,
    unstartable: Unstartable,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

impl Brake {
    pub(crate) fn new(halt: Halt, unstartable: Unstartable) -> Self {
        let limit = match halt {
            Halt::Never => None,
            Halt::Soon(limit) | Halt::Now(limit) => Some(limit),
        };
        Self {
            is_pulled: AtomicBool::new(false),
            limit,
            unstartable,
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Lets no task begin from now on.
    pub(crate) fn pull(&self) {
        self.is_pulled.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_pulled(&self) -> bool {
        self.is_pulled.load(Ordering::SeqCst)
    }

    /// Counts a task that ended, and pulls at the limit.
    pub(crate) fn count(&self, result: &Result<ExecutionResult, TaskError>, outputs: &Outputs) {
        if self.unstartable.ends_run(result) {
            self.pull();
        }
        let Some(limit) = self.limit else { return };
        match result {
            Ok(result) if result.is_success() && outputs.is_whole() => {
                self.succeeded.fetch_add(1, Ordering::SeqCst)
            }
            Ok(result) if result.stopped == Some(Stop::Cancelled) => return,
            Err(TaskError::Cancelled | TaskError::ShutDown) => return,
            _ => self.failed.fetch_add(1, Ordering::SeqCst),
        };
        let (succeeded, failed) = (
            self.succeeded.load(Ordering::SeqCst),
            self.failed.load(Ordering::SeqCst),
        );
        if limit.is_reached(succeeded, failed) {
            self.pull();
        }
    }
}
