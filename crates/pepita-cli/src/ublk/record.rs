//! [`Record`]: what is noted of a disk that is served, for `list` and `recover`.
//!
//! # Invariants
//! * A record is whole or not there: it is written beside its place and moved.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::args::{Queues, Recovery};
use super::target::Target;

/// Names another directory than [`DEFAULT_DIR`], for tests and for programs without a right to it.
const DIR_VARIABLE: &str = "PEPITA_RUN_DIR";

const DEFAULT_DIR: &str = "/run/pepita";

/// More bytes than any record has.
const RECORD_MAX: u64 = 16 << 20;

/// A disk and who serves it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: u32,
    /// The process that serves it.
    pub(super) pid: u32,
    /// Inode of its device file, which the next disk of this number does not have.
    node: Option<u64>,
    pub(super) target: Target,
    #[serde(flatten)]
    pub(super) queues: Queues,
    pub(super) recovery: Recovery,
}

impl Record {
    /// Of the disk `id`, which this process serves.
    pub(super) fn new(id: u32, target: Target, queues: Queues, recovery: Recovery) -> Self {
        Self {
            id,
            pid: std::process::id(),
            node: node(id),
            target,
            queues,
            recovery,
        }
    }

    /// Whether the disk of this number is the one that was noted; if none is there, also.
    pub(super) fn is_current(&self) -> bool {
        let now = node(self.id);
        now.is_none() || now == self.node
    }
}

/// Inode of the device file of the disk `id`, if there is one: the next disk of this number has another.
pub(super) fn node(id: u32) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let file = fs::metadata(format!("/dev/ublkc{id}"));
    file.ok().map(|file| file.ino())
}

/// Where records and logs are.
#[derive(Debug, Clone)]
pub(crate) struct RunDir(PathBuf);

impl RunDir {
    /// The one of this host.
    pub(crate) fn new() -> Self {
        let base = std::env::var_os(DIR_VARIABLE).unwrap_or_else(|| DEFAULT_DIR.into());
        // Who serves in the background is in another directory.
        let whole = std::path::absolute(&base);
        Self::of(whole.as_deref().unwrap_or(Path::new(&base)))
    }

    /// The one in `base`.
    pub(crate) fn of(base: &Path) -> Self {
        Self(base.join("ublk"))
    }

