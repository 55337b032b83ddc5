//! `pepita run -- COMMAND`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use tempfile::tempdir;

use crate::{Ran, pepita, read_joblog, run, run_with_input};

#[test]
fn arguments_come_from_the_command_line_a_file_or_standard_input() {
    assert_eq!(
        run(["run", "--", "echo", "<{}>", ":::", "a b", "c"]).sorted(),
        ["<a b>", "<c>"]
    );
    assert_eq!(
        run_with_input(["run", "--", "echo"], b"x\ny z\n").sorted(),
        ["x", "y z"]
    );
    let dir = tempdir().unwrap();
    let list = dir.path().join("list");
    fs::write(&list, "1\n2").unwrap();
    assert_eq!(
        run(["run", "-a", list.to_str().unwrap(), "--", "echo", "n"]).sorted(),
        ["n 1", "n 2"]
    );
    run_with_input(["run", "-a", "-", "--", "echo"], b"x\n").expect(0, "x\n");
    run(["run", "--", "echo", ":::"]).expect(0, "");
}

#[test]
fn a_carriage_return_is_part_of_its_argument() {
    run_with_input(["run", "--", "echo", "{}."], b"x\r\n").expect(0, "x\r.\n");
}

#[test]
fn with_null_an_argument_may_hold_newlines() {
    run_with_input(["run", "-0", "--", "printf", "[%s]"], b"a\nb\0").expect(0, "[a\nb]");
}

#[test]
fn with_keep_order_outputs_come_in_the_order_of_the_arguments() {
    // The first job ends last: it waits for a file that the last one makes.
    let dir = tempdir().unwrap();
    let marker = dir.path().join("marker");
    let script =
        "case $0 in 1) while ! [ -e $1 ]; do sleep 0.01; done;; 3) touch $1;; esac; echo $0";
    let args = [
        "run",
        "-j3",
        "-k",
        "--",
        "sh",
        "-c",
        script,
        "{}",
        marker.to_str().unwrap(),
        ":::",
        "1",
        "2",
        "3",
    ];
    run(args).expect(0, "1\n2\n3\n");
}

#[test]
fn the_output_of_a_job_is_shown_whole_and_each_stream_where_it_belongs() {
    let script = "for i in 1 2 3; do echo out$0; echo err$0 >&2; done";
    let ran = run([
        "run", "-j4", "--", "sh", "-c", script, ":::", "a", "b", "c", "d",
    ]);
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert!(
        lines
            .chunks(3)
            .all(|job| job.iter().all(|line| *line == job[0])),
        "{lines:?}"
    );
    assert_eq!((lines.len(), ran.stderr.lines().count()), (12, 12));
}

#[test]
fn more_than_memory_keeps_is_shown_whole_too() {
    let ran = run([
        "run",
        "--",
        "head",
        "-c",
        "{}",
        "/dev/zero",
        ":::",
        "5000000",
    ]);
    assert_eq!((ran.code, ran.stdout.len()), (0, 5_000_000));
}

#[test]
fn the_output_of_an_attempt_that_is_repeated_is_not_shown() {
    let dir = tempdir().unwrap();
    let marker = dir.path().join("marker");
    let script = "if [ -e $0 ]; then echo second; else touch $0; echo first; exit 1; fi";
    let retry = [
        "run",
        "--retries",
        "1",
        "--retry-delay",
        "1ms",
        "--",
        "sh",
        "-c",
        script,
    ];
    run(retry
        .iter()
        .copied()
        .chain([":::", marker.to_str().unwrap()]))
    .expect(0, "second\n");
}

