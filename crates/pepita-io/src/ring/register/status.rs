//! How far the kernel is in a ring of provided buffers.

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::IoUringBufStatus;

use super::super::{CqEntry, Ring, SqEntry};
use super::operations;

impl<S: SqEntry, C: CqEntry> Ring<S, C> {
    /// The position of the buffer of `group` that the kernel uses next (Linux 6.8), counted as
    /// [`BufferRing::tail`](super::super::BufferRing::tail): it has moved past all before.
    ///
    /// # Errors
    /// What io_uring_register(2) says: `ENOENT` without such a group, `EINVAL` on an older kernel.
    pub fn buffer_ring_head(&self, group: u16) -> Result<u16> {
        let mut status = IoUringBufStatus {
            buf_group: u32::from(group),
            ..IoUringBufStatus::default()
        };
        operations::PBUF_STATUS.call(self.fd(), &mut status)?;
        u16::try_from(status.head)
            .map_err(|_| KernelError::from_errno("io_uring_register", Errno::EOVERFLOW))
    }
}
