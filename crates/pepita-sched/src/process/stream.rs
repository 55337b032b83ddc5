//! The parent's ends of a task's standard streams.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, fcntl_setfl, openat};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::signals::SigpipeHeld;
use crate::task::{Captured, Output, OutputCallback, SpawnError, Stdin, TaskError};

/// A descriptor that a child gets, our own or borrowed from this process.
#[derive(Debug)]
pub(super) enum Given {
    Own(OwnedFd),
    Shared(BorrowedFd<'static>),
    Null,
}

impl Given {
    pub(super) fn as_fd<'a>(&'a self, null: &'a OwnedFd) -> BorrowedFd<'a> {
        match self {
            Self::Own(fd) => fd.as_fd(),
            Self::Shared(fd) => *fd,
            Self::Null => null.as_fd(),
        }
    }
}

/// A pipe whose ends are above the standard streams, so that placing those overwrites neither.
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd), TaskError> {
    let failed = |errno: Errno| TaskError::System {
        operation: "pipe2",
        source: errno.into(),
    };
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    Ok((
        above_standard(read).map_err(failed)?,
        above_standard(write).map_err(failed)?,
    ))
}

/// Moves a descriptor out of 0 to 2, where it lands if this process runs with those closed.
fn above_standard(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    use std::os::fd::AsRawFd;
    if fd.as_raw_fd() > 2 {
        Ok(fd)
    } else {
        rustix::io::fcntl_dupfd_cloexec(&fd, 3)
    }
}

/// Opens `/dev/null` for both directions.
pub(super) fn open_null() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    Ok(openat(CWD, "/dev/null", flags, Mode::empty()).and_then(above_standard)?)
}

/// The controlling terminal of this process, if it has one.
pub(super) fn open_terminal() -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = openat(CWD, "/dev/tty", flags, Mode::empty());
    terminal.and_then(above_standard).ok()
}

fn set_nonblocking(fd: &OwnedFd, access: OFlags) -> Result<(), TaskError> {
    fcntl_setfl(fd, access | OFlags::NONBLOCK).map_err(|errno| TaskError::System {
        operation: "fcntl",
        source: errno.into(),
    })
}

/// Opens a file for a program. A named pipe is opened without waiting for its other end, so that
/// a task cannot hang before it has begun.
fn open_file(stream: &'static str, path: &Path, flags: OFlags) -> Result<Given, TaskError> {
    let at_once = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let opened = openat(CWD, path, at_once, Mode::from_raw_mode(0o666)).and_then(|fd| {
        let kept = flags & (OFlags::RDONLY | OFlags::WRONLY | OFlags::APPEND);
        fcntl_setfl(&fd, kept)?;
        above_standard(fd)
    });
    opened.map(Given::Own).map_err(|errno| {
        let (path, source) = (path.to_owned(), errno.into());
        SpawnError::Stream {
            stream,
            path,
            source,
        }
        .into()
    })
}

/// Writes bytes to a task as fast as it reads them.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) fd: OwnedFd,
    bytes: Arc<[u8]>,
    written: usize,
}

impl Feed {
    /// What the child reads, and our end if there is something to write.
    pub(super) fn new(stdin: &Stdin) -> Result<(Given, Option<Self>), TaskError> {
        match stdin {
            Stdin::Null => Ok((Given::Null, None)),
            Stdin::File(path) => Ok((open_file("standard input", path, OFlags::RDONLY)?, None)),
            Stdin::Bytes(bytes) => {
                let (read, write) = pipe()?;
                set_nonblocking(&write, OFlags::WRONLY)?;
                Ok((
                    Given::Own(read),
                    Some(Self {
                        fd: write,
                        bytes: bytes.clone(),
                        written: 0,
                    }),
                ))
            }
        }
    }

    /// Writes what fits; says whether more is to come.
    pub(super) fn push(&mut self) -> Result<bool, TaskError> {
        let _quiet = SigpipeHeld::new();
        while self.written < self.bytes.len() {
            match rustix::io::write(&self.fd, &self.bytes[self.written..]) {
                Ok(count) => self.written += count,
                Err(Errno::AGAIN) => return Ok(true),
                Err(Errno::INTR) => {}
                // The task closed its input: what it does not want is not an error.
                Err(Errno::PIPE) => return Ok(false),
                Err(errno) => {
                    return Err(TaskError::System {
                        operation: "write",
                        source: errno.into(),
                    });
                }
            }
        }
        Ok(false)
    }
}

/// Takes what a task prints on one stream.
#[derive(Debug)]
pub(super) struct Sink {
    /// `None` at end of file, or when the stream does not come to us.
    pub(super) fd: Option<OwnedFd>,
    keep: Keep,
    captured: Captured,
}

enum Keep {
    First(usize),
    Nothing,
    Call(OutputCallback),
}

impl std::fmt::Debug for Keep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::First(_) => "First",
            Self::Nothing => "Nothing",
            Self::Call(_) => "Call",
        })
    }
}

