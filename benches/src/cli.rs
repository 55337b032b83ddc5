//! The command line of the `bench` program.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};

use crate::case::{Settings, Suite};
use crate::host::Host;
use crate::output::{Report, summarise, table};
use crate::server::serve;
use crate::stats::Random;
use crate::{ROUNDS, SUITES, run};

/// Runs benches; `cargo xtask bench` builds and calls it.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the suites and their cases
    List(Settings),
    /// Runs a suite
    Run(Run),
    /// One contender in a process of its own
    #[command(hide = true)]
    Serve(Serve),
}

#[derive(Debug, Args)]
struct Run {
    /// The suite
    suite: String,
    /// Rounds of every case
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    rounds: Option<usize>,
    /// Only cases whose name contains this
    #[arg(long, value_name = "FILTER")]
    case: Option<String>,
    /// Where the order of the rounds starts; the same seed gives the same order
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the JSON object to this file as well
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Args)]
struct Serve {
    suite: String,
    case: String,
    contender: String,
    #[command(flatten)]
    settings: Settings,
}

/// Variables that cripple a peer.
const CRIPPLING: [&str; 2] = ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"];

/// Set to `C` for every contender: a program as small as `/bin/true` takes longer to load another
/// locale than to do its work.
const LOCALE: &str = "LC_ALL";

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    let cripples = |name: &&str| std::env::var_os(name).is_some();
    if CRIPPLING.iter().any(cripples) || std::env::var_os(LOCALE).is_none_or(|is| is != "C") {
        return again();
    }
    let done = match Cli::parse().command {
        Command::List(settings) => {
            list(&settings);
            Ok(ExitCode::SUCCESS)
        }
        Command::Run(options) => run_suite(&options),
        Command::Serve(options) => find(&options.suite)
            .and_then(|suite| serve(suite, &options.case, &options.contender, &options.settings))
            .map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::FAILURE
    })
}

/// Becomes this program with the locale `C` and without the variables that cripple a peer. A library
/// may read them before `main`, so they must be so from the start.
fn again() -> ExitCode {
    let mut command = process::Command::new("/proc/self/exe");
    command.args(std::env::args_os().skip(1));
    for name in CRIPPLING {
        command.env_remove(name);
    }
    command.env(LOCALE, "C");
    eprintln!("bench: {}", command.exec());
    ExitCode::FAILURE
}

fn find(name: &str) -> Result<&'static Suite> {
    let suite = SUITES.iter().find(|suite| suite.name == name);
    suite.with_context(|| {
        let known: Vec<&str> = SUITES.iter().map(|suite| suite.name).collect();
        format!("no bench `{name}`; there is {}", known.join(", "))
    })
}

fn list(settings: &Settings) {
    for suite in SUITES {
        println!("{}: {}", suite.name, suite.about);
        for case in (suite.cases)(settings) {
            let bar = case.bar.map(|bar| format!(" [{bar}]")).unwrap_or_default();
            println!("    {}: {}{bar}", case.name, case.work);
        }
    }
}

/// Runs the cases that were asked for; what fails is told, and the others go on.
fn run_suite(options: &Run) -> Result<ExitCode> {
    let suite = find(&options.suite)?;
    let host = Host::look();
    let mut random = Random::new(options.seed);
    let mut cases = (suite.cases)(&options.settings);
    let all = cases.len();
    if let Some(filter) = &options.case {
        cases.retain(|case| case.name.contains(filter.as_str()));
        ensure!(
            !cases.is_empty(),
            "no case of `{}` has {filter:?} in its name",
            suite.name
        );
    }
    let mut reports = Vec::new();
    let mut not_measured = BTreeMap::new();
    for case in &cases {
        eprintln!("bench: {}: {}", case.name, case.work);
        let measured = run::run(
            suite.name,
            case,
            &options.settings,
            options.rounds,
            &mut random,
        );
        match measured.map(|measured| summarise(case, measured)) {
            Ok(report) => reports.extend(report),
            Err(error) => {
                eprintln!("bench: {}: NOT MEASURED: {error:#}", case.name);
                not_measured.insert(case.name.clone(), format!("{error:#}"));
            }
        }
    }
    let report = Report {
        bench: suite.name,
        complete: reports.len() == all && options.rounds.is_none_or(|rounds| rounds >= ROUNDS),
        host,
        cases: reports,
        not_measured,
    };
    print(&report, options)?;
    Ok(if report.not_measured.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Prints the table, what failed, and the JSON object as the last line.
fn print(report: &Report, options: &Run) -> Result<()> {
    print!("{}", table(report));
    for (case, why) in &report.not_measured {
        println!("{case}: NOT MEASURED: {why}");
    }
    if !report.complete {
        println!(
            "Not for publication: a case is left out, or there were fewer than {ROUNDS} rounds."
        );
    }
    let json = serde_json::to_string(report)?;
    if let Some(file) = &options.out {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(file, format!("{json}\n"))
            .with_context(|| format!("writing {}", file.display()))?;
    }
    println!("{json}");
    Ok(())
}
