//! [`Record`]: what is noted of a disk that is served, for `list` and `recover`.
//!
//! # Invariants
//! * A record is whole or not there: it is written beside its place and moved.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::args::{Queues, Recovery};
use super::target::Target;

/// Names another directory than [`DEFAULT_DIR`], for tests and for programs without a right to it.
const DIR_VARIABLE: &str = "PEPITA_RUN_DIR";

const DEFAULT_DIR: &str = "/run/pepita";

/// A disk and who serves it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: u32,
    /// The process that serves it.
    pub(super) pid: u32,
    pub(super) target: Target,
    #[serde(flatten)]
    pub(super) queues: Queues,
    pub(super) recovery: Recovery,
}

/// Where records and logs are.
#[derive(Debug, Clone)]
pub(super) struct RunDir(PathBuf);

impl RunDir {
    /// The one of this host.
    pub(super) fn new() -> Self {
        let base = std::env::var_os(DIR_VARIABLE).unwrap_or_else(|| DEFAULT_DIR.into());
        Self(Path::new(&base).join("ublk"))
    }

    /// Makes it, for this user alone.
    pub(super) fn make(&self) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(|error| self.explain(&error))
    }

    /// The log of a process that serves.
    pub(super) fn log(&self, id: u32) -> PathBuf {
        self.0.join(format!("{id}.log"))
    }

    fn place(&self, id: u32) -> PathBuf {
        self.0.join(format!("{id}.json"))
    }

    /// What is noted of `id`; `None` if nothing is.
    pub(super) fn read(&self, id: u32) -> io::Result<Option<Record>> {
        let place = self.place(id);
        match fs::read_to_string(&place) {
            Ok(text) => match serde_json::from_str(&text) {
                Ok(record) => Ok(Some(record)),
                Err(error) => Err(io::Error::other(format!("{}: {error}", place.display()))),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io::Error::new(
                error.kind(),
                format!("{}: {error}", place.display()),
            )),
        }
    }

    /// Notes `record`, in the place of what was noted of its disk before.
    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        let mut file = NamedTempFile::new_in(&self.0).map_err(|error| self.explain(&error))?;
        serde_json::to_writer_pretty(&mut file, record)?;
        file.write_all(b"\n")?;
        file.persist(self.place(record.id))?;
        Ok(())
    }

    /// Forgets `id`, if process `pid` serves it, or whoever does for `None`; its log is left `with_log` false.
    pub(super) fn remove(&self, id: u32, pid: Option<u32>, with_log: bool) {
        let noted = self.read(id).ok().flatten();
        if pid.is_some() && noted.is_some_and(|record| Some(record.pid) != pid) {
            return;
        }
        let log = with_log.then(|| self.log(id));
        for path in [Some(self.place(id)), log].into_iter().flatten() {
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(path = %path.display(), %error, "a record stays"),
            }
        }
    }

    fn explain(&self, error: &io::Error) -> io::Error {
        let dir = self.0.display();
        io::Error::new(
            error.kind(),
            format!("{dir}: {error}; {DIR_VARIABLE} names another directory"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_read_and_forgotten_by_who_noted_it() {
        let home = tempfile::tempdir().unwrap();
        let dir = RunDir(home.path().join("ublk"));
        dir.make().unwrap();
        assert!(dir.read(7).unwrap().is_none());
        let record = Record {
            id: 7,
            pid: 42,
            target: Target::File {
                path: "/disk.img".into(),
                direct: true,
                read_only: false,
            },
            queues: Queues {
                queues: 2,
                depth: 64,
                max_io: 1 << 19,
                user_copy: false,
            },
            recovery: Recovery::Reissue,
        };
        dir.write(&record).unwrap();
        let read = dir.read(7).unwrap().unwrap();
        assert_eq!((read.id, read.pid, &read.target), (7, 42, &record.target));
        assert_eq!((read.queues.queues, read.recovery), (2, Recovery::Reissue));
        dir.remove(7, Some(43), true);
        assert!(dir.read(7).unwrap().is_some(), "another process serves it");
        dir.remove(7, Some(42), true);
        assert!(dir.read(7).unwrap().is_none());
        assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 0);
    }

    #[test]
    fn a_record_that_is_none_says_which_file() {
        let home = tempfile::tempdir().unwrap();
        let dir = RunDir(home.path().to_owned());
        fs::write(dir.place(1), "{}").unwrap();
        let error = dir.read(1).unwrap_err().to_string();
        assert!(error.contains("1.json: missing field"), "{error}");
    }
}
