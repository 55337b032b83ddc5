use std::fmt;
use std::time::Duration;

use super::*;
use crate::executor::Backend;
use crate::fault::CircuitState;
use crate::task::{Task, TaskId, TreeKill};

/// `EMLINK` stands for whatever the kernel said: no conversion makes it up.
fn said() -> io::Error {
    io::Error::from_raw_os_error(Errno::EMLINK.raw())
}

#[track_caller]
fn check(error: impl Into<KernelError> + fmt::Debug, operation: &str, errno: Errno) {
    let shown = format!("{error:?}");
    let error: KernelError = error.into();
    assert_eq!(
        (error.operation(), error.to_errno()),
        (operation, errno),
        "{shown}"
    );
}

#[test]
fn a_program_that_did_not_start_keeps_its_number() {
    let program = || "tool".into();
    let not_found = SpawnError::NotFound {
        program: program(),
        path_variable: None,
    };
    check(not_found, "execve", Errno::ENOENT);
    let interpreter = SpawnError::NoInterpreter { program: program() };
    check(interpreter, "execve", Errno::ENOENT);
    let closed = SpawnError::NotExecutable { program: program() };
    check(closed, "execve", Errno::EACCES);
    let format = SpawnError::BadFormat { program: program() };
    check(format, "execve", Errno::ENOEXEC);
    let long = SpawnError::TooLong {
        program: program(),
        bytes: 1 << 30,
    };
    check(long, "execve", Errno::E2BIG);
    let dir = SpawnError::WorkingDir {
        dir: "/nowhere".into(),
        source: said(),
    };
    check(dir, "opening the working directory", Errno::EMLINK);
    let stream = SpawnError::Stream {
        stream: "standard input",
        path: "/nowhere".into(),
        source: said(),
    };
    check(stream, "opening a standard stream", Errno::EMLINK);
    let system = SpawnError::System {
        operation: "clone3",
        program: program(),
        source: said(),
    };
    check(system, "clone3", Errno::EMLINK);
}

#[test]
fn a_task_without_a_result_keeps_its_number() {
    use TaskError::{Cancelled, Delivered, Panicked, ShutDown, Spawn, System};
    let program = "tool".into();
    let spawn = Spawn(SpawnError::BadFormat { program });
    check(spawn, "execve", Errno::ENOEXEC);
    let unsupported = TaskError::from(no_backend());
    check(unsupported, "choosing an executor", Errno::EOPNOTSUPP);
    check(Cancelled, "running a task", Errno::ECANCELED);
    let message = "no luck".into();
    check(Panicked { message }, "running a task", Errno::EIO);
    check(ShutDown, "running a task", Errno::ESHUTDOWN);
    check(Delivered, "taking an outcome", Errno::ENODATA);
    let system = |source| System {
        operation: "waitid",
        source,
    };
    check(system(said()), "waitid", Errno::EMLINK);
    check(system(io::Error::other("no number")), "waitid", Errno::EIO);
}

#[test]
fn the_error_of_an_executor_is_searched_for_a_number() {
    let kernel = KernelError::from_errno("ioctl", Errno::ENXIO);
    let executor = |source: Box<dyn Error + Send + Sync>| TaskError::Executor(source);
    check(executor(Box::new(kernel)), "ioctl", Errno::ENXIO);
    check(executor(Box::new(said())), "running a task", Errno::EMLINK);
    let deep = ExecutorBuildError::System(said());
    check(executor(Box::new(deep)), "running a task", Errno::EMLINK);
    check(executor("a text".into()), "running a task", Errno::EIO);
}

fn no_backend() -> Unsupported {
    Unsupported::Backend {
        backend: Backend::Gpu,
        available: "cpu".into(),
    }
}

#[test]
fn work_that_nothing_here_does_is_not_supported() {
    let kind = Unsupported::Kind {
        executor: "cpu".into(),
        kind: "a shader",
    };
    let host = Unsupported::Host {
        setting: "a limit",
        reason: "no cgroup".into(),
        remedy: "delegate one",
    };
    for error in [no_backend(), kind, host] {
        check(error, "choosing an executor", Errno::EOPNOTSUPP);
    }
}

#[test]
fn a_task_that_is_not_taken_says_whether_to_try_again() {
    let unsupported = || SubmitError::from(no_backend());
    check(unsupported(), "choosing an executor", Errno::EOPNOTSUPP);
    check(SubmitError::ShutDown, "submitting a task", Errno::ESHUTDOWN);
    let task = Box::new(Task::binary("true").build().unwrap());
    let full = KernelError::from(TrySubmitError::Full { task, capacity: 1 });
    assert!(full.is_retriable());
    check(full, "submitting a task", Errno::EAGAIN);
    let shut_down = TrySubmitError::from(SubmitError::ShutDown);
    check(shut_down, "submitting a task", Errno::ESHUTDOWN);
}

#[test]
fn a_pool_that_cannot_be_made_keeps_its_number() {
    use ExecutorBuildError::{NoSlots, System, TreeKill as NoTreeKill};
    let making = "making an executor";
    let killer = || NoTreeKill {
        level: TreeKill::Cgroup,
        reason: "no cgroup".into(),
    };
    check(NoSlots, making, Errno::EINVAL);
    check(killer(), making, Errno::EOPNOTSUPP);
    check(System(said()), making, Errno::EMLINK);

    let making = "making a pool";
    let idle = PoolBuildError::NoSlots {
        executor: "gpu".into(),
    };
    for error in [
        PoolBuildError::NoCapacity,
        PoolBuildError::NoExecutor,
        PoolBuildError::ZeroTimeout,
        idle,
    ] {
        check(error, making, Errno::EINVAL);
    }
    let inner = PoolBuildError::Executor(killer());
    check(inner, "making an executor", Errno::EOPNOTSUPP);
    check(PoolBuildError::Thread(said()), making, Errno::EMLINK);
}

#[test]
fn a_setting_that_is_refused_is_an_invalid_argument() {
    let none = TaskBuildError::NothingToRun;
    check(none, "building a task", Errno::EINVAL);
    let time = RetryPolicyError::TotalTime;
    check(time, "making a retry policy", Errno::EINVAL);
    let reserve = RetryBudgetError::Reserve { retries: 1, max: 0 };
    check(reserve, "making a retry budget", Errno::EINVAL);
    let zero = DetectorError::ZeroTime { setting: "ttl" };
    check(zero, "making a failure detector", Errno::EINVAL);
    let zero = CircuitError::ZeroTime { setting: "ttl" };
    check(zero, "making a circuit breaker", Errno::EINVAL);
    let text = "no id".parse::<TaskId>().unwrap_err();
    check(text, "reading a task id", Errno::EINVAL);
}

#[test]
fn what_passes_may_be_tried_again_and_a_panic_may_not() {
    let rejected = Rejected {
        state: CircuitState::Open,
        retry_after: Some(Duration::from_secs(1)),
    };
    assert!(KernelError::from(rejected).is_retriable());
    check(rejected, "passing a circuit breaker", Errno::EAGAIN);
    let scheduler = crate::scheduler::Scheduler::with_workers(1);
    let panic: JoinError = scheduler
        .spawn(|| -> () { panic!("on purpose") })
        .wait()
        .unwrap_err();
    assert!(!KernelError::from(panic.clone()).is_retriable());
    check(panic, "running a closure", Errno::EIO);
}
