//! `pepita run FILE.toml`.

use std::fs;
use std::path::Path;

use tempfile::tempdir;

use crate::{read_joblog, run};

/// Runs a plan that stands in a directory of its own.
fn run_plan(dir: &Path, plan: &str, options: &[&str]) -> crate::Ran {
    let path = dir.join("plan.toml");
    fs::write(&path, plan).unwrap();
    run(["run"]
        .iter()
        .chain(options)
        .copied()
        .chain([path.to_str().unwrap()]))
}

#[test]
fn a_task_begins_after_those_that_it_comes_after() {
    let dir = tempdir().unwrap();
    // Each task fails unless those before it left their files.
    let plan = r#"
        [[task]]
        name = "last"
        after = ["left", "right"]
        shell = "cat left right"
        [[task]]
        name = "left"
        after = ["first"]
        shell = "cat first > left"
        [[task]]
        name = "right"
        after = ["first"]
        shell = "cat first > right"
        [[task]]
        name = "first"
        shell = "echo done > first"
    "#;
    let ran = run_plan(dir.path(), plan, &["-j4"]).expect(0, "done\ndone\n");
    assert!(ran.stderr.contains("4 succeeded in"), "{}", ran.stderr);
}

#[test]
fn what_comes_after_a_failure_is_skipped_and_the_rest_runs() {
    let dir = tempdir().unwrap();
    let plan = r#"
        [[task]]
        name = "bad"
        shell = "echo the reason >&2; exit 7"
        [[task]]
        name = "child"
        after = ["bad"]
        command = ["echo", "never"]
        [[task]]
        name = "grandchild"
        after = ["child", "good"]
        command = ["echo", "never"]
        [[task]]
        name = "good"
        command = ["echo", "good"]
    "#;
    let ran = run_plan(dir.path(), plan, &[]).expect(1, "good\n");
    for want in [
        "exit code 7",
        "    the reason",
        "after bad",
        "after child",
        "1 failed, 2 skipped",
    ] {
        assert!(ran.stderr.contains(want), "{want}: {}", ran.stderr);
    }
}

#[test]
fn a_task_that_fails_with_more_to_say_than_the_summary_shows_is_heard_in_full() {
    for (lines, want) in [(10, 1), (11, 2)] {
        let dir = tempdir().unwrap();
        let plan = format!("[[task]]\nname = \"a\"\nshell = \"seq {lines} >&2; exit 1\"\n");
        let ran = run_plan(dir.path(), &plan, &[]).expect(1, "");
        let last = lines.to_string();
        let shown = ran.stderr.lines().filter(|line| line.trim() == last);
        assert_eq!(shown.count(), want, "{ran:?}");
        assert!(ran.stderr.lines().any(|line| line.trim() == "1"), "{ran:?}");
    }
}

#[test]
fn a_task_that_may_fail_holds_nothing_up() {
    let dir = tempdir().unwrap();
    let plan = r#"
        [[task]]
        name = "slow"
        command = ["sleep", "600"]
        timeout = "20ms"
        allow-failure = true
        [[task]]
        name = "next"
        after = ["slow"]
        command = ["echo", "next"]
    "#;
    let ran = run_plan(dir.path(), plan, &[]).expect(0, "next\n");
    assert!(ran.stderr.contains("timed out after"), "{}", ran.stderr);
    assert!(ran.stderr.contains("allowed to fail"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("1 succeeded, 1 failed (allowed) in"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.starts_with("== next ==\n"), "{}", ran.stderr);
}

#[test]
fn a_task_whose_tree_had_to_be_killed_does_not_harm_the_next_one() {
    let dir = tempdir().unwrap();
    // What ignores SIGTERM is killed after the grace, by the surest means that the host has.
    let plan = r#"
        jobs = 1
        [[task]]
        name = "stubborn"
        shell = "trap '' TERM; (trap '' TERM; setsid sleep 600) & sleep 600"
        timeout = "50ms"
        grace = "1ms"
        allow-failure = true
        [[task]]
        name = "next"
        after = ["stubborn"]
        command = ["echo", "next"]
    "#;
    run_plan(dir.path(), plan, &[]).expect(0, "next\n");
}

#[test]
fn each_setting_reaches_its_task() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("sub/in.txt"), "from a file\n").unwrap();
    let check = |settings: &str, script: &str, want: &str| {
        let plan = format!("[[task]]\nname = \"t\"\nshell = '''{script}'''\n{settings}\n");
        run_plan(dir.path(), &plan, &[]).expect(0, want);
    };
    check("env = { A = \"1\" }", "echo $A", "1\n");
    check("env-clear = true", "echo \"<$HOME>\"", "<>\n");
    check("dir = \"sub\"", "cat in.txt", "from a file\n");
    check(
        "dir = \"sub\"\nstdin = { file = \"in.txt\" }",
        "cat",
        "from a file\n",
    );
    check("stdin = \"text\"", "cat", "text");
    check("", "cat", "");
    check("stdout = \"null\"", "echo x", "");
    check("stdout = \"inherit\"", "echo x", "x\n");
    check("stdout = { capture = \"3B\" }", "echo 12345", "123");
    check("stdout = { file = \"out\" }", "echo x", "");
    check("stdout = { append = \"out\" }", "echo y", "");
    assert_eq!(
        fs::read_to_string(dir.path().join("out")).unwrap(),
        "x\ny\n"
    );
    check("limits = { open-files = 17 }", "ulimit -n", "17\n");
    check("limits = { cpu-time = \"9s\" }", "ulimit -t", "9\n");
    check(
        "limits = { address-space = \"512MiB\" }",
        "ulimit -v",
        "524288\n",
    );
    check("limits = { file-size = \"1MiB\" }", "ulimit -f", "2048\n");
    check(
        "cpus = [0]",
        "grep Cpus_allowed_list /proc/self/status | cut -f2",
        "0\n",
    );
    let flaky = "[ -e marker ] || { touch marker; exit 9; }; echo again";
    check("retries = 1", flaky, "again\n");
    fs::remove_file(dir.path().join("marker")).unwrap();
    check(
        "retry = { attempts = 2, delay = \"1ms\", on = [9] }",
        flaky,
        "again\n",
    );
    fs::remove_file(dir.path().join("marker")).unwrap();
    let plan = format!(
        "[[task]]\nname = \"t\"\nretry = {{ attempts = 2, on = [8] }}\nshell = '''{flaky}'''\n"
    );
    run_plan(dir.path(), &plan, &[]).expect(1, "");
}

