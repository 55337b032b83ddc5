//! [`CpuExecutor`]: processes and functions on this host's CPUs.

use std::num::NonZero;

use super::{Backend, Executor, TaskContext};
use crate::process::{MayChange, MayMove, Runner, TreeKiller, run};
use crate::task::{
    ExecutionResult, Exit, Task, TaskError, TaskFunction, TaskId, TreeKill, Unsupported, Work,
};

/// Runs binaries and pipelines as child processes, and functions on the calling thread.
///
/// A child is made without a copy of this process (`CLONE_VM | CLONE_VFORK`), as the leader of a
/// process group (at the levels that search for processes, of a session) without a terminal. It
/// gets the three standard streams, no other descriptor, no blocked signal, the default action of
/// SIGPIPE, the environment that this process had when the executor was built, and the variable
/// `PEPITA_TASK_ID`. It dies with the thread that runs it. A task is over when its programs have
/// exited: processes that they left
/// behind are ended then, as far as the executor's [`TreeKill`] reaches.
///
/// ```
/// use pepita_sched::executor::{CancelToken, CpuExecutor, Executor, TaskContext};
/// use pepita_sched::task::Task;
///
/// let executor = CpuExecutor::builder().build()?;
/// let task = Task::binary("echo").arg("hello").build()?;
/// let context = TaskContext::new(CancelToken::new(), task.timeout(), 1, 0);
/// let result = executor.execute(&task, &context)?;
/// assert_eq!(result.stdout_string(), "hello\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CpuExecutor {
    slots: usize,
    runner: Runner,
}

/// Settings of a [`CpuExecutor`].
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct CpuExecutorBuilder {
    slots: Option<usize>,
    tree_kill: Option<TreeKill>,
    may: MayChange,
}

/// Why there is no [`CpuExecutor`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorBuildError {
    /// It would run nothing.
    #[error("an executor with 0 slots runs nothing")]
    NoSlots,
    /// The host lacks the means that was asked for.
    #[error("trees of processes cannot be ended by {level} on this host: {reason}")]
    TreeKill {
        /// The means.
        level: TreeKill,
        /// What is missing.
        reason: String,
    },
    /// The kernel refused a call.
    #[error("an executor cannot be set up")]
    System(#[from] std::io::Error),
}

impl CpuExecutorBuilder {
    /// Sets how many attempts run at the same time; one for each CPU when left out.
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = Some(slots);
        self
    }

    /// Ends trees of processes by this means alone, and fails to build where it cannot be had;
    /// the surest one that this host allows when left out.
    pub fn tree_kill(mut self, level: TreeKill) -> Self {
        self.tree_kill = Some(level);
        self
    }

    /// Makes this process the subreaper of its descendants (`PR_SET_CHILD_SUBREAPER`), so that
    /// orphans of a task can be found and ended where no surer means is to be had.
    ///
    /// This holds for the whole process, and an orphan in a session of its own that ends is taken
    /// away (waited for) by the executor: so it is for programs that make no such children
    /// otherwise.
    pub fn subreaper(mut self) -> Self {
        self.may.subreaper = true;
        self
    }

    /// Moves this process to a new group below its own when a task asks for a limit that needs a
    /// cgroup and the own group cannot hand the controllers down otherwise.
    ///
    /// That is so in every delegated group (`systemd-run -p Delegate=yes`), since only a group
    /// without processes can. It holds for the whole process, and works if no other one is in
    /// that group.
    pub fn move_to_leaf_group(mut self) -> Self {
        self.may.group = MayMove::ToLeaf;
        self
    }

    /// Sets the executor up.
    ///
    /// # Errors
    /// [`ExecutorBuildError`] says what the host lacks.
    pub fn build(self) -> Result<CpuExecutor, ExecutorBuildError> {
        let slots = match self.slots {
            Some(slots) => slots,
            None => std::thread::available_parallelism().map_or(1, NonZero::get),
        };
        if slots == 0 {
            return Err(ExecutorBuildError::NoSlots);
        }
        let killer = TreeKiller::new(self.tree_kill, self.may).map_err(|reason| {
            let level = self.tree_kill.unwrap_or(TreeKill::Subreaper);
            ExecutorBuildError::TreeKill { level, reason }
        })?;
        Ok(CpuExecutor {
            slots,
            runner: Runner::new(killer)?,
        })
    }
}

impl CpuExecutor {
    /// Starts the settings of an executor.
    pub fn builder() -> CpuExecutorBuilder {
        CpuExecutorBuilder::default()
    }

    /// How it ends trees of processes; a task with a limit that needs a cgroup is always ended by
    /// its cgroup.
    #[must_use]
    pub fn tree_kill(&self) -> TreeKill {
        self.runner.level()
    }
}

impl Executor for CpuExecutor {
    fn name(&self) -> &str {
        "cpu"
    }

    fn backend(&self) -> Backend {
        Backend::Cpu
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn supports(&self, task: &Task) -> Result<(), Unsupported> {
        match task.work() {
            Work::Programs(programs) => self.runner.check_limits(&programs.limits),
            Work::Function(_) => Ok(()),
            Work::Payload(payload) => Err(Unsupported::Kind {
                executor: self.name().to_owned(),
                kind: payload.kind(),
            }),
        }
    }

    fn execute(&self, task: &Task, context: &TaskContext) -> Result<ExecutionResult, TaskError> {
        match task.work() {
            Work::Programs(programs) => run(&self.runner, task.id(), programs, context),
            Work::Function(function) => Ok(call(task.id(), function, context)),
            Work::Payload(_) => self
                .supports(task)
                .map(|()| unreachable!())
                .map_err(Into::into),
        }
    }
}

fn call(id: TaskId, function: &TaskFunction, context: &TaskContext) -> ExecutionResult {
    let begin = std::time::Instant::now();
    let returned = function.call(context);
    let (exit, stdout, stderr) = match returned {
        Ok(output) => (Exit::Code(0), output, Vec::new()),
        Err(error) => (Exit::Code(1), Vec::new(), error.into_bytes()),
    };
    let mut result = ExecutionResult::new(id, Backend::Cpu, exit);
    result.stdout = stdout.into();
    result.stderr = stderr.into();
    result.wall = begin.elapsed();
    result.stopped = context.stop();
    result
}
