//! Each setting of a task changes what comes of it.

use std::fs;
use std::time::Duration;

use pepita_sched::executor::Backend;
use pepita_sched::pool::{Pool, SubmitError};
use pepita_sched::task::{
    CpuAffinity, Exit, Limits, Output, Priority, Program, Stdin, Stop, Task, TaskBuilder,
};

use crate::support::{Gate, run, sh, stdout};

/// Runs the task as it is, and with the setting: the outputs must be these.
#[track_caller]
fn check(
    task: fn() -> TaskBuilder,
    without: &str,
    set: fn(TaskBuilder) -> TaskBuilder,
    with: &str,
) {
    assert_eq!(
        run(task()).stdout_string().trim(),
        without,
        "without the setting"
    );
    assert_eq!(
        run(set(task())).stdout_string().trim(),
        with,
        "with the setting"
    );
}

#[test]
fn args() {
    check(
        || Task::binary("echo"),
        "",
        |task| task.arg("one").args(["two"]),
        "one two",
    );
}

#[test]
fn env_sets_removes_and_clears() {
    let print = || sh("echo ${NEW-none} ${HOME+inherited}");
    check(
        print,
        "none inherited",
        |task| task.env("NEW", "set"),
        "set inherited",
    );
    check(
        print,
        "none inherited",
        |task| task.env_remove("HOME"),
        "none",
    );
    check(
        print,
        "none inherited",
        |task| task.env_clear().env("NEW", "set"),
        "set",
    );
}

#[test]
fn a_cleared_environment_holds_the_task_id_alone() {
    let task = Task::binary("/usr/bin/env").env_clear().build().unwrap();
    let result = crate::support::run_by(None, &task).unwrap();
    assert_eq!(
        result.stdout_string(),
        format!("PEPITA_TASK_ID={}\n", task.id())
    );
}

#[test]
fn working_dir_holds_for_the_program_and_for_where_it_is_looked_up() {
    let here = std::env::current_dir().unwrap();
    let print = || Task::binary("pwd");
    assert_eq!(stdout(print()).trim(), here.to_str().unwrap());
    assert_eq!(stdout(print().working_dir("/usr")).trim(), "/usr");
    assert_eq!(
        stdout(Task::binary("./echo").arg("x").working_dir("/bin")).trim(),
        "x"
    );
    assert_eq!(
        stdout(
            Task::binary("echo")
                .arg("x")
                .env("PATH", "bin")
                .working_dir("/")
        )
        .trim(),
        "x"
    );
}

#[test]
fn stdin() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, "from a file").unwrap();
    assert_eq!(stdout(Task::binary("cat")), "");
    assert_eq!(
        stdout(Task::binary("cat").stdin("from bytes")),
        "from bytes"
    );
    assert_eq!(
        stdout(Task::binary("cat").stdin(Stdin::File(file.path().into()))),
        "from a file"
    );
}

#[test]
fn stdout_and_stderr_go_where_they_are_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (out, err) = (dir.path().join("out"), dir.path().join("err"));
    fs::write(&out, "old").unwrap();
    fs::write(&err, "old ").unwrap();
    let print = || sh("echo to out; echo to err >&2");
    let result = run(print()
        .stdout(Output::File(out.clone()))
        .stderr(Output::Append(err.clone())));
    assert_eq!(result.stdout_string() + &result.stderr_string(), "");
    assert_eq!(fs::read_to_string(out).unwrap(), "to out\n");
    assert_eq!(fs::read_to_string(err).unwrap(), "old to err\n");
    let result = run(print().stderr(Output::Null));
    assert_eq!(
        (result.stdout_string(), result.stderr_string()),
        ("to out\n".into(), String::new())
    );
}

#[test]
fn inherited_output_is_this_processes_own() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("where");
    let script = format!("readlink /proc/$$/fd/2 > {}", to.display());
    assert!(run(sh(&script).stderr(Output::Inherit)).is_success());
    let own = fs::read_link("/proc/self/fd/2").unwrap();
    assert_eq!(
        fs::read_to_string(&to).unwrap().trim(),
        own.to_str().unwrap()
    );
    assert!(run(sh(&script)).is_success());
    assert_ne!(
        fs::read_to_string(&to).unwrap().trim(),
        own.to_str().unwrap()
    );
}

#[test]
fn timeout_and_grace() {
    let sleep = |seconds: &str| Task::binary("sleep").arg(seconds);
    assert!(run(sleep("0.1")).is_success());
    let timed = || sleep("1000").timeout(Duration::from_millis(20));
    let result = run(timed());
    assert_eq!(
        (result.stopped, result.exit),
        (Some(Stop::Timeout), Exit::Signal(15))
    );
    let result = run(timed().grace(Duration::ZERO));
    assert_eq!(
        (result.stopped, result.exit),
        (Some(Stop::Timeout), Exit::Signal(9))
    );
}

