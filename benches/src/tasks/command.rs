//! Programs that run a command over lines: `pepita run`, `xargs`, GNU parallel.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use tempfile::NamedTempFile;

use crate::case::{Contender, Settings};
use crate::timing::wall_ms;

/// What each job of a timed round runs.
pub(super) const TRUE: &str = "/bin/true";
/// What each job runs when answers are compared: the arguments must all come back.
pub(super) const ECHO: &str = "/bin/echo";

/// A whole process, from its start to its exit.
#[derive(Debug)]
pub(super) struct CommandLine {
    /// `None` for the command itself, alone.
    program: Option<OsString>,
    /// Its arguments before and after the command that it runs.
    before: Vec<String>,
    after: Vec<String>,
    /// Its standard input.
    lines: NamedTempFile,
}

impl CommandLine {
    /// `pepita run -jJOBS` over `count` lines.
    pub(super) fn pepita(settings: &Settings, jobs: usize, count: usize) -> Result<Self> {
        let mut made = Self::pepita_alone(settings, jobs)?;
        made.lines = lines(count)?;
        Ok(made)
    }

    /// `pepita run -j1 -- … ::: 0`.
    pub(super) fn pepita_once(settings: &Settings) -> Result<Self> {
        let mut made = Self::pepita_alone(settings, 1)?;
        made.after = [":::", "0"].map(str::to_owned).to_vec();
        Ok(made)
    }

    fn pepita_alone(settings: &Settings, jobs: usize) -> Result<Self> {
        let path = &settings.pepita;
        let program = path.canonicalize().with_context(|| {
            let path = path.display();
            format!("no program {path}; `cargo build --release -p pepita-cli` makes it")
        })?;
        let jobs = format!("-j{jobs}");
        Self::new(program, &["run", &jobs, "--"], 0)
    }

    /// `xargs -PJOBS -n1` over `count` lines.
    pub(super) fn xargs(jobs: usize, count: usize) -> Result<Self> {
        Self::new("xargs", &[&format!("-P{jobs}"), "-n1"], count)
    }

    /// `parallel -jJOBS` over `count` lines.
    pub(super) fn parallel(jobs: usize, count: usize) -> Result<Self> {
        Self::new("parallel", &["--will-cite", &format!("-j{jobs}")], count)
    }

    /// The command itself, once.
    pub(super) fn alone() -> Result<Self> {
        Ok(Self {
            program: None,
            before: Vec::new(),
            after: vec!["0".to_owned()],
            lines: lines(0)?,
        })
    }

    fn new(program: impl Into<OsString>, before: &[&str], count: usize) -> Result<Self> {
        let program = program.into();
        let version = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .output();
        let version = version.with_context(|| format!("{} does not start", program.display()))?;
        ensure!(
            version.status.success(),
            "{} --version fails",
            program.display()
        );
        Ok(Self {
            program: Some(program),
            before: before.iter().map(|&word| word.to_owned()).collect(),
            after: Vec::new(),
            lines: lines(count)?,
        })
    }

    /// The process over `job`, with its input from the start.
    fn command(&self, job: &str) -> Result<Command> {
        let mut command = match &self.program {
            None => Command::new(job),
            Some(program) => {
                let mut command = Command::new(program);
                command.args(&self.before).arg(job);
                command
            }
        };
        command.args(&self.after);
        command.stdin(File::open(self.lines.path())?);
        Ok(command)
    }
}

impl Contender for CommandLine {
    fn answer(&mut self) -> Result<String> {
        let output = self.command(ECHO)?.output()?;
        if !output.status.success() {
            bail!(
                "{}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(sorted(&String::from_utf8(output.stdout)?))
    }

    fn round(&mut self) -> Result<f64> {
        let mut command = self.command(TRUE)?;
        command.stdout(Stdio::null()).stderr(Stdio::null());
        wall_ms(|| {
            let status = command.status()?;
            ensure!(status.success(), "{status}");
            Ok(())
        })
    }
}

/// The lines of `text` in one order, whichever way they came.
pub(super) fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join(" ")
}

/// A file with the numbers below `count`, one a line.
fn lines(count: usize) -> Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    let text: String = (0..count).map(|number| format!("{number}\n")).collect();
    file.write_all(text.as_bytes())?;
    Ok(file)
}
