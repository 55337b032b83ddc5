//! `pepita zram`: what compressed memory holds, and what it would make of given data.
//!
//! [`args`] is the command line, [`source`] where pages come from, [`analyze`] and [`stat`] the commands, [`figures`]
//! what a disk has to say, [`export`] how its server says it.

mod analyze;
pub(crate) mod args;
pub(crate) mod export;
mod figures;
mod process;
mod source;
mod stat;

use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::run;
use args::ZramCommand;

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Problem {
    /// `error` of what `name` says.
    fn of(name: impl std::fmt::Display, error: &io::Error) -> Self {
        Self::Failed(format!("{name}: {error}"))
    }
}

/// What there is to show.
struct Shown {
    text: String,
    /// Why something is not in it.
    failed: Vec<Problem>,
}

/// `text` as a terminal can have it: what would be a control character is escaped, and nothing is `''`.
fn printable(text: &str) -> String {
    if text.is_empty() {
        return "''".to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_control() {
            true => shown.extend(char.escape_default()),
            false => shown.push(char),
        }
    }
    shown
}

/// Does what `command` says.
pub(crate) fn run(command: &ZramCommand, is_json: bool) -> ExitCode {
    let shown = match command {
        ZramCommand::Analyze { what } => analyze::run(what, is_json).map(|text| Shown {
            text,
            failed: Vec::new(),
        }),
        ZramCommand::Stat { disks, raw } => stat::run(disks, *raw, is_json),
    };
    let done = shown.and_then(|shown| {
        io::stdout().write_all(shown.text.as_bytes())?;
        Ok(shown.failed)
    });
    let (code, problems) = match done {
        Ok(failed) if failed.is_empty() => return ExitCode::SUCCESS,
        Ok(failed) => (ExitCode::FAILURE, failed),
        Err(problem) => match problem {
            Problem::Usage(_) => (ExitCode::from(run::USAGE), vec![problem]),
            _ => (ExitCode::FAILURE, vec![problem]),
        },
    };
    for problem in problems {
        let message = match is_json {
            true => problem.to_string(),
            false => format!("pepita: {problem}"),
        };
        run::complain(&message, is_json);
    }
    code
}
