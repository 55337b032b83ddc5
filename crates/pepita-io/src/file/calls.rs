#![expect(unsafe_code, reason = "hands the memory of requests to the kernel")]
//! A [`Step`] as a system call, which returns when it is done.
//!
//! # Invariants
//! * *backed*, *listed*: the memory of a step is that of a request that has not ended, or a bounce buffer that is
//!   lent for the call, or static; so is the list.

use pepita_sys::error::Errno;

use super::job::{Memory, Step};

/// `_IO(0x12, 119)`: two numbers of 64 bits, offset and length. `include/uapi/linux/fs.h`
const BLKDISCARD: libc::Ioctl = 0x1277;

/// Does `step` on the file `fd`.
///
/// # Errors
/// What the system call says.
///
/// # Safety
/// * *backed*, *listed*, as long as the call.
/// * `fd` is an open file of the caller's, made to be changed in this way.
pub(super) unsafe fn call(fd: i32, step: Step<'_>) -> Result<usize, Errno> {
    match step {
        Step::Read { into, offset } => {
            let (list, count) = vector(&into);
            let offset = offset.cast_signed();
            // SAFETY: the caller's duty.
            returned(unsafe { libc::preadv2(fd, list, count, offset, 0) })
        }
        Step::Write {
            from,
            offset,
            durable,
        } => {
            let (list, count) = vector(&from);
            let offset = offset.cast_signed();
            let flags = if durable { libc::RWF_DSYNC } else { 0 };
            // SAFETY: the caller's duty.
            returned(unsafe { libc::pwritev2(fd, list, count, offset, flags) })
        }
        // SAFETY: the caller's duty; no memory is involved.
        Step::Sync => returned(unsafe { libc::fdatasync(fd) } as isize),
        Step::Punch { offset, len } => allocate(fd, libc::FALLOC_FL_PUNCH_HOLE, offset, len),
        Step::ZeroRange { offset, len } => allocate(fd, libc::FALLOC_FL_ZERO_RANGE, offset, len),
        Step::Discard { offset, len } => {
            let range = [offset, len];
            // SAFETY: the range lives as long as the call.
            returned(unsafe { libc::ioctl(fd, BLKDISCARD, range.as_ptr()) } as isize)
        }
    }
}

/// The kernel's list for `memory`, and the count of it: a segment has the layout of an iovec.
fn vector(memory: &Memory<'_>) -> (*const libc::iovec, i32) {
    let list = match memory {
        Memory::One(segment) => std::slice::from_ref(segment),
        Memory::List(list) => list,
    };
    (
        list.as_ptr().cast(),
        i32::try_from(list.len()).unwrap_or(i32::MAX),
    )
}

fn allocate(fd: i32, mode: i32, offset: u64, len: u64) -> Result<usize, Errno> {
    let mode = mode | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: numbers only.
    returned(unsafe { libc::fallocate(fd, mode, offset.cast_signed(), len.cast_signed()) } as isize)
}

/// What a function of the C library returned.
fn returned(value: isize) -> Result<usize, Errno> {
    usize::try_from(value).map_err(|_| super::backing::errno_of(&std::io::Error::last_os_error()))
}
