//! Where arguments come from: the command line, a file, or standard input.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

/// Arguments that are read together; a reader ahead of the jobs holds a few of these.
const BATCH_MAX: usize = 256;
const BATCHES_AHEAD: usize = 4;

/// What a reader sends.
pub(crate) type Batch = io::Result<Vec<OsString>>;

/// The arguments of a run, in order.
#[derive(Debug)]
pub(crate) struct Input {
    /// Batches of arguments; closed at their end.
    pub(crate) batches: Receiver<Batch>,
    /// How many there are, if that is known from the start.
    pub(crate) total: Option<u64>,
    /// What error messages call it.
    pub(crate) name: String,
}

/// The byte that ends an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delimiter {
    Newline,
    Nul,
}

impl Input {
    /// Arguments that are here already.
    pub(crate) fn from_list(arguments: Vec<OsString>) -> Self {
        let total = Some(arguments.len() as u64);
        let (sender, batches) = bounded(1);
        // The channel has room for this one batch.
        let _ = sender.send(Ok(arguments));
        Self {
            batches,
            total,
            name: "the command line".into(),
        }
    }

    /// The lines of the file at `path`.
    pub(crate) fn from_file(
        path: &Path,
        delimiter: Delimiter,
    ) -> Result<Self, (PathBuf, io::Error)> {
        let input = File::open(path)
            .and_then(|file| Self::read(file, path.display().to_string(), delimiter));
        input.map_err(|error| (path.to_owned(), error))
    }

    /// The lines of standard input.
    pub(crate) fn from_stdin(delimiter: Delimiter) -> io::Result<Self> {
        Self::read(io::stdin(), "standard input".into(), delimiter)
    }

    fn read(
        source: impl Read + Send + 'static,
        name: String,
        delimiter: Delimiter,
    ) -> io::Result<Self> {
        let (sender, batches) = bounded(BATCHES_AHEAD);
        // Not joined: it may be blocked in a read for ever, and the end of the process ends it.
        thread::Builder::new()
            .name("input".into())
            .spawn(move || send_all(BufReader::new(source), delimiter, &sender))?;
        Ok(Self {
            batches,
            total: None,
            name,
        })
    }
}

/// Sends what is there without waiting for a batch to be full, for a source may be slow.
fn send_all(mut source: BufReader<impl Read>, delimiter: Delimiter, sender: &Sender<Batch>) {
    let byte = match delimiter {
        Delimiter::Newline => b'\n',
        Delimiter::Nul => b'\0',
    };
    let mut batch = Vec::new();
    loop {
        let mut argument = Vec::new();
        match source.read_until(byte, &mut argument) {
            Ok(0) => break,
            Ok(_) => {
                argument.pop_if(|last| *last == byte);
                batch.push(OsString::from_vec(argument));
            }
            Err(error) => {
                let _ = sender
                    .send(Ok(batch))
                    .and_then(|()| sender.send(Err(error)));
                return;
            }
        }
        let is_more_at_hand = source.buffer().contains(&byte);
        if (batch.len() >= BATCH_MAX || !is_more_at_hand)
            && sender.send(Ok(std::mem::take(&mut batch))).is_err()
        {
            return;
        }
    }
    let _ = sender.send(Ok(batch));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &'static [u8], delimiter: Delimiter, want: &[&str]) {
        let input = Input::read(bytes, "test".into(), delimiter).unwrap();
        let got: Vec<_> = input.batches.iter().flat_map(Result::unwrap).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn arguments_are_what_stands_between_delimiters() {
        check(b"a\nb c\n\nd", Delimiter::Newline, &["a", "b c", "", "d"]);
        check(b"a\n", Delimiter::Newline, &["a"]);
        check(b"", Delimiter::Newline, &[]);
        check(b"a\nb\0c\0", Delimiter::Nul, &["a\nb", "c"]);
    }

    #[test]
    fn a_reader_stays_a_few_batches_ahead_and_no_more() {
        let endless = io::repeat(b'\n');
        let input = Input::read(endless, "test".into(), Delimiter::Newline).unwrap();
        let first = input.batches.recv().unwrap().unwrap();
        assert!(first.len() <= BATCH_MAX, "{}", first.len());
        assert!(input.batches.len() <= BATCHES_AHEAD);
    }
}
