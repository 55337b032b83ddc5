//! Provided buffers, given one group at a time by operations.

use super::super::sqe::address;
use super::super::*;

impl IoUringSqe {
    /// Gives the kernel `nr` buffers of `len` bytes each, one behind the other from `addr` on, as buffers
    /// `bid` and following of `group`.
    #[inline]
    #[must_use]
    pub fn provide_buffers(addr: *mut u8, len: u32, nr: u16, group: u16, bid: u16) -> Self {
        let mut sqe = Self::new(IORING_OP_PROVIDE_BUFFERS, nr as i32, address(addr), len);
        sqe.off = bid as u64;
        sqe.buf_index = group;
        sqe
    }

    /// Takes up to `nr` buffers of `group` back; the result is how many there were.
    #[inline]
    #[must_use]
    pub const fn remove_buffers(nr: u16, group: u16) -> Self {
        let mut sqe = Self::new(IORING_OP_REMOVE_BUFFERS, nr as i32, 0, 0);
        sqe.buf_index = group;
        sqe
    }
}