#[test]
fn the_exit_code_says_whether_all_succeeded() {
    run(["run", "--", "true", ":::", "a", "b"]).expect(0, "");
    let ran = run(["run", "--", "sh", "-c", "exit $0", ":::", "0", "3"]).expect(1, "");
    assert!(
        ran.stderr.contains("job 2: exit code 3: sh -c 'exit $0' 3"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("1 succeeded, 1 failed"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_program_that_cannot_be_started_ends_the_run_with_one_message() {
    let dir = tempdir().unwrap();
    let log = dir.path().join("log");
    let args: Vec<_> = (0..1000).map(|n| n.to_string()).collect();
    let options = [
        "run",
        "--joblog",
        log.to_str().unwrap(),
        "--",
        "/no/such",
        ":::",
    ];
    let ran = run(options.into_iter().chain(args.iter().map(|arg| &**arg))).expect(1, "");
    let want = "\"/no/such\" was not found; no further job is started\n";
    assert_eq!(ran.stderr, format!("pepita: {want}"));
    assert_eq!(read_joblog(&log), []);
}

#[test]
fn where_the_argument_is_the_program_only_its_job_fails() {
    let ran = run(["run", "-j1", "--", "{}", ":::", "/no/such", "true"]).expect(1, "");
    let want = "job 1: \"/no/such\" was not found: /no/such\n";
    assert!(ran.stderr.contains(want), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("1 succeeded, 1 failed"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_job_that_failed_is_shown_after_its_output_and_its_command_is_cut() {
    let long = "x".repeat(1000);
    let script = "echo said >&2; exit 3";
    let ran = run(["run", "--", "sh", "-c", script, ":::", &long]).expect(1, "");
    let lines: Vec<_> = ran.stderr.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "said"), "{lines:?}");
    let (_, command) = lines[1].split_once("exit code 3: ").unwrap();
    assert_eq!(
        (command.chars().count(), command.ends_with("xx…")),
        (201, true)
    );
}

#[test]
fn a_job_whose_output_is_lost_counts_once_and_everywhere_as_failed() {
    let dir = tempdir().unwrap();
    let log = dir.path().join("log");
    let options = ["run", "--json", "--joblog", log.to_str().unwrap()];
    let command = ["--", "head", "-c", "{}", "/dev/zero", ":::", "5000000"];
    let output = pepita(options.into_iter().chain(command))
        .env("TMPDIR", "/no/such/dir")
        .output();
    let ran = Ran::from(output.unwrap());
    let lines = ran.json();
    let (end, summary) = (&lines[lines.len() - 2], &lines[lines.len() - 1]);
    assert_eq!((ran.code, &end["status"]), (1, &"failed".into()));
    let reason = end["reason"].as_str().unwrap();
    assert!(
        reason.contains("the temporary directory /no/such/dir"),
        "{reason}"
    );
    assert_eq!(
        (&summary["succeeded"], &summary["failed"]),
        (&0.into(), &1.into())
    );
    assert_eq!(read_joblog(&log)[0].1, 1);
}

#[test]
fn a_file_that_is_no_job_log_is_not_replaced() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("thesis.txt");
    fs::write(&path, "years of work\n").unwrap();
    let ran = run([
        "run",
        "--joblog",
        path.to_str().unwrap(),
        "--",
        "true",
        ":::",
        "a",
    ]);
    assert!(ran.expect(2, "").stderr.contains("it is no job log"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "years of work\n");
}

#[test]
fn bad_usage_has_exit_code_2_and_says_what_is_expected() {
    for (args, want) in [
        (&["run"][..], "nothing to run; expected"),
        (
            &["run", "x.toml", "--", "true"],
            "both a file and a command",
        ),
        (
            &["run", "--retries", "1", "x.toml"],
            "`--retries` is for a command over arguments",
        ),
        (
            &["run", "--", "echo", ":::", "a", ":::", "b"],
            "`:::` stands twice",
        ),
        (&["run", "--", "echo", "::::", "a"], "--arg-file"),
        (
            &["run", "-a", "/no/such/file", "--", "echo"],
            "/no/such/file: No such file",
        ),
        (
            &["run", "--retry-delay", "1s", "--", "echo", ":::", "a"],
            "needs `--retries`",
        ),
        (&["run", "--timeout", "5", "--", "x"], "the unit is missing"),
        (
            &["run", "no-such-plan.toml"],
            "no-such-plan.toml: No such file",
        ),
        (
            &["run", "--json", "-u", "--", "echo", ":::", "a"],
            "expected one of them",
        ),
        (&["rum"], "run"),
        (
            &["run", "--halt", "soon,fail=1", "x.toml"],
            "a file of tasks has nothing like it",
        ),
        (
            &["run", "echo", "{}", ":::", "a", "b"],
            "put `--` before the command: pepita run -- echo {} ::: a b",
        ),
        (
            &["run", "-P4", "gzip", "-9"],
            "put `--` before the command: pepita run -P4 -- gzip -9",
        ),
        (
            &["run", "echo"],
            "put `--` before the command: pepita run -- echo",
        ),
        (
            &["run", "--shell", ":::", "echo hi"],
            "put `--` before the command: pepita run --shell -- ::: 'echo hi'",
        ),
        (
            &["run", "f.toml", ":::", "a"],
            "put `--` before the command: pepita run -- f.toml ::: a",
        ),
    ] {
        let ran = run(args).expect(2, "");
        assert!(ran.stderr.contains(want), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn jobs_read_no_standard_input() {
    run_with_input(["run", "-k", "--", "sh", "-c", "echo $0; cat"], b"1\n2\n").expect(0, "1\n2\n");
}

#[test]
fn commands_are_run_directly_and_with_shell_by_a_shell() {
    run(["run", "--", "echo", "$HOME", "|", ":::", ";x"]).expect(0, "$HOME | ;x\n");
    run([
        "run",
        "--shell",
        "--",
        "echo {} | tr a-z A-Z",
        ":::",
        "it's",
    ])
    .expect(0, "IT'S\n");
    run_with_input(["run", "-k", "--shell"], b"echo 1 | cat\nexit 0\n").expect(0, "1\n");
}

#[test]
fn a_dry_run_prints_commands_that_a_shell_would_take_and_runs_nothing() {
    let dir = tempdir().unwrap();
    let marker = dir.path().join("a b");
    let ran = run([
        "run",
        "--dry-run",
        "--",
        "touch",
        ":::",
        marker.to_str().unwrap(),
    ]);
    ran.expect(0, &format!("touch '{}'\n", marker.display()));
    assert!(!marker.exists());
}

#[test]
fn a_timeout_ends_a_job_and_is_logged_as_minus_one() {
    let dir = tempdir().unwrap();
    let log = dir.path().join("log");
    let log_arg = log.to_str().unwrap();
    let ran = run([
        "run",
        "--timeout",
        "50ms",
        "--joblog",
        log_arg,
        "--",
        "sleep",
        ":::",
        "600",
    ]);
    assert!(
        ran.code == 1 && ran.stderr.contains("timed out after"),
        "{ran:?}"
    );
    let jobs = read_joblog(&log);
    assert_eq!((jobs.len(), jobs[0].0, jobs[0].1), (1, 1, -1));
}

#[test]
fn a_run_resumes_where_its_log_ends() {
    let dir = tempdir().unwrap();
    let log = dir.path().join("log");
    let log_arg = log.to_str().unwrap();
    let script = "echo $0; [ $0 != 2 ]";
    let args = |resume: &'static str, list: &[&'static str]| {
        let mut args = vec!["run", "--joblog", log_arg];
        args.extend([resume].iter().filter(|option| !option.is_empty()));
        args.extend(["--", "sh", "-c", script, ":::"]);
        args.extend(list);
        args.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(run(args("", &["1", "2"])).sorted(), ["1", "2"]);
    let logged: Vec<_> = read_joblog(&log).iter().map(|job| (job.0, job.1)).collect();
    assert_eq!(logged, [(1, 0), (2, 1)]);
    assert_eq!(run(args("--resume", &["1", "2", "3"])).sorted(), ["3"]);
    assert_eq!(
        run(args("--resume-failed", &["1", "2", "3", "4"])).sorted(),
        ["2", "4"]
    );
    let ran = run(args("--resume", &["other"])).expect(2, "");
    assert!(
        ran.stderr.contains("job 1 was another command"),
        "{}",
        ran.stderr
    );
    assert_eq!(
        read_joblog(&log).len(),
        5,
        "the log is added to, not replaced"
    );
}

#[test]
fn gnu_parallel_reads_our_log_and_we_read_its() {
    if Command::new("parallel").arg("--version").output().is_err() {
        eprintln!("skipped: GNU parallel is not installed");
        return;
    }
    let dir = tempdir().unwrap();
    let log = dir.path().join("log");
    let log_arg = log.to_str().unwrap();
    let parallel = |resume: &[&str], command: &[&str]| {
        let mut parallel = Command::new("parallel");
        parallel
            .args(resume)
            .args(["--joblog", log_arg])
            .args(command);
        let output = parallel.output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let resume = ["run", "--resume", "--joblog", log_arg];
    // A command of words, and a line for a shell.
    for (ours, theirs) in [
        (&["--", "echo"][..], "echo {}"),
        (&["--shell", "--", "echo {} | cat"], "echo {} | cat"),
    ] {
        drop(fs::remove_file(&log));
        parallel(&[], &[theirs, ":::", "a", "b"]);
        run(resume.iter().chain(ours).chain(&[":::", "a", "b", "c"])).expect(0, "c\n");
        let next = parallel(&["--resume"], &[theirs, ":::", "a", "b", "c", "d"]);
        assert_eq!(next, "d\n");
    }
}

#[test]
fn a_log_of_shell_lines_as_gnu_parallel_writes_it_is_resumed() {
    let dir = tempdir().unwrap();
    let log = dir.path().join("log");
    let header = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand";
    let line = "1\t:\t1700000000.042\t     0.002\t0\t2\t0\t0\techo a | cat";
    fs::write(&log, format!("{header}\n{line}\n")).unwrap();
    let args = |list: &[&'static str]| {
        let options = [
            "run",
            "--resume",
            "--joblog",
            log.to_str().unwrap(),
            "--shell",
        ];
        let command = ["--", "echo {} | cat", ":::"];
        let words = options.iter().chain(&command).chain(list);
        words.map(|word| (*word).to_owned()).collect::<Vec<_>>()
    };
    run(args(&["a", "b"])).expect(0, "b\n");
    assert_eq!(read_joblog(&log)[1].3, "echo b | cat");
    let ran = run(args(&["a", "b"])).expect(0, "");
    assert_eq!(
        ran.stderr,
        "pepita: nothing to do: the job log has all 2 jobs\n"
    );
}

#[test]
fn halt_gives_up_and_says_by_the_exit_code_why() {
    let dir = tempdir().unwrap();
    let log = dir.path().join("log");
    let log_arg = log.to_str().unwrap();
    let halted = |halt: &str, script: &str| {
        let args = [
            "run", "-j1", "--halt", halt, "--joblog", log_arg, "--", "sh", "-c", script,
        ];
        let ran = run(args.into_iter().chain([":::", "1", "2", "3", "4"]));
        (ran.code, read_joblog(&log).len())
    };
    assert_eq!(halted("soon,fail=2", "exit 1"), (1, 2));
    assert_eq!(halted("soon,success=1", "exit 0"), (0, 1));
    assert_eq!(halted("never", "exit 1"), (1, 4));
    // The second job, which runs beside the first and would never end, is killed.
    let ends = "[ $0 = 1 ] && exit 1; exec sleep 600";
    let args = [
        "run",
        "-j2",
        "--halt",
        "now,fail=1",
        "--joblog",
        log_arg,
        "--",
        "sh",
        "-c",
        ends,
    ];
    assert_eq!(run(args.into_iter().chain([":::", "1", "2", "3"])).code, 1);
    assert_eq!(read_joblog(&log).len(), 1);
}

#[test]
fn jobs_start_as_arguments_come_not_at_the_end_of_input() {
    let mut child = pepita(["run", "-j1", "--", "echo"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for word in ["one", "two"] {
        writeln!(stdin, "{word}").unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), word);
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_reader_that_goes_away_ends_the_run_quietly() {
    let mut child = pepita(["run", "-j2", "-a", "/dev/zero", "-0", "--", "echo", "y"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((line.trim(), output.status.code()), ("y", Some(141)));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_child_has_the_default_action_of_sigpipe() {
    // Were SIGPIPE ignored, `yes` would complain about a broken pipe.
    let ran = run(["run", "--", "sh", "-c", "yes | head -n 1", ":::", "x"]).expect(0, "y\n");
    assert_eq!(ran.stderr, "");
}

#[test]
fn a_run_that_breaks_off_leaves_no_job_running() {
    // The second job would never end; the first finds nobody who reads.
    let script = "case $0 in 1) echo y;; 2) echo $$ >&2; exec sleep 600;; esac";
    let mut child = pepita([
        "run", "-j2", "--", "sh", "-c", script, "{}", ":::", "2", "1", "1",
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141));
}

#[test]
fn jobs_that_an_early_end_leaves_out_are_all_told_and_counted() {
    let arguments: Vec<_> = (1..=500).map(|number| number.to_string()).collect();
    let mut line = vec![
        "run",
        "--json",
        "-j1",
        "--halt",
        "now,fail=1",
        "--",
        "false",
        ":::",
    ];
    line.extend(arguments.iter().map(String::as_str));
    let ran = run(line);
    let lines = ran.json();
    let cancelled = lines.iter().filter(|line| line["status"] == "cancelled");
    assert_eq!(cancelled.count(), 499, "{ran:?}");
    assert_eq!(lines.last().unwrap()["cancelled"], 499);
    assert_eq!(ran.code, 1);
}

#[test]
fn an_argument_that_no_program_can_be_given_holds_nothing_up() {
    let input = b"a\0b\n1\n2\n";
    let ran = run_with_input(["run", "-k", "-j2", "--", "echo"], input).expect(1, "1\n2\n");
    let want = "pepita: job 1: argument \"a\\0b\" holds a NUL byte; `-0` splits there\n";
    assert!(ran.stderr.starts_with(want), "{ran:?}");
    let lines = run_with_input(["run", "--json", "--", "echo"], input).json();
    let refused = lines.iter().find(|line| line["seq"] == 1).unwrap();
    assert_eq!(
        (&refused["event"], &refused["status"]),
        (&"finished".into(), &"failed".into())
    );
}

#[test]
fn more_jobs_than_descriptors_are_refused_before_any_runs() {
    let program = env!("CARGO_BIN_EXE_pepita");
    let limited = |rest: &str| {
        let line = format!("ulimit -n 60; seq 40 | {program} run {rest}");
        Ran::from(Command::new("sh").args(["-c", &line]).output().unwrap())
    };
    assert_eq!(limited("-j4 -- echo ::: a b").sorted(), ["a", "b"]);
    // There are two jobs only.
    assert_eq!(limited("-j30 -- echo ::: a b").sorted(), ["a", "b"]);
    let refused = limited("-j30 -- echo").expect(2, "");
    let message = "30 jobs at the same time need 286 open files, and the limit is 60; raise it \
                   (`ulimit -n 286`) or run fewer (`-j`)";
    assert!(refused.stderr.contains(message), "{}", refused.stderr);
}
