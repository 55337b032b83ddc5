#![expect(
    unsafe_code,
    reason = "a completion that is sent is a promise to who takes it"
)]
//! Completions sent to other rings.

use pepita_sys::error::Result;
use pepita_sys::io_uring::IoUringSqe;

use super::operations;

/// Posts a completion with `res` and `user_data` on the ring whose descriptor is `ring_fd`; the sender needs
/// no ring, and can be another thread (Linux 6.13).
///
/// A sender that has a ring pushes [`IoUringSqe::msg_ring`] instead, on older kernels too.
///
/// # Errors
/// What io_uring_register(2) says: `EBADF` or `EBADFD` for what is no ring, `EINVAL` on an older kernel.
///
/// # Safety
/// * Who takes that ring's completions expects one with this `user_data` from outside, and does not mistake
///   it for the end of an operation in flight.
pub unsafe fn send_message(ring_fd: i32, res: i32, user_data: u64) -> Result<()> {
    let mut sqe = IoUringSqe::msg_ring(ring_fd, res.cast_unsigned(), user_data, 0);
    operations::SEND_MSG_RING.call(-1, &mut sqe).map(drop)
}
