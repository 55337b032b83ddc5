//! [`Spool`]: what a job prints, until it is shown as a whole.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use pepita::task::Output;

/// What is kept in memory; the rest goes to an unnamed temporary file.
const MEMORY_MAX: usize = 1 << 20;

/// Bytes in the order they came.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    memory: Vec<u8>,
    overflow: Option<File>,
    len: u64,
    error: Option<io::Error>,
}

/// Both outputs of a job.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    pub(crate) stdout: Spool,
    pub(crate) stderr: Spool,
}

thread_local! {
    /// A worker runs one attempt at a time, and its output arrives on the same thread.
    static CURRENT: RefCell<Outputs> = RefCell::default();
}

impl Outputs {
    /// Forgets what this thread collected, for an attempt begins.
    pub(crate) fn reset_current() {
        CURRENT.with_borrow_mut(|outputs| {
            outputs.stdout.clear();
            outputs.stderr.clear();
        });
    }

    /// What this thread collected since the last reset.
    pub(crate) fn take_current() -> Self {
        CURRENT.take()
    }

    /// Whether nothing was printed.
    pub(crate) fn is_empty(&self) -> bool {
        self.stdout.len() == 0 && self.stderr.len() == 0
    }

    /// Whether nothing of it is lost.
    pub(crate) fn is_whole(&self) -> bool {
        self.stdout.error.is_none() && self.stderr.error.is_none()
    }

    /// Why a part of it is lost, if one is.
    pub(crate) fn take_error(&mut self) -> Option<io::Error> {
        self.stdout.error.take().or(self.stderr.error.take())
    }

    /// Where a task must print for this thread to collect it.
    pub(crate) fn collectors() -> (Output, Output) {
        let collect = |chunk: &[u8], pick: fn(&mut Self) -> &mut Spool| {
            CURRENT.with_borrow_mut(|outputs| pick(outputs).push(chunk));
        };
        (
            Output::stream(move |chunk| collect(chunk, |outputs| &mut outputs.stdout)),
            Output::stream(move |chunk| collect(chunk, |outputs| &mut outputs.stderr)),
        )
    }
}

impl Spool {
    fn clear(&mut self) {
        self.memory.clear();
        *self = Self {
            memory: std::mem::take(&mut self.memory),
            ..Self::default()
        };
    }

    fn push(&mut self, chunk: &[u8]) {
        self.len += chunk.len() as u64;
        if self.overflow.is_none() && self.memory.len() + chunk.len() <= MEMORY_MAX {
            self.memory.extend_from_slice(chunk);
        } else if self.error.is_none() {
            self.error = self.push_to_file(chunk).err();
        }
    }

    fn push_to_file(&mut self, chunk: &[u8]) -> io::Result<()> {
        let file = match &mut self.overflow {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        file.write_all(chunk)
    }

    /// How many bytes came.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// How many bytes of memory it takes.
    pub(crate) fn memory_len(&self) -> usize {
        self.memory.len()
    }

    /// Writes everything to `sink`.
    pub(crate) fn write_to(&mut self, sink: &mut impl Write) -> io::Result<()> {
        sink.write_all(&self.memory)?;
        if let Some(file) = &mut self.overflow {
            file.seek(SeekFrom::Start(0))?;
            io::copy(file, sink)?;
        }
        Ok(())
    }

    /// The first `max` bytes.
    pub(crate) fn head(&mut self, max: usize) -> Vec<u8> {
        let mut head = self.memory.clone();
        if let Some(file) = &mut self.overflow
            && file.seek(SeekFrom::Start(0)).is_ok()
        {
            // What cannot be read back is missing, and `len` tells.
            let _ = file.take(max as u64).read_to_end(&mut head);
        }
        head.truncate(max);
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_in_memory_comes_back_from_a_file_in_order() {
        let mut spool = Spool::default();
        let chunk: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        for _ in 0..5 {
            spool.push(&chunk);
        }
        let mut shown = Vec::new();
        spool.write_to(&mut shown).unwrap();
        assert!(shown == chunk.repeat(5) && spool.len() == 1_500_000);
        assert!(spool.memory_len() <= MEMORY_MAX);
        assert_eq!(spool.head(1_200_000), shown[..1_200_000]);
    }

    #[test]
    fn a_cleared_spool_is_empty() {
        let mut spool = Spool::default();
        spool.push(&vec![1; MEMORY_MAX + 1]);
        spool.clear();
        spool.push(b"x");
        assert_eq!((spool.len(), spool.head(10)), (1, b"x".to_vec()));
    }
}
