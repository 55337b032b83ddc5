//! The lines of `pepita run --json`. docs/cli.md describes them for users.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pepita::pool::{PoolEvent, PoolEventKind};
use pepita::task::ExecutionResult;
use serde::Serialize;

use super::outcome::{Outcome, Status};
use super::spool::Spool;

/// What of an output stands in a line.
const TEXT_MAX: usize = 1 << 20;

/// One line.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Line<'a> {
    /// A job that would run, were this no `--dry-run`.
    Planned {
        seq: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        command: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<Vec<&'a str>>,
    },
    /// An attempt begins.
    Started {
        seq: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        attempt: u32,
        worker: usize,
    },
    /// An attempt failed and is followed by another.
    Retrying {
        seq: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        error: String,
        delay_s: f64,
    },
    /// A job ended, or will not begin.
    Finished(Box<Finished<'a>>),
    /// The last line.
    Summary(Summary),
}

/// A job that ended.
#[derive(Debug, Serialize)]
pub(crate) struct Finished<'a> {
    pub(crate) seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<&'a str>,
    pub(crate) command: &'a str,
    pub(crate) status: Status,
    pub(crate) reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<BTreeMap<&'a str, &'a str>>,
    #[serde(flatten)]
    pub(crate) run: Option<Ran>,
}

/// What is known of a job that began.
#[derive(Debug, Serialize)]
pub(crate) struct Ran {
    exit_code: Option<i32>,
    signal: Option<i32>,
    attempts: u32,
    started_unix_s: f64,
    wall_s: f64,
    user_s: Option<f64>,
    system_s: Option<f64>,
    peak_memory_bytes: Option<u64>,
    worker: usize,
    tree_kill: Option<String>,
    stdout: Text,
    stderr: Text,
}

/// An output of a job.
#[derive(Debug, Serialize)]
pub(crate) struct Text {
    /// The first MiB; what is not UTF-8 is U+FFFD.
    text: String,
    /// All bytes that were printed.
    bytes: u64,
    is_truncated: bool,
}

/// Counts of a run.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Summary {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    /// Tasks whose dependencies failed.
    pub(crate) skipped: u64,
    /// Jobs that the log had already.
    pub(crate) already_done: u64,
    /// How many of those that failed were allowed to.
    pub(crate) failed_allowed: u64,
    pub(crate) wall_s: f64,
    pub(crate) exit_code: u8,
}

impl Finished<'_> {
    /// The line of a job that did not begin, as far as it is the same for all.
    pub(crate) fn never_began(seq: u64, status: Status) -> Self {
        Self {
            seq,
            name: None,
            command: "",
            status,
            reason: None,
            metadata: None,
            run: None,
        }
    }
}

impl<'a> Line<'a> {
    /// The line of a pool's event, if it has one: the end of a job is told with its result.
    pub(crate) fn of_event(event: PoolEvent, seq: u64, name: Option<&'a str>) -> Option<Self> {
        match event.kind {
            PoolEventKind::Started {
                attempt, worker, ..
            } => Some(Self::Started {
                seq,
                name,
                attempt,
                worker,
            }),
            PoolEventKind::Retrying { error, delay, .. } => {
                let delay_s = delay.as_secs_f64();
                Some(Self::Retrying {
                    seq,
                    name,
                    error,
                    delay_s,
                })
            }
            _ => None,
        }
    }
}

impl Ran {
    /// What is known of a result; absent if the job never began.
    pub(crate) fn new(
        result: Option<&ExecutionResult>,
        outcome: &Outcome,
        stdout: Text,
        stderr: Text,
    ) -> Option<Self> {
        let result = result?;
        let started = outcome
            .started
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let is_signal = outcome.signal != 0;
        let exit_code = match result.exit {
            pepita::task::Exit::Code(code) => Some(code),
            _ => None,
        };
        Some(Self {
            exit_code,
            signal: is_signal.then_some(outcome.signal),
            attempts: outcome.attempts,
            started_unix_s: started.as_secs_f64(),
            wall_s: outcome.wall.as_secs_f64(),
            user_s: result.usage.user.map(|time| time.as_secs_f64()),
            system_s: result.usage.system.map(|time| time.as_secs_f64()),
            peak_memory_bytes: result.usage.peak_memory_bytes,
            worker: result.worker,
            tree_kill: result.tree_kill.map(|level| level.to_string()),
            stdout,
            stderr,
        })
    }
}

impl Text {
    /// The text of a spool.
    pub(crate) fn of_spool(spool: &mut Spool) -> Self {
        let head = spool.head(TEXT_MAX);
        Self {
            text: String::from_utf8_lossy(&head).into_owned(),
            bytes: spool.len(),
            is_truncated: spool.len() > head.len() as u64,
        }
    }

    /// The text of a captured stream.
    pub(crate) fn of_captured(captured: &pepita::task::Captured) -> Self {
        let head = &captured.bytes[..captured.bytes.len().min(TEXT_MAX)];
        Self {
            text: String::from_utf8_lossy(head).into_owned(),
            bytes: captured.total_bytes,
            is_truncated: captured.total_bytes > head.len() as u64,
        }
    }
}

impl Summary {
    /// Counts one job.
    pub(crate) fn count(&mut self, status: Status) {
        match status {
            Status::Succeeded => self.succeeded += 1,
            Status::Failed | Status::TimedOut | Status::OverMemory => self.failed += 1,
            Status::Cancelled => self.cancelled += 1,
            Status::Skipped => self.skipped += 1,
            Status::AlreadyDone => self.already_done += 1,
        }
    }

    /// Jobs that need no more: not those that were cancelled or never began.
    pub(crate) fn settled(&self) -> u64 {
        self.done() + self.skipped + self.already_done
    }

    /// Jobs that came to an end.
    pub(crate) fn done(&self) -> u64 {
        self.succeeded + self.failed
    }

    /// Closes the counts of a run that began at `started`.
    pub(crate) fn close(&mut self, started: SystemTime, exit_code: u8) {
        let wall = SystemTime::now()
            .duration_since(started)
            .unwrap_or(Duration::ZERO);
        self.wall_s = wall.as_secs_f64();
        self.exit_code = exit_code;
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pepita: {} succeeded", self.succeeded)?;
        if self.failed > 0 {
            write!(f, ", {} failed", self.failed)?;
        }
        match self.failed_allowed {
            0 => {}
            allowed if allowed == self.failed => write!(f, " (allowed)")?,
            allowed => write!(f, " ({allowed} of them allowed)")?,
        }
        for (count, what) in [
            (self.cancelled, "cancelled"),
            (self.skipped, "skipped"),
            (self.already_done, "already done"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        let wall = Duration::try_from_secs_f64(self.wall_s).unwrap_or_default();
        write!(f, " in {}", crate::units::show_duration(wall))
    }
}
