//! The command line: what `clap` parses, and the help it shows.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::run::halt::Halt;
use crate::units::{parse_duration, parse_size};

/// Runs batches of tasks on one machine, and says what the machine can do.
#[derive(Debug, Parser)]
#[command(
    name = "pepita",
    version,
    about,
    max_term_width = 100,
    after_help = "\
Examples:
  pepita run tasks.toml                    run the tasks of a file, in the order they depend on
  pepita run -j4 -- gzip -9 {} ::: *.log   run one command per argument, four at a time
  pepita doctor                            say what this host can do, and how to get the rest
  pepita selftest                          try the parts of this program on this host

`pepita help run` explains the most useful one. Exit codes: 0 all well, 1 something failed,
2 bad usage or bad input (nothing has run), 130 after ^C."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every subcommand takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Log at this level: off, error, warn, info, debug, trace; or per part, as in
    /// `warn,pepita_sched=debug`
    #[arg(long, global = true, value_name = "LEVEL", env = "PEPITA_LOG", default_value = "warn",
          hide_env_values = true, value_parser = parse_log)]
    pub(crate) log: Targets,
    /// Write JSON for programs on standard output; the log becomes JSON as well
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the tasks of a file, or one command over many arguments
    Run(Box<RunArgs>),
    /// Say what this host can do, and how to enable what is missing
    #[command(after_help = "\
Each line is tried out on this host, never guessed: `ok`, `limited` (works in part), or `missing`,
with what to do about it. Nothing is changed. The exit code is 0 whatever is missing.")]
    Doctor,
    /// Try the parts of this program on this host: what works, what is not here, how fast it is
    #[command(after_help = "\
Runs the conformance checks and short benches that are built into this program. A check whose means
this host lacks is `not here`, with the reason, and is no failure. Attach the output of
`pepita selftest --json` to a report of a problem.")]
    Selftest {
        /// Try only this area
        #[arg(value_enum)]
        area: Option<Area>,
        /// Leave out the benches
        #[arg(long)]
        no_bench: bool,
    },
    /// Measure what this machine can do, and how near this program's operations come to it
    #[command(after_help = "\
`pepita bench cpu` measures, on one thread, the roof: multiply-adds in registers, and memory in each cache and beyond, with
the reads and writes that operations make; then how much of it each operation on vectors and matrices reaches, in percent.
It takes about half a minute, and wants memory free: sixteen times the last cache, at most 2 GiB. Nothing else should run
meanwhile.")]
    Bench {
        /// What to measure
        #[arg(value_enum)]
        what: Measured,
    },
    /// Block devices of this host, served by this program
    #[command(after_help = crate::ublk::args::HELP)]
    Ublk {
        #[command(subcommand)]
        command: crate::ublk::args::UblkCommand,
    },
    /// What compressed memory holds, and what it would make of given data
    #[command(after_help = crate::zram::args::HELP)]
    Zram {
        #[command(subcommand)]
        command: crate::zram::args::ZramCommand,
    },
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  pepita completions bash > ~/.local/share/bash-completion/completions/pepita
  pepita completions zsh > ~/.zfunc/_pepita
  pepita completions fish > ~/.config/fish/completions/pepita.fish")]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// A part of the program that `selftest` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Area {
    /// Tasks, the pool and the process executor
    Tasks,
    /// Compressed memory, in the program and as a disk
    Zram,
}

/// What `bench` measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measured {
    /// Vectors and matrices on one thread
    Cpu,
}

const RUN_HELP: &str = "\
Examples:
  pepita run docs/examples/tasks.toml
  pepita run -j4 -- gzip -9 {} ::: *.log
  find . -name '*.wav' -print0 | pepita run -0 -- flac -o {.}.flac {}
  pepita run --retries 3 --timeout 30s --joblog log -- curl -fsSO {} < urls
  pepita run --resume --joblog log -- curl -fsSO {} < urls      # go on where the last one stopped
  pepita run --shell -- 'sort {} | uniq -c > {/}.count' ::: *.txt
  pepita run --shell < commands                                 # one shell command per line

