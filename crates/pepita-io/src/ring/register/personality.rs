//! Credentials that single operations run with.

use pepita_sys::error::{Errno, KernelError, Result};

use super::super::{CqEntry, Ring, SqEntry};
use super::operations;

impl<S: SqEntry, C: CqEntry> Ring<S, C> {
    /// Registers the calling thread's credentials, and returns the id by which entries name them:
    /// [`personality`](pepita_sys::io_uring::IoUringSqe::personality).
    ///
    /// # Errors
    /// What io_uring_register(2) says.
    pub fn register_personality(&mut self) -> Result<u16> {
        let id = operations::PERSONALITY.call(self.fd(), 0)?;
        u16::try_from(id)
            .map_err(|_| KernelError::from_errno("io_uring_register", Errno::EOVERFLOW))
    }

    /// Forgets the credentials `id`. Operations in flight keep them.
    ///
    /// # Errors
    /// What io_uring_register(2) says: `EINVAL` when there are none.
    pub fn unregister_personality(&mut self, id: u16) -> Result<()> {
        operations::UNREGISTER_PERSONALITY
            .call(self.fd(), u32::from(id))
            .map(drop)
    }
}
