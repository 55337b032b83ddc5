//! What a run over arguments runs: the command line read, and a job made from each argument.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::time::Duration;

use pepita::fault::RetryPolicy;
use pepita::task::{Limits, Output, Task, TaskBuildError};

use super::super::console::{Console, Format, complain};
use super::super::input::{Delimiter, Input};
use super::super::joblog::Finished;
use super::super::json::Line;
use super::super::spool::Outputs;
use super::super::template::{Shell, Template};
use super::super::{RunError, SUCCESS, as_text, in_full};
use crate::cli::RunArgs;
use crate::plan::RETRY_DELAY;

/// Splits the command line into the command and where its arguments come from.
pub(super) fn read_command(args: &RunArgs) -> Result<(Template, Input), RunError> {
    let over = &args.over;
    let delimiter = if over.null {
        Delimiter::Nul
    } else {
        Delimiter::Newline
    };
    let separator = args.command.iter().position(|word| word == ":::");
    let (command, list) = match separator {
        Some(at) => (&args.command[..at], Some(&args.command[at + 1..])),
        None => (&args.command[..], None),
    };
    if let Some(other) = args
        .command
        .iter()
        .find(|word| *word == "::::" || *word == ":::+")
    {
        let other = other.display();
        return Err(RunError::Usage(format!(
            "`{other}` is not known here; `--arg-file FILE` reads arguments from a file"
        )));
    }
    if list.is_some_and(|list| list.iter().any(|word| word == ":::")) {
        return Err(RunError::Usage(
            "`:::` stands twice; expected one list of arguments".into(),
        ));
    }
    if list.is_some() && over.arg_file.is_some() {
        return Err(RunError::Usage(
            "both `:::` and `--arg-file` give arguments; expected one of them".into(),
        ));
    }
    if command.is_empty() && !over.shell {
        return Err(RunError::Usage(
            "nothing to run; expected `pepita run FILE.toml` or `pepita run -- COMMAND ::: ARGUMENT...` \
             (see `pepita help run`)"
                .into(),
        ));
    }
    let shell = if over.shell { Shell::Sh } else { Shell::No };
    let input = match (list, &over.arg_file) {
        (Some(list), _) => Input::from_list(list.to_vec()),
        (None, Some(path)) if path.as_os_str() == "-" => read_stdin(delimiter)?,
        (None, Some(path)) => Input::from_file(path, delimiter).map_err(|(path, error)| {
            RunError::Usage(format!("{}: {}", path.display(), in_full(&error)))
        })?,
        (None, None) => {
            if io::stdin().is_terminal() {
                complain(
                    "pepita: reads the arguments from this terminal, one a line; ^D ends them",
                );
            }
            read_stdin(delimiter)?
        }
    };
    Ok((Template::new(command, shell), input))
}

fn read_stdin(delimiter: Delimiter) -> Result<Input, RunError> {
    let input = Input::from_stdin(delimiter);
    input.map_err(|error| RunError::Usage(format!("standard input: {}", in_full(&error))))
}

/// Prints what would run.
pub(super) fn dry_run(
    recipe: &Recipe,
    input: &Input,
    finished: &Finished,
    format: Format,
) -> Result<u8, RunError> {
    let mut console = Console::new(format, false);
    let mut sequence = 0;
    for batch in &input.batches {
        let batch = batch.map_err(|error| RunError::Usage(format!("{}: {error}", input.name)))?;
        for argument in batch {
            sequence += 1;
            let words = recipe.template.expand(&argument, sequence);
            let command = recipe.template.line(&words);
            let is_finished = finished.contains(sequence, &command);
            match format {
                _ if is_finished.map_err(RunError::usage)? => {}
                Format::Plain => console.print(command.as_encoded_bytes())?,
                Format::Json => console.json(&Line::Planned {
                    seq: sequence,
                    name: None,
                    command: &as_text(&command),
                    after: None,
                })?,
            }
        }
    }
    Ok(SUCCESS)
}

/// How a job is made from an argument.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) template: Template,
    timeout: Option<Duration>,
    retry: Option<RetryPolicy>,
    limits: Limits,
    stdout: Output,
    stderr: Output,
}

impl Recipe {
    pub(super) fn new(args: &RunArgs, template: Template) -> Result<Self, RunError> {
        let over = &args.over;
        let retry = match over.retries {
            0 if over.retry_delay.is_some() => {
                return Err(RunError::Usage("`--retry-delay` needs `--retries`".into()));
            }
            0 => None,
            retries => {
                let delay = over.retry_delay.unwrap_or(RETRY_DELAY);
                let policy = RetryPolicy::builder(retries.saturating_add(1), delay).build();
                Some(policy.map_err(RunError::usage)?)
            }
        };
        let (stdout, stderr) = match over.ungroup {
            true => (Output::Inherit, Output::Inherit),
            false => Outputs::collectors(),
        };
        let limits = Limits {
            memory_bytes: over.memory,
            ..Limits::default()
        };
        Ok(Self {
            template,
            timeout: over.timeout,
            retry,
            limits,
            stdout,
            stderr,
        })
    }

    pub(super) fn task(&self, words: &[OsString]) -> Result<Task, TaskBuildError> {
        let mut builder = Task::binary(&words[0])
            .args(&words[1..])
            .limits(self.limits)
            .stdout(self.stdout.clone())
            .stderr(self.stderr.clone());
        if let Some(timeout) = self.timeout {
            builder = builder.timeout(timeout);
        }
        if let Some(policy) = &self.retry {
            builder = builder.retry(policy.clone());
        }
        builder.build()
    }
}
