//! Completion queue entries.

use super::flags::{
    IORING_CQE_BUFFER_SHIFT, IORING_CQE_F_BUFFER, IORING_CQE_F_MORE, IORING_CQE_F_NOTIF,
};
use crate::error::Errno;

structs! {
    /// A completion: how one operation went.
    ///
    /// ```
    /// use pepita_sys::error::Errno;
    /// use pepita_sys::io_uring::IoUringCqe;
    ///
    /// let read = IoUringCqe { user_data: 7, res: 512, flags: 0 };
    /// assert_eq!(read.result(), Ok(512));
    /// let failed = IoUringCqe { user_data: 7, res: -2, flags: 0 };
    /// assert_eq!(failed.errno(), Some(Errno::ENOENT));
    /// ```
    IoUringCqe = "io_uring_cqe", 16 {
        /// What the SQE carried.
        user_data: u64 = 0,
        /// Result from 0 upwards, or an error number with its sign turned.
        res: i32 = 8,
        /// `IORING_CQE_F_` flags.
        flags: u32 = 12 [big_cqe],
    }
}

impl IoUringCqe {
    /// Whether the operation succeeded: `res` is not below 0.
    #[inline]
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.res >= 0
    }

    /// The error, if it failed.
    #[inline]
    #[must_use]
    pub const fn errno(&self) -> Option<Errno> {
        Errno::of_result(self.res)
    }

    /// `res`: a count or descriptor, or the error.
    ///
    /// # Errors
    /// The operation's, if it failed.
    #[inline]
    pub const fn result(&self) -> Result<u32, Errno> {
        match self.errno() {
            Some(errno) => Err(errno),
            None => Ok(self.res.cast_unsigned()),
        }
    }

    /// Whether more completions of the same SQE follow.
    #[inline]
    #[must_use]
    pub const fn has_more(&self) -> bool {
        self.flags & IORING_CQE_F_MORE != 0
    }

    /// Whether this is the notification of a zero-copy send: its buffer is free.
    #[inline]
    #[must_use]
    pub const fn is_notification(&self) -> bool {
        self.flags & IORING_CQE_F_NOTIF != 0
    }

    /// The id of the provided buffer that the kernel picked, if it did.
    #[inline]
    #[must_use]
    pub const fn buffer_id(&self) -> Option<u16> {
        if self.flags & IORING_CQE_F_BUFFER == 0 {
            return None;
        }
        Some((self.flags >> IORING_CQE_BUFFER_SHIFT) as u16)
    }
}

/// A completion of 32 bytes, in rings with [`IORING_SETUP_CQE32`](super::IORING_SETUP_CQE32) or, with
/// [`IORING_CQE_F_32`](super::IORING_CQE_F_32), of mixed sizes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct IoUringCqe32 {
    /// The first half, which has a small completion's shape.
    pub cqe: IoUringCqe,
    /// What else the operation says.
    pub big_cqe: [u64; 2],
}

const _: () = assert!(size_of::<IoUringCqe32>() == 2 * size_of::<IoUringCqe>());

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_completion_is_a_result_or_an_error(cqe: IoUringCqe, large: IoUringCqe32) {
            for cqe in [cqe, large.cqe] {
                prop_assert_eq!(cqe.is_success(), cqe.errno().is_none());
                match cqe.result() {
                    Ok(value) => prop_assert_eq!(i64::from(value), i64::from(cqe.res)),
                    Err(errno) => prop_assert_eq!(errno.raw(), -cqe.res),
                }
            }
        }
    }
}