/// Which of the two output streams.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    Stdout,
    Stderr,
}

impl Which {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "standard output",
            Self::Stderr => "standard error",
        }
    }

    fn inherited(self) -> Given {
        Given::Shared(match self {
            Self::Stdout => rustix::stdio::stdout(),
            Self::Stderr => rustix::stdio::stderr(),
        })
    }
}

impl Sink {
    /// What the child writes to, and our end.
    pub(super) fn new(output: &Output, which: Which) -> Result<(Given, Self), TaskError> {
        let write = OFlags::WRONLY | OFlags::CREATE;
        let (given, keep) = match output {
            Output::Capture { limit_bytes } => (None, Keep::First(*limit_bytes)),
            Output::Stream(callback) => (None, Keep::Call(callback.clone())),
            Output::File(path) => (
                Some(open_file(which.name(), path, write | OFlags::TRUNC)?),
                Keep::Nothing,
            ),
            Output::Append(path) => (
                Some(open_file(which.name(), path, write | OFlags::APPEND)?),
                Keep::Nothing,
            ),
            Output::Inherit => (Some(which.inherited()), Keep::Nothing),
            Output::Null => (Some(Given::Null), Keep::Nothing),
        };
        let captured = Captured::default();
        match given {
            Some(given) => Ok((
                given,
                Self {
                    fd: None,
                    keep,
                    captured,
                },
            )),
            None => {
                let (read, write) = pipe()?;
                // What a poll showed may be gone: a program can read its own output by `/proc`.
                set_nonblocking(&read, OFlags::RDONLY)?;
                Ok((
                    Given::Own(write),
                    Self {
                        fd: Some(read),
                        keep,
                        captured,
                    },
                ))
            }
        }
    }

    /// Reads once; the descriptor must be readable, or the call waits. Closes at end of file.
    pub(super) fn pull(&mut self, scratch: &mut [u8]) -> Result<(), TaskError> {
        let Some(fd) = &self.fd else { return Ok(()) };
        match rustix::io::read(fd, &mut *scratch) {
            Ok(0) => self.fd = None,
            Ok(count) => self.take(&scratch[..count]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => {
                return Err(TaskError::System {
                    operation: "read",
                    source: errno.into(),
                });
            }
        }
        Ok(())
    }

    /// What was captured; nothing for a stream that went elsewhere.
    pub(super) fn take_captured(&mut self) -> Captured {
        match self.keep {
            Keep::First(_) => std::mem::take(&mut self.captured),
            Keep::Nothing | Keep::Call(_) => Captured::default(),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.captured.total_bytes += bytes.len() as u64;
        match &self.keep {
            Keep::First(limit) => {
                let room = limit.saturating_sub(self.captured.bytes.len());
                self.captured
                    .bytes
                    .extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Keep::Nothing => {}
            Keep::Call(callback) => callback(bytes),
        }
    }
}

/// Reads what is there already and then closes: a process that outlived the task, and holds a
/// stream, is not waited for.
pub(super) fn drain(sinks: [&mut Sink; 2], scratch: &mut [u8]) -> Result<(), TaskError> {
    // A pipe holds no more than this; what a survivor writes meanwhile has no end.
    let end = |sink: &Sink| sink.captured.total_bytes.saturating_add(PIPE_BYTES_MAX);
    let ends = [end(sinks[0]), end(sinks[1])];
    let mut open = sinks;
    loop {
        let polled = open.iter().filter_map(|sink| sink.fd.as_ref());
        let mut polled: Vec<_> = polled.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        if polled.is_empty() {
            return Ok(());
        }
        match poll(
            &mut polled,
            Some(&Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
        ) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => {
                return Err(TaskError::System {
                    operation: "poll",
                    source: errno.into(),
                });
            }
        }
        let ready: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
        let mut ready = ready.into_iter();
        for (sink, end) in open.iter_mut().zip(ends) {
            let ready = sink.fd.as_ref().and_then(|_| ready.next());
            match ready {
                Some(ready) if ready.contains(PollFlags::IN) => sink.pull(scratch)?,
                // Only the end of file is left.
                Some(ready) if !ready.is_empty() => sink.fd = None,
                _ => {}
            }
            if sink.captured.total_bytes > end {
                sink.fd = None;
            }
        }
    }
}

/// Linux's default for the largest pipe an unprivileged process may ask for (`pipe-max-size`).
const PIPE_BYTES_MAX: u64 = 1 << 20;

/// An eventfd that ends a wait.
#[derive(Debug)]
pub(super) struct Wake(OwnedFd);

impl Wake {
    pub(super) fn new() -> io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        Ok(Self(eventfd(
            0,
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?))
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Takes back every call so far.
    pub(super) fn clear(&self) {
        // Nothing to take back is what EAGAIN says here.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl crate::executor::Interrupt for Wake {
    fn interrupt(&self) {
        // Fails only when the counter is full, and then the wait ends as well.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}
