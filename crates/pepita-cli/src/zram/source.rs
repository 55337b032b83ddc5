//! [`Source`]: where the pages come from that are looked at.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::Path;

use super::Problem;
use super::process::Process;

/// The bytes of a page.
pub(super) type Page = [u8; 4096];

/// Pages that are read at once: 1 MiB.
pub(super) const CHUNK: usize = 256;

/// A file, or the memory of a process.
pub(super) enum Source {
    File {
        name: String,
        file: File,
        bytes: Option<u64>,
    },
    Process(Process),
}

impl Source {
    /// What `what` names: a process if it is a number.
    pub(super) fn open(what: &str) -> Result<Self, Problem> {
        if !what.is_empty() && what.bytes().all(|byte| byte.is_ascii_digit()) {
            return Process::open(what).map(Self::Process);
        }
        let fail = |error| Problem::of(what, &error);
        if Path::new(what).is_dir() {
            return Err(Problem::Failed(format!(
                "{what} is a directory; expected a file, a disk or the number of a process"
            )));
        }
        let mut file = File::open(what).map_err(fail)?;
        // A pipe has no length; a disk has one that its metadata does not say.
        let bytes = file.seek(SeekFrom::End(0)).ok();
        if bytes.is_some() {
            file.rewind().map_err(fail)?;
        }
        Ok(Self::File {
            name: what.to_owned(),
            file,
            bytes,
        })
    }

    /// For people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File { name, .. } => name.clone(),
            Self::Process(process) => process.name(),
        }
    }

    /// Bytes that there are about, where that is known.
    pub(super) fn bytes(&self) -> Option<u64> {
        match self {
            Self::File { bytes, .. } => *bytes,
            Self::Process(process) => process.bytes(),
        }
    }

    /// Pages that could not be read.
    pub(super) const fn unreadable(&self) -> u64 {
        match self {
            Self::File { .. } => 0,
            Self::Process(process) => process.unreadable(),
        }
    }

    /// Reads the next pages to the front of `chunk`, and says how many: none at the end. What the last page lacks
    /// is zeroes.
    pub(super) fn read(&mut self, chunk: &mut [Page]) -> Result<usize, Problem> {
        match self {
            Self::Process(process) => process.read(chunk),
            Self::File { name, file, .. } => {
                let bytes = chunk.as_flattened_mut();
                let len = fill(file, bytes).map_err(|error| Problem::of(name, &error))?;
                let pages = len.div_ceil(size_of::<Page>());
                bytes[len..pages * size_of::<Page>()].fill(0);
                Ok(pages)
            }
        }
    }
}

/// Reads until `bytes` is full or there is no more, and says how much that was.
fn fill(file: &mut File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < bytes.len() {
        match file.read(&mut bytes[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}
