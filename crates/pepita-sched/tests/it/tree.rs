//! At a timeout or a cancellation every process of a task ends.

use std::sync::mpsc::channel;
use std::time::Duration;

use pepita_sched::executor::{CancelToken, CpuExecutor, Executor, TaskContext};
use pepita_sched::task::{ExecutionResult, Exit, Output, Stop, Task, TreeKill};

use crate::support::{levels, marked, run_by, sh};

/// Grandchildren: one in the group, one orphaned, one in a session of its own, one both. Says
/// that all are there, then waits for ever.
const FAMILY: &str = "
    sleep 98765 &
    (sleep 98765 &)
    setsid sleep 98765 &
    (setsid sh -c 'sleep 98765 & exec sleep 98765' &)
    while [ $(ps -e -o args= | grep -c '^sleep 98765$') -lt 5 ]; do :; done
    echo ready
    sleep 98765
";

/// Runs a script until it prints something, cancels it, and returns its task and what came of it.
fn cancel_when_ready(
    level: TreeKill,
    script: &str,
    grace: Duration,
) -> (Task, ExecutionResult, String) {
    let (sender, receiver) = channel();
    let said = Output::stream(move |chunk| sender.send(chunk.to_vec()).unwrap());
    let task = sh(script).stdout(said).grace(grace).build().unwrap();
    let executor = CpuExecutor::builder()
        .slots(1)
        .tree_kill(level)
        .build()
        .unwrap();
    let token = CancelToken::new();
    let context = TaskContext::new(token.clone(), None, 1, 0);
    let (result, mut output) = std::thread::scope(|scope| {
        let run = scope.spawn(|| executor.execute(&task, &context));
        let first = receiver.recv().unwrap();
        token.cancel();
        (run.join().unwrap().unwrap(), first)
    });
    output.extend(receiver.try_iter().flatten());
    (task, result, String::from_utf8(output).unwrap())
}

#[test]
fn a_cancelled_tree_is_gone_when_the_outcome_is_there() {
    for level in levels() {
        let (task, result, _) = cancel_when_ready(level, FAMILY, Duration::ZERO);
        let left = marked(&task);
        assert_eq!(result.stopped, Some(Stop::Cancelled));
        assert_eq!(result.tree_kill, Some(level));
        if level == TreeKill::ProcessGroup {
            // It cannot reach what made a session of its own and was orphaned; the test can.
            for pid in left {
                let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        } else {
            assert_eq!(left, [0_u32; 0], "{level}");
        }
    }
}

#[test]
fn what_a_program_leaves_behind_ends_with_it() {
    for level in levels() {
        if level == TreeKill::ProcessGroup {
            continue;
        }
        let task = sh("(setsid sleep 1000 &) ; echo done").build().unwrap();
        let result = run_by(Some(level), &task).unwrap();
        assert_eq!(result.stdout_string(), "done\n");
        assert_eq!(marked(&task), [0_u32; 0], "{level}");
    }
}

#[test]
fn a_program_can_use_its_grace_to_end_well() {
    for level in levels() {
        let script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done";
        let (_, result, output) = cancel_when_ready(level, script, Duration::from_secs(1000));
        assert_eq!(result.stopped, Some(Stop::Cancelled), "{level}");
        assert_eq!(result.exit, Exit::Code(3), "{level}");
        assert_eq!(output, "ready\nbye\n", "{level}");
        assert!(!result.is_success());
    }
}

#[test]
fn a_program_that_ignores_sigterm_is_killed_after_its_grace() {
    for level in levels() {
        let script = "trap '' TERM; echo ready; while :; do sleep 1000; done";
        let (task, result, _) = cancel_when_ready(level, script, Duration::from_millis(50));
        assert_eq!(
            (result.exit, result.stopped),
            (Exit::Signal(9), Some(Stop::Cancelled)),
            "{level}"
        );
        assert_eq!(marked(&task), [0_u32; 0], "{level}");
    }
}

#[test]
fn a_timeout_ends_a_tree_as_a_cancellation_does() {
    for level in levels() {
        let task = sh("sleep 1000 | sleep 1000").timeout(Duration::from_millis(20));
        let task = task.build().unwrap();
        let result = run_by(Some(level), &task).unwrap();
        assert_eq!(result.stopped, Some(Stop::Timeout), "{level}");
        assert_eq!(result.tree_kill, Some(level));
        assert_eq!(marked(&task), [0_u32; 0], "{level}");
    }
}

#[test]
fn every_level_reports_exits_streams_and_errors_alike() {
    for level in levels() {
        let task = sh("cat; echo err >&2; exit 5").stdin("in").build().unwrap();
        let result = run_by(Some(level), &task).unwrap();
        assert_eq!(result.exit, Exit::Code(5), "{level}");
        assert_eq!(
            (result.stdout_string(), result.stderr_string()),
            ("in".into(), "err\n".into())
        );
        assert!(
            result.usage.user.is_some() && result.tree_kill.is_none(),
            "{level}"
        );
        let killed = run_by(Some(level), &sh("kill -KILL $$").build().unwrap()).unwrap();
        assert_eq!(killed.exit, Exit::Signal(9), "{level}");
        let missing = Task::binary("/no/such/program").build().unwrap();
        let error = run_by(Some(level), &missing).unwrap_err().to_string();
        assert!(error.contains("was not found"), "{level}: {error}");
    }
}

#[test]
fn no_zombie_is_left() {
    for level in levels() {
        // The second one is an orphan that ends before its task does.
        let script = "echo $$; (sh -c 'echo $$' &); sleep 0.05";
        let task = sh(script).build().unwrap();
        let result = run_by(Some(level), &task).unwrap();
        if level == TreeKill::PidNamespace {
            // Its numbers mean nothing here; the kernel ends and reaps what is in it.
            continue;
        }
        for pid in result.stdout_string().lines() {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let own = format!(" {} ", std::process::id());
            assert!(
                !(stat.contains(") Z ") && stat.contains(&own)),
                "{level}: {stat}"
            );
        }
    }
}

#[test]
fn a_child_in_a_session_of_its_own_is_reached_as_long_as_its_parent_lives() {
    for level in levels() {
        let script = "setsid sleep 1000 & echo ready; wait";
        let (task, _, _) = cancel_when_ready(level, script, Duration::ZERO);
        assert_eq!(marked(&task), [0_u32; 0], "{level}");
        let (task, _, _) = cancel_when_ready(level, script, Duration::from_secs(1000));
        assert_eq!(marked(&task), [0_u32; 0], "{level}, after its grace");
    }
}

#[test]
fn a_program_that_left_its_cgroup_is_ended_all_the_same() {
    if !levels().contains(&TreeKill::Cgroup) {
        return;
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = mounts
        .lines()
        .find(|line| line.contains(" - cgroup2 "))
        .unwrap();
    let root = mount.split(' ').nth(4).unwrap();
    let script = format!("echo $$ > {root}/cgroup.procs; echo ready; exec sleep 1000");
    let (task, result, _) = cancel_when_ready(TreeKill::Cgroup, &script, Duration::ZERO);
    assert_eq!(result.exit, Exit::Signal(9));
    assert_eq!(marked(&task), [0_u32; 0]);
}
