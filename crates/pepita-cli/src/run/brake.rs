//! [`Brake`]: keeps queued tasks from beginning.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pepita::task::{ExecutionResult, Stop, TaskError};

use super::halt::{Halt, Limit};

/// Pulled by ^C, or by itself when `--halt` says so.
#[derive(Debug)]
pub(crate) struct Brake {
    is_pulled: AtomicBool,
    limit: Option<Limit>,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

impl Brake {
    pub(crate) fn new(halt: Halt) -> Self {
        let limit = match halt {
            Halt::Never => None,
            Halt::Soon(limit) | Halt::Now(limit) => Some(limit),
        };
        Self {
            is_pulled: AtomicBool::new(false),
            limit,
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
    pub(crate) fn count(&self, result: &Result<ExecutionResult, TaskError>) {
        let Some(limit) = self.limit else { return };
        match result {
            Ok(result) if result.is_success() => self.succeeded.fetch_add(1, Ordering::SeqCst),
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
