//! The error numbers that this crate's errors stand for.
//!
//! Source: include/uapi/asm-generic/errno-base.h and errno.h; the same on x86-64 and aarch64.

#[cfg(feature = "std")]
pub(crate) const EPERM: i32 = 1;
#[cfg(feature = "std")]
pub(crate) const EIO: i32 = 5;
pub(crate) const ENOMEM: i32 = 12;
#[cfg(feature = "std")]
pub(crate) const EACCES: i32 = 13;
pub(crate) const EFAULT: i32 = 14;
pub(crate) const EINVAL: i32 = 22;
pub(crate) const ERANGE: i32 = 34;
