//! Why a task could not be built, submitted or run.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use crate::executor::Backend;

/// A setting of a [`Task`](super::Task) that [`build`](super::TaskBuilder::build) refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskBuildError {
    /// Nothing to run.
    #[error("the task has nothing to run: give it a binary, a pipeline or a function")]
    NothingToRun,
    /// More than one thing to run.
    #[error(
        "the task has two things to run: a binary, a pipeline, a function or a payload, not several"
    )]
    TwoThingsToRun,
    /// A program's name is empty.
    #[error("the name of a program is empty")]
    EmptyProgram,
    /// A string that goes to the kernel holds a NUL byte.
    #[error("{what} {value:?} holds a NUL byte, which no program can be given")]
    NulByte {
        /// Which string.
        what: &'static str,
        /// The string.
        value: OsString,
    },
    /// The name of an environment variable is empty or holds `=`.
    #[error("{0:?} cannot be the name of an environment variable")]
    VariableName(OsString),
    /// A duration of zero where that would end the task at once.
    #[error("{what} is zero")]
    ZeroDuration {
        /// Which setting.
        what: &'static str,
    },
    /// A limit of zero.
    #[error("the limit `{limit}` is 0, with which nothing can run")]
    ZeroLimit {
        /// The field of [`Limits`](super::Limits).
        limit: &'static str,
    },
    /// A CPU number beyond what the kernel can have.
    #[error("CPU {cpu} is beyond the {max} that a kernel can have")]
    Cpu {
        /// The number.
        cpu: u32,
        /// The highest one.
        max: u32,
    },
    /// A setting that this kind of task does not have.
    #[error("`{setting}` is for {only}, and this task is {kind}")]
    NotForThisKind {
        /// The setting.
        setting: &'static str,
        /// What has the setting.
        only: &'static str,
        /// What the task is.
        kind: &'static str,
    },
}

/// Why a task did not run to an end that it could report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// A process of the task could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The executor cannot run it, now that it tried.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// It was cancelled before it began.
    #[error("the task was cancelled before it began")]
    Cancelled,
    /// Its function panicked.
    #[error("the task's function panicked: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// The pool was shut down before the task began.
    #[error("the pool was shut down before the task began")]
    ShutDown,
    /// The outcome went to the callback of
    /// [`Pool::submit_then`](crate::pool::Pool::submit_then), and the handle was asked as well.
    #[error("the outcome went to the callback that the task was submitted with")]
    Delivered,
    /// The kernel refused a call while the task ran.
    #[error("{operation} failed while the task ran")]
    System {
        /// The call.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// An executor outside this crate failed.
    #[error("the executor failed")]
    Executor(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why a program could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// No such file.
    #[error("{program:?} was not found{}", where_searched(.path_variable.as_ref()))]
    NotFound {
        /// The program as it was named.
        program: PathBuf,
        /// The `PATH` that was searched, for a name without a slash.
        path_variable: Option<OsString>,
    },
    /// The file is there, without permission to execute it.
    #[error(
        "{program:?} may not be executed: no execute bit, a directory, or a file system mounted noexec"
    )]
    NotExecutable {
        /// The file.
        program: PathBuf,
    },
    /// The interpreter that the file names does not exist.
    #[error(
        "{program:?} names an interpreter that does not exist (its `#!` line, or the loader of its ELF header)"
    )]
    NoInterpreter {
        /// The file.
        program: PathBuf,
    },
    /// The file is no program for this machine.
    #[error("{program:?} is not a program for this machine (a script needs a `#!` line)")]
    BadFormat {
        /// The file.
        program: PathBuf,
    },
    /// The working directory is missing, or no directory, or closed to us.
    #[error("the working directory {dir:?} cannot be entered")]
    WorkingDir {
        /// The directory.
        dir: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Arguments and environment are larger than the kernel takes (E2BIG).
    #[error(
        "the arguments and the environment of {program:?} take {bytes} bytes, more than the kernel allows (a quarter of the stack limit in all, 128 KiB for one string)"
    )]
    TooLong {
        /// The program.
        program: PathBuf,
        /// Their size.
        bytes: usize,
    },
    /// A file for standard input or output cannot be opened.
    #[error("{path:?} cannot be opened for {stream}")]
    Stream {
        /// Which stream.
        stream: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Anything else that the kernel refuses.
    #[error("{operation} failed for {program:?}")]
    System {
        /// The step.
        operation: &'static str,
        /// The program.
        program: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl SpawnError {
    /// Whether the host was short of something (memory, processes, descriptors) that it may have
    /// again later.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        use rustix::io::Errno;
        let source = match self {
            Self::WorkingDir { source, .. }
            | Self::Stream { source, .. }
            | Self::System { source, .. } => source.raw_os_error(),
            _ => None,
        };
        let shortages = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE];
        shortages
            .iter()
            .any(|errno| source == Some(errno.raw_os_error()))
    }
}

fn where_searched(path_variable: Option<&OsString>) -> &'static str {
    match path_variable {
        Some(path) if path.is_empty() => ": its PATH is empty",
        Some(_) => " in the directories of its PATH",
        None => "",
    }
}

/// What a task asks for and an executor, or its host, does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsupported {
    /// No executor of the pool takes tasks for this backend.
    #[error("no executor of this pool takes tasks for the backend {backend}; it has: {available}")]
    Backend {
        /// The backend.
        backend: Backend,
        /// The executors of the pool.
        available: String,
    },
    /// An executor does not understand the kind of work.
    #[error("the executor `{executor}` does not run {kind}")]
    Kind {
        /// The executor.
        executor: String,
        /// What the task carries.
        kind: &'static str,
    },
    /// The host lacks what a setting needs.
    #[error("{setting} cannot be had on this host: {reason}; {remedy}")]
    Host {
        /// The setting.
        setting: &'static str,
        /// What is missing.
        reason: String,
        /// How to get it.
        remedy: &'static str,
    },
}
