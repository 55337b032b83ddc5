//! The job log or standard output fails on the way: what runs is waited for.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use tempfile::tempdir;

use crate::{Ran, make_fifo, pepita, read_joblog, run};

/// Ends when it may, and says so; `$1` is the number of the job. Both jobs run before one prints.
const TWO_JOBS: &str = "cd \"$0\"
    case $1 in
        1) echo > ready; read line < go; touch ended ;;
        2) read line < ready; echo printed ;;
    esac";

#[test]
fn where_standard_output_is_full_no_job_is_killed_and_what_was_not_shown_is_not_in_the_log() {
    for order in [&[][..], &["--keep-order"]] {
        let dir = tempdir().unwrap();
        let path = |name| dir.path().join(name);
        for name in ["ready", "go"] {
            make_fifo(&path(name));
        }
        let mut child = pepita(["run", "-j2", "--joblog", path("log").to_str().unwrap()])
            .args(order)
            .args(["--", "sh", "-c", TWO_JOBS, dir.path().to_str().unwrap()])
            .args(["{}", ":::", "1", "2"])
            .stdout(File::options().write(true).open("/dev/full").unwrap())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        if order.is_empty() {
            stderr.read_line(&mut said).unwrap();
        }
        drop(File::options().write(true).open(path("go")).unwrap());
        stderr.read_to_string(&mut said).unwrap();
        assert!(said.contains("standard output cannot be written"), "{said}");
        assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
        assert!(path("ended").exists(), "{said}");
        let logged: Vec<_> = read_joblog(&path("log")).iter().map(|job| job.0).collect();
        assert_eq!(logged, [1], "{order:?}");
    }
}

#[test]
fn where_the_job_log_is_full_no_job_is_killed_and_the_log_ends_in_a_whole_line() {
    let dir = tempdir().unwrap();
    let path = |name| dir.path().join(name);
    for name in ["ready", "go"] {
        make_fifo(&path(name));
    }
    // A limit on the size of files stands for the full disk: 512 or 1024 bytes, as the shell is.
    let mut child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_pepita"))
        .args(["run", "-j2", "--joblog", path("log").to_str().unwrap()])
        .args(["--", "sh", "-c", TWO_JOBS, dir.path().to_str().unwrap()])
        .args(["{}", ":::"])
        .args((1..=100).map(|job| job.to_string()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    assert!(said.contains("no further job is started"), "{said}");
    drop(File::options().write(true).open(path("go")).unwrap());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"printed\n");
    assert!(path("ended").exists());
    assert!(!read_joblog(&path("log")).is_empty());
}

#[test]
fn with_keep_order_a_job_is_in_the_log_once_its_output_is_shown_or_if_it_has_none() {
    let dir = tempdir().unwrap();
    let log = dir.path().join("log");
    // The first job succeeds if it sees the third in the log, and the second not.
    let script = "case $1 in
        1) until grep -q ^3 \"$0\"; do sleep 0.01; done; ! grep -q ^2 \"$0\" ;;
        2) echo printed ;;
    esac";
    let options = ["run", "-k", "-j2", "--joblog", log.to_str().unwrap()];
    let command = ["--", "sh", "-c", script, log.to_str().unwrap(), "{}"];
    let jobs = [":::", "1", "2", "3"];
    run(options.into_iter().chain(command).chain(jobs)).expect(0, "printed\n");
    assert_eq!(read_joblog(&log).len(), 3);
}

#[test]
fn a_job_log_may_be_a_pipe() {
    let dir = tempdir().unwrap();
    let fifo = dir.path().join("log");
    make_fifo(&fifo);
    let copy = dir.path().join("copy");
    for resume in [&[][..], &["--resume"]] {
        let mut reader = Command::new("cat")
            .stdout(File::create(&copy).unwrap())
            .arg(&fifo)
            .spawn()
            .unwrap();
        let options = ["run", "--joblog", fifo.to_str().unwrap()];
        let command = ["--", "echo", ":::", "1"];
        run(options.iter().chain(resume).chain(&command)).expect(0, "1\n");
        assert!(reader.wait().unwrap().success());
        assert_eq!(read_joblog(&copy).len(), 1);
    }
}

#[test]
fn where_standard_output_is_closed_what_has_something_to_print_fails() {
    for (line, want) in [
        ("run -- echo ::: 1", 1),
        ("run --json -- true ::: 1", 1),
        ("run --dry-run -- true ::: 1", 1),
        ("run -- true ::: 1", 0),
        ("run -- sh -c 'echo for standard error >&2' ::: 1", 0),
    ] {
        let program = env!("CARGO_BIN_EXE_pepita");
        let script = format!("exec {program} {line} >&-");
        let ran = Command::new("sh").args(["-c", &script]).output().unwrap();
        let ran = Ran::from(ran).expect(want, "");
        let is_said = ran
            .stderr
            .contains("standard output cannot be written: Bad file");
        assert_eq!(is_said, want == 1, "{line}: {ran:?}");
    }
}
