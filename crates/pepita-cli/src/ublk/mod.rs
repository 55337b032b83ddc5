//! `pepita ublk`: disks of this host that are served by this program.
//!
//! [`args`] is the command line, [`target`] what holds a disk's data, [`serve`] the process that serves,
//! [`record`] what is noted of it, [`disks`] and [`features`] what is there,
//! [`users`] who would miss it.

pub(crate) mod args;
mod descriptors;
mod disks;
mod features;
pub(crate) mod record;
mod serve;
mod target;
mod users;

use std::io::{self, Write as _};
use std::process::ExitCode;

use pepita::io::ublk::UblkError;
use serde_json::json;

use crate::run;
use args::UblkCommand;
use target::TargetError;

/// Why a command did nothing, or not all.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Ublk(#[from] UblkError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Failed(String),
}

impl Problem {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Target(TargetError::Usage(_)) | Self::Ublk(UblkError::Limit { .. }) => {
                ExitCode::from(run::USAGE)
            }
            _ => ExitCode::FAILURE,
        }
    }
}

/// Does what `command` says.
pub(crate) fn run(command: &UblkCommand, is_json: bool) -> ExitCode {
    let done = match command {
        UblkCommand::Add(args) => serve::add(args, is_json),
        UblkCommand::Recover(args) => serve::recover(args, is_json),
        UblkCommand::List => disks::list(is_json).and_then(|text| show(&text)),
        UblkCommand::Owner(args) => disks::owner(args.id).and_then(|text| show(&text)),
        UblkCommand::Features => features::show(is_json).and_then(|text| show(&text)),
        UblkCommand::Del(args) => disks::delete(args).and_then(|done| report(done, is_json)),
    };
    done.unwrap_or_else(|problem| {
        complain(&problem, is_json);
        problem.exit_code()
    })
}

fn complain(problem: &Problem, is_json: bool) {
    let message = match is_json {
        true => problem.to_string(),
        false => format!("pepita: {problem}"),
    };
    run::complain(&message, is_json);
}

fn show(text: &str) -> Result<ExitCode, Problem> {
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Says what became of each disk.
fn report(done: Vec<disks::Deletion>, is_json: bool) -> Result<ExitCode, Problem> {
    let mut code = ExitCode::SUCCESS;
    let mut deleted = Vec::new();
    for (id, done) in done {
        match done {
            Ok(()) if is_json => deleted.push(id),
            Ok(()) => drop(show(&format!("/dev/ublkb{id} deleted\n"))?),
            Err(problem) => {
                complain(&problem, is_json);
                code = ExitCode::FAILURE;
            }
        }
    }
    if is_json {
        show(&format!("{}\n", json!({ "deleted": deleted })))?;
    }
    Ok(code)
}
