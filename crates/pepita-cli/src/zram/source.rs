//! [`Source`]: where the pages come from that are looked at.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::Path;

use rustix::fs::SeekFrom as Extent;
use rustix::io::Errno;

use super::process::Process;
use super::{Problem, printable};

/// The bytes of a page.
pub(super) type Page = [u8; 4096];

const PAGE: u64 = size_of::<Page>() as u64;

/// Pages that are read at once: 1 MiB.
pub(super) const CHUNK: usize = 256;

/// A file, or the memory of a process.
pub(super) enum Source {
    File(Bytes),
    Process(Process),
}

/// The bytes of a file, in their order.
pub(super) struct Bytes {
    name: String,
    file: File,
    /// Its length when it was opened; a pipe has none.
    len: Option<u64>,
    /// How much of it was read or left out.
    at: u64,
    /// Up to here, no hole is known of.
    data_end: u64,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// So many pages are in front of the chunk.
    Pages(usize),
    /// So many pages are zero, and were not read.
    Zeroes(u64),
    End,
}

impl Source {
    /// What `what` names: a process if it is a number.
    pub(super) fn open(what: &OsStr) -> Result<Self, Problem> {
        let digits = what.to_str().filter(|text| !text.is_empty());
        match digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())) {
            Some(pid) => Process::open(pid).map(Self::Process),
            None => Bytes::open(what).map(Self::File),
        }
    }

    /// For people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(bytes) => bytes.name.clone(),
            Self::Process(process) => process.name(),
        }
    }

    /// Bytes that there are about, where that is known.
    pub(super) const fn bytes(&self) -> Option<u64> {
        match self {
            Self::File(bytes) => bytes.len,
            Self::Process(process) => process.bytes(),
        }
    }

    /// Pages that could not be read.
    pub(super) const fn unreadable(&self) -> u64 {
        match self {
            Self::File(_) => 0,
            Self::Process(process) => process.unreadable(),
        }
    }

    /// Bytes that the file had at the start and lost before they were read; known at the end.
    pub(super) fn lost_bytes(&self) -> u64 {
        match self {
            Self::File(bytes) => bytes.lost(),
            Self::Process(_) => 0,
        }
    }

    /// Reads the next pages to the front of `chunk`. What the last page of a file lacks is zeroes.
    pub(super) fn read(&mut self, chunk: &mut [Page]) -> Result<Next, Problem> {
        match self {
            Self::Process(process) => Ok(match process.read(chunk)? {
                0 => Next::End,
                pages => Next::Pages(pages),
            }),
            Self::File(bytes) => {
                let next = bytes.read(chunk);
                next.map_err(|error| Problem::of(printable(&bytes.name), &error))
            }
        }
    }
}

impl Bytes {
    fn open(what: &OsStr) -> Result<Self, Problem> {
        let name = what.to_string_lossy().into_owned();
        let fail = |error| Problem::of(printable(&name), &error);
        if Path::new(what).is_dir() {
            return Err(Problem::Failed(format!(
                "{} is a directory; expected a file, a disk or the number of a process",
                printable(&name)
            )));
        }
        let mut file = File::open(what).map_err(fail)?;
        // A pipe has no length; a disk has one that its metadata does not say.
        let len = file.seek(SeekFrom::End(0)).ok();
        if len.is_some() {
            file.rewind().map_err(fail)?;
        }
        let has_holes = file.metadata().map_err(fail)?.is_file();
        Ok(Self {
            name,
            file,
            len,
            at: 0,
            data_end: if has_holes { 0 } else { u64::MAX },
        })
    }

    fn read(&mut self, chunk: &mut [Page]) -> io::Result<Next> {
        if self.at >= self.data_end {
            let zeroes = self.leave_out_hole()?;
            if zeroes > 0 {
                return Ok(Next::Zeroes(zeroes));
            }
        }
        let data = self.data_end.saturating_sub(self.at).div_ceil(PAGE);
        let wanted = usize::try_from(data).map_or(chunk.len(), |data| data.min(chunk.len()));
        let bytes = chunk[..wanted].as_flattened_mut();
        let len = fill(&mut self.file, bytes)?;
        self.at += len as u64;
        let pages = len.div_ceil(size_of::<Page>());
        bytes[len..pages * size_of::<Page>()].fill(0);
        Ok(match pages {
            0 => Next::End,
            pages => Next::Pages(pages),
        })
    }

