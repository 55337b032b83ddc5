//! `cargo xtask bench`: ours and the peers side by side, and the report on it.
//!
//! The benches themselves are the workspace in `benches/`, so that the peers' crates stay out of this
//! one. Here they are built and run ([`run`]), and their results become `docs/benchmarks.md`
//! ([`report`], with a plot of each by [`plot`]).
//!
//! # Invariants
//! * `docs/benchmarks.md` holds only figures of files in `docs/benchmarks/`, and those are what the
//!   benches wrote, whole: a run of some cases or of few rounds is not taken.

mod plot;
mod pypi;
mod report;
mod results;
mod ublk;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::debian::{self, Tool};
use crate::workspace_root;

/// What to run.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit status: 0 when every case was measured, whether or not its bar holds."
)]
pub(crate) struct Options {
    /// The bench.
    #[arg(required_unless_present_any = ["list", "report"], conflicts_with_all = ["list", "report"])]
    name: Option<String>,
    /// Rounds of every case; a published figure needs 30, which is the default.
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Only cases whose name contains this.
    #[arg(long, value_name = "FILTER")]
    case: Option<String>,
    /// Work items of a round, where a case lets that be chosen.
    #[arg(long, value_name = "N")]
    size: Option<usize>,
    /// Lists the benches and their cases.
    #[arg(long)]
    list: bool,
    /// Takes over complete results from `target/bench` and writes `docs/benchmarks.md`.
    #[arg(long, conflicts_with = "list")]
    report: bool,
}

/// Peers that are programs, and what unpacks the lab's kernel.
const TOOLS: [Tool; 3] = [
    Tool {
        program: "xargs",
        package: "findutils",
    },
    Tool {
        program: "parallel",
        package: "parallel",
    },
    Tool {
        program: "zstd",
        package: "zstd",
    },
];

/// The locale of every contender and of what it runs. In another one `/bin/true` opens some thirty
/// files of the locale before it does nothing, which says nothing of who started it.
const LOCALE: (&str, &str) = ("LC_ALL", "C");

/// Does what the options say.
pub(crate) fn main(options: &Options) -> ExitCode {
    let done = if options.report {
        report::write(workspace_root()).map(|()| ExitCode::SUCCESS)
    } else {
        run(workspace_root(), options)
    };
    done.unwrap_or_else(|error| {
        eprintln!("xtask bench: {error:#}");
        ExitCode::FAILURE
    })
}

/// Builds the benches and what they run, and runs the one that was asked for.
fn run(root: &Path, options: &Options) -> Result<ExitCode> {
    let benches = root.join("benches");
    let target = benches.join("target");
    cargo_build(
        root,
        &[
            "--manifest-path".as_ref(),
            benches.join("Cargo.toml").as_ref(),
            "--target-dir".as_ref(),
            target.as_ref(),
        ],
    )?;
    let mut bench = Command::new(target.join("release/bench"));
    bench.current_dir(root).env(LOCALE.0, LOCALE.1);
    let Some(name) = &options.name else {
        bench.arg("list");
        return exit_code(&mut bench);
    };
    if let Err(error) = debian::ensure_tools(&TOOLS) {
        eprintln!("xtask bench: {error:#}; cases go on without them");
    }
    if let Err(error) = pypi::ensure(name, &root.join("target/pypi")) {
        eprintln!("xtask bench: {error:#}; cases go on without them");
    }
    if ublk::clock(name).is_some()
        && let Err(error) = ublk::ensure_peers(&root.join("target"))
    {
        eprintln!("xtask bench: {error:#}; cases go on without them");
    }
    if root.join("crates/pepita-cli/Cargo.toml").exists() {
        let target = root.join("target");
        cargo_build(
            root,
            &[
                "--package".as_ref(),
                "pepita-cli".as_ref(),
                "--target-dir".as_ref(),
                target.as_ref(),
            ],
        )?;
    }
    bench.args(["run", name]);
    bench
        .arg("--pepita")
        .arg(root.join("target/release/pepita"));
    let numbers = [("--rounds", options.rounds), ("--size", options.size)];
    for (option, value) in numbers {
        if let Some(value) = value {
            bench.arg(option).arg(value.to_string());
        }
    }
    if let Some(case) = &options.case {
        bench.arg("--case").arg(case);
    }
    let results = root.join(format!("target/bench/{name}.json"));
    if let Some(clock) = ublk::clock(name) {
        return ublk::run(root, name, clock, &bench, &results);
    }
    bench.arg("--out").arg(results);
    exit_code(&mut bench)
}

fn cargo_build(root: &Path, options: &[&std::ffi::OsStr]) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--release"]).args(options);
    let status = cargo
        .current_dir(root)
        .status()
        .context("cargo does not start")?;
    if !status.success() {
        bail!("cargo build: {status}");
    }
    Ok(())
}

/// Runs `command` to its end, and ends as it does.
fn exit_code(command: &mut Command) -> Result<ExitCode> {
    let status = command
        .status()
        .with_context(|| format!("{} does not start", command.get_program().display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}
