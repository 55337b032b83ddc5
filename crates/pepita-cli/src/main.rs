//! The `pepita` program: runs batches of tasks, and says what a host can do.
//!
//! A thin shell over the libraries: [`cli`] is its command line, [`plan`] the files of tasks that
//! it reads, [`run`], [`doctor`] and [`selftest`] its commands.

mod cli;
mod doctor;
mod plan;
mod quote;
mod run;
mod selftest;
mod units;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use cli::{Cli, Command, Global};

fn main() -> ExitCode {
    let cli = Cli::parse();
    install_subscriber(&cli.global);
    let is_json = cli.global.json;
    match cli.command {
        Command::Run(args) => run::run(&args, is_json),
        Command::Doctor => doctor::run(is_json),
        Command::Selftest { area, no_bench } => selftest::run(area, !no_bench, is_json),
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
