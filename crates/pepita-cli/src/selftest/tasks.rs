//! The pool and the executor of processes, on this host's kernel.

use std::fs;
use std::time::{Duration, Instant};

use pepita::executor::CpuExecutor;
use pepita::fault::RetryPolicy;
use pepita::pool::{Pool, PoolBuildError, PoolEventKind, SubmitError};
use pepita::task::{
    ExecutionResult, Exit, Limits, Program, SpawnError, Stop, Task, TaskBuilder, TaskError,
    TreeKill, Unsupported,
};

use super::{Area, Bench, Case, Finding, Unmeasured};

pub(super) const AREA: Area = Area {
    name: "tasks",
    cases: &CASES,
    benches: &BENCHES,
};

const CASES: [Case; 14] = [
    Case {
        name: "both outputs are captured whole while input is fed",
        run: captures,
    },
    Case {
        name: "output beyond the capture limit is counted and cut",
        run: capture_limit,
    },
    Case {
        name: "a pipeline passes its data on and fails with any stage",
        run: pipeline,
    },
    Case {
        name: "an exit code and a signal are told apart",
        run: exits,
    },
    Case {
        name: "a missing program is an error of its own",
        run: missing_program,
    },
    Case {
        name: "a file that is no program is an error of its own",
        run: not_executable,
    },
    Case {
        name: "a missing working directory is an error of its own",
        run: missing_dir,
    },
    Case {
        name: "a timeout ends the whole tree of processes",
        run: timeout_ends_tree,
    },
    Case {
        name: "a task that was cancelled ends",
        run: cancel,
    },
    Case {
        name: "a task that failed is tried again",
        run: retry,
    },
    Case {
        name: "a limit of the kernel holds",
        run: kernel_limit,
    },
    Case {
        name: "a memory limit ends what exceeds it",
        run: memory_limit,
    },
    Case {
        name: "no descriptor of ours reaches a task",
        run: descriptors,
    },
    Case {
        name: "a panic fails its task and nothing else",
        run: panic,
    },
];

const BENCHES: [Bench; 2] = [
    Bench {
        name: "processes (`true`)",
        unit: "tasks/s",
        run: bench_processes,
    },
    Bench {
        name: "functions",
        unit: "tasks/s",
        run: bench_functions,
    },
];

fn pool() -> Result<Pool, PoolBuildError> {
    Pool::builder().subreaper().build()
}

