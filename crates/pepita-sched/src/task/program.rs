//! [`Program`]: one executable with its arguments.

use std::ffi::OsString;
use std::path::PathBuf;

/// An executable, its arguments, its environment and its directory.
///
/// A task of one binary has one; each stage of a pipeline is one.
///
/// ```
/// use pepita_sched::task::Program;
///
/// let sort = Program::new("sort").args(["-n", "-r"]).env("LC_ALL", "C");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// Changes to the environment, in order; `None` removes.
    pub(crate) env: Vec<(OsString, Option<OsString>)>,
    pub(crate) env_clear: bool,
    pub(crate) working_dir: Option<PathBuf>,
}

impl Program {
    /// The program at `path`: with a slash, that file (seen from the working directory of the
    /// program); without, the first executable file of that name in the directories of its `PATH`,
    /// as a shell looks it up.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            args: Vec::new(),
            env: Vec::new(),
            env_clear: false,
            working_dir: None,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable, on top of what is inherited: the variables that this process
    /// had when the executor was built.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), Some(value.into())));
        self
    }

    /// Removes an environment variable.
    #[must_use]
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.env.push((name.into(), None));
        self
    }

    /// Inherits no environment variable; those set before and after this call stay.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.env_clear = true;
        self
    }

    /// Runs the program in `dir` instead of the directory of the pool's process.
    #[must_use]
    pub fn working_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.working_dir = Some(dir.into());
        self
    }
}
