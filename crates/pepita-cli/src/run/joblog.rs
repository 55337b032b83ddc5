//! The job log: one line for each job that ended, in the format of GNU parallel.
//!
//! A line is written with one `write(2)` when its job has ended, so that a log is whole whatever
//! ends the program. Jobs that were ended by ^C or `--halt now` are not in it: they are not done.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

const HEADER: &str = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

/// Appends to a log.
#[derive(Debug)]
pub(crate) struct JobLog {
    file: File,
    path: PathBuf,
    /// Its length, of whole lines; a pipe or a device has none.
    len: Option<u64>,
}

/// One job that ended.
#[derive(Debug, Clone)]
pub(crate) struct Entry<'a> {
    pub(crate) sequence: u64,
    pub(crate) started: SystemTime,
    pub(crate) runtime: Duration,
    /// Bytes of its standard output.
    pub(crate) received: u64,
    /// Its exit code: 0 if a signal ended it, -1 after a timeout, 126 or 127 if it could not be
    /// started, as a shell says it.
    pub(crate) exit_value: i32,
    /// The signal that ended it, or 0.
    pub(crate) signal: i32,
    pub(crate) command: &'a OsStr,
}

/// What is wrong with a job log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobLogError {
    /// A system call failed.
    #[error("the job log {}: {source}", path.display())]
    Io {
        /// The log.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A line is none of a job log.
    #[error("{}:{line}: expected nine fields separated by tabs, as GNU parallel writes them", path.display())]
    Line {
        /// The log.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
    },
    /// A file that a fresh log would replace.
    #[error("{}: not touched, for it is no job log; expected a new file, or a log of an earlier run", path.display())]
    NoLog {
        /// The file.
        path: PathBuf,
    },
    /// Another run writes to it.
    #[error("{}: another run writes this log; expected its end, or another file", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The log is of other jobs.
    #[error("{}: job {sequence} was another command when this log was written; it is now `{command}`", path.display())]
    OtherCommand {
        /// The log.
        path: PathBuf,
        /// The job.
        sequence: u64,
        /// Its command.
        command: String,
    },
}

impl JobLog {
    /// Opens the log at `path`. `Fresh` empties it; `Continued` adds to it, after cutting off a
    /// last line that is not whole, as a machine that lost its power may have left it.
    pub(crate) fn open(path: &Path, mode: Mode) -> Result<Self, JobLogError> {
        let io = |source| JobLogError::Io {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(io)?;
        if !lock(&file, || thread::sleep(LOCK_PAUSE)) {
            let path = path.to_owned();
            return Err(JobLogError::InUse { path });
        }
        let mut len = None;
        // What is no file is only written to: to read from a pipe could take for ever.
        if file.metadata().map_err(io)?.is_file() {
            if !is_log_or_empty(&file).map_err(io)? {
                let path = path.to_owned();
                return Err(JobLogError::NoLog { path });
            }
            let kept = match mode {
                Mode::Fresh => 0,
                Mode::Continued => {
                    file.rewind().map_err(io)?;
                    whole_lines_len(&file).map_err(io)?
                }
            };
            file.set_len(kept).map_err(io)?;
            len = Some(kept);
        }
        let path = path.to_owned();
        let mut log = Self { file, path, len };
        if len.is_none_or(|len| len == 0) {
            log.write(HEADER.as_bytes())?;
        }
        Ok(log)
    }

    /// Appends one line.
    pub(crate) fn append(&mut self, entry: &Entry<'_>) -> Result<(), JobLogError> {
        let started = entry.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = format!(
            "{}\t:\t{}.{:03}\t{:10.3}\t0\t{}\t{}\t{}\t",
            entry.sequence,
            started.as_secs(),
            started.subsec_millis(),
            entry.runtime.as_secs_f64(),
            entry.received,
            entry.exit_value,
            entry.signal,
        )
        .into_bytes();
        // A log is read line by line.
        line.extend(
            entry
                .command
                .as_bytes()
                .iter()
                .map(|&b| if b == b'\n' { b' ' } else { b }),
        );
        line.push(b'\n');
        self.write(&line)
    }

    /// Writes whole lines; what is written of them when the disk is full is cut off again.
    fn write(&mut self, lines: &[u8]) -> Result<(), JobLogError> {
        let written = self.file.write_all(lines);
        if let Some(len) = &mut self.len {
            match &written {
                Ok(()) => *len += lines.len() as u64,
                // Where that fails too, `--resume` does it.
                Err(_) => drop(self.file.set_len(*len)),
            }
        }
        written.map_err(|source| JobLogError::Io {
            path: self.path.clone(),
            source,
        })
    }
}

/// What becomes of a log that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Emptied.
    Fresh,
    /// Added to.
    Continued,
}