#[test]
fn affinity() {
    let allowed = || sh("grep Cpus_allowed_list /proc/self/status | cut -f2");
    let all = stdout(allowed());
    assert_ne!(all.trim(), "0", "this test needs two CPUs");
    assert_eq!(
        stdout(allowed().affinity(CpuAffinity::cpus([0]))).trim(),
        "0"
    );
}

#[test]
fn limits_of_the_process() {
    let limit = |name: &str, limits: Limits| {
        let script = format!("grep '^{name}' /proc/self/limits | tr -s ' '");
        stdout(sh(&script).limits(limits)).trim().to_owned()
    };
    let none = Limits::default();
    let set = Limits {
        open_files: Some(77),
        ..none
    };
    assert_eq!(limit("Max open files", set), "Max open files 77 77 files");
    assert_ne!(limit("Max open files", none), limit("Max open files", set));
    let set = Limits {
        file_size_bytes: Some(4096),
        ..none
    };
    assert_eq!(limit("Max file size", set), "Max file size 4096 4096 bytes");
    assert_ne!(limit("Max file size", none), limit("Max file size", set));
    let set = Limits {
        address_space_bytes: Some(1 << 30),
        ..none
    };
    assert_eq!(
        limit("Max address space", set),
        "Max address space 1073741824 1073741824 bytes"
    );
    let busy = || sh("while :; do :; done").timeout(Duration::from_secs(100));
    let result = run(busy().limits(Limits {
        cpu_time_s: Some(1),
        ..none
    }));
    assert_eq!(
        (result.exit, result.stopped),
        (Exit::Signal(24), None),
        "{result:?}"
    );
}

#[test]
fn a_file_larger_than_its_limit_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let write = || {
        Task::binary("head")
            .args(["-c", "8192", "/dev/zero"])
            .stdout(Output::File(dir.path().join("f")))
    };
    assert!(run(write()).is_success());
    let limits = Limits {
        file_size_bytes: Some(4096),
        ..Limits::default()
    };
    assert_eq!(run(write().limits(limits)).exit, Exit::Signal(25));
}

#[test]
fn priority_decides_who_goes_first() {
    let order = |priorities: [Priority; 3]| {
        let pool = Pool::builder().cpu_workers(1).build().unwrap();
        let gate = Gate::new();
        let _first = pool.submit(gate.task().build().unwrap()).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        for (index, priority) in priorities.into_iter().enumerate() {
            let sender = sender.clone();
            let task = Task::function(move |_| sender.send(index).unwrap()).priority(priority);
            let _handle = pool.submit(task.build().unwrap()).unwrap();
        }
        gate.open();
        drop((pool, sender));
        receiver.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(order([Priority::Normal; 3]), [0, 1, 2]);
    assert_eq!(
        order([Priority::Low, Priority::Normal, Priority::High]),
        [2, 1, 0]
    );
}

#[test]
fn backend() {
    let pool = Pool::builder().cpu_workers(1).build().unwrap();
    let task = |backend| Task::function(|_| ()).backend(backend).build().unwrap();
    assert!(
        pool.submit(task(Backend::Cpu))
            .unwrap()
            .wait()
            .unwrap()
            .is_success()
    );
    let refused = pool.submit(task(Backend::Gpu)).unwrap_err();
    assert!(matches!(refused, SubmitError::Unsupported(_)));
    assert_eq!(
        refused.to_string(),
        "no executor of this pool takes tasks for the backend gpu; it has: cpu"
    );
}

#[test]
fn metadata_comes_back_with_the_handle() {
    let pool = Pool::builder().cpu_workers(1).build().unwrap();
    let task = Task::function(|_| ())
        .metadata("owner", "me")
        .build()
        .unwrap();
    let handle = pool.submit(task).unwrap();
    assert_eq!(handle.task().metadata()["owner"], "me");
}

#[test]
fn settings_of_a_stage_reach_that_stage_alone() {
    let show = "echo ${WHO-nobody} $(pwd)";
    let task = Task::pipeline([
        Program::new("sh")
            .args(["-c", show])
            .env("WHO", "first")
            .working_dir("/usr"),
        Program::new("sh").args(["-c", &format!("cat; {show}")]),
    ]);
    assert_eq!(
        stdout(task.working_dir("/etc").env_remove("WHO")),
        "first /usr\nnobody /etc\n"
    );
}

#[test]
fn a_named_pipe_without_another_end_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(run(Task::binary("mkfifo").arg(&pipe)).is_success());
    assert_eq!(
        stdout(Task::binary("cat").stdin(Stdin::File(pipe.clone()))),
        ""
    );
    let task = Task::binary("true")
        .stdout(Output::File(pipe))
        .build()
        .unwrap();
    let error = crate::support::run_by(None, &task).unwrap_err();
    assert!(error.to_string().contains("cannot be opened"), "{error}");
}