#[test]
fn where_the_failures_are_named_that_are_tried_again_nothing_else_is() {
    let dir = tempdir().unwrap();
    for (end, timeout, on, attempts) in [
        ("exit 9", "1h", "on = [8, 9]", 2),
        ("exit 9", "1h", "on = [8]", 1),
        ("kill -9 $$", "1h", "on = [9]", 1),
        ("sleep 600", "10ms", "on = [9]", 1),
        ("kill -9 $$", "1h", "on = [75, 'signal']", 2),
        ("sleep 600", "10ms", "on = ['timeout', 75]", 2),
        (
            "sleep 600",
            "10ms",
            "on = ['signal', 'memory-limit', 'start']",
            1,
        ),
        ("kill -9 $$", "1h", "", 2),
        ("sleep 600", "10ms", "", 2),
    ] {
        let plan = format!(
            "[[task]]\nname = \"t\"\nshell = \"{end}\"\ntimeout = \"{timeout}\"\n\
             [task.retry]\nattempts = 2\ndelay = \"1ms\"\n{on}\n"
        );
        let lines = run_plan(dir.path(), &plan, &["--json"]).json();
        let finished = lines.iter().find(|line| line["event"] == "finished");
        assert_eq!(
            finished.unwrap()["attempts"],
            attempts,
            "{end} {on}: {lines:?}"
        );
    }
}

#[test]
fn defaults_hold_for_tasks_that_say_nothing_else() {
    let dir = tempdir().unwrap();
    let plan = r#"
        jobs = 1
        [defaults]
        env = { A = "default", B = "default" }
        [[task]]
        name = "own"
        env = { A = "own" }
        shell = "echo $A $B"
    "#;
    run_plan(dir.path(), plan, &[]).expect(0, "own default\n");
}

#[test]
fn a_pipeline_fails_with_any_of_its_stages() {
    let dir = tempdir().unwrap();
    let plan = |stages: &str| format!("[[task]]\nname = \"p\"\npipeline = {stages}\n");
    run_plan(
        dir.path(),
        &plan(r#"[["printf", "b\na\n"], ["sort"]]"#),
        &[],
    )
    .expect(0, "a\nb\n");
    run_plan(dir.path(), &plan(r#"[["false"], ["cat"]]"#), &[]).expect(1, "");
}

#[test]
fn a_dry_run_lists_tasks_and_runs_none() {
    let dir = tempdir().unwrap();
    let plan = "[[task]]\nname = \"a\"\ncommand = [\"touch\", \"x y\"]\n\
                [[task]]\nname = \"b\"\nafter = [\"a\"]\ncommand = [\"ls\"]\n";
    run_plan(dir.path(), plan, &["--dry-run"]).expect(0, "a: touch 'x y'\nb: ls  # after a\n");
    assert!(!dir.path().join("x y").exists());
}

#[test]
fn the_job_log_has_a_line_for_each_task_that_ran() {
    let dir = tempdir().unwrap();
    let log = dir.path().join("log");
    let plan = "[[task]]\nname = \"a\"\ncommand = [\"false\"]\n\
                [[task]]\nname = \"b\"\nafter = [\"a\"]\ncommand = [\"true\"]\n";
    run_plan(dir.path(), plan, &["--joblog", log.to_str().unwrap()]).expect(1, "");
    assert_eq!(read_joblog(&log), [(1, 1, 0, "false".to_owned())]);
}

#[test]
fn the_example_of_the_documentation_runs_again_and_again() {
    let example = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/examples/tasks.toml"
    );
    if !Path::new(example).exists() {
        eprintln!("skipped: docs/examples is not in the package");
        return;
    }
    for _ in 0..2 {
        let ran = run(["run", example]);
        assert_eq!(ran.code, 0, "{ran:?}");
        for want in [
            "all tasks have run",
            "      3 ublk\n",
            "the second attempt found the marker",
        ] {
            assert!(ran.stdout.contains(want), "{want}: {ran:?}");
        }
        assert!(ran.stderr.contains("in 2 attempts"), "{}", ran.stderr);
        assert!(ran.stderr.contains("timed out after"), "{}", ran.stderr);
    }
}
