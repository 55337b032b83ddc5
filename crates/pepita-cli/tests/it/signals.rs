//! ^C once, twice, and SIGTERM. Every step waits for what the step before it made happen.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::{TempDir, tempdir};

use crate::{Ran, make_fifo, pepita, read_joblog};

/// A run of three jobs, one at a time, each of which says its process id and then waits for
/// somebody to open its fifo.
struct Waiting {
    dir: TempDir,
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    job: i32,
}

impl Waiting {
    fn start() -> Self {
        Self::start_with(None)
    }

    /// As `nohup` does, with a signal ignored.
    fn start_with(ignored: Option<&str>) -> Self {
        let dir = tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        make_fifo(&fifo);
        let script = "echo $$; read line < $0; echo end";
        let log = dir.path().join("log");
        let options = ["run", "-j1", "--ungroup", "--joblog", log.to_str().unwrap()];
        let command = [
            "--",
            "sh",
            "-c",
            script,
            fifo.to_str().unwrap(),
            "{}",
            ":::",
            "1",
            "2",
            "3",
        ];
        let words: Vec<_> = options.into_iter().chain(command).collect();
        let mut program = match ignored {
            None => pepita(words),
            Some(signal) => {
                let mut shell = std::process::Command::new("sh");
                let script = format!("trap '' {signal}; exec \"$0\" \"$@\"");
                shell
                    .args(["-c", &script, env!("CARGO_BIN_EXE_pepita")])
                    .args(words);
                shell.stdin(Stdio::null());
                shell
            }
        };
        let mut child = program
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        Self {
            job: line.trim().parse().unwrap(),
            dir,
            child,
            stdout,
            stderr,
        }
    }

    /// Sends a signal to the program, and waits until it says what it makes of it.
    fn signal(&mut self, signal: Signal, want: &str) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        assert!(line.contains(want), "{line:?}");
    }

    /// Lets the job that runs end.
    fn release(&self) {
        drop(
            File::options()
                .write(true)
                .open(self.dir.path().join("fifo"))
                .unwrap(),
        );
    }

    /// The exit code, the rest of the output, and the numbers of the jobs in the log.
    fn end(mut self) -> (Option<i32>, String, Vec<u64>) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        let code = self.child.wait().unwrap().code();
        let alive = Path::new("/proc").join(self.job.to_string());
        assert!(!alive.exists(), "the job outlived the program");
        let jobs = read_joblog(&self.dir.path().join("log"));
        (code, rest, jobs.into_iter().map(|job| job.0).collect())
    }
}

#[test]
fn the_first_signal_lets_the_running_job_end_and_starts_no_other() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut run = Waiting::start();
        run.signal(signal, "no new job starts");
        run.release();
        assert_eq!(run.end(), (Some(code), "end\n".to_owned(), vec![1]));
    }
}

#[test]
fn the_second_signal_kills_the_running_job_which_is_then_not_in_the_log() {
    let mut run = Waiting::start();
    run.signal(Signal::INT, "no new job starts");
    run.signal(Signal::INT, "killing the jobs");
    assert_eq!(run.end(), (Some(130), String::new(), vec![]));
}

#[test]
fn after_the_third_signal_no_job_is_left() {
    let mut run = Waiting::start();
    run.signal(Signal::INT, "no new job starts");
    run.signal(Signal::INT, "killing the jobs");
    kill_process(Pid::from_child(&run.child), Signal::INT).unwrap();
    let (code, _, jobs) = run.end();
    assert_eq!((code, jobs), (Some(130), vec![]));
}

#[test]
fn a_signal_that_was_ignored_from_the_start_stays_ignored() {
    for (name, signal) in [("HUP", Signal::HUP), ("INT", Signal::INT)] {
        let mut run = Waiting::start_with(Some(name));
        kill_process(Pid::from_child(&run.child), signal).unwrap();
        // Were the first signal heard, this one would kill the job.
        run.signal(Signal::TERM, "no new job starts");
        run.release();
        assert_eq!(run.end(), (Some(143), "end\n".to_owned(), vec![1]));
    }
}

