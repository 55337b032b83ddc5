#![expect(unsafe_code, reason = "calls the kernel with pointers")]
//! The calls that pepita makes itself.
//!
//! # Invariants
//! * open-fd: the number in an [`Fd`] is an open descriptor that nobody else closes.
//! * slice-lives: a slice or a string is live memory of its length as long as the call that borrows it.

use core::ffi::CStr;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use super::constants::nr;
use super::raw;
use crate::error::Errno;

/// A C `int` as the kernel takes it in a register.
const fn word(value: i32) -> usize {
    (value as isize).cast_unsigned()
}

/// An open file descriptor; dropping it closes it.
///
/// # Invariants
/// * open-fd: the number is an open descriptor that nobody else closes.
#[derive(Debug)]
pub struct Fd(i32);

impl Fd {
    /// Takes over the descriptor `fd`.
    ///
    /// # Safety
    /// * `fd` is open, and nobody else closes it (open-fd).
    #[must_use]
    pub const unsafe fn from_raw(fd: i32) -> Self {
        Self(fd)
    }

    /// The number, which stays ours.
    #[must_use]
    pub const fn as_raw(&self) -> i32 {
        self.0
    }

    /// The number, which the caller has to close.
    #[must_use]
    pub fn into_raw(self) -> i32 {
        ManuallyDrop::new(self).0
    }

    /// Reads up to `buf.len()` bytes from the file's position on, and says how many; 0 is the end.
    /// read(2).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read(&self, buf: &mut [u8]) -> Result<usize, Errno> {
        let addr = buf.as_mut_ptr().expose_provenance();
        // SAFETY: open-fd; slice-lives.
        unsafe { raw::syscall3(nr::READ, word(self.0), addr, buf.len()) }
    }

    /// Writes up to `buf.len()` bytes from the file's position on, and says how many. write(2).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn write(&self, buf: &[u8]) -> Result<usize, Errno> {
        let addr = buf.as_ptr().expose_provenance();
        // SAFETY: open-fd; slice-lives.
        unsafe { raw::syscall3(nr::WRITE, word(self.0), addr, buf.len()) }
    }

    /// Closes it. The descriptor is gone also when this fails. close(2).
    ///
    /// # Errors
    /// What the kernel says, such as a late `EIO` of an earlier write.
    pub fn close(self) -> Result<(), Errno> {
        // SAFETY: open-fd; `into_raw` keeps the drop from closing it a second time.
        unsafe { raw::syscall1(nr::CLOSE, word(self.into_raw())) }.map(drop)
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: open-fd, and this is the last use. There is nobody to hear of an error.
        let _ = unsafe { raw::syscall1(nr::CLOSE, word(self.0)) };
    }
}

/// Opens `path`, seen from the folder `dirfd` (or [`AT_FDCWD`](super::AT_FDCWD)), with `O_` flags; `mode`
/// holds the permission bits of a file that is made. openat(2).
///
/// # Errors
/// What the kernel says.
pub fn openat(dirfd: i32, path: &CStr, flags: u32, mode: u32) -> Result<Fd, Errno> {
    let path = path.as_ptr().expose_provenance();
    // SAFETY: slice-lives, and the string ends in a zero byte.
    let fd =
        unsafe { raw::syscall4(nr::OPENAT, word(dirfd), path, flags as usize, mode as usize) }?;
    // A descriptor is an `int`: the kernel returned it as one.
    i32::try_from(fd).map(Fd).map_err(|_| Errno::EOVERFLOW)
}

/// Maps `len` bytes of `fd` from `offset` on, or of zeroed memory, at an address that the kernel picks.
/// mmap(2).
///
/// `prot` has `PROT_` bits, `flags` has `MAP_` bits; with `MAP_ANONYMOUS`, `fd` is -1.
///
/// # Errors
/// What the kernel says: `EINVAL` where `len` is 0 or `offset` no multiple of the page size.
///
/// # Safety
/// * What else may happen to the file is what the mapping's user expects: others may write to a shared
///   one, and what is cut off a file faults.
/// * `flags` has no `MAP_FIXED`, which would replace what is mapped already.
pub unsafe fn mmap(
    len: usize,
    prot: u32,
    flags: u32,
    fd: i32,
    offset: u64,
) -> Result<NonNull<u8>, Errno> {
    let (prot, flags) = (prot as usize, flags as usize);
    // SAFETY: a new mapping takes no memory that is in use; the rest is the caller's duty.
    let addr = unsafe { raw::syscall6(nr::MMAP, 0, len, prot, flags, word(fd), word64(offset)) }?;
    NonNull::new(core::ptr::with_exposed_provenance_mut(addr)).ok_or(Errno::EFAULT)
}

/// A 64-bit word in a register of the 64-bit machines that this crate is for.
const fn word64(value: u64) -> usize {
    const { assert!(size_of::<usize>() == size_of::<u64>()) };
    #[expect(clippy::cast_possible_truncation, reason = "asserted above")]
    let word = value as usize;
    word
}

/// Takes a mapping away. munmap(2).
///
/// # Errors
/// What the kernel says.
///
/// # Safety
/// * `addr` and `len` are a mapping that [`mmap`] returned, or whole pages of one, and nobody uses it.
pub unsafe fn munmap(addr: NonNull<u8>, len: usize) -> Result<(), Errno> {
    // SAFETY: the caller's duty.
    unsafe { raw::syscall2(nr::MUNMAP, addr.as_ptr().expose_provenance(), len) }.map(drop)
}

/// Ends the process with `status`, of which its parent sees the low 8 bits. exit_group(2).
pub fn exit_group(status: i32) -> ! {
    loop {
        // SAFETY: the call takes no pointer, and ends every thread.
        let _ = unsafe { raw::syscall1(nr::EXIT_GROUP, word(status)) };
    }
}