/// Why a task of a case has no result.
#[derive(Debug, thiserror::Error)]
enum CaseError {
    #[error(transparent)]
    Pool(#[from] PoolBuildError),
    #[error(transparent)]
    Build(#[from] pepita::task::TaskBuildError),
    #[error(transparent)]
    Submit(#[from] SubmitError),
    #[error(transparent)]
    Task(#[from] TaskError),
}

/// Runs one task alone.
fn run(task: TaskBuilder) -> Result<ExecutionResult, CaseError> {
    Ok(pool()?.submit(task.build()?)?.wait()?)
}

fn shell(script: &str) -> TaskBuilder {
    Task::binary("/bin/sh").args(["-c", script])
}

/// Judges the result of one task.
fn judge(task: TaskBuilder, holds: impl FnOnce(&ExecutionResult) -> bool) -> Finding {
    match run(task) {
        Ok(result) => Finding::check(holds(&result), &result),
        Err(error) => error.into(),
    }
}

/// Judges the error of one task.
fn judge_error(task: TaskBuilder, holds: impl FnOnce(&TaskError) -> bool) -> Finding {
    match run(task) {
        Err(CaseError::Task(error)) => Finding::check(holds(&error), &error),
        other => Finding::Failed(format!("{other:?}")),
    }
}

fn captures() -> Finding {
    // Sixteen times what a pipe holds.
    let input: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let task = shell("tee /dev/stderr").stdin(input.clone());
    match run(task) {
        Ok(result) => Finding::check(
            result.is_success() && result.stdout.bytes == input && result.stderr.bytes == input,
            (
                result.exit,
                result.stdout.total_bytes,
                result.stderr.total_bytes,
            ),
        ),
        Err(error) => error.into(),
    }
}

fn capture_limit() -> Finding {
    let output = pepita::task::Output::Capture { limit_bytes: 10 };
    judge(shell("printf %020d 0").stdout(output), |result| {
        result.stdout.bytes.len() == 10 && result.stdout.total_bytes == 20
    })
}

fn pipeline() -> Finding {
    let sort = Task::pipeline([Program::new("cat"), Program::new("sort")]).stdin("b\na\n");
    let sorted = judge(sort, |result| {
        result.is_success() && result.stdout_string() == "a\nb\n"
    });
    match sorted {
        Finding::Passed => judge(
            Task::pipeline([Program::new("false"), Program::new("cat")]),
            |result| !result.is_success(),
        ),
        other => other,
    }
}

fn exits() -> Finding {
    match judge(shell("exit 7"), |result| result.exit == Exit::Code(7)) {
        Finding::Passed => judge(shell("kill -TERM $$"), |result| {
            result.exit == Exit::Signal(libc::SIGTERM)
        }),
        other => other,
    }
}

fn missing_program() -> Finding {
    judge_error(Task::binary("pepita-no-such-program"), |error| {
        matches!(error, TaskError::Spawn(SpawnError::NotFound { .. }))
    })
}

fn not_executable() -> Finding {
    judge_error(Task::binary("/proc/version"), |error| {
        matches!(error, TaskError::Spawn(SpawnError::NotExecutable { .. }))
    })
}

fn missing_dir() -> Finding {
    judge_error(
        Task::binary("true").working_dir("/no/such/directory"),
        |error| matches!(error, TaskError::Spawn(SpawnError::WorkingDir { .. })),
    )
}

fn timeout_ends_tree() -> Finding {
    match CpuExecutor::builder().subreaper().build() {
        Ok(executor) if executor.tree_kill() == TreeKill::ProcessGroup => {
            return Finding::NotHere("neither cgroup, pid namespace nor subreaper".into());
        }
        Ok(_) => {}
        Err(error) => return error.into(),
    }
    // A child, and a grandchild in a session of its own; each says its process id.
    let script = "sleep 600 & echo $!; setsid sleep 600 & echo $!; wait";
    let task = shell(script)
        .timeout(Duration::from_millis(200))
        .grace(Duration::from_millis(50));
    judge(task, |result| {
        let pids: Vec<_> = result.stdout_string().lines().map(str::to_owned).collect();
        let is_gone = |pid: &String| !is_running(pid);
        result.stopped == Some(Stop::Timeout) && pids.len() == 2 && pids.iter().all(is_gone)
    })
}

/// Whether the process runs; one that has ended and that nobody has waited for does not.
fn is_running(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    state.is_some_and(|state| !state.trim_start().starts_with(['Z', 'X']))
}

fn cancel() -> Finding {
    let cancelled = || -> Result<ExecutionResult, CaseError> {
        let pool = pool()?;
        let events = pool.subscribe();
        let handle = pool.submit(Task::binary("sleep").arg("600").build()?)?;
        for event in events {
            if matches!(event.kind, PoolEventKind::Started { .. }) {
                break;
            }
        }
        handle.cancel();
        Ok(handle.wait()?)
    };
    match cancelled() {
        Ok(result) => Finding::check(result.stopped == Some(Stop::Cancelled), &result),
        Err(error) => error.into(),
    }
}

fn retry() -> Finding {
    let dir = match tempfile::tempdir() {
        Ok(dir) => dir,
        Err(error) => return Finding::NotHere(format!("no temporary directory: {error}")),
    };
    let policy = match RetryPolicy::builder(3, Duration::from_millis(1)).build() {
        Ok(policy) => policy,
        Err(error) => return error.into(),
    };
    let script = "[ -e marker ] || { : > marker; exit 75; }";
    judge(
        shell(script).working_dir(dir.path()).retry(policy),
        |result| result.is_success() && result.attempts == 2 && result.failed_attempts.len() == 1,
    )
}

fn kernel_limit() -> Finding {
    let limits = Limits {
        open_files: Some(17),
        ..Limits::default()
    };
    judge(shell("ulimit -n").limits(limits), |result| {
        result.stdout_string() == "17\n"
    })
}

fn memory_limit() -> Finding {
    let limits = Limits {
        memory_bytes: Some(32 << 20),
        ..Limits::default()
    };
    // A line of 256 MiB, which `tail` has to keep whole.
    match run(shell("head -c 268435456 /dev/zero | tail -n 1 > /dev/null").limits(limits)) {
        Ok(result) => Finding::check(result.stopped == Some(Stop::MemoryLimit), &result),
        Err(CaseError::Submit(SubmitError::Unsupported(Unsupported::Host { reason, .. }))) => {
            Finding::NotHere(reason)
        }
        Err(error) => error.into(),
    }
}

fn descriptors() -> Finding {
    // One that would be inherited, were it not kept from it.
    let open = fs::File::open("/proc/self/status");
    // The shell reads the directory by a fourth descriptor.
    let finding = judge(shell("ls /proc/self/fd"), |result| {
        result.stdout_string() == "0\n1\n2\n3\n"
    });
    drop(open);
    finding
}

fn panic() -> Finding {
    // The panic is meant; its message would look like a failure.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = pool().map_err(CaseError::from).and_then(|pool| {
        let panics: fn(&_) = |_| panic!("on purpose");
        let first = pool.submit(Task::function(panics).build()?)?.wait();
        let second = pool.submit(Task::function(|_| ()).build()?)?.wait()?;
        Ok((first, second))
    });
    std::panic::set_hook(hook);
    match outcome {
        Ok((first, second)) => Finding::check(
            matches!(first, Err(TaskError::Panicked { .. })) && second.is_success(),
            (&first, &second),
        ),
        Err(error) => error.into(),
    }
}

fn bench_processes() -> Result<f64, Unmeasured> {
    const COUNT: u32 = 1000;
    // Without the variables of a locale, whose files `true` would read.
    let task = || Task::binary("/bin/true").env_clear().build();
    let rate = rate(COUNT, || task().map_err(|error| error.to_string()));
    rate.map_err(Unmeasured::Failed)
}

fn bench_functions() -> Result<f64, Unmeasured> {
    const COUNT: u32 = 100_000;
    let task = || Task::function(|_| ()).build();
    let rate = rate(COUNT, || task().map_err(|error| error.to_string()));
    rate.map_err(Unmeasured::Failed)
}

/// Tasks per second of `count` tasks, results collected.
fn rate(count: u32, make: impl Fn() -> Result<Task, String>) -> Result<f64, String> {
    let pool = pool().map_err(|error| error.to_string())?;
    let tasks = (0..count).map(|_| make()).collect::<Result<Vec<_>, _>>()?;
    let begin = Instant::now();
    let succeeded = pool
        .map(tasks)
        .filter(|o| o.as_ref().is_ok_and(ExecutionResult::is_success));
    let succeeded = succeeded.count();
    let elapsed = begin.elapsed();
    match u32::try_from(succeeded) == Ok(count) {
        true => Ok(f64::from(count) / elapsed.as_secs_f64()),
        false => Err(format!("only {succeeded} of {count} tasks succeeded")),
    }
}
