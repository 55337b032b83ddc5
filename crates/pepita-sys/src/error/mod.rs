//! What went wrong: [`Errno`] is the kernel's number, [`KernelError`] adds which operation failed.
//!
//! A program that mixes pepita's modules can use [`Result`] throughout: their own errors convert into
//! [`KernelError`], with the number kept. With the feature `std`, `std::io::Error` does too, and both convert
//! into that, for programs that return it.
//!
//! The operation and the number are all that a [`KernelError`] holds: what else the other error says, such as
//! who refuses io_uring and what to change, is in its own message. Show it before it is converted. A bare
//! [`Errno`], of a system call or a completion, does not convert: [`KernelError::from_errno`] names the operation.

mod errno;
#[cfg(any(test, feature = "std"))]
mod io;

use core::fmt;

#[cfg(test)]
pub(crate) use errno::CONSTANTS;
pub use errno::Errno;

/// What a system call or an answer of the kernel can say: the operation, and the error number.
///
/// ```
/// use pepita_sys::error::{Errno, KernelError};
///
/// let error = KernelError::from_errno("io_uring_setup", Errno::EPERM);
/// assert_eq!(error.to_string(), "io_uring_setup: EPERM (1): operation not permitted");
/// assert_eq!(error.to_errno(), Errno::EPERM);
/// assert!(!error.is_retriable());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KernelError {
    operation: &'static str,
    errno: Errno,
}

/// A result whose error is [`KernelError`].
pub type Result<T> = core::result::Result<T, KernelError>;

impl KernelError {
    /// `operation` failed with `errno`. The operation is named as its man page names it: `openat`.
    #[must_use]
    pub const fn from_errno(operation: &'static str, errno: Errno) -> Self {
        Self { operation, errno }
    }

    /// The error number.
    #[must_use]
    pub const fn to_errno(self) -> Errno {
        self.errno
    }

    /// What failed.
    #[must_use]
    pub const fn operation(self) -> &'static str {
        self.operation
    }

    /// Whether the same operation may succeed when tried again: see [`Errno::is_retriable`].
    #[must_use]
    pub const fn is_retriable(self) -> bool {
        self.errno.is_retriable()
    }
}

/// The number alone, for a block device that ends a request with what a call said.
///
/// ```
/// use pepita_sys::error::{Errno, KernelError};
///
/// let full = KernelError::from_errno("io_uring_enter", Errno::EBUSY);
/// assert_eq!(Errno::from(full), Errno::EBUSY);
/// ```
impl From<KernelError> for Errno {
    fn from(error: KernelError) -> Self {
        error.to_errno()
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.errno)
    }
}

impl core::error::Error for KernelError {}
