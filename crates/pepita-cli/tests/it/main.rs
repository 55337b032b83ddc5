//! Runs the real program: what it prints, what it leaves behind, and how it exits.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up must panic"
)]

mod bench;
mod file;
mod over;
mod plans;
mod report;
mod selftest;
mod setback;
mod signals;
mod zram;

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The program, in an environment that no user's settings reach. Signals that the tests were started to ignore,
/// as a background job of a shell is, would stay ignored; `env` makes them as at a terminal.
fn pepita<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new("env");
    command
        .args(["--default-signal", env!("CARGO_BIN_EXE_pepita")])
        .args(args)
        .env_remove("PEPITA_LOG")
        .stdin(Stdio::null());
    command
}

/// Runs it to its end.
fn run<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Ran {
    Ran::from(pepita(args).output().unwrap())
}

/// Runs it to its end with `input` on standard input.
fn run_with_input<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>, input: &[u8]) -> Ran {
    let mut command = pepita(args);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // The program may end before it has read everything.
        scope.spawn(move || drop(stdin.write_all(input)));
        Ran::from(child.wait_with_output().unwrap())
    })
}

/// What came of it, as text.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("ended by a signal"),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    #[track_caller]
    fn expect(self, code: i32, stdout: &str) -> Self {
        assert_eq!((self.code, &*self.stdout), (code, stdout), "{self:?}");
        self
    }

    /// Its lines of standard output, sorted: jobs end in any order.
    fn sorted(&self) -> Vec<&str> {
        let mut lines: Vec<_> = self.stdout.lines().collect();
        lines.sort_unstable();
        lines
    }

    /// Its lines of standard output as JSON.
    fn json(&self) -> Vec<serde_json::Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn make_fifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// (sequence, exit value, signal, command) of each line of a job log, in the order of the jobs.
fn read_joblog(path: &Path) -> Vec<(u64, i32, i32, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'), "the last line is whole: {text:?}");
    let mut lines = text.lines();
    let header = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand";
    assert_eq!(lines.next(), Some(header));
    let mut jobs: Vec<_> = lines
        .map(|line| {
            let fields: Vec<_> = line.splitn(9, '\t').collect();
            let number = |at: usize| fields[at].parse().unwrap();
            (
                fields[0].parse().unwrap(),
                number(6),
                number(7),
                fields[8].to_owned(),
            )
        })
        .collect();
    jobs.sort();
    jobs
}
