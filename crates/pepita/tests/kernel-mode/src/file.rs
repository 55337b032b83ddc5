#![expect(unsafe_code, reason = "pushes entries that lead to memory")]
//! A file through the ring: made, written, synced, read back, compared, removed.
//!
//! # Invariants
//! * outlives-run: blocks and names outlive [`Operations::run`], and a failure ends the process.

use core::ffi::CStr;

use pepita::error::Errno;
use pepita::io_uring::{IoUringCqe, IoUringSqe};
use pepita::memory::{BuddyAllocator, Order};
use pepita::syscall::{AT_FDCWD, O_CLOEXEC, O_CREAT, O_EXCL, O_RDWR};

use crate::frames::{self, Memory};
use crate::operations::Operations;
use crate::{Failure, expect};

const NAME: &CStr = c"kernel-mode.file";
/// Bytes: 64 KiB.
const ORDER: Order = Order::new(4);

/// What the operation `name` returned.
fn result(name: &'static str, cqe: &IoUringCqe) -> Result<u32, Failure> {
    cqe.result().map_err(|errno| Failure::of(name, errno))
}

/// Does all of it with blocks of `frames`; says how many bytes went there and back.
pub(crate) fn check(
    operations: &mut Operations<'_>,
    memory: &Memory,
    frames: &mut BuddyAllocator<'_>,
) -> Result<u32, Failure> {
    let right = |question, is_right| expect("file", question, is_right);
    let (there, back) = (frames::take(frames, ORDER)?, frames::take(frames, ORDER)?);
    // SAFETY: one-owner: it was just given out.
    let written = unsafe { memory.block(there, ORDER) };
    // SAFETY: one-owner: it was just given out.
    let read = unsafe { memory.block(back, ORDER) };
    fill(written);
    read.fill(0);
    let len = u32::try_from(written.len()).map_err(|_| Failure::of("write", Errno::EINVAL))?;

    let make = IoUringSqe::openat(
        AT_FDCWD,
        NAME.as_ptr(),
        O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
        0o600,
    );
    // SAFETY: outlives-run.
    let [made] = unsafe { operations.run([make]) }?;
    let fd = result("openat", &made)?.cast_signed();

    let chain = [
        IoUringSqe::write(fd, written.as_ptr(), len, 0),
        IoUringSqe::fsync(fd, 0),
        IoUringSqe::read(fd, read.as_mut_ptr(), len, 0),
        IoUringSqe::close(fd),
        IoUringSqe::unlinkat(AT_FDCWD, NAME.as_ptr(), 0),
    ];
    // SAFETY: outlives-run.
    let done = unsafe { operations.run(chain) }?;
    let [wrote, synced, was_read, closed, removed] = &done;
    right("all bytes were written", result("write", wrote)? == len)?;
    result("fsync", synced)?;
    right("all bytes were read", result("read", was_read)? == len)?;
    result("close", closed)?;
    result("unlinkat", removed)?;
    right("the bytes are the same", read == written)?;

    let look = IoUringSqe::openat(AT_FDCWD, NAME.as_ptr(), O_RDWR | O_CLOEXEC, 0);
    // SAFETY: outlives-run.
    let [looked] = unsafe { operations.run([look]) }?;
    right("the file is gone", looked.errno() == Some(Errno::ENOENT))?;

    frames::give(frames, there, ORDER)?;
    frames::give(frames, back, ORDER)?;
    right("the blocks are whole again", frames::is_whole(frames))?;
    Ok(len)
}

/// Fills a block so that no two of its pages are alike.
fn fill(block: &mut [u8]) {
    // The multiplier and increment of a full-period generator modulo 2^32 (Knuth, TAOCP 3.3.4).
    let mut state = 1_u32;
    for byte in block {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = state.to_be_bytes()[0];
    }
}
