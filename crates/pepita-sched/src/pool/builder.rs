//! [`PoolBuilder`]: the settings of a pool.

use std::sync::Arc;
use std::time::Duration;

use super::Pool;
use super::engine::{Engine, EngineSettings};
use super::gate::Gate;
use crate::executor::{Backend, CpuExecutor, Executor, ExecutorBuildError};
use crate::fault::{RetryBudget, RetryPolicy};

/// How many tasks may wait when the builder does not say: 16,384.
pub const QUEUE_CAPACITY: usize = 16 << 10;

/// Collects the settings of a [`Pool`]; [`build`](Self::build) checks them.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct PoolBuilder {
    executors: Vec<Arc<dyn Executor>>,
    cpu_workers: Option<usize>,
    subreaper: bool,
    queue_capacity: usize,
    settings: EngineSettings,
}

/// Why there is no [`Pool`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolBuildError {
    /// A queue for no task.
    #[error("a queue with a capacity of 0 takes no task")]
    NoCapacity,
    /// Nothing to run tasks on.
    #[error("a pool with 0 CPU workers and no other executor runs nothing")]
    NoExecutor,
    /// A default timeout of zero would end every task at once.
    #[error("the default timeout is zero")]
    ZeroTimeout,
    /// An executor without slots.
    #[error("the executor `{executor}` has no slots")]
    NoSlots {
        /// Its name.
        executor: String,
    },
    /// The executor for processes and functions cannot be set up.
    #[error(transparent)]
    Executor(#[from] ExecutorBuildError),
    /// The system has no thread left for a worker.
    #[error("a worker thread cannot be started")]
    Thread(#[source] std::io::Error),
}

impl PoolBuilder {
    pub(super) fn new() -> Self {
        Self {
            executors: Vec::new(),
            cpu_workers: None,
            subreaper: false,
            queue_capacity: QUEUE_CAPACITY,
            settings: EngineSettings::default(),
        }
    }

    /// Sets how many processes and functions run at the same time; 0 for a pool that runs none.
    ///
    /// When left out it is one for each CPU, or none if another executor of
    /// [`Backend::Cpu`] was added.
    pub fn cpu_workers(mut self, workers: usize) -> Self {
        self.cpu_workers = Some(workers);
        self
    }

    /// Adds an executor. They are asked in the order in which they were added, and the pool's own
    /// for processes and functions last.
    pub fn executor(mut self, executor: impl Executor + 'static) -> Self {
        self.executors.push(Arc::new(executor));
        self
    }

    /// Sets how many tasks may wait for their first attempt ([`QUEUE_CAPACITY`] when left out).
    pub fn queue_capacity(mut self, tasks: usize) -> Self {
        self.queue_capacity = tasks;
        self
    }

    /// Sets when a task that does not say so itself is tried again; never when left out.
    pub fn retry_policy(mut self, policy: RetryPolicy) -> Self {
        self.settings.retry = policy;
        self
    }

    /// Sets what all retries of the pool may cost together: each task that succeeds pays in,
    /// each retry takes out, and a failure that finds it empty is final.
    pub fn retry_budget(mut self, budget: Arc<RetryBudget>) -> Self {
        self.settings.budget = Some(budget);
        self
    }

    /// Sets how long an attempt of a task may run that does not say so itself; without end when
    /// left out.
    pub fn default_timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// Makes this process the subreaper of its descendants, so that the pool can end orphans of
    /// its tasks where the host has no surer means; see
    /// [`CpuExecutorBuilder::subreaper`](crate::executor::CpuExecutorBuilder::subreaper).
    pub fn subreaper(mut self) -> Self {
        self.subreaper = true;
        self
    }

    /// Starts the pool.
    ///
    /// # Errors
    /// [`PoolBuildError`] names the setting that cannot hold, or what the host lacks.
    pub fn build(mut self) -> Result<Pool, PoolBuildError> {
        if self.queue_capacity == 0 {
            return Err(PoolBuildError::NoCapacity);
        }
        if self.settings.timeout == Some(Duration::ZERO) {
            return Err(PoolBuildError::ZeroTimeout);
        }
        let has_cpu = self
            .executors
            .iter()
            .any(|executor| executor.backend() == Backend::Cpu);
        let mut cpu = CpuExecutor::builder();
        match self.cpu_workers {
            Some(0) => {}
            None if has_cpu => {}
            workers => {
                if let Some(workers) = workers {
                    cpu = cpu.slots(workers);
                }
                if self.subreaper {
                    cpu = cpu.subreaper();
                }
                self.executors.push(Arc::new(cpu.build()?));
            }
        }
        if self.executors.is_empty() {
            return Err(PoolBuildError::NoExecutor);
        }
        if let Some(idle) = self.executors.iter().find(|executor| executor.slots() == 0) {
            return Err(PoolBuildError::NoSlots {
                executor: idle.name().to_owned(),
            });
        }
        let gate = Arc::new(Gate::new(self.queue_capacity));
        let engine = Engine::start(self.executors, self.settings, Some(gate.clone()));
        Ok(Pool {
            engine: engine.map_err(PoolBuildError::Thread)?,
            gate,
        })
    }
}
