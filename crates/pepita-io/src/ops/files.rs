#![expect(
    unsafe_code,
    reason = "operations promise to keep what their entries lead to"
)]
//! Operations on open files.

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use pepita_sys::error::Result;
use pepita_sys::io_uring::{IORING_FSYNC_DATASYNC, IoUringCqe, IoUringSqe};
use rustix::fs::FallocateFlags;

use super::{NOT_STARTED, Operation, SharedFile, count, done};
use crate::buf::{IoBuf, IoBufMut};

/// The offset that stands for the file's own position.
pub const POSITION: u64 = u64::MAX;

/// The most bytes of one transfer: as in read(2), what fits into an `int`, in whole pages.
const TRANSFER_MAX: usize = 0x7fff_f000;

/// A length as an entry has it.
pub(super) fn transfer_len(len: usize) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the limit has 31 bits")]
    let len = len.min(TRANSFER_MAX) as u32;
    len
}

/// Reads from `offset` of `file` on into `buf`, and gives it back with the count of bytes, which may be fewer
/// than there is room for: 0 at the end of the file, and where there is no room. [`POSITION`] is the file's own
/// position. pread(2).
///
/// A vector has room for its capacity, and what was in it is overwritten. A [`Part`](crate::buf::Part) of a
/// vector has room within the vector's length only.
///
/// ```
/// use std::{fs::File, rc::Rc};
/// use pepita_io::{LocalRing, ops};
///
/// let ring = LocalRing::new(8)?;
/// let file = Rc::new(File::open("/proc/self/comm")?);
/// let (count, name) = ring.block_on(ring.submit(ops::read(&file, Vec::with_capacity(64), 0)));
/// assert_eq!(name.len(), count?);
/// assert_eq!(name.last(), Some(&b'\n'));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read<F: SharedFile, B: IoBufMut>(file: &F, buf: B, offset: u64) -> Read<F, B> {
    Read {
        file: file.clone(),
        buf,
        offset,
    }
}

/// See [`read`].
#[derive(Debug)]
pub struct Read<F, B> {
    file: F,
    buf: B,
    offset: u64,
}

// SAFETY: it keeps the file, and the buffer stays put.
unsafe impl<F: SharedFile, B: IoBufMut> Operation for Read<F, B> {
    type Output = (Result<usize>, B);

    #[inline]
    fn entry(&mut self) -> IoUringSqe {
        let (space, len) = self.buf.space();
        IoUringSqe::read(self.file.number(), space, transfer_len(len), self.offset)
    }

    #[inline]
    fn complete(mut self, cqe: IoUringCqe) -> Self::Output {
        let result = count("read", cqe);
        if let Ok(count) = result {
            // SAFETY: the kernel wrote so many bytes to the space, which is at least that long.
            unsafe { self.buf.set_filled(count) };
        }
        (result, self.buf)
    }
}

/// Writes `buf` at `offset` of `file`, and gives it back with the count of bytes, which may be fewer.
/// [`POSITION`] is the file's own position. pwrite(2).
///
/// [`LocalRing::write_all`](crate::LocalRing::write_all) goes on until all is written.
///
/// ```
/// use std::rc::Rc;
/// use pepita_io::{LocalRing, ops};
///
/// let ring = LocalRing::new(8)?;
/// let file = Rc::new(tempfile::tempfile()?);
/// let (count, text) = ring.block_on(ring.submit(ops::write(&file, b"text".to_vec(), 0)));
/// assert_eq!((count?, &text[..]), (4, &b"text"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write<F: SharedFile, B: IoBuf>(file: &F, buf: B, offset: u64) -> Write<F, B> {
    Write {
        file: file.clone(),
        buf,
        offset,
    }
}

/// See [`write()`].
#[derive(Debug)]
pub struct Write<F, B> {
    file: F,
    buf: B,
    offset: u64,
}

// SAFETY: it keeps the file, and the buffer stays put.
unsafe impl<F: SharedFile, B: IoBuf> Operation for Write<F, B> {
    type Output = (Result<usize>, B);

    #[inline]
    fn entry(&mut self) -> IoUringSqe {
        let bytes = self.buf.bytes();
        IoUringSqe::write(
            self.file.number(),
            bytes.as_ptr(),
            transfer_len(bytes.len()),
            self.offset,
        )
    }

