#![expect(
    unsafe_code,
    reason = "operations promise to keep what their entries lead to"
)]
//! Operations on files.

use std::ffi::CString;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::{IORING_FSYNC_DATASYNC, IoUringCqe, IoUringSqe};
use pepita_sys::syscall::{AT_FDCWD, O_CLOEXEC};

use super::{Operation, SharedFile, count, done};
use crate::buf::{IoBuf, IoBufMut};

/// The offset that stands for the file's own position.
pub const POSITION: u64 = u64::MAX;

/// The most bytes of one transfer: as in read(2), what fits into an `int`, in whole pages.
const TRANSFER_MAX: usize = 0x7fff_f000;

/// A length as an entry has it.
fn transfer_len(len: usize) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the limit has 31 bits")]
    let len = len.min(TRANSFER_MAX) as u32;
    len
}

/// Reads from `offset` of `file` on into `buf`, and gives it back with the count of bytes: 0 at the end of
/// the file. [`POSITION`] is the file's own position. pread(2).
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
pub fn write<F: SharedFile, B: IoBuf>(file: &F, buf: B, offset: u64) -> Write<F, B> {
    Write {
        file: file.clone(),
        buf,
        offset,
    }
}

/// See [`write`].
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

/// Opens `path` with `O_` flags, `O_CLOEXEC` among them; `mode` holds the permission bits of a file that is
/// made. open(2).
///
/// ```
/// use pepita_io::{LocalRing, ops};
/// use pepita_sys::syscall::O_RDONLY;
///
/// let ring = LocalRing::new(8)?;
/// let null = ring.block_on(ring.submit(ops::open("/dev/null", O_RDONLY, 0)?))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `EINVAL` when the path has a zero byte.
pub fn open(path: impl AsRef<Path>, flags: u32, mode: u32) -> Result<Open> {
    let path = CString::new(path.as_ref().as_os_str().as_bytes())
        .map_err(|_| KernelError::from_errno("open", Errno::EINVAL))?;
    Ok(Open {
        path,
        flags: flags | O_CLOEXEC,
        mode,
    })
}

/// See [`open`].
#[derive(Debug)]
pub struct Open {
    path: CString,
    flags: u32,
    mode: u32,
}

// SAFETY: the path is on the heap.
unsafe impl Operation for Open {
    type Output = Result<OwnedFd>;

    fn entry(&mut self) -> IoUringSqe {
        IoUringSqe::openat(AT_FDCWD, self.path.as_ptr(), self.flags, self.mode)
    }

    fn complete(self, cqe: IoUringCqe) -> Result<OwnedFd> {
        done("open", cqe)?;
        // SAFETY: the kernel opened it for us.
        Ok(unsafe { OwnedFd::from_raw_fd(cqe.res) })
    }
}
