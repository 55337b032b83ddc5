#![expect(
    unsafe_code,
    reason = "operations promise to keep what their entries lead to"
)]
//! Operations on several buffers at once.

use pepita_sys::error::Result;
use pepita_sys::io_uring::{IoUringCqe, IoUringSqe, Iovec};

use super::{Operation, SharedFile, count};
use crate::buf::{IoBuf, IoBufMut};

/// Pieces of memory for the kernel: a list on the heap, which stays where it is.
#[derive(Debug, Default)]
pub(super) struct Pieces(Vec<Iovec>);

impl Pieces {
    /// The bytes of `bufs`.
    pub(super) fn of<B: IoBuf>(bufs: &[B]) -> Self {
        let piece = |buf: &B| {
            let bytes = buf.bytes();
            Iovec {
                iov_base: bytes.as_ptr().expose_provenance() as u64,
                iov_len: bytes.len() as u64,
            }
        };
        Self(bufs.iter().map(piece).collect())
    }

    /// The room of `bufs`.
    pub(super) fn of_mut<B: IoBufMut>(bufs: &mut [B]) -> Self {
        let piece = |buf: &mut B| {
            let (space, len) = buf.space();
            Iovec {
                iov_base: space.expose_provenance() as u64,
                iov_len: len as u64,
            }
        };
        Self(bufs.iter_mut().map(piece).collect())
    }

    pub(super) fn as_ptr(&self) -> *const Iovec {
        self.0.as_ptr()
    }

    /// How many there are. The kernel refuses more than 1,024 with `EINVAL`.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// Says that `count` bytes were written into `bufs`, one after the other.
    ///
    /// # Safety
    /// * They were, and this is the list of the room of `bufs`.
    pub(super) unsafe fn set_filled<B: IoBufMut>(&self, bufs: &mut [B], count: usize) {
        let mut left = count as u64;
        for (buf, piece) in bufs.iter_mut().zip(&self.0) {
            let here = left.min(piece.iov_len);
            left -= here;
            #[expect(clippy::cast_possible_truncation, reason = "no more than a length")]
            let here = here as usize;
            // SAFETY: the caller's duty: the kernel fills each before the next.
            unsafe { buf.set_filled(here) };
        }
    }
}

/// Reads from `offset` of `file` on into `bufs`, each of which is filled before the next, and gives them back
/// with the count of bytes, as [`read`](super::read). Up to 1,024 buffers. preadv(2).
///
/// ```
/// use std::{fs::File, rc::Rc};
/// use pepita_io::{LocalRing, ops};
///
/// let ring = LocalRing::new(8)?;
/// let file = Rc::new(File::open("/proc/self/stat")?);
/// let bufs = vec![vec![0; 2].into_boxed_slice(), vec![0; 3].into_boxed_slice()];
/// let (count, bufs) = ring.block_on(ring.submit(ops::readv(&file, bufs, 0)));
/// assert_eq!(count?, 5);
/// let pid = std::process::id().to_string();
/// assert!(bufs.concat().starts_with(pid[..pid.len().min(5)].as_bytes()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn readv<F: SharedFile, B: IoBufMut>(file: &F, bufs: Vec<B>, offset: u64) -> Readv<F, B> {
    Readv {
        file: file.clone(),
        bufs,
        pieces: Pieces::default(),
        offset,
    }
}

/// See [`readv`].
#[derive(Debug)]
pub struct Readv<F, B> {
    file: F,
    bufs: Vec<B>,
    pieces: Pieces,
    offset: u64,
}

// SAFETY: it keeps the file, the buffers stay put, and the list of them is on the heap.
unsafe impl<F: SharedFile, B: IoBufMut> Operation for Readv<F, B> {
    type Output = (Result<usize>, Vec<B>);

    fn entry(&mut self) -> IoUringSqe {
        self.pieces = Pieces::of_mut(&mut self.bufs);
        let (list, len) = (self.pieces.as_ptr(), self.pieces.count());
        IoUringSqe::readv(self.file.number(), list, len, self.offset, 0)
    }

    fn complete(mut self, cqe: IoUringCqe) -> Self::Output {
        let result = count("readv", cqe);
        if let Ok(count) = result {
            // SAFETY: the kernel wrote so many bytes to the list, which is that of the buffers.
            unsafe { self.pieces.set_filled(&mut self.bufs, count) };
        }
        (result, self.bufs)
    }
}

/// Writes `bufs`, one after the other, at `offset` of `file`, and gives them back with the count of bytes, as
/// [`write`](super::write()). Up to 1,024 buffers. pwritev(2).
///
/// ```
/// use std::rc::Rc;
/// use pepita_io::{LocalRing, ops};
///
/// let ring = LocalRing::new(8)?;
/// let file = Rc::new(tempfile::tempfile()?);
/// let (count, _) = ring.block_on(ring.submit(ops::writev(&file, vec!["head", "body"], 0)));
/// assert_eq!(count?, 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn writev<F: SharedFile, B: IoBuf>(file: &F, bufs: Vec<B>, offset: u64) -> Writev<F, B> {
    Writev {
        file: file.clone(),
        bufs,
        pieces: Pieces::default(),
        offset,
    }
}

/// See [`writev`].
#[derive(Debug)]
pub struct Writev<F, B> {
    file: F,
    bufs: Vec<B>,
    pieces: Pieces,
    offset: u64,
}

// SAFETY: it keeps the file, the buffers stay put, and the list of them is on the heap.
unsafe impl<F: SharedFile, B: IoBuf> Operation for Writev<F, B> {
    type Output = (Result<usize>, Vec<B>);

    fn entry(&mut self) -> IoUringSqe {
        self.pieces = Pieces::of(&self.bufs);
        let (list, len) = (self.pieces.as_ptr(), self.pieces.count());
        IoUringSqe::writev(self.file.number(), list, len, self.offset, 0)
    }

    fn complete(self, cqe: IoUringCqe) -> Self::Output {
        (count("writev", cqe), self.bufs)
    }
}
