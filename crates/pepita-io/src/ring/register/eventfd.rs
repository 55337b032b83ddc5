//! An eventfd that tells of completions.

use pepita_sys::error::Result;

use super::super::{CqEntry, Ring, SqEntry};
use super::operations;

impl<S: SqEntry, C: CqEntry> Ring<S, C> {
    /// Has `eventfd` count up when completions come: at least once for several that come together. It is a
    /// hint to look. The kernel keeps the eventfd open.
    ///
    /// # Errors
    /// What io_uring_register(2) says: `EBUSY` when there is one, `EINVAL` or `EBADF` for what is no eventfd.
    pub fn register_eventfd(&mut self, eventfd: i32) -> Result<()> {
        let mut arg = eventfd;
        operations::EVENTFD.call(self.fd(), &mut arg).map(drop)
    }

    /// As [`Self::register_eventfd`], but only for what does not complete within its submission.
    ///
    /// # Errors
    /// As [`Self::register_eventfd`].
    pub fn register_eventfd_async(&mut self, eventfd: i32) -> Result<()> {
        let mut arg = eventfd;
        operations::EVENTFD_ASYNC
            .call(self.fd(), &mut arg)
            .map(drop)
    }

    /// Ends it.
    ///
    /// # Errors
    /// What io_uring_register(2) says: `ENXIO` when there is none.
    pub fn unregister_eventfd(&mut self) -> Result<()> {
        operations::UNREGISTER_EVENTFD.call(self.fd(), 0).map(drop)
    }
}