/// How often a lock that is held is asked for again, and how long after.
///
/// A program on its way to `execve` still has the descriptors of the run that started it: when that
/// is killed, its lock may last a moment longer than it.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Locks `file` until it is closed, with a `pause` after each attempt in vain; says whether nobody
/// else has it. A device, or a file system without locks, has none.
fn lock(file: &File, mut pause: impl FnMut()) -> bool {
    (0..LOCK_TRIES).any(|_| {
        let locked = flock(file, FlockOperation::NonBlockingLockExclusive);
        let is_held = locked == Err(Errno::WOULDBLOCK);
        if is_held {
            pause();
        }
        !is_held
    })
}

fn is_log_or_empty(file: &File) -> io::Result<bool> {
    let mut head = Vec::new();
    file.take(HEADER.len() as u64).read_to_end(&mut head)?;
    Ok(head.is_empty() || head == HEADER.as_bytes())
}

fn whole_lines_len(file: &File) -> io::Result<u64> {
    let mut reader = BufReader::new(file);
    let (mut whole, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let len = reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok(whole);
        }
        whole += len as u64;
    }
}

/// The jobs of an earlier run that need not run again.
///
/// 16 bytes a job: the command itself is kept as its hash.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    path: PathBuf,
    commands: HashMap<u64, u64>,
}

/// Which jobs of a log count as finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skip {
    /// All of them.
    All,
    /// Those that succeeded.
    Succeeded,
}

impl Finished {
    /// Reads the log at `path`; one that is not there has no jobs.
    pub(crate) fn read(path: &Path, skip: Skip) -> Result<Self, JobLogError> {
        let io = |source| JobLogError::Io {
            path: path.to_owned(),
            source,
        };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            opened => opened.map_err(io)?,
        };
        let mut finished = Self {
            path: path.to_owned(),
            commands: HashMap::new(),
        };
        let kind = file.metadata().map_err(io)?.file_type();
        if !kind.is_file() && !kind.is_dir() {
            return Ok(finished);
        }
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            reader.read_until(b'\n', &mut line).map_err(io)?;
            // The last line may be cut off; then its job is not known to be finished.
            let Some((b'\n', text)) = line.split_last() else {
                break;
            };
            if number == 1 && line == HEADER.as_bytes() {
                continue;
            }
            let Some((sequence, is_success, command)) = parse_line(text) else {
                return Err(JobLogError::Line {
                    path: path.to_owned(),
                    line: number,
                });
            };
            // The log of a resumed run has a second line for a job that ran again: the last holds.
            if is_success || skip == Skip::All {
                finished.commands.insert(sequence, hash(command));
            } else {
                finished.commands.remove(&sequence);
            }
        }
        Ok(finished)
    }

    /// Whether the job is finished already.
    pub(crate) fn contains(&self, sequence: u64, command: &OsStr) -> Result<bool, JobLogError> {
        let Some(known) = self.commands.get(&sequence) else {
            return Ok(false);
        };
        let logged: Vec<u8> = command
            .as_bytes()
            .iter()
            .map(|&b| if b == b'\n' { b' ' } else { b })
            .collect();
        if *known == hash(&logged) {
            return Ok(true);
        }
        Err(JobLogError::OtherCommand {
            path: self.path.clone(),
            sequence,
            command: command.to_string_lossy().into_owned(),
        })
    }
}

