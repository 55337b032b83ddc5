//! [`ExecutionResult`]: what came of a task, whichever executor ran it.

use std::sync::Arc;
use std::time::Duration;

use super::TaskId;
use crate::executor::Backend;

/// What came of a task that ran.
///
/// A task that ran and failed is a result, with its exit and its output; a task that could not be
/// run at all is a [`TaskError`](crate::task::TaskError).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecutionResult {
    /// Which task it was.
    pub id: TaskId,
    /// How its last attempt ended.
    pub exit: Exit,
    /// Why it was ended from outside, if it was.
    pub stopped: Option<Stop>,
    /// What it printed on standard output, as far as it was captured.
    pub stdout: Captured,
    /// What it printed on standard error, as far as it was captured.
    pub stderr: Captured,
    /// Time from the start of the last attempt to its end.
    pub wall: Duration,
    /// What the last attempt used, as far as it is known.
    pub usage: Usage,
    /// The exit of every stage of a pipeline, in order; empty for other tasks.
    pub stages: Vec<Exit>,
    /// Which means reached the task's processes when they were ended, if any had to be.
    pub tree_kill: Option<TreeKill>,
    /// Attempts that were made, the last included.
    pub attempts: u32,
    /// How each attempt before the last one failed, in order.
    pub failed_attempts: Vec<FailedAttempt>,
    /// The backend that ran it.
    pub backend: Backend,
    /// The name of the executor that ran it.
    pub executor: Arc<str>,
    /// The worker of that executor, counted from 0.
    pub worker: usize,
}

impl ExecutionResult {
    /// The result of one attempt that ended with `exit`, without output; an executor fills in the
    /// rest. The pool sets `attempts`, `failed_attempts`, `executor` and `worker`.
    #[must_use]
    pub fn new(id: TaskId, backend: Backend, exit: Exit) -> Self {
        Self {
            id,
            exit,
            stopped: None,
            stdout: Captured::default(),
            stderr: Captured::default(),
            wall: Duration::ZERO,
            usage: Usage::default(),
            stages: Vec::new(),
            tree_kill: None,
            attempts: 1,
            failed_attempts: Vec::new(),
            backend,
            executor: Arc::default(),
            worker: 0,
        }
    }

    /// Whether the task ended by itself with exit code 0.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.exit == Exit::Code(0) && self.stopped.is_none()
    }

    /// The captured standard output as text; what is not UTF-8 shows as U+FFFD.
    #[must_use]
    pub fn stdout_string(&self) -> String {
        self.stdout.to_text()
    }

    /// The captured standard error as text; what is not UTF-8 shows as U+FFFD.
    #[must_use]
    pub fn stderr_string(&self) -> String {
        self.stderr.to_text()
    }
}

/// How a process, or whatever stands for one, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exit {
    /// It exited with this code; a function that returned an error counts as code 1.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    /// The code a shell shows: the exit code, or 128 plus the signal.
    #[must_use]
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => match crate::process::signal_name(*signal) {
                Some(name) => write!(f, "signal {name}"),
                None => write!(f, "signal {signal}"),
            },
        }
    }
}

/// Why a task was ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stop {
    /// Its timeout passed.
    Timeout,
    /// It was cancelled.
    Cancelled,
    /// It reached its memory limit and the kernel killed it.
    MemoryLimit,
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Timeout => "timed out",
            Self::Cancelled => "cancelled",
            Self::MemoryLimit => "over its memory limit",
        })
    }
}

/// What a task printed on one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Captured {
    /// The bytes kept: all of them, or the first ones up to the limit.
    pub bytes: Vec<u8>,
    /// How many bytes the task printed in all; 0 when the stream was not captured.
    pub total_bytes: u64,
}

impl Captured {
    /// Whether something was cut off at the capture limit.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.total_bytes > self.bytes.len() as u64
    }

    fn to_text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl From<Vec<u8>> for Captured {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            total_bytes: bytes.len() as u64,
            bytes,
        }
    }
}

/// What an attempt used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// CPU time in user mode of the processes that were waited for.
    pub user: Option<Duration>,
    /// CPU time in kernel mode of the processes that were waited for.
    pub system: Option<Duration>,
    /// The most memory that the whole task held at one time, in bytes: its cgroup's
    /// `memory.peak`. Absent where the task had no cgroup of its own: `ru_maxrss` starts at the
    /// size of the process that made the child, so it tells nothing of the task.
    pub peak_memory_bytes: Option<u64>,
}

/// One attempt that failed and was followed by another.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedAttempt {
    /// What went wrong, in words.
    pub error: String,
    /// How long the attempt ran.
    pub wall: Duration,
    /// How long the pool waited before the next one.
    pub delay: Duration,
}

/// How the processes of a task are ended together. In falling order of certainty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TreeKill {
    /// `cgroup.kill`: every process of the task, unless one with the right to do so has moved itself
    /// to another group.
    Cgroup,
    /// A pid namespace: when its first process dies, the kernel kills the rest. Inside, a process
    /// sees its own numbers, from 2 on, while `/proc` still shows the host's: a program that looks
    /// itself up in `/proc` by its number finds another process.
    PidNamespace,
    /// As `ProcessGroup`, with the orphans, since this process is their subreaper; one that threw
    /// away its environment too escapes.
    Subreaper,
    /// Session and process group, then every descendant that the process table shows; one that
    /// made a session of its own and was orphaned escapes.
    ProcessGroup,
}

impl std::fmt::Display for TreeKill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cgroup => "cgroup",
            Self::PidNamespace => "pid namespace",
            Self::Subreaper => "subreaper",
            Self::ProcessGroup => "process group",
        })
    }
}
