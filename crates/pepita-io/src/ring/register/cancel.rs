//! Cancelling, and waiting until it is done.

use pepita_sys::error::Result;
use pepita_sys::io_uring::{
    IORING_ASYNC_CANCEL_ALL, IORING_ASYNC_CANCEL_ANY, IORING_ASYNC_CANCEL_FD,
    IORING_ASYNC_CANCEL_FD_FIXED, IORING_ASYNC_CANCEL_OP, IoUringSyncCancelReg, Timespec,
};

use super::super::{CqEntry, Ring, SqEntry};
use super::operations;

/// Which operations are cancelled. Source: io_uring_register_sync_cancel(3).
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Cancel(IoUringSyncCancelReg);

impl Cancel {
    const fn matching(flags: u32) -> Self {
        Self(IoUringSyncCancelReg {
            addr: 0,
            fd: -1,
            flags,
            timeout: Timespec {
                tv_sec: -1,
                tv_nsec: -1,
            },
            opcode: 0,
            pad: [0; 7],
            pad2: [0; 3],
        })
    }

    /// The first one with this `user_data`.
    pub const fn user_data(user_data: u64) -> Self {
        let mut cancel = Self::matching(0);
        cancel.0.addr = user_data;
        cancel
    }

    /// The first one on the descriptor `fd`.
    pub const fn fd(fd: i32) -> Self {
        let mut cancel = Self::matching(IORING_ASYNC_CANCEL_FD);
        cancel.0.fd = fd;
        cancel
    }

    /// The first one on the file in `slot` of the file table.
    pub const fn fixed_file(slot: u32) -> Self {
        let mut cancel = Self::matching(IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_FD_FIXED);
        cancel.0.fd = slot.cast_signed();
        cancel
    }

    /// The first one of the operation `op` (`IORING_OP_`; Linux 6.6).
    pub const fn op(op: u8) -> Self {
        let mut cancel = Self::matching(IORING_ASYNC_CANCEL_OP);
        cancel.0.opcode = op;
        cancel
    }

    /// Everything that is in flight.
    pub const fn any() -> Self {
        Self::matching(IORING_ASYNC_CANCEL_ANY)
    }

    /// All that match, instead of the first.
    pub const fn all(mut self) -> Self {
        self.0.flags |= IORING_ASYNC_CANCEL_ALL;
        self
    }
}

impl<S: SqEntry, C: CqEntry> Ring<S, C> {
    /// Cancels what matches `cancel`. Each operation still has its last completion, with `ECANCELED` or what it
    /// had come to.
    ///
    /// A single operation has ended when this returns, however long that takes. Of several, those that a
    /// worker thread is in the middle of end later, as their completions tell. Returns how many were found
    /// by [`Cancel::all`] and [`Cancel::any`], and 0 for a single one.
    ///
    /// ```
    /// use pepita_io::ring::RingConfig;
    /// use pepita_io::ring::register::Cancel;
    /// use pepita_sys::error::Errno;
    ///
    /// let mut ring = RingConfig::new(8).build()?;
    /// let none = ring.cancel_sync(Cancel::user_data(7));
    /// assert_eq!(none.unwrap_err().to_errno(), Errno::ENOENT);
    /// assert_eq!(ring.cancel_sync(Cancel::any()), Ok(0));
    /// # Ok::<(), pepita_io::ring::SetupError>(())
    /// ```
    ///
    /// # Errors
    /// What io_uring_register(2) says: `ENOENT` when a single operation is not there, `EINTR` when a signal
    /// came while this waited, `EINVAL` for [`Cancel::op`] before Linux 6.6.
    pub fn cancel_sync(&mut self, cancel: Cancel) -> Result<u32> {
        let mut arg = cancel.0;
        operations::SYNC_CANCEL.call(self.fd(), &mut arg)
    }
}
