//! One step: commands run in order, their output kept in `target/ci/STEP.log`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result};

use super::report::{self, Counts, Failure};
use crate::workspace_root;

/// A command of a step.
#[derive(Debug)]
pub(super) struct Cargo {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    repeated_after: Option<u8>,
}

impl Cargo {
    /// `cargo` with `arguments`.
    pub(super) fn new(arguments: &[&str]) -> Self {
        Self::program("cargo".into(), arguments)
    }

    /// Any program.
    pub(super) fn program(program: PathBuf, arguments: &[&str]) -> Self {
        Self {
            program,
            arguments: arguments.iter().map(OsString::from).collect(),
            environment: Vec::new(),
            repeated_after: None,
        }
    }

    /// Runs it once more when it ends with `status`, which is for what broke beside the thing under test. The table
    /// tells of it.
    pub(super) fn repeated_after(mut self, status: u8) -> Self {
        self.repeated_after = Some(status);
        self
    }

    /// Adds arguments.
    pub(super) fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(OsString::from));
        self
    }

    /// Sets a variable.
    pub(super) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Lets passed tests show their output, where they say what they skipped; without backtraces, of which panics that
    /// tests want would print thousands.
    pub(super) fn tests(self) -> Self {
        self.args(&["--", "--show-output"])
            .env("RUST_BACKTRACE", "0")
    }

    /// What to type to run it again.
    fn shown(&self) -> String {
        let variables = self
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={}", quoted(&value.to_string_lossy())));
        let words = std::iter::once(self.program.to_string_lossy().into_owned());
        let words = words.chain(
            self.arguments
                .iter()
                .map(|word| word.to_string_lossy().into_owned()),
        );
        variables
            .chain(words.map(|word| quoted(&word)))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// `word` as a shell needs it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// How a step decides on what its commands printed.
type Judge = Box<dyn Fn(&str) -> Result<()>>;

/// Commands that together are one row of the table.
pub(super) struct Step {
    commands: Vec<Cargo>,
    judge: Option<Judge>,
    note: Option<String>,
}

impl Step {
    /// A step of one command.
    pub(super) fn of(cargo: Cargo) -> Self {
        Self {
            commands: vec![cargo],
            judge: None,
            note: None,
        }
    }

    /// A step that has nothing to do, and why.
    pub(super) fn nothing(why: impl Into<String>) -> Self {
        Self {
            commands: Vec::new(),
            judge: None,
            note: Some(why.into()),
        }
    }

    /// Adds a command, which runs when those before it succeeded.
    pub(super) fn then(mut self, cargo: Cargo) -> Self {
        self.commands.push(cargo);
        self
    }

    /// Adds a check of all that the commands printed.
    pub(super) fn judged_by(mut self, judge: impl Fn(&str) -> Result<()> + 'static) -> Self {
        self.judge = Some(Box::new(judge));
        self
    }

    /// Runs the step.
    pub(super) fn run(&self, name: &str) -> Result<(Counts, Option<String>), Failure> {
        let log = workspace_root()
            .join("target/ci")
            .join(format!("{}.log", name.replace(' ', "-")));
        let mut printed = String::new();
        for cargo in &self.commands {
            let run = || {
                execute(cargo, &log)
                    .map_err(|error| Failure::new(format!("{error:#}"), cargo.shown()))
            };
            let (mut status, mut output) = run()?;
            if cargo.repeated_after.map(i32::from) == status.code() {
                printed.push_str(&report::repeated(&output));
                (status, output) = run()?;
            }
            printed.push_str(&output);
            if !status.success() {
                return Err(Failure::new(output, cargo.shown()));
            }
        }
        if let Some(judge) = &self.judge {
            let last = self.commands.last().map(Cargo::shown).unwrap_or_default();
            judge(&printed).map_err(|error| Failure::new(format!("{error:#}"), last))?;
        }
        let counts = Counts::read(&printed);
        counts
            .judge()
            .map_err(|what| Failure::new(what, format!("cargo xtask ci  # step {name}")))?;
        Ok((counts, self.note.clone()))
    }
}

/// How `cargo` ended, and what it printed to either stream.
fn execute(cargo: &Cargo, log: &std::path::Path) -> Result<(ExitStatus, String)> {
    fs::create_dir_all(log.parent().context("no folder")?)?;
    let file = File::create(log)?;
    let mut command = Command::new(&cargo.program);
    command
        .args(&cargo.arguments)
        .envs(cargo.environment.iter().map(|(name, value)| (name, value)));
    // Both would bind a nested cargo to the toolchain and target of this one.
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    command
        .current_dir(workspace_root())
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", cargo.program.display()))?;
    Ok((
        status,
        String::from_utf8_lossy(&fs::read(log)?).into_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_a_shell_takes_it() {
        let cargo = Cargo::new(&["test"]).env("FLAGS", "-D it's").tests();
        assert_eq!(
            cargo.shown(),
            r"FLAGS='-D it'\''s' RUST_BACKTRACE=0 cargo test -- --show-output"
        );
    }

    #[test]
    fn a_failed_command_keeps_its_output_and_how_to_repeat_it() {
        let step = Step::of(Cargo::program(
            "sh".into(),
            &["-c", "echo out; echo err >&2; exit 3"],
        ));
        let failure = step.run("self test").expect_err("it exits with 3");
        assert_eq!(failure.output, "out\nerr\n");
        assert_eq!(failure.again, "sh -c 'echo out; echo err >&2; exit 3'");
    }

    #[test]
    fn a_command_that_broke_on_the_way_runs_once_more_and_no_third_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("rounds").display().to_string();
        let ends = |rounds: u32| {
            let script = format!("echo >> {file}; test $(wc -l < {file}) -gt {rounds} || exit 7");
            let _ = fs::remove_file(&file);
            let command = Cargo::program("sh".into(), &["-c", &script]);
            Step::of(command.repeated_after(7))
                .run("self test again")
                .is_ok()
        };
        assert_eq!([0, 1, 2].map(ends), [true, true, false]);
    }

    #[test]
    fn a_judge_can_fail_a_step_that_ran() {
        let step =
            Step::of(Cargo::program("true".into(), &[])).judged_by(|_| anyhow::bail!("too low"));
        assert_eq!(
            step.run("self test judge").expect_err("judged").output,
            "too low"
        );
    }
}
