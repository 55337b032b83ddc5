//! The other side of [`Runner::Own`](crate::home::Runner): one contender in a process of its own.

use std::io::{BufRead, Write};

use anyhow::{Context, Result};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use crate::case::{Contender, Settings, Suite};

/// What the driver asks for, one JSON value a line.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Request {
    Answer,
    Round,
}

/// What it is told, one JSON value a line; an error is its text.
pub(crate) type Reply<T> = Result<T, String>;

/// Makes the contender, says so (or why not), and does what the driver asks for until it closes the
/// pipe.
///
/// # Errors
/// If the driver cannot be understood or reached.
pub(crate) fn serve(suite: &Suite, case: &str, contender: &str, settings: &Settings) -> Result<()> {
    // A stopped process would outlive its driver for ever.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let cases = (suite.cases)(settings);
    let entry = cases
        .iter()
        .filter(|known| known.name == case)
        .flat_map(|known| &known.entries)
        .find(|entry| entry.name == contender)
        .with_context(|| format!("no contender `{contender}` in `{case}`"))?;
    let mut contender: Box<dyn Contender> = match (entry.make)() {
        Ok(contender) => contender,
        Err(error) => return say::<()>(Err(error)),
    };
    say(Ok(()))?;
    for line in std::io::stdin().lock().lines() {
        match serde_json::from_str(&line?)? {
            Request::Answer => say(contender.answer())?,
            Request::Round => say(contender.round())?,
        }
    }
    Ok(())
}

fn say<T: Serialize>(reply: Result<T>) -> Result<()> {
    let reply: Reply<T> = reply.map_err(|error| format!("{error:#}"));
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(&reply)?)?;
    Ok(stdout.flush()?)
}
