#![expect(unsafe_code, reason = "pairs register operations with what they take")]
//! The register operations whose argument is one value that leads nowhere, or a number.

use core::marker::PhantomData;

use pepita_sys::error::Result;
use pepita_sys::io_uring::*;

use super::super::calls;
use super::probe::ProbeArg;

/// An operation that reads one `T`, and may write to it; `T` has no addresses.
///
/// # Invariants
/// * takes-one: the kernel takes `T` at the address `arg`, if it is told `nr_args`, and keeps none of it.
#[derive(Debug)]
pub(in crate::ring) struct Takes<T> {
    opcode: u32,
    nr_args: u32,
    _arg: PhantomData<fn(&mut T)>,
}

impl<T> Takes<T> {
    /// Private: takes-one is established by the table below.
    const fn new(opcode: u32, nr_args: u32) -> Self {
        Self {
            opcode,
            nr_args,
            _arg: PhantomData,
        }
    }

    /// Does the operation with the ring `fd`.
    pub(in crate::ring) fn call(&self, fd: i32, arg: &mut T) -> Result<u32> {
        let arg = core::ptr::from_mut(arg).expose_provenance();
        // SAFETY: takes-one; the value lives as long as the call.
        unsafe { calls::register(fd, self.opcode, arg, self.nr_args) }
    }
}

/// An operation that takes a number, or nothing.
///
/// # Invariants
/// * takes-no-memory: the kernel takes no address.
#[derive(Debug)]
pub(in crate::ring) struct TakesNumber {
    opcode: u32,
}

impl TakesNumber {
    /// Private: takes-no-memory is established by the table below.
    const fn new(opcode: u32) -> Self {
        Self { opcode }
    }

    /// Does the operation with the ring `fd`.
    pub(in crate::ring) fn call(&self, fd: i32, number: u32) -> Result<u32> {
        // SAFETY: takes-no-memory.
        unsafe { calls::register(fd, self.opcode, 0, number) }
    }
}

pub(super) const CLOCK: Takes<IoUringClockRegister> = Takes::new(IORING_REGISTER_CLOCK, 0);
pub(super) const CLONE_BUFFERS: Takes<IoUringCloneBuffers> =
    Takes::new(IORING_REGISTER_CLONE_BUFFERS, 1);
pub(super) const EVENTFD: Takes<i32> = Takes::new(IORING_REGISTER_EVENTFD, 1);
pub(super) const EVENTFD_ASYNC: Takes<i32> = Takes::new(IORING_REGISTER_EVENTFD_ASYNC, 1);
pub(super) const FILE_ALLOC_RANGE: Takes<IoUringFileIndexRange> =
    Takes::new(IORING_REGISTER_FILE_ALLOC_RANGE, 0);
pub(super) const IOWQ_MAX_WORKERS: Takes<[u32; 2]> =
    Takes::new(IORING_REGISTER_IOWQ_MAX_WORKERS, 2);
pub(super) const PBUF_STATUS: Takes<IoUringBufStatus> = Takes::new(IORING_REGISTER_PBUF_STATUS, 1);
pub(super) const PROBE: Takes<ProbeArg> = Takes::new(IORING_REGISTER_PROBE, ProbeArg::OPS_MAX);
/// No ring has `IORING_SETUP_NO_MMAP`, with which the structure has addresses.
pub(in crate::ring) const RESIZE_RINGS: Takes<IoUringParams> =
    Takes::new(IORING_REGISTER_RESIZE_RINGS, 1);
/// Of all operations, the kernel takes messages alone here, and of those no files.
pub(super) const SEND_MSG_RING: Takes<IoUringSqe> = Takes::new(IORING_REGISTER_SEND_MSG_RING, 1);
pub(super) const SYNC_CANCEL: Takes<IoUringSyncCancelReg> =
    Takes::new(IORING_REGISTER_SYNC_CANCEL, 1);

pub(super) const ENABLE_RINGS: TakesNumber = TakesNumber::new(IORING_REGISTER_ENABLE_RINGS);
pub(super) const PERSONALITY: TakesNumber = TakesNumber::new(IORING_REGISTER_PERSONALITY);
pub(super) const UNREGISTER_BUFFERS: TakesNumber = TakesNumber::new(IORING_UNREGISTER_BUFFERS);
pub(super) const UNREGISTER_EVENTFD: TakesNumber = TakesNumber::new(IORING_UNREGISTER_EVENTFD);
pub(super) const UNREGISTER_FILES: TakesNumber = TakesNumber::new(IORING_UNREGISTER_FILES);
pub(super) const UNREGISTER_IOWQ_AFF: TakesNumber = TakesNumber::new(IORING_UNREGISTER_IOWQ_AFF);
pub(super) const UNREGISTER_PERSONALITY: TakesNumber =
    TakesNumber::new(IORING_UNREGISTER_PERSONALITY);
