//! The `pepita` program: runs batches of tasks, and says what a host can do.
//!
//! A thin shell over the libraries: [`cli`] is its command line, [`plan`] the files of tasks that
//! it reads, [`run`], [`doctor`], [`selftest`], [`bench`], [`ublk`] and [`zram`] its commands.

mod bench;
mod cli;
mod doctor;
mod hint;
mod plan;
mod progress;
mod quote;
mod run;
mod selftest;
mod ublk;
mod units;
mod zram;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use cli::{Cli, Command, Global};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, &args),
    };
    install_subscriber(&cli.global);
    let is_json = cli.global.json;
    match cli.command {
        Command::Run(args) => run::run(&args, is_json),
        Command::Doctor => doctor::run(is_json),
        Command::Selftest { area, no_bench } => selftest::run(area, !no_bench, is_json),
        Command::Bench { what } => bench::run(what, is_json),
        Command::Ublk { command } => ublk::run(&command, is_json),
        Command::Zram { command } => zram::run(&command, is_json),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "pepita", &mut script);
            match io::stdout().write_all(&script) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
    }
}

/// Says what is wrong with the command line, or shows the help that it asks for.
fn refuse(error: &clap::Error, args: &[OsString]) -> ExitCode {
    let is_usage_error = error.use_stderr();
    let hint = match error.kind() {
        ErrorKind::UnknownArgument => hint::missing_dashes(args),
        _ => None,
    };
    let is_json = args
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| word == "--json");
    match hint {
        _ if is_usage_error && is_json => {
            let text = error.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            // Up to the first empty line: what is missing is in lines of its own.
            let lines = text.lines().take_while(|line| !line.trim().is_empty());
            let said: Vec<_> = lines.map(str::trim).collect();
            run::complain(&hint.unwrap_or_else(|| said.join(" ")), is_json);
        }
        Some(hint) => run::complain(&format!("pepita: {hint}"), is_json),
        // Where it cannot be printed there is nobody to tell.
        None => drop(error.print()),
    }
    ExitCode::from(if is_usage_error {
        run::USAGE
    } else {
        run::SUCCESS
    })
}

/// Sends what the libraries log to standard error.
fn install_subscriber(global: &Global) {
    let registry = tracing_subscriber::registry().with(global.log.clone());
    if global.json {
        let layer = tracing_subscriber::fmt::layer()
            .json()
            .with_writer(io::stderr);
        registry.with(layer).init();
    } else {
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(io::stderr);
        registry.with(layer).init();
    }
}
