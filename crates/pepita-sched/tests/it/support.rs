//! What the tests share.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use pepita_sched::executor::{CancelToken, CpuExecutor, Executor, TaskContext};
use pepita_sched::task::{ExecutionResult, Task, TaskBuilder, TaskError, TreeKill};

/// A task that runs a line of shell.
pub(crate) fn sh(script: &str) -> TaskBuilder {
    Task::binary("/bin/sh").args(["-c", script])
}

/// Runs a task on an executor that ends trees by `level`, or by the surest means.
pub(crate) fn run_by(level: Option<TreeKill>, task: &Task) -> Result<ExecutionResult, TaskError> {
    let builder = CpuExecutor::builder().slots(1);
    let builder = match level {
        Some(level) => builder.tree_kill(level),
        None => builder,
    };
    let context = TaskContext::new(CancelToken::new(), task.timeout(), 1, 0);
    builder.build().unwrap().execute(task, &context)
}

/// Builds and runs a task, which must be able to run.
#[track_caller]
pub(crate) fn run(builder: TaskBuilder) -> ExecutionResult {
    run_by(None, &builder.build().unwrap()).unwrap()
}

/// Runs a line of shell and returns what it printed.
#[track_caller]
pub(crate) fn stdout(builder: TaskBuilder) -> String {
    let result = run(builder);
    assert!(result.is_success(), "{result:?}");
    result.stdout_string()
}

/// The levels that this host has.
pub(crate) fn levels() -> Vec<TreeKill> {
    let all = [
        TreeKill::Cgroup,
        TreeKill::PidNamespace,
        TreeKill::Subreaper,
        TreeKill::ProcessGroup,
    ];
    let (here, missing): (Vec<_>, Vec<_>) = all
        .into_iter()
        .map(|level| {
            (
                level,
                CpuExecutor::builder().slots(1).tree_kill(level).build(),
            )
        })
        .partition(|(_, built)| built.is_ok());
    for (level, built) in missing {
        println!("SKIPPED: tree kill by {level}: {}", built.unwrap_err());
    }
    here.into_iter().map(|(level, _)| level).collect()
}

/// A gate that a function task waits at, and the test opens.
pub(crate) struct Gate {
    opener: Sender<()>,
    waiter: Arc<Mutex<Receiver<()>>>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let (opener, waiter) = channel();
        Self {
            opener,
            waiter: Arc::new(Mutex::new(waiter)),
        }
    }

    /// Lets one task pass.
    pub(crate) fn open(&self) {
        self.opener.send(()).unwrap();
    }

    /// A task that waits at the gate.
    pub(crate) fn task(&self) -> TaskBuilder {
        let waiter = self.waiter.clone();
        Task::function(move |_| waiter.lock().unwrap().recv())
    }
}

/// The living processes that carry the mark of `task`, by number.
pub(crate) fn marked(task: &Task) -> Vec<u32> {
    let mark = format!("PEPITA_TASK_ID={}", task.id());
    let numbers = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|number: &u32| {
            let environment = std::fs::read(format!("/proc/{number}/environ")).unwrap_or_default();
            environment
                .split(|&byte| byte == 0)
                .any(|entry| entry == mark.as_bytes())
        })
        .collect()
}
