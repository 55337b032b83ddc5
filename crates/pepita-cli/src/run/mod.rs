//! `pepita run`: the tasks of a file ([`file`]), or one command over arguments ([`over`]).

mod bar;
mod brake;
mod closed;
mod console;
mod engine;
mod file;
pub(crate) mod halt;
mod input;
mod joblog;
mod json;
mod outcome;
mod over;
mod setback;
pub(crate) mod signals;
mod spool;
mod template;

use std::ffi::OsStr;
use std::num::NonZero;
use std::path::Path;
use std::process::ExitCode;

pub(crate) use outcome::in_full;

use crate::cli::RunArgs;
use crate::hint;
use crate::plan::PlanError;
use console::{Format, OutputClosed};
use joblog::JobLogError;

/// Everything succeeded.
pub(crate) const SUCCESS: u8 = 0;
/// Something failed, or was left out.
const FAILURE: u8 = 1;
/// Bad usage or bad input; nothing has run.
pub(crate) const USAGE: u8 = 2;
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
    JobLog(#[from] JobLogError),
    /// Standard output cannot be written any more.
    #[error(transparent)]
    Output(#[from] OutputClosed),
}

impl RunError {
    fn usage(error: impl std::error::Error + 'static) -> Self {
        Self::Usage(in_full(&error))
    }

    /// Whether the reader of standard output went away.
    fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(closed) if closed.is_broken_pipe())
    }
}

/// Runs what `args` say.
pub(crate) fn run(args: &RunArgs, is_json: bool) -> ExitCode {
    let format = if is_json { Format::Json } else { Format::Plain };
    let ended = match &args.file {
        Some(file) => file::run(args, file, format).map_err(|error| explain(error, file)),
        None => over::run(args, format),
    };
    match ended {
        Ok(code) => code.into(),
        Err(error) if error.is_broken_pipe() => BROKEN_PIPE.into(),
        Err(error) => {
            match error {
                // Begins with the place of the mistake.
                RunError::Plan(_) => complain(&error.to_string(), is_json),
                _ if is_json => complain(&error.to_string(), is_json),
                _ => complain(&format!("pepita: {error}"), is_json),
            }
            match error {
                RunError::Plan(_) | RunError::Usage(_) => USAGE.into(),
                _ => FAILURE.into(),
            }
        }
    }
}

/// A file that is not there may be a command that lacks its `--`.
fn explain(error: RunError, file: &Path) -> RunError {
    let is_read = matches!(&error, RunError::Plan(PlanError::Read { .. }));
    let args: Vec<_> = std::env::args_os().collect();
    match hint::missing_dashes(&args).filter(|_| is_read && !file.exists()) {
        Some(hint) => RunError::Usage(format!("{error}; to run a command, {hint}")),
        None => error,
    }
}

/// Says on standard error what is wrong: a line, or an object for a program.
pub(crate) fn complain(message: &str, is_json: bool) {
    match is_json {
        true => console::complain(&serde_json::json!({ "error": message }).to_string()),
        false => console::complain(message),
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
