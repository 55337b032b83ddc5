//! [`Setback`]: what fails on the way, and is no reason to kill what runs.

use super::RunError;
use super::console::Console;
use super::engine::Engine;

/// Whether the job log or standard output failed.
///
/// From then on no job begins, for what becomes of it could not be written down; those that run
/// are waited for, since they would be left half done.
#[derive(Debug, Default)]
pub(crate) struct Setback {
    is_there: bool,
}

impl Setback {
    /// Whether something failed.
    pub(crate) fn is_there(&self) -> bool {
        self.is_there
    }

    /// Says whether `done` went well; at the first failure, tells the user and pulls the brake.
    ///
    /// # Errors
    /// Where the reader of standard output went away, which mostly has enough: unless the run
    /// `is_ending` at a signal, which may have ended the reader as well.
    pub(crate) fn bear<T>(
        &mut self,
        done: Result<T, impl Into<RunError>>,
        is_ending: bool,
        engine: &Engine,
        console: &mut Console,
    ) -> Result<bool, RunError> {
        let error = match done {
            Ok(_) => return Ok(true),
            Err(error) => error.into(),
        };
        if error.is_broken_pipe() && !is_ending {
            return Err(error);
        }
        if !self.is_there {
            self.is_there = true;
            engine.brake();
            console.note(&format!(
                "pepita: {error}; no further job is started, and those that run are waited for"
            ));
        }
        Ok(false)
    }
}