Arguments are what follows `:::` on the command line, else the lines of --arg-file, else those of
standard input. In the command:
  {}    the argument                     {/}   its file name: a/b.tar.gz -> b.tar.gz
  {.}   without its last extension       {//}  its directory: a/b.tar.gz -> a
  {/.}  file name without extension      {#}   the number of the job, from 1
A command without any of them gets the argument at its end. Commands are run directly, without a
shell: no quoting is needed, and `|`, `>` or `$` mean nothing; --shell runs them by `/bin/sh -c`,
with the arguments quoted. Jobs read no standard input.

The output of a job is shown whole when the job ends, so that outputs never mix.
^C once: no new job starts, those that run are waited for. ^C twice: they are killed.
Exit codes: 0 every job succeeded, 1 some failed or were left out, 2 bad usage or input (nothing
has run), 130 after ^C (143 after SIGTERM, 129 after SIGHUP), 141 when standard output was closed.";

/// `pepita run`.
#[derive(Debug, Args)]
#[command(after_help = RUN_HELP, override_usage = "\
pepita run [OPTIONS] FILE.toml
       pepita run [OPTIONS] -- COMMAND [ARG | {}]... [::: ARGUMENT...]")]
pub(crate) struct RunArgs {
    /// The tasks to run, as TOML; the keys are in docs/cli.md
    #[arg(value_name = "FILE.toml")]
    pub(crate) file: Option<PathBuf>,
    /// Run so many jobs at the same time; as many as there are CPUs when left out
    #[arg(short, long, visible_short_alias = 'P', value_name = "N", value_parser = parse_jobs, allow_negative_numbers = true)]
    pub(crate) jobs: Option<usize>,
    /// Print the commands instead of running them; with --json, an object for each
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Show no progress, even on a terminal
    #[arg(long)]
    pub(crate) no_progress: bool,
    /// Write a line to this file as each job ends, in the format of GNU parallel; an older log is
    /// replaced unless --resume
    #[arg(long, value_name = "FILE")]
    pub(crate) joblog: Option<PathBuf>,
    /// The command, and after `:::` its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
    #[command(flatten)]
    pub(crate) over: OverArgs,
}

/// What only a command over arguments takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "For a command over arguments")]
pub(crate) struct OverArgs {
    /// Read the arguments from this file, one a line; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) arg_file: Option<PathBuf>,
    /// Arguments that are read end in a NUL byte, not a newline
    #[arg(short = '0', long)]
    pub(crate) null: bool,
    /// Run the command by `/bin/sh -c`, with the arguments quoted
    #[arg(long)]
    pub(crate) shell: bool,
    /// Run a job that failed again, so many times
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) retries: u32,
    /// Wait so long before the first retry; twice as long before each further one, and at random
    /// less, up to 30 s [default: 100ms]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) retry_delay: Option<Duration>,
    /// End a job that runs longer (each attempt): SIGTERM, and SIGKILL 10 s later
    #[arg(long, value_name = "DURATION", value_parser = parse_positive)]
    pub(crate) timeout: Option<Duration>,
    /// Kill a job whose processes together use more memory (needs cgroup v2: see `pepita doctor`)
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory: Option<u64>,
    /// Show the outputs in the order of the arguments
    #[arg(short, long, conflicts_with = "ungroup")]
    pub(crate) keep_order: bool,
    /// Let jobs write to the terminal directly, as they go
    #[arg(short, long)]
    pub(crate) ungroup: bool,
    /// Leave out the jobs that --joblog has already
    #[arg(long, requires = "joblog")]
    pub(crate) resume: bool,
    /// As --resume, but run those again that failed
    #[arg(long, requires = "joblog", conflicts_with = "resume")]
    pub(crate) resume_failed: bool,
    /// When to give up: `never`, or `soon` (start no more) or `now` (kill what runs) with a
    /// reason: `now,fail=1`, `soon,fail=10`, `now,success=1`, `soon,done=100`
    #[arg(long, value_name = "WHEN", default_value = "never")]
    pub(crate) halt: Halt,
}

impl OverArgs {
    /// An option that was set though it means nothing for a file of tasks, and the key of a task
    /// that does the same, if there is one.
    pub(crate) fn first_set(&self) -> Option<(&'static str, Option<&'static str>)> {
        [
            ("--arg-file", None, self.arg_file.is_some()),
            ("--null", None, self.null),
            ("--shell", Some("shell"), self.shell),
            ("--retries", Some("retries"), self.retries > 0),
            ("--retry-delay", Some("retry"), self.retry_delay.is_some()),
            ("--timeout", Some("timeout"), self.timeout.is_some()),
            ("--memory", Some("limits"), self.memory.is_some()),
            ("--keep-order", None, self.keep_order),
            ("--ungroup", Some("stdout"), self.ungroup),
            ("--resume", None, self.resume),
            ("--resume-failed", None, self.resume_failed),
            ("--halt", None, self.halt != Halt::default()),
        ]
        .into_iter()
        .find_map(|(name, key, is_set)| is_set.then_some((name, key)))
    }
}

/// A level, or parts with levels: `warn`, `warn,pepita_sched=debug`.
fn parse_log(text: &str) -> Result<Targets, String> {
    let refuse =
        || "expected off, error, warn, info, debug or trace; or as `warn,pepita_sched=debug`";
    // `Targets` takes a word alone that is no level for the name of a part.
    let is_level = |word: &str| word.contains('=') || word.parse::<LevelFilter>().is_ok();
    match text.split(',').all(is_level) {
        true => text.parse().map_err(|_| refuse().to_owned()),
        false => Err(refuse().to_owned()),
    }
}

/// More workers than any machine has use for.
const JOBS_MAX: usize = 4096;

fn parse_jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(jobs @ 1..=JOBS_MAX) => Ok(jobs),
        _ => Err(format!("expected a number from 1 to {JOBS_MAX}")),
    }
}

fn parse_positive(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("expected more than zero (leave it out for no limit)".into()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[track_caller]
    fn check(args: &[&str], want: Result<(), &str>) {
        let parsed = Cli::try_parse_from([&["pepita"], args].concat());
        match (parsed, want) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(want)) => {
                let text = error.to_string();
                assert!(text.contains(want), "{args:?}: {text}");
            }
            (parsed, want) => panic!("{args:?}: {parsed:?}, wanted {want:?}"),
        }
    }

    #[test]
    fn options_that_cannot_hold_are_refused() {
        check(&["run", "x.toml"], Ok(()));
        check(&["run", "-j2", "--", "echo", ":::", "a"], Ok(()));
        check(&["run", "-j0", "x.toml"], Err("from 1 to 4096"));
        check(
            &["run", "--timeout", "5", "--", "x"],
            Err("the unit is missing"),
        );
        check(
            &["run", "--timeout", "0s", "--", "x"],
            Err("more than zero"),
        );
        check(
            &["run", "--memory", "1G", "--", "x"],
            Err("powers of 1000 or of 1024"),
        );
        check(&["run", "--resume", "--", "x"], Err("--joblog"));
        check(&["run", "-k", "-u", "--", "x"], Err("cannot be used with"));
        check(&["run", "--halt", "later", "--", "x"], Err("never"));
        check(&["--log", "loud", "doctor"], Err("expected off, error"));
        check(&["--log", "warn,pepita_sched=debug", "doctor"], Ok(()));
    }
}