#[test]
fn a_run_that_was_killed_resumes_with_the_job_that_was_killed() {
    let mut run = Waiting::start();
    run.signal(Signal::INT, "no new job starts");
    run.signal(Signal::INT, "killing the jobs");
    let log = run.dir.path().join("log");
    let copy = tempdir().unwrap();
    let copied = copy.path().join("log");
    let fifo = run.dir.path().join("fifo");
    assert!(run.child.wait().is_ok());
    fs::copy(&log, &copied).unwrap();
    let options = [
        "run",
        "--dry-run",
        "--resume",
        "--joblog",
        copied.to_str().unwrap(),
        "--",
        "sh",
        "-c",
    ];
    let script = [
        "echo $$; read line < $0; echo end",
        fifo.to_str().unwrap(),
        "{}",
        ":::",
        "1",
        "2",
        "3",
    ];
    let ran = crate::run(options.into_iter().chain(script));
    assert_eq!(ran.stdout.lines().count(), 3, "{ran:?}");
}

#[test]
fn a_signal_ends_a_plan_as_well() {
    let dir = tempdir().unwrap();
    let plan = dir.path().join("plan.toml");
    fs::write(
        &plan,
        "[[task]]\nname = \"a\"\nshell = \"echo ready; sleep 600\"\nstdout = \"inherit\"\n\
         [[task]]\nname = \"b\"\nafter = [\"a\"]\ncommand = [\"true\"]\n",
    )
    .unwrap();
    let mut child = pepita(["run", plan.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    for want in ["no new job starts", "killing the jobs"] {
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        line.clear();
        stderr.read_line(&mut line).unwrap();
        assert!(line.contains(want), "{line:?}");
    }
    let mut table = String::new();
    stderr.read_to_string(&mut table).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(table.contains("1 cancelled, 1 skipped"), "{table}");
}

#[test]
fn a_task_that_the_first_signal_keeps_from_beginning_is_told_and_counted() {
    let dir = tempdir().unwrap();
    let plan = dir.path().join("plan.toml");
    make_fifo(&dir.path().join("go"));
    fs::write(
        &plan,
        "[[task]]\nname = \"a\"\nshell = \"read line < go; true\"\n\
         [[task]]\nname = \"b\"\nafter = [\"a\"]\ncommand = [\"true\"]\n\
         [[task]]\nname = \"c\"\nafter = [\"b\"]\ncommand = [\"true\"]\n",
    )
    .unwrap();
    let mut child = pepita(["run", "--json", plan.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let go = File::options().write(true).open(dir.path().join("go"));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.contains("no new job starts"), "{line}");
    drop(go.unwrap());
    let ran = Ran::from(child.wait_with_output().unwrap());
    let lines = ran.json();
    let finished = lines.iter().filter(|line| line["event"] == "finished");
    let finished: Vec<_> = finished
        .map(|line| (&line["name"], &line["status"]))
        .collect();
    let want = [("a", "succeeded"), ("b", "cancelled"), ("c", "cancelled")];
    assert_eq!(finished.len(), want.len(), "{ran:?}");
    for (found, want) in finished.into_iter().zip(want) {
        assert!(*found.0 == want.0 && *found.1 == want.1, "{ran:?}");
    }
    assert_eq!(lines.last().unwrap()["cancelled"], 2, "{ran:?}");
    assert_eq!(ran.code, 130);
}

#[test]
fn a_signal_ends_a_job_that_waits_for_its_next_attempt() {
    let program = pepita([
        "--json",
        "run",
        "-j1",
        "--retries",
        "3",
        "--retry-delay",
        "1h",
    ])
    .args(["--", "false", ":::", "a"])
    .stdout(Stdio::piped())
    .stderr(Stdio::null())
    .spawn();
    let mut child = program.unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    assert!(lines.any(|line| line.contains("\"retrying\"")));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert!(lines.any(|line| line.contains("\"summary\"")));
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_log_that_another_run_writes_is_refused() {
    let mut run = Waiting::start();
    let log = run.dir.path().join("log");
    let second = pepita(["run", "--resume", "--joblog", log.to_str().unwrap()])
        .args(["--", "true", ":::", "x"])
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(message.contains("another run writes this log"), "{message}");
    assert_eq!(second.status.code(), Some(2));
    run.signal(Signal::INT, "no new job starts");
    run.release();
    let (code, _, jobs) = run.end();
    assert_eq!((code, jobs), (Some(130), vec![1]));
}