    #[inline]
    fn complete(self, cqe: IoUringCqe) -> Self::Output {
        (count("write", cqe), self.buf)
    }
}

/// Makes what was written to `file` durable. fsync(2).
pub fn fsync<F: SharedFile>(file: &F) -> Fsync<F> {
    Fsync {
        file: file.clone(),
        flags: 0,
    }
}

/// Makes the data that was written to `file` durable, and as much of the rest as is needed to read it back.
/// fdatasync(2).
pub fn fdatasync<F: SharedFile>(file: &F) -> Fsync<F> {
    Fsync {
        flags: IORING_FSYNC_DATASYNC,
        ..fsync(file)
    }
}

/// See [`fsync`] and [`fdatasync`].
#[derive(Debug)]
pub struct Fsync<F> {
    file: F,
    flags: u32,
}

// SAFETY: it keeps the file.
unsafe impl<F: SharedFile> Operation for Fsync<F> {
    type Output = Result<()>;

    fn entry(&mut self) -> IoUringSqe {
        IoUringSqe::fsync(self.file.number(), self.flags)
    }

    fn complete(self, cqe: IoUringCqe) -> Result<()> {
        done("fsync", cqe)
    }
}

/// Closes `file`, and says what a drop cannot: a late error of an earlier write. close(2).
///
/// One that is cancelled may leave the descriptor open for good: whether the kernel closed it is not known then.
#[must_use]
pub fn close(file: OwnedFd) -> Close {
    Close(file)
}

/// See [`close`].
#[derive(Debug)]
pub struct Close(OwnedFd);

// SAFETY: its entry leads nowhere, and the descriptor is its own.
unsafe impl Operation for Close {
    type Output = Result<()>;

    fn entry(&mut self) -> IoUringSqe {
        IoUringSqe::close(self.0.as_raw_fd())
    }

    fn complete(self, cqe: IoUringCqe) -> Result<()> {
        // What the kernel got, it may have closed, whatever it says: one that it did not is leaked, since
        // its number may be another file's by now.
        if cqe.user_data != NOT_STARTED {
            let _ = self.0.into_raw_fd();
        }
        done("close", cqe)
    }
}

/// Moves up to `len` bytes from `from` to `to`, one of which is a pipe. An offset is [`POSITION`] for the
/// file's own position, and for a pipe. splice(2).
pub fn splice<F: SharedFile, G: SharedFile>(
    from: &F,
    from_offset: u64,
    to: &G,
    to_offset: u64,
    len: usize,
) -> Splice<F, G> {
    Splice {
        from: from.clone(),
        from_offset,
        to: to.clone(),
        to_offset,
        len: transfer_len(len),
    }
}

/// See [`splice`].
#[derive(Debug)]
pub struct Splice<F, G> {
    from: F,
    from_offset: u64,
    to: G,
    to_offset: u64,
    len: u32,
}

// SAFETY: it keeps both files.
unsafe impl<F: SharedFile, G: SharedFile> Operation for Splice<F, G> {
    type Output = Result<usize>;

    fn entry(&mut self) -> IoUringSqe {
        let (from, to) = (self.from.number(), self.to.number());
        IoUringSqe::splice(from, self.from_offset, to, self.to_offset, self.len, 0)
    }

    fn complete(self, cqe: IoUringCqe) -> Self::Output {
        count("splice", cqe)
    }
}

/// Allocates, zeroes or frees `len` bytes from `offset` on. fallocate(2).
pub fn fallocate<F: SharedFile>(
    file: &F,
    mode: FallocateFlags,
    offset: u64,
    len: u64,
) -> Fallocate<F> {
    Fallocate {
        file: file.clone(),
        mode,
        offset,
        len,
    }
}

/// See [`fallocate`].
#[derive(Debug)]
pub struct Fallocate<F> {
    file: F,
    mode: FallocateFlags,
    offset: u64,
    len: u64,
}

// SAFETY: it keeps the file.
unsafe impl<F: SharedFile> Operation for Fallocate<F> {
    type Output = Result<()>;

    fn entry(&mut self) -> IoUringSqe {
        IoUringSqe::fallocate(self.file.number(), self.mode.bits(), self.offset, self.len)
    }

    fn complete(self, cqe: IoUringCqe) -> Result<()> {
        done("fallocate", cqe)
    }
}
