//! `pepita run`: the tasks of a file ([`file`]), or one command over arguments ([`over`]).

mod brake;
mod console;
mod engine;
mod file;
pub(crate) mod halt;
mod input;
mod joblog;
mod json;
mod outcome;
mod over;
mod signals;
mod spool;
mod template;

use std::ffi::OsStr;
use std::num::NonZero;
use std::process::ExitCode;

pub(crate) use outcome::in_full;

use crate::cli::RunArgs;
use crate::plan::PlanError;
use console::{Format, OutputClosed};
use joblog::JobLogError;

/// Everything succeeded.
const SUCCESS: u8 = 0;
/// Something failed, or was left out.
const FAILURE: u8 = 1;
/// Bad usage or bad input; nothing has run.
const USAGE: u8 = 2;
/// What a shell shows for a program that SIGPIPE ended.
const BROKEN_PIPE: u8 = 141;

/// Why a run ended before its end.
#[derive(Debug, thiserror::Error)]
enum RunError {
    /// Nothing has run: what is wrong with the command line, or not to be had on this host.
    #[error("{0}")]
    Usage(String),
    /// Nothing has run: what is wrong with a file of tasks.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The job log cannot be written any more.
    #[error(transparent)]
    JobLog(JobLogError),
    /// Standard output cannot be written any more.
    #[error(transparent)]
    Output(#[from] OutputClosed),
}

impl RunError {
    fn usage(error: impl std::fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Runs what `args` say.
pub(crate) fn run(args: &RunArgs, is_json: bool) -> ExitCode {
    let format = if is_json { Format::Json } else { Format::Plain };
    let ended = match &args.file {
        Some(file) => file::run(args, file, format),
        None => over::run(args, format),
    };
    match ended {
        Ok(code) => code.into(),
        Err(RunError::Output(closed)) if closed.is_broken_pipe() => BROKEN_PIPE.into(),
        Err(error) => {
            match error {
                // Begins with the place of the mistake.
                RunError::Plan(_) => console::complain(&error.to_string()),
                _ => console::complain(&format!("pepita: {error}")),
            }
            match error {
                RunError::Plan(_) | RunError::Usage(_) => USAGE.into(),
                _ => FAILURE.into(),
            }
        }
    }
}

/// The number of workers that nobody named.
fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// A command line for people and programs that read text.
fn as_text(command: &OsStr) -> std::borrow::Cow<'_, str> {
    command.to_string_lossy()
}
