#![expect(unsafe_code, reason = "enters the kernel with what was pushed")]
//! The three system calls of io_uring, as a ring makes them.
//!
//! # Invariants
//! * pushed-lives: whoever pushed an entry promised that what it leads to is the kernel's until its last
//!   completion ([`Ring::push`](super::Ring::push)).

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::{
    IORING_ENTER_EXT_ARG, IORING_ENTER_REGISTERED_RING, IORING_REGISTER_RING_FDS,
    IORING_SETUP_NO_MMAP, IORING_SETUP_REGISTERED_FD_ONLY, IORING_UNREGISTER_RING_FDS,
    IoUringGeteventsArg, IoUringParams, IoUringRsrcUpdate,
};
use pepita_sys::syscall::{self, Fd};

/// io_uring_setup(2), with memory of the kernel's and a descriptor.
pub(super) fn setup(entries: u32, params: &mut IoUringParams) -> core::result::Result<Fd, Errno> {
    debug_assert!(params.flags & (IORING_SETUP_NO_MMAP | IORING_SETUP_REGISTERED_FD_ONLY) == 0);
    // SAFETY: without `NO_MMAP`, no memory of ours is involved.
    let fd = unsafe { syscall::io_uring_setup(entries, params) }?;
    // SAFETY: open-fd: the kernel just made it, and it is no index.
    Ok(unsafe { Fd::from_raw(fd) })
}

/// The number by which a thread enters its ring: the descriptor, or the index that spares the kernel the
/// look-up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entrance {
    number: i32,
    flags: u32,
}

impl Entrance {
    /// Registers the ring with the calling thread, which has 16 places for that; without one, the
    /// descriptor serves.
    pub(super) fn register(fd: &Fd) -> Self {
        let by_fd = Self {
            number: fd.as_raw(),
            flags: 0,
        };
        let mut update = IoUringRsrcUpdate {
            offset: u32::MAX,
            resv: 0,
            data: u64::from(fd.as_raw().cast_unsigned()),
        };
        let arg = core::ptr::from_mut(&mut update).expose_provenance();
        // SAFETY: slice-lives; the operation takes one such structure, and writes the index to it.
        match unsafe { syscall::io_uring_register(fd.as_raw(), IORING_REGISTER_RING_FDS, arg, 1) } {
            Ok(1) => Self {
                number: update.offset.cast_signed(),
                flags: IORING_ENTER_REGISTERED_RING,
            },
            _ => by_fd,
        }
    }

    /// Whether it is an index.
    pub(super) const fn is_registered(self) -> bool {
        self.flags != 0
    }

    /// Gives the place up; the registration would keep the ring alive as long as the thread.
    pub(super) fn unregister(self, fd: &Fd) {
        if !self.is_registered() {
            return;
        }
        let update = IoUringRsrcUpdate {
            offset: self.number.cast_unsigned(),
            ..IoUringRsrcUpdate::default()
        };
        let arg = core::ptr::from_ref(&update).expose_provenance();
        // SAFETY: slice-lives; the operation takes one such structure.
        let _ =
            unsafe { syscall::io_uring_register(fd.as_raw(), IORING_UNREGISTER_RING_FDS, arg, 1) };
    }

    /// io_uring_enter(2) with the argument `arg`, of the size that `flags` make of it.
    #[inline]
    fn enter_raw(
        self,
        to_submit: u32,
        want: u32,
        flags: u32,
        arg: usize,
        size: usize,
    ) -> Result<u32> {
        let flags = flags | self.flags;
        // SAFETY: pushed-lives; the callers below pass an argument that fits.
        unsafe { syscall::io_uring_enter(self.number, to_submit, want, flags, arg, size) }
            .map_err(|errno| KernelError::from_errno("io_uring_enter", errno))
    }

    /// io_uring_enter(2) without an argument.
    #[inline]
    pub(super) fn enter(self, to_submit: u32, want: u32, flags: u32) -> Result<u32> {
        self.enter_raw(to_submit, want, flags, 0, 0)
    }

    /// io_uring_enter(2) with a time or a signal set.
    pub(super) fn enter_with(
        self,
        to_submit: u32,
        want: u32,
        flags: u32,
        arg: &IoUringGeteventsArg,
    ) -> Result<u32> {
        let flags = flags | IORING_ENTER_EXT_ARG;
        let address = core::ptr::from_ref(arg).expose_provenance();
        self.enter_raw(to_submit, want, flags, address, size_of_val(arg))
    }
}
