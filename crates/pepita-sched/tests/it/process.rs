//! Streams, exits, and what a child gets.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use pepita_sched::executor::{CancelToken, CpuExecutor, Executor, TaskContext};
use pepita_sched::task::{Exit, Output, Program, Stdin, Task};

use crate::support::{run, run_by, sh, stdout};

fn megabytes(count: usize) -> Vec<u8> {
    (0..count << 20)
        .map(|index| u8::try_from(index % 251).unwrap())
        .collect()
}

#[test]
fn both_outputs_may_be_larger_than_a_pipe_while_the_input_is_fed() {
    let input = megabytes(4);
    let result = run(Task::binary("tee").arg("/dev/stderr").stdin(input.clone()));
    assert!(result.is_success());
    assert!(result.stdout.bytes == input && result.stderr.bytes == input);
    assert!(!result.stdout.is_truncated());
}

#[test]
fn a_program_may_close_its_streams_early() {
    let result = run(sh("exec <&- >&- 2>&-; exit 7").stdin(megabytes(1)));
    assert_eq!((result.exit, result.stopped), (Exit::Code(7), None));
}

#[test]
fn a_program_that_ignores_its_input_succeeds() {
    assert!(run(Task::binary("true").stdin(megabytes(1))).is_success());
}

#[test]
fn the_exit_tells_a_code_from_a_signal() {
    assert_eq!(run(sh("exit 255")).exit, Exit::Code(255));
    let killed = run(sh("kill -SEGV $$"));
    assert_eq!(killed.exit, Exit::Signal(11));
    assert_eq!(killed.exit.to_string(), "signal SIGSEGV");
    assert_eq!(killed.exit.shell_code(), 139);
}

#[test]
fn the_end_of_a_program_ends_its_task_though_a_background_process_holds_its_output() {
    let result = run(sh("(sleep 1000; echo late) & echo early"));
    assert_eq!(result.stdout_string(), "early\n");
}

#[test]
fn output_beyond_the_capture_limit_is_counted_and_dropped() {
    let result = run(Task::binary("cat")
        .stdin(megabytes(1))
        .stdout(Output::Capture { limit_bytes: 1000 }));
    assert!(result.is_success());
    assert_eq!(result.stdout.bytes, megabytes(1)[..1000]);
    assert_eq!(result.stdout.total_bytes, 1 << 20);
    assert!(result.stdout.is_truncated());
}

#[test]
fn streamed_output_arrives_whole_and_in_order() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    let stream = Output::stream(move |chunk| sink.lock().unwrap().extend_from_slice(chunk));
    let result = run(Task::binary("cat").stdin(megabytes(2)).stdout(stream));
    assert!(result.is_success() && result.stdout.bytes.is_empty());
    assert!(*seen.lock().unwrap() == megabytes(2));
}

#[test]
fn a_panic_in_an_output_callback_ends_the_program() {
    let task = sh("echo x; exec sleep 1000")
        .stdout(Output::stream(|_| panic!("full")))
        .build()
        .unwrap();
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| run_by(None, &task)));
    assert!(outcome.is_err());
    assert_eq!(crate::support::marked(&task), [0_u32; 0]);
}

#[test]
fn a_pipeline_runs_its_stages_over_pipes() {
    let task = Task::pipeline([
        Program::new("tr").args(["a-z", "A-Z"]),
        Program::new("sort"),
        Program::new("uniq").arg("-c"),
    ]);
    let result = run(task.stdin("b\na\nb\n"));
    assert!(result.is_success());
    assert_eq!(result.stdout_string(), "      1 A\n      2 B\n");
    assert_eq!(result.stages, [Exit::Code(0); 3]);
}

#[test]
fn a_pipeline_moves_more_than_its_pipes_hold() {
    let stages = [
        Program::new("cat"),
        Program::new("cat"),
        Program::new("wc").arg("-c"),
    ];
    assert_eq!(
        stdout(Task::pipeline(stages).stdin(megabytes(4))).trim(),
        (4 << 20).to_string()
    );
}

#[test]
fn a_pipeline_fails_with_its_last_failed_stage_but_not_for_a_broken_pipe() {
    let shell = |script: &str| Program::new("sh").args(["-c", script]);
    let check = |stages: [&str; 3], want: Exit| {
        assert_eq!(
            run(Task::pipeline(stages.map(shell))).exit,
            want,
            "{stages:?}"
        );
    };
    check(["exit 3", "cat", "cat"], Exit::Code(3));
    check(["exit 3", "exit 4", "cat"], Exit::Code(4));
    check(["exit 3", "cat", "exit 5"], Exit::Code(5));
    check(["exec yes", "head -n 1", "cat"], Exit::Code(0));
    check(["cat", "cat", "kill -TERM $$"], Exit::Signal(15));
}

#[test]
fn a_stage_that_cannot_start_ends_those_before_it() {
    let task = Task::pipeline([
        Program::new("sleep").arg("1000"),
        Program::new("/no/such/program"),
    ]);
    let task = task.build().unwrap();
    assert!(run_by(None, &task).is_err());
    assert_eq!(crate::support::marked(&task), [0_u32; 0]);
}

#[test]
fn a_child_gets_three_descriptors_and_no_other() {
    // This one would be inherited: no close-on-exec.
    let leak = std::fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let script = "for n in $(seq 0 200); do [ -e /proc/$$/fd/$n ] && echo $n; done; true";
    assert_eq!(stdout(sh(script).stdin(Stdin::Null)), "0\n1\n2\n");
    drop(leak);
}

#[test]
fn a_child_leads_a_process_group_and_has_no_terminal() {
    let stat = stdout(sh("cat /proc/$$/stat; echo $$"));
    let (stat, pid) = stat.trim().rsplit_once('\n').unwrap();
    let fields: Vec<&str> = stat.split(' ').collect();
    assert_eq!(
        (fields[4], fields[6]),
        (pid, "0"),
        "process group, terminal: {stat}"
    );
}

#[test]
fn waiting_for_a_program_makes_no_wake_ups() {
    let switches = || {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    let task = Task::binary("sleep")
        .arg("1")
        .timeout(std::time::Duration::from_secs(1000));
    let task = task.build().unwrap();
    let executor = CpuExecutor::builder().slots(1).build().unwrap();
    let context = TaskContext::new(CancelToken::new(), task.timeout(), 1, 0);
    let before = switches();
    assert!(executor.execute(&task, &context).unwrap().is_success());
    let woken = switches() - before;
    // The vfork, each stream's end, the exit, and what a busy host adds; polling every 10 ms would
    // make 100.
    assert!(woken <= 50, "{woken} times");
}

#[test]
fn usage_is_the_tasks_own() {
    let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let result = run(sh(busy));
    let user = result.usage.user.unwrap();
    assert!(
        user > std::time::Duration::ZERO && user <= result.wall,
        "{result:?}"
    );
    let idle = run(Task::binary("true")).usage.user.unwrap();
    assert!(idle < user, "{idle:?} against {user:?}");
}
