//! Plans: the tasks of a TOML file, checked as a whole before anything runs.
//!
//! [`Plan::load`] reads the file in three steps: [`decode`] turns values into settings and knows
//! where each stood, [`task`] knows the keys, [`graph`] the dependencies. Every step reports all
//! it finds as [`Diagnostics`], each at its line and column.

mod decode;
mod diagnostic;
mod graph;
mod settings;
mod suggest;
mod task;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use pepita::task::Task;

use diagnostic::{Diagnostics, Lines};
pub(crate) use settings::RETRY_DELAY;

/// The tasks of one file.
#[derive(Debug)]
pub(crate) struct Plan {
    /// In the order of the file.
    pub(crate) tasks: Vec<PlannedTask>,
    /// How many run at the same time, if the file says.
    pub(crate) jobs: Option<usize>,
}

/// One `[[task]]`.
#[derive(Debug)]
pub(crate) struct PlannedTask {
    /// Its name, unique in the plan.
    pub(crate) name: String,
    /// The line of the file where its name stands, from 1.
    pub(crate) line: usize,
    /// What a pool is given.
    pub(crate) task: Task,
    /// The command as a shell would have to be given it.
    pub(crate) command: String,
    /// Indices of the tasks that must have succeeded before it starts.
    pub(crate) after: Vec<usize>,
    /// Whether the run counts as a success even if this task fails.
    pub(crate) allow_failure: bool,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is more of it than anybody writes.
    #[error("{}: larger than {} MiB, the most that a plan may have", path.display(), BYTES_MAX >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Its content is no plan.
    #[error(transparent)]
    Invalid(#[from] Diagnostics),
}

/// The size of a plan of about a million tasks; a device has no end.
const BYTES_MAX: u64 = 64 << 20;

/// The content of the file at `path`, or as much of it as shows that it is too large.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path)?;
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Plan {
    /// Reads and checks the plan in the file at `path`.
    pub(crate) fn load(path: &Path) -> Result<Self, PlanError> {
        let bytes = read(path).map_err(|source| PlanError::Read {
            path: path.to_owned(),
            source,
        })?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(PlanError::TooLarge {
                path: path.to_owned(),
            });
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes());
            Diagnostics::one(
                path,
                &text,
                valid,
                "this byte is not UTF-8, as TOML must be",
            )
        })?;
        Ok(Self::parse(&text, path)?)
    }

    /// Checks the plan in `text`; `path` is where relative paths start from, and what messages
    /// name.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, Diagnostics> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let mut decoder = decode::Decoder::new(text);
        let (tasks, jobs) = task::read(&mut decoder, dir);
        let links = graph::link(&mut decoder, &tasks);
        decoder.finish(path)?;
        let lines = Lines::of(text);
        let tasks = tasks.into_iter().zip(links).filter_map(|(task, after)| {
            Some(PlannedTask {
                line: lines.line(task.name_span.start),
                name: task.name,
                // Present, for otherwise `finish` had a problem to report.
                task: task.task?,
                command: task.command,
                after,
                allow_failure: task.allow_failure,
            })
        });
        Ok(Self {
            tasks: tasks.collect(),
            jobs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_keep_the_order_of_the_file_and_know_those_that_they_come_after() {
        let text = "jobs = 3\n\
                    [[task]]\nname = \"b\"\nafter = [\"a\", \"a\"]\nshell = \"echo 'x'\"\n\
                    [[task]]\nname = \"a\"\npipeline = [[\"ls\"], [\"wc\", \"-l x\"]]\nallow-failure = true\n";
        let plan = Plan::parse(text, Path::new("plan.toml")).unwrap();
        assert_eq!(plan.jobs, Some(3));
        assert_eq!(plan.tasks[1].line, 7);
        let [b, a] = &plan.tasks[..] else {
            panic!("{plan:?}")
        };
        assert_eq!(
            (&*b.name, &*b.after, b.allow_failure),
            ("b", &[1][..], false)
        );
        assert_eq!((&*a.name, &*a.after, a.allow_failure), ("a", &[][..], true));
        assert_eq!(b.command, "/bin/sh -c 'echo '\\''x'\\'''");
        assert_eq!(a.command, "ls | wc '-l x'");
        assert_eq!(a.task.metadata()["name"], "a");
    }
}
