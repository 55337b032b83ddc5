#![expect(unsafe_code, reason = "a buffer's rest stays where the buffer does")]
//! Transfers that go on until they are whole.
//!
//! Each is a loop over an operation, started by whoever has the ring.

use std::future::Future;

use pepita_sys::error::{Errno, KernelError, Result};

use super::{POSITION, Read, SharedFile, Write, read, write};
use crate::buf::{IoBuf, IoBufMut};

/// What is left of a buffer in [`LocalRing::read_exact`](crate::LocalRing::read_exact) and
/// [`write_all`](crate::LocalRing::write_all).
#[derive(Debug)]
pub struct Rest<B> {
    buf: B,
    /// So many bytes from the beginning are read or written; no more than there are.
    done: usize,
}

// SAFETY: stays-put: a part of what does.
unsafe impl<B: IoBuf> IoBuf for Rest<B> {
    fn bytes(&self) -> &[u8] {
        self.buf.bytes().get(self.done..).unwrap_or_default()
    }
}

// SAFETY: stays-put: a part of what does.
unsafe impl<B: IoBufMut> IoBufMut for Rest<B> {
    fn space(&mut self) -> (*mut u8, usize) {
        let (space, len) = self.buf.space();
        let done = self.done.min(len);
        (space.wrapping_add(done), len - done)
    }

    unsafe fn set_filled(&mut self, len: usize) {
        // SAFETY: those before it were filled by the transfers before, and these by the caller's duty.
        unsafe { self.buf.set_filled(self.done + len) };
    }
}

/// Reads from `offset` on until `buf` is full, by reads that `start` starts.
pub(crate) async fn read_exact<F, B, S>(
    start: impl Fn(Read<F, Rest<B>>) -> S,
    file: F,
    buf: B,
    offset: u64,
) -> (Result<()>, B)
where
    F: SharedFile,
    B: IoBufMut,
    S: Future<Output = (Result<usize>, Rest<B>)>,
{
    let mut rest = Rest { buf, done: 0 };
    while rest.space().1 > 0 {
        let at = behind(offset, rest.done);
        let (count, back) = start(read(&file, rest, at)).await;
        rest = back;
        match step("read_exact", count, Errno::ENODATA) {
            Ok(count) => rest.done += count,
            Err(error) => return (Err(error), rest.buf),
        }
    }
    (Ok(()), rest.buf)
}

/// Writes all of `buf` at `offset`, by writes that `start` starts.
pub(crate) async fn write_all<F, B, S>(
    start: impl Fn(Write<F, Rest<B>>) -> S,
    file: F,
    buf: B,
    offset: u64,
) -> (Result<()>, B)
where
    F: SharedFile,
    B: IoBuf,
    S: Future<Output = (Result<usize>, Rest<B>)>,
{
    let mut rest = Rest { buf, done: 0 };
    while !rest.bytes().is_empty() {
        let at = behind(offset, rest.done);
        let (count, back) = start(write(&file, rest, at)).await;
        rest = back;
        match step("write_all", count, Errno::ENOSPC) {
            Ok(count) => rest.done += count,
            Err(error) => return (Err(error), rest.buf),
        }
    }
    (Ok(()), rest.buf)
}

/// Where the next transfer begins.
const fn behind(offset: u64, done: usize) -> u64 {
    match offset {
        POSITION => POSITION,
        offset => offset.saturating_add(done as u64),
    }
}

/// How far a transfer got: a signal in a worker is no end, and nothing at all is `end`.
fn step(operation: &'static str, count: Result<usize>, end: Errno) -> Result<usize> {
    match count {
        Ok(0) => Err(KernelError::from_errno(operation, end)),
        Err(error) if error.to_errno() == Errno::EINTR => Ok(0),
        count => count,
    }
}
