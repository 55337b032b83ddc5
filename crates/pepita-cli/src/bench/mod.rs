//! `pepita bench`: what this machine can do, and how near operations come to it.
//!
//! [`machine`] is where it is measured, [`mix`] the traffic that operations make and its roof, [`operations`] what is
//! measured, [`measure`] how, [`report`] what is shown.

mod machine;
mod measure;
mod mix;
mod operations;
mod report;

use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::cli::Measured;
use crate::progress::Progress;
use crate::run;
use machine::Machine;

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("bench cpu needs {need}, and {free} of memory are free")]
    Memory { need: String, free: String },
    #[error(
        "bench cpu: the kernel does not say the sizes of the caches (/sys/devices/system/cpu/cpu0/cache)"
    )]
    Caches,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Measures `what`, and shows it.
pub(crate) fn run(what: Measured, is_json: bool) -> ExitCode {
    let shown = match what {
        Measured::Cpu => cpu(is_json),
    };
    let done = shown.and_then(|text| Ok(io::stdout().write_all(text.as_bytes())?));
    let Err(problem) = done else {
        return ExitCode::SUCCESS;
    };
    let message = match is_json {
        true => problem.to_string(),
        false => format!("pepita: {problem}"),
    };
    run::complain(&message, is_json);
    ExitCode::FAILURE
}

fn cpu(is_json: bool) -> Result<String, Problem> {
    let machine = Machine::look()?;
    let mut progress = Progress::new(is_json)?;
    let report = measure::all(machine, &mut progress);
    progress.clear();
    Ok(match is_json {
        true => report.as_json(),
        false => report.as_text(),
    })
}
