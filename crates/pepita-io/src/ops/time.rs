#![expect(
    unsafe_code,
    reason = "operations promise to keep what their entries lead to"
)]
//! Operations that wait.

use std::time::Duration;

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::{IoUringCqe, IoUringSqe, Timespec};

use super::{Operation, SharedFile, count};

/// Ends after `duration`.
///
/// ```
/// use std::time::Duration;
/// use pepita_io::{LocalRing, ops};
///
/// let ring = LocalRing::new(8)?;
/// ring.block_on(ring.submit(ops::sleep(Duration::from_millis(1))))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn sleep(duration: Duration) -> Sleep {
    Sleep(Box::new(duration.into()))
}

/// See [`sleep`].
#[derive(Debug)]
pub struct Sleep(Box<Timespec>);

// SAFETY: the time is on the heap.
unsafe impl Operation for Sleep {
    type Output = Result<()>;

    fn entry(&mut self) -> IoUringSqe {
        IoUringSqe::timeout(&raw const *self.0, 0, 0)
    }

    fn complete(self, cqe: IoUringCqe) -> Result<()> {
        match cqe.errno() {
            None | Some(Errno::ETIME) => Ok(()),
            Some(errno) => Err(KernelError::from_errno("timeout", errno)),
        }
    }
}

/// Waits until `file` is ready for one of `events`, bits of [`PollFlags`](super::PollFlags), and says for which.
/// poll(2).
///
/// ```
/// use std::os::unix::net::UnixStream;
/// use std::rc::Rc;
/// use pepita_io::{LocalRing, ops};
///
/// let ring = LocalRing::new(8)?;
/// let (ours, theirs) = UnixStream::pair()?;
/// let input = u32::from(ops::PollFlags::IN.bits());
/// let ready = ring.submit(ops::poll(&Rc::new(ours), input));
/// std::io::Write::write_all(&mut &theirs, b"x")?;
/// assert_eq!(ring.block_on(ready)?, input);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn poll<F: SharedFile>(file: &F, events: u32) -> Poll<F> {
    Poll {
        file: file.clone(),
        events,
    }
}

/// See [`poll`].
#[derive(Debug)]
pub struct Poll<F> {
    file: F,
    events: u32,
}

// SAFETY: it keeps the file.
unsafe impl<F: SharedFile> Operation for Poll<F> {
    type Output = Result<u32>;

    fn entry(&mut self) -> IoUringSqe {
        IoUringSqe::poll_add(self.file.number(), self.events, 0)
    }

    fn complete(self, cqe: IoUringCqe) -> Result<u32> {
        count("poll", cqe).map(|_| cqe.res.cast_unsigned())
    }
}
