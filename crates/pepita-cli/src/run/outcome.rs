//! [`Outcome`]: how one job ended, in words, numbers and colours of no shell.

use std::error::Error;
use std::io;
use std::time::{Duration, SystemTime};

use pepita::task::{ExecutionResult, Exit, SpawnError, Stop, TaskError};

use crate::units::show_duration;

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Status {
    /// Exit code 0.
    Succeeded,
    /// Another exit code, a signal, or it could not be started.
    Failed,
    /// Its time was over.
    TimedOut,
    /// It used more memory than it was allowed.
    OverMemory,
    /// It was ended, or kept from beginning, by ^C or `--halt`.
    Cancelled,
    /// It did not begin, since a task that it comes after failed.
    Skipped,
    /// It did not begin, since the log of an earlier run has it.
    AlreadyDone,
}

impl Status {
    /// Whether it counts among those that failed.
    pub(crate) fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::TimedOut | Self::OverMemory)
    }

    /// As a column of a table.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Succeeded => "ok",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::OverMemory => "memory",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
            Self::AlreadyDone => "already done",
        }
    }
}

/// How a job ended that was handed to the pool.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: Status,
    /// Why it is not a success, in words.
    pub(crate) reason: Option<String>,
    /// As [`super::joblog::Entry::exit_value`].
    pub(crate) exit_value: i32,
    /// The signal that ended it, or 0.
    pub(crate) signal: i32,
    pub(crate) started: SystemTime,
    pub(crate) wall: Duration,
    pub(crate) attempts: u32,
}

impl Outcome {
    /// Reads the result of a job that came back at `ended`.
    pub(crate) fn new(result: &Result<ExecutionResult, TaskError>, ended: SystemTime) -> Self {
        match result {
            Ok(result) => Self::of_result(result, ended),
            Err(error) => Self {
                status: match error {
                    TaskError::Cancelled | TaskError::ShutDown => Status::Cancelled,
                    _ => Status::Failed,
                },
                reason: Some(in_full(error)),
                exit_value: match error {
                    TaskError::Spawn(SpawnError::NotFound { .. }) => 127,
                    _ => 126,
                },
                signal: 0,
                started: ended,
                wall: Duration::ZERO,
                attempts: 0,
            },
        }
    }

    fn of_result(result: &ExecutionResult, ended: SystemTime) -> Self {
        let (mut exit_value, signal) = match result.exit {
            Exit::Code(code) => (code, 0),
            Exit::Signal(signal) => (0, signal),
            _ => (-1, 0),
        };
        let status = match result.stopped {
            None if result.is_success() => Status::Succeeded,
            None => Status::Failed,
            Some(Stop::Timeout) => Status::TimedOut,
            Some(Stop::MemoryLimit) => Status::OverMemory,
            Some(_) => Status::Cancelled,
        };
        if status == Status::TimedOut {
            exit_value = -1;
        }
        let mut reason = match status {
            Status::Succeeded => None,
            Status::TimedOut => Some(format!("timed out after {}", show_duration(result.wall))),
            Status::Failed => Some(result.exit.to_string()),
            _ => result.stopped.map(|stop| stop.to_string()),
        };
        if result.attempts > 1
            && let Some(reason) = &mut reason
        {
            *reason += &format!(", in {} attempts", result.attempts);
        }
        Self {
            status,
            reason,
            exit_value,
            signal,
            started: ended.checked_sub(result.wall).unwrap_or(ended),
            wall: result.wall,
            attempts: result.attempts,
        }
    }

    /// As it is if a part of what the job printed could not be kept.
    pub(crate) fn with_lost_output(mut self, error: Option<io::Error>) -> Self {
        let Some(error) = error else { return self };
        let dir = std::env::temp_dir();
        let loss = format!(
            "a part of its output is lost, for the temporary directory {} cannot take it ({error})",
            dir.display()
        );
        self.reason = Some(match self.reason {
            Some(reason) => format!("{reason}; {loss}"),
            None => loss,
        });
        if self.status == Status::Succeeded {
            self.status = Status::Failed;
            self.exit_value = 1;
        }
        self
    }

    /// Tells the log.
    pub(crate) fn trace(&self, job: u64, name: Option<&str>) {
        let (status, attempts, reason) =
            (self.status.label(), self.attempts, self.reason.as_deref());
        tracing::debug!(
            job,
            name,
            status,
            reason,
            attempts,
            wall_s = self.wall.as_secs_f64(),
            "job ended"
        );
    }

    /// Whether it ended well.
    pub(crate) fn is_success(&self) -> bool {
        self.status == Status::Succeeded
    }
}

/// An error with what caused it, and what to do where that says little.
pub(crate) fn in_full(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut last = error;
    while let Some(cause) = last.source() {
        // A transparent error shows its source already.
        let shown = cause.to_string();
        if !text.ends_with(&shown) {
            text = text + ": " + &shown;
        }
        last = cause;
    }
    let cause = last.downcast_ref::<io::Error>();
    // What is waited for is waited for elsewhere: here it is `clone` that says it.
    if cause.is_some_and(|cause| cause.kind() == io::ErrorKind::WouldBlock) {
        text += "; there are as many processes and threads as are allowed: raise the limit \
                 (`ulimit -u`, or `pids.max` of the control group) or run fewer (`-j`)";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_shown_with_its_causes_once_and_with_what_to_do_about_them() {
        let spawn = |errno| {
            TaskError::from(SpawnError::System {
                operation: "clone3",
                program: "x".into(),
                source: io::Error::from_raw_os_error(errno),
            })
        };
        let shown = in_full(&spawn(12));
        let want = "clone3 failed for \"x\": Cannot allocate memory (os error 12)";
        assert_eq!(shown, want);
        let shown = in_full(&spawn(11));
        assert!(
            shown.contains("(os error 11); there are as many"),
            "{shown}"
        );
        assert!(shown.contains("`ulimit -u`"), "{shown}");
    }
}