    /// Goes on to the next page with data, or to the end, and says how many pages that leaves out.
    fn leave_out_hole(&mut self) -> io::Result<u64> {
        let seek = |to| rustix::fs::seek(&self.file, to);
        let zeroes = match seek(Extent::Data(self.at)) {
            Ok(data) => {
                let zeroes = data.saturating_sub(self.at) / PAGE;
                self.data_end = seek(Extent::Hole(data)).unwrap_or(u64::MAX);
                self.at += zeroes * PAGE;
                zeroes
            }
            Err(Errno::NXIO) => {
                let end = seek(Extent::End(0))?.max(self.at);
                let zeroes = (end - self.at).div_ceil(PAGE);
                // Files of /proc have data behind their end: it is read on from there.
                self.data_end = u64::MAX;
                self.at = end;
                zeroes
            }
            Err(_) => {
                self.data_end = u64::MAX;
                0
            }
        };
        self.file.seek(SeekFrom::Start(self.at))?;
        Ok(zeroes)
    }

    fn lost(&self) -> u64 {
        let now = rustix::fs::seek(&self.file, Extent::End(0));
        match (self.len, now) {
            // Files of /sys say that they are longer than they are, before and after.
            (Some(len), Ok(now)) if now < len => len.saturating_sub(self.at),
            _ => 0,
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    /// (pages that are read, pages that are left out, those of all that are zero)
    fn read_all(source: &mut Source) -> (u64, u64, u64) {
        let mut chunk = vec![[0; size_of::<Page>()]; CHUNK];
        let (mut read, mut left_out, mut zero) = (0, 0, 0);
        loop {
            match source.read(&mut chunk).unwrap() {
                Next::Pages(pages) => {
                    let zeroes = chunk[..pages].iter().filter(|page| **page == [0; 4096]);
                    zero += zeroes.count() as u64;
                    read += pages as u64;
                }
                Next::Zeroes(pages) => {
                    zero += pages;
                    left_out += pages;
                }
                Next::End => return (read, left_out, zero),
            }
        }
    }

    #[test]
    fn holes_of_a_file_are_zero_pages_that_are_not_read() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let data = [9; 4096];
        // Data in pages 1, 256 to 257 (half each), 600 and 601; the end is in the middle of page 999.
        for at in [4096, 256 * 4096 + 2048, 600 * 4096, 601 * 4096] {
            file.as_file_mut().write_all_at(&data, at).unwrap();
        }
        file.as_file().set_len(999 * 4096 + 100).unwrap();
        let mut source = Source::open(file.path().as_os_str()).unwrap();
        let (read, left_out, zero) = read_all(&mut source);
        assert_eq!((read + left_out, zero), (1000, 995));
        assert!(left_out > 900, "{left_out} left out, {read} read");
        assert_eq!(source.lost_bytes(), 0);
    }

    #[test]
    fn files_of_the_kernel_are_read_whatever_they_say_of_their_length() {
        for path in [
            "/proc/self/status",
            "/sys/kernel/mm/transparent_hugepage/enabled",
        ] {
            if Path::new(path).exists() {
                let mut source = Source::open(path.as_ref()).unwrap();
                assert_eq!(read_all(&mut source), (1, 0, 0), "{path}");
                assert_eq!(source.lost_bytes(), 0, "{path}");
            }
        }
    }

    #[test]
    fn a_file_that_was_cut_meanwhile_says_what_is_lost() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7; 3 << 20]).unwrap();
        let mut source = Source::open(file.path().as_os_str()).unwrap();
        let mut chunk = vec![[0; size_of::<Page>()]; CHUNK];
        assert_eq!(source.read(&mut chunk).unwrap(), Next::Pages(CHUNK));
        file.as_file().set_len((1 << 20) + 100).unwrap();
        assert_eq!(read_all(&mut source), (1, 0, 0));
        assert_eq!(source.lost_bytes(), (2 << 20) - 100);
    }
}