    /// Makes it, for this user alone.
    pub(crate) fn make(&self) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(|error| self.explain(&error))
    }

    fn log(&self, id: u32) -> PathBuf {
        self.0.join(format!("{id}.log"))
    }

    /// The log of a process that serves.
    pub(super) fn open_log(&self, id: u32) -> io::Result<File> {
        let place = self.log(id);
        let log = open(File::options().create(true).append(true), &place);
        log.map_err(|error| of_file(&place, &error))
    }

    /// Where a process that serves zram says what that holds.
    pub(crate) fn socket(&self, id: u32) -> PathBuf {
        self.0.join(format!("{id}.sock"))
    }

    /// Disks that are noted, ascending.
    pub(crate) fn ids(&self) -> io::Result<Vec<u32>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| self.explain(&error))?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
            ids.extend(id.and_then(|id| id.parse::<u32>().ok()));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    fn place(&self, id: u32) -> PathBuf {
        self.0.join(format!("{id}.json"))
    }

    /// What is noted of `id`; `None` if nothing is.
    pub(super) fn read(&self, id: u32) -> io::Result<Option<Record>> {
        let place = self.place(id);
        let text = match text_of(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| of_file(&place, &error))?,
        };
        let failed = |reason: String| io::Error::other(format!("{}: {reason}", place.display()));
        match serde_json::from_str::<Record>(&text) {
            Ok(record) if record.id == id => Ok(Some(record)),
            Ok(record) => Err(failed(format!("it is of the disk {}", record.id))),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// As [`Self::read`], where one that cannot be read is no reason to do nothing.
    pub(super) fn find(&self, id: u32) -> Option<Record> {
        self.read(id).unwrap_or_else(|error| {
            tracing::warn!(id, %error, "what is noted of the disk cannot be read");
            None
        })
    }

    /// Notes `record`, in the place of what was noted of its disk before.
    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        let mut file = NamedTempFile::new_in(&self.0).map_err(|error| self.explain(&error))?;
        serde_json::to_writer_pretty(&mut file, record)?;
        file.write_all(b"\n")?;
        let place = self.place(record.id);
        let moved = file.persist(&place);
        moved.map_err(|error| of_file(&place, &error.error))?;
        Ok(())
    }

    /// Forgets `id`, if what is noted of it is of process `pid`, or cannot be read; its log is left `with_log` false.
    pub(super) fn remove(&self, id: u32, pid: Option<u32>, with_log: bool) {
        let noted = self.read(id).ok().flatten();
        if noted.is_some_and(|record| Some(record.pid) != pid) {
            return;
        }
        let log = with_log.then(|| self.log(id));
        let (place, socket) = (Some(self.place(id)), Some(self.socket(id)));
        for path in [place, socket, log].into_iter().flatten() {
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

/// Opens a file of the directory: what else may be there, by nobody's fault of this program, is not waited for, and not
/// followed.
fn open(options: &mut fs::OpenOptions, place: &Path) -> io::Result<File> {
    let options = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(place)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("not a file"))
}

fn text_of(place: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = open(File::options().read(true), place)?;
    if file.take(RECORD_MAX).read_to_string(&mut text)? as u64 == RECORD_MAX {
        return Err(io::Error::other("too long for a record"));
    }
    Ok(text)
}

fn of_file(place: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", place.display()))
}

#[cfg(test)]
mod tests {
    use super::super::args::CopyMode;
    use super::super::target::FileTarget;
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
            node: Some(1234),
            target: Target::File(FileTarget {
                path: "/disk.img".into(),
                direct: true,
                read_only: false,
            }),
            queues: Queues {
                queues: 2,
                depth: 64,
                max_io: 1 << 19,
                copy: CopyMode::GetData,
                user_copy: false,
                swap: true,
                unprivileged: false,
            },
            recovery: Recovery::Reissue,
        };
        dir.write(&record).unwrap();
        let read = dir.read(7).unwrap().unwrap();
        assert_eq!((read.id, read.pid, &read.target), (7, 42, &record.target));
        assert_eq!((read.queues.queues, read.recovery), (2, Recovery::Reissue));
        assert_eq!(read.queues.copy_mode(), CopyMode::GetData);
        dir.remove(7, Some(43), true);
        assert!(dir.read(7).unwrap().is_some(), "another process serves it");
        assert_eq!(dir.ids().unwrap(), [7]);
        fs::write(dir.socket(7), "").unwrap();
        dir.remove(7, Some(42), true);
        assert!(dir.read(7).unwrap().is_none());
        assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 0);
    }

    #[test]
    fn a_record_that_is_none_says_which_file_and_why_and_is_not_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let dir = RunDir(home.path().to_owned());
        let reads = |place: &Path| {
            let error = dir.read(1).unwrap_err().to_string();
            fs::remove_file(place).or_else(|_| fs::remove_dir(place))?;
            Ok::<_, io::Error>(error)
        };
        let place = &dir.place(1);
        let other = r#"{"id": 2, "pid": 42, "node": 1, "target": {"type": "null", "bytes": 512},
            "queues": 1, "depth": 64, "max_io": 4096, "user_copy": false, "recovery": "none"}"#;
        fs::write(dir.place(2), other).unwrap();
        assert_eq!(dir.read(2).unwrap().unwrap().id, 2);
        let makes: [(&str, &dyn Fn()); 6] = [
            ("1.json: missing field", &|| {
                fs::write(place, "{}").unwrap();
            }),
            ("1.json: it is of the disk 2", &|| {
                fs::write(place, other).unwrap();
            }),
            ("1.json: not a file", &|| fs::create_dir(place).unwrap()),
            ("1.json: not a file", &|| {
                let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
                let pipe = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, place, pipe, mode, 0).unwrap();
            }),
            ("1.json: Too many levels of symbolic links", &|| {
                std::os::unix::fs::symlink("/dev/zero", place).unwrap();
            }),
            ("1.json: too long for a record", &|| {
                File::create(place).unwrap().set_len(1 << 40).unwrap();
            }),
        ];
        for (said, make) in makes {
            make();
            let error = reads(place).unwrap();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_record_that_cannot_take_its_place_says_which() {
        let home = tempfile::tempdir().unwrap();
        let dir = RunDir(home.path().to_owned());
        fs::create_dir(dir.place(1)).unwrap();
        let target = Target::Null { bytes: 512 };
        let queues = r#"{"queues": 1, "depth": 64, "max_io": 4096, "user_copy": false}"#;
        let queues = serde_json::from_str(queues).unwrap();
        let record = Record::new(1, target, queues, Recovery::None);
        let error = dir.write(&record).unwrap_err().to_string();
        assert!(error.contains("1.json: Is a directory"), "{error}");
    }

    #[test]
    fn a_log_is_written_to_no_file_of_somebody_else() {
        let home = tempfile::tempdir().unwrap();
        let dir = RunDir(home.path().to_owned());
        dir.open_log(1).unwrap().write_all(b"first\n").unwrap();
        dir.open_log(1).unwrap().write_all(b"second\n").unwrap();
        let log = fs::read_to_string(dir.log(1)).unwrap();
        assert_eq!(log, "first\nsecond\n");
        let precious = home.path().join("precious");
        fs::write(&precious, "").unwrap();
        std::os::unix::fs::symlink(&precious, dir.log(2)).unwrap();
        let error = dir.open_log(2).unwrap_err().to_string();
        assert!(error.contains("2.log: "), "{error}");
    }
}
