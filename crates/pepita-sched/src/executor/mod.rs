//! Where tasks run: the [`Executor`] trait, and [`CpuExecutor`] for processes and functions.

mod cancel;
mod cpu;

use std::fmt;
use std::time::{Duration, Instant};

pub use cancel::{CancelToken, Interrupt, InterruptGuard};
pub use cpu::{CpuExecutor, CpuExecutorBuilder, ExecutorBuildError};

use crate::task::{ExecutionResult, Stop, Task, TaskError, Unsupported};

/// Runs tasks, one attempt at a time on each of its slots.
///
/// A [`Pool`](crate::pool::Pool) gives every executor as many worker threads as it has
/// [`slots`](Self::slots), asks [`supports`](Self::supports) when a task is submitted, and calls
/// [`execute`](Self::execute) on a worker for each attempt. Queueing, retries, events and
/// statistics are the pool's.
///
/// ```
/// use pepita_sched::executor::{Backend, Executor, TaskContext};
/// use pepita_sched::pool::Pool;
/// use pepita_sched::task::{ExecutionResult, Exit, Payload, Task, TaskError, Unsupported};
///
/// #[derive(Debug)]
/// struct Square(u32);
/// impl Payload for Square {
///     fn kind(&self) -> &'static str { "a square" }
/// }
///
/// #[derive(Debug)]
/// struct Squarer;
/// impl Executor for Squarer {
///     fn name(&self) -> &str { "squarer" }
///     fn backend(&self) -> Backend { Backend::Simd }
///     fn slots(&self) -> usize { 1 }
///     fn supports(&self, task: &Task) -> Result<(), Unsupported> {
///         match task.payload_as::<Square>() {
///             Some(_) => Ok(()),
///             None => Err(Unsupported::Kind { executor: "squarer".into(), kind: task.work().kind() }),
///         }
///     }
///     fn execute(&self, task: &Task, _: &TaskContext) -> Result<ExecutionResult, TaskError> {
///         let Square(n) = task.payload_as().expect("checked by `supports`");
///         let mut result = ExecutionResult::new(task.id(), self.backend(), Exit::Code(0));
///         result.stdout = (n * n).to_string().into_bytes().into();
///         Ok(result)
///     }
/// }
///
/// let pool = Pool::builder().executor(Squarer).build()?;
/// let result = pool.submit(Task::payload(Square(12)).build()?)?.wait()?;
/// assert_eq!(result.stdout_string(), "144");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Executor: Send + Sync + fmt::Debug {
    /// Its name in results and events.
    fn name(&self) -> &str;

    /// What kind of backend it is.
    fn backend(&self) -> Backend;

    /// How many attempts it runs at the same time; at least 1.
    fn slots(&self) -> usize;

    /// Whether it can run `task` on this host. Called once, when the task is submitted; must be
    /// quick and must not block.
    ///
    /// # Errors
    /// What is missing. The pool then asks its next executor.
    fn supports(&self, task: &Task) -> Result<(), Unsupported>;

    /// Runs one attempt and returns when it has ended. The calling thread may block; it must
    /// return soon after [`TaskContext::should_stop`] turns true.
    ///
    /// The executor sets `exit`, the outputs and `usage` of the result, and, if it ended the work
    /// before its time, `stopped` from [`TaskContext::stop`]: only it knows whether the work came
    /// to its own end first. The pool sets the rest, and `wall` where it is zero.
    ///
    /// # Errors
    /// Why there is no result. Work that ran and failed is a result.
    fn execute(&self, task: &Task, context: &TaskContext) -> Result<ExecutionResult, TaskError>;
}

/// What kind of machine a task needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// Whatever can run it.
    #[default]
    Any,
    /// Processes and functions on this host's CPUs.
    Cpu,
    /// Vector kernels on this host's CPUs.
    Simd,
    /// A GPU of this host.
    Gpu,
    /// A virtual machine of its own.
    MicroVm,
    /// Another host.
    Remote,
}

impl Backend {
    /// Whether an executor of this backend may take a task that asks for `wanted`.
    #[must_use]
    pub fn serves(self, wanted: Self) -> bool {
        wanted == Self::Any || wanted == self
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::Cpu => "cpu",
            Self::Simd => "simd",
            Self::Gpu => "gpu",
            Self::MicroVm => "microvm",
            Self::Remote => "remote",
        })
    }
}

/// What an attempt knows of its surroundings.
#[derive(Debug, Clone)]
pub struct TaskContext {
    cancel: CancelToken,
    deadline: Option<Instant>,
    attempt: u32,
    worker: usize,
}

impl TaskContext {
    /// The context of attempt number `attempt` (the first is 1) on `worker`, which may run for
    /// `timeout` from now on.
    #[must_use]
    pub fn new(
        cancel: CancelToken,
        timeout: Option<Duration>,
        attempt: u32,
        worker: usize,
    ) -> Self {
        // A timeout beyond what the clock can tell is none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Self {
            cancel,
            deadline,
            attempt,
            worker,
        }
    }

    /// Which attempt this is, counted from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The worker that runs it, counted from 0.
    #[must_use]
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// When the attempt must end.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What tells that the task is cancelled.
    #[must_use]
    pub fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// Whether the attempt should end now: it is cancelled, or its time is over.
    #[must_use]
    pub fn should_stop(&self) -> bool {
        self.stop().is_some()
    }

    /// Why the attempt should end now, if it should.
    #[must_use]
    pub fn stop(&self) -> Option<Stop> {
        if self.cancel.is_cancelled() {
            return Some(Stop::Cancelled);
        }
        let is_late = |deadline| Instant::now() >= deadline;
        self.deadline.is_some_and(is_late).then_some(Stop::Timeout)
    }
}
