#![expect(unsafe_code, reason = "pairs register operations with what they take")]
//! The register operations whose argument is one value that leads nowhere, or a number.

use core::marker::PhantomData;

use pepita_sys::error::Result;
use pepita_sys::io_uring::{
    IORING_REGISTER_CLONE_BUFFERS, IORING_REGISTER_FILE_ALLOC_RANGE, IORING_REGISTER_PBUF_STATUS,
    IORING_REGISTER_PROBE, IORING_UNREGISTER_BUFFERS, IORING_UNREGISTER_FILES, IoUringBufStatus,
    IoUringCloneBuffers, IoUringFileIndexRange,
};

use super::super::calls;
use super::probe::ProbeArg;

/// An operation that reads one `T`, and may write to it; `T` has no addresses.
///
/// # Invariants
/// * takes-one: the kernel takes `T` at the address `arg`, if it is told `nr_args`, and keeps none of it.
#[derive(Debug)]
pub(super) struct Takes<T> {
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
    pub(super) fn call(&self, fd: i32, arg: &mut T) -> Result<u32> {
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
pub(super) struct TakesNumber {
    opcode: u32,
}

impl TakesNumber {
    /// Does the operation with the ring `fd`.
    pub(super) fn call(&self, fd: i32, number: u32) -> Result<u32> {
        // SAFETY: takes-no-memory.
        unsafe { calls::register(fd, self.opcode, 0, number) }
    }
}

pub(super) const PROBE: Takes<ProbeArg> = Takes::new(IORING_REGISTER_PROBE, ProbeArg::OPS_MAX);
pub(super) const FILE_ALLOC_RANGE: Takes<IoUringFileIndexRange> =
    Takes::new(IORING_REGISTER_FILE_ALLOC_RANGE, 0);
pub(super) const CLONE_BUFFERS: Takes<IoUringCloneBuffers> =
    Takes::new(IORING_REGISTER_CLONE_BUFFERS, 1);
pub(super) const PBUF_STATUS: Takes<IoUringBufStatus> = Takes::new(IORING_REGISTER_PBUF_STATUS, 1);

pub(super) const UNREGISTER_BUFFERS: TakesNumber = TakesNumber {
    opcode: IORING_UNREGISTER_BUFFERS,
};
pub(super) const UNREGISTER_FILES: TakesNumber = TakesNumber {
    opcode: IORING_UNREGISTER_FILES,
};
