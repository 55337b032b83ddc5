//! Functions as tasks.

use std::fmt::{self, Display};
use std::sync::Arc;

use crate::executor::TaskContext;

/// A function that a task runs; made by [`Task::function`](super::Task::function).
#[derive(Clone)]
pub struct TaskFunction(Arc<Function>);

type Function = dyn Fn(&TaskContext) -> Result<Vec<u8>, String> + Send + Sync;

impl TaskFunction {
    pub(super) fn new<F, R>(function: F) -> Self
    where
        F: Fn(&TaskContext) -> R + Send + Sync + 'static,
        R: FunctionOutput,
    {
        Self(Arc::new(move |context| function(context).into_output()))
    }

    /// Runs it: `Ok` holds what becomes the task's standard output, `Err` its standard error.
    ///
    /// # Errors
    /// What the function returned as its error, as text.
    ///
    /// # Panics
    /// Where the function does.
    pub fn call(&self, context: &TaskContext) -> Result<Vec<u8>, String> {
        (self.0)(context)
    }
}

impl fmt::Debug for TaskFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskFunction(..)")
    }
}

/// What a function task may return: nothing, text, bytes, or a `Result` of these.
///
/// A value becomes the task's standard output, with exit code 0; an error becomes its standard
/// error, with exit code 1.
pub trait FunctionOutput {
    /// The output, or the error as text.
    ///
    /// # Errors
    /// The function's own error.
    fn into_output(self) -> Result<Vec<u8>, String>;
}

impl FunctionOutput for () {
    fn into_output(self) -> Result<Vec<u8>, String> {
        Ok(Vec::new())
    }
}

impl FunctionOutput for Vec<u8> {
    fn into_output(self) -> Result<Vec<u8>, String> {
        Ok(self)
    }
}

impl FunctionOutput for String {
    fn into_output(self) -> Result<Vec<u8>, String> {
        Ok(self.into_bytes())
    }
}

impl<T: FunctionOutput, E: Display> FunctionOutput for Result<T, E> {
    fn into_output(self) -> Result<Vec<u8>, String> {
        self.map_err(|error| error.to_string())?.into_output()
    }
}