fn parse_line(line: &[u8]) -> Option<(u64, bool, &[u8])> {
    let mut fields = line.splitn(9, |&byte| byte == b'\t');
    let mut number = |skip: usize| -> Option<i64> {
        std::str::from_utf8(fields.nth(skip)?)
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    let sequence = u64::try_from(number(0)?).ok()?;
    let (exit_value, signal) = (number(5)?, number(0)?);
    Some((sequence, exit_value == 0 && signal == 0, fields.next()?))
}

fn hash(command: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    command.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sequence: u64, exit_value: i32, command: &str) -> Entry<'_> {
        Entry {
            sequence,
            started: UNIX_EPOCH + Duration::from_millis(1_700_000_000_042),
            runtime: Duration::from_millis(1234),
            received: 5,
            exit_value,
            signal: 0,
            command: OsStr::new(command),
        }
    }

    #[test]
    fn a_line_is_what_gnu_parallel_writes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = JobLog::open(&path, Mode::Fresh).unwrap();
        log.append(&entry(3, 0, "echo\na")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let line = "3\t:\t1700000000.042\t     1.234\t0\t5\t0\t0\techo a\n";
        assert_eq!(text, format!("{HEADER}{line}"));
    }

    #[test]
    fn what_was_logged_is_finished_and_what_failed_can_run_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = JobLog::open(&path, Mode::Fresh).unwrap();
        log.append(&entry(1, 0, "a")).unwrap();
        log.append(&entry(2, 1, "b")).unwrap();
        log.append(&entry(3, 1, "c")).unwrap();
        log.append(&entry(3, 0, "c")).unwrap();
        let contains = |skip, sequence, command| {
            Finished::read(&path, skip)
                .unwrap()
                .contains(sequence, OsStr::new(command))
                .unwrap()
        };
        assert!(contains(Skip::All, 1, "a") && contains(Skip::Succeeded, 1, "a"));
        assert!(contains(Skip::All, 2, "b") && !contains(Skip::Succeeded, 2, "b"));
        assert!(contains(Skip::Succeeded, 3, "c"));
        assert!(!contains(Skip::All, 4, "d"));
    }

    #[test]
    fn a_lock_that_outlives_its_run_for_a_moment_is_waited_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || File::open(file.path()).unwrap();
        let mut other = Some(open());
        assert!(lock(other.as_ref().unwrap(), || ()));
        assert!(!lock(&open(), || ()));
        assert!(lock(&open(), || other = None));
    }

    #[test]
    fn the_log_of_other_jobs_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        JobLog::open(&path, Mode::Fresh)
            .unwrap()
            .append(&entry(1, 0, "gzip a"))
            .unwrap();
        let finished = Finished::read(&path, Skip::All).unwrap();
        let error = finished
            .contains(1, OsStr::new("gzip b"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("job 1 was another command"), "{error}");
        std::fs::write(&path, "no log\n").unwrap();
        let error = Finished::read(&path, Skip::All).unwrap_err().to_string();
        assert!(error.contains("log:1: expected nine fields"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_log_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("thesis.txt");
        for text in ["years of work\n", "x", HEADER.trim_end()] {
            std::fs::write(&path, text).unwrap();
            let error = JobLog::open(&path, Mode::Fresh).unwrap_err().to_string();
            assert!(error.contains("it is no job log"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        std::fs::write(&path, format!("{HEADER}1\t...")).unwrap();
        JobLog::open(&path, Mode::Fresh).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), HEADER);
    }

    #[test]
    fn a_last_line_that_is_not_whole_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        JobLog::open(&path, Mode::Fresh)
            .unwrap()
            .append(&entry(1, 0, "a"))
            .unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole, &b"2\t:\t17000"[..]].concat()).unwrap();
        assert!(
            !Finished::read(&path, Skip::All)
                .unwrap()
                .contains(2, OsStr::new("b"))
                .unwrap()
        );
        JobLog::open(&path, Mode::Continued).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }
}
