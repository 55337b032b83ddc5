//! System calls without a C library, on x86-64 and aarch64.
//!
//! [`raw`] makes any call by its number; the functions here are those that pepita makes itself, with
//! checked arguments where a check is possible. A result is an [`Errno`](crate::error::Errno) or the
//! value; nothing goes through a C library's `errno`, so all of it may be used where there is none.
//!
//! ```
//! use pepita_sys::syscall::{self, AT_FDCWD, O_CLOEXEC, O_RDONLY};
//!
//! let file = syscall::openat(AT_FDCWD, c"/proc/self/comm", O_RDONLY | O_CLOEXEC, 0)?;
//! let mut name = [0; 64];
//! let len = file.read(&mut name)?;
//! assert_eq!(name[len - 1], b'\n');
//! # Ok::<(), pepita_sys::error::Errno>(())
//! ```

mod calls;
mod constants;
pub mod raw;

pub use calls::{
    Fd, exit_group, io_uring_enter, io_uring_register, io_uring_setup, mmap, munmap, openat,
};
pub use constants::*;
