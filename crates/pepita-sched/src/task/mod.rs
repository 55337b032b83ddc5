//! What is to be run: [`Task`], its settings, and what comes of it.
//!
//! A task is built, checked once by [`TaskBuilder::build`], and then only read. It carries a
//! binary, a pipeline of binaries, a function, or a payload that another crate's executor
//! understands, and the settings that hold for all of them.

mod build;
mod error;
mod function;
mod id;
mod limits;
mod program;
mod result;
mod stdio;

use std::any::Any;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[cfg(any(test, feature = "proptest"))]
pub(crate) use build::CPU_MAX;
pub use build::TaskBuilder;
pub use error::{SpawnError, TaskBuildError, TaskError, Unsupported};
pub use function::{FunctionOutput, TaskFunction};
pub use id::{ParseTaskIdError, TaskId};
pub use limits::{CpuAffinity, Limits};
pub use program::Program;
pub use result::{Captured, ExecutionResult, Exit, FailedAttempt, Stop, TreeKill, Usage};
pub use stdio::{CAPTURE_LIMIT_BYTES, Output, OutputCallback, Stdin};

use crate::executor::Backend;
use crate::fault::RetryPolicy;

/// How long a task has between SIGTERM and SIGKILL when it does not say: 10 seconds.
pub const GRACE: Duration = Duration::from_secs(10);

/// Something to run.
///
/// ```
/// use pepita_sched::task::{Priority, Task};
/// use std::time::Duration;
///
/// let task = Task::binary("sort")
///     .arg("-n")
///     .stdin("3\n1\n2\n")
///     .timeout(Duration::from_secs(5))
///     .priority(Priority::High)
///     .build()?;
/// # Ok::<(), pepita_sched::task::TaskBuildError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Task {
    id: TaskId,
    work: Work,
    settings: Settings,
}

/// What a task carries.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Work {
    /// Programs, each one's standard output piped to the next one's standard input; one alone is
    /// a binary.
    Programs(Arc<Programs>),
    /// A function of this process.
    Function(TaskFunction),
    /// What an executor of another crate understands.
    Payload(Arc<dyn Payload>),
}

impl Work {
    /// What it is, in words.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Programs(programs) if programs.stages.len() == 1 => "a binary",
            Self::Programs(_) => "a pipeline",
            Self::Function(_) => "a function",
            Self::Payload(payload) => payload.kind(),
        }
    }
}

/// The programs of a task and their streams.
#[derive(Debug, Clone)]
pub struct Programs {
    pub(crate) stages: Vec<Program>,
    pub(crate) stdin: Stdin,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
    pub(crate) limits: Limits,
    pub(crate) affinity: CpuAffinity,
    pub(crate) grace: Duration,
}

/// Work that this crate does not know, for an [`Executor`](crate::executor::Executor) that does.
pub trait Payload: Any + Send + Sync + std::fmt::Debug {
    /// What it is, in words that fit "the executor does not run …": `"a SIMD task"`.
    fn kind(&self) -> &'static str;
}

/// What holds for every kind of work.
#[derive(Debug, Clone)]
struct Settings {
    backend: Backend,
    priority: Priority,
    timeout: Option<Duration>,
    retry: Option<RetryPolicy>,
    metadata: BTreeMap<String, String>,
}

impl Task {
    /// Starts a task of which nothing is said yet.
    pub fn builder() -> TaskBuilder {
        TaskBuilder::new()
    }

    /// Starts a task that runs one program; see [`Program::new`] for how it is found.
    pub fn binary(path: impl Into<PathBuf>) -> TaskBuilder {
        Self::builder().binary(path)
    }

    /// Starts a task that runs programs joined by pipes, as a shell's `a | b | c`.
    ///
    /// It fails if any stage fails (as with `pipefail`), except that an earlier stage may die of
    /// SIGPIPE, as `yes | head` does. [`ExecutionResult::exit`] is that of the last stage that
    /// failed, or of the last one; [`ExecutionResult::stages`] has all. Standard error of all
    /// stages goes to the same place.
    ///
    /// ```
    /// use pepita_sched::task::{Program, Task};
    ///
    /// let task = Task::pipeline([Program::new("sort"), Program::new("uniq").arg("-c")])
    ///     .stdin("b\na\nb\n")
    ///     .build()?;
    /// # Ok::<(), pepita_sched::task::TaskBuildError>(())
    /// ```
    pub fn pipeline(stages: impl IntoIterator<Item = Program>) -> TaskBuilder {
        Self::builder().pipeline(stages)
    }

    /// Starts a task that runs a function on a worker thread; see [`TaskBuilder::function`].
    pub fn function<F, R>(function: F) -> TaskBuilder
    where
        F: Fn(&crate::executor::TaskContext) -> R + Send + Sync + 'static,
        R: FunctionOutput,
    {
        Self::builder().function(function)
    }

    /// Starts a task that carries what an executor of another crate understands.
    pub fn payload(payload: impl Payload) -> TaskBuilder {
        Self::builder().payload(payload)
    }

    /// Which task this is.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// What it carries.
    #[must_use]
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// The payload, if it is a `P`.
    #[must_use]
    pub fn payload_as<P: Payload>(&self) -> Option<&P> {
        match &self.work {
            Work::Payload(payload) => {
                let any: &dyn Any = payload.as_ref();
                any.downcast_ref()
            }
            _ => None,
        }
    }

    /// The backend it asks for.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.settings.backend
    }

    /// How it stands against other tasks that wait.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.settings.priority
    }

    /// How long one attempt may run; `None` leaves it to the pool.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.settings.timeout
    }

    /// When it is tried again; `None` leaves it to the pool.
    #[must_use]
    pub fn retry(&self) -> Option<&RetryPolicy> {
        self.settings.retry.as_ref()
    }

    /// What the submitter noted about it.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.settings.metadata
    }

    /// The same work as a new task, with an id of its own.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            id: TaskId::new(),
            ..self.clone()
        }
    }
}

/// How a task stands against others that wait for a worker.
///
/// A worker takes the highest that waits, except that out of every 16 picks one goes to
/// [`Normal`](Self::Normal) first and one to [`Low`](Self::Low) first, so that nothing starves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// After all others.
    Low,
    /// Between the two.
    #[default]
    Normal,
    /// Before all others.
    High,
}

/// Where a task is on its way through a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskState {
    /// Waits for a worker.
    Queued,
    /// Runs on a worker.
    Running,
    /// Failed, and waits for the time of its next attempt.
    Waiting,
    /// Has its result.
    Done,
}
