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
use crate::io_uring::IoUringParams;

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

/// Makes a ring with room for `entries` submissions, and says in `params` what it became.
/// io_uring_setup(2).
///
/// The result is its descriptor, which the caller has to close; with
/// [`IORING_SETUP_REGISTERED_FD_ONLY`](crate::io_uring::IORING_SETUP_REGISTERED_FD_ONLY), the index of a
/// registered ring.
///
/// # Errors
/// What the kernel says: `EINVAL` for flags that it does not know, `EPERM` where io_uring is disabled.
///
/// # Safety
/// * With `IORING_SETUP_NO_MMAP`, the memory that `params` names is the ring's until the ring has ended.
pub unsafe fn io_uring_setup(entries: u32, params: &mut IoUringParams) -> Result<i32, Errno> {
    let params = core::ptr::from_mut(params).expose_provenance();
    // SAFETY: slice-lives, and the caller's duty.
    let fd = unsafe { raw::syscall2(nr::IO_URING_SETUP, entries as usize, params) }?;
    i32::try_from(fd).map_err(|_| Errno::EOVERFLOW)
}

/// Submits up to `to_submit` entries and, with
/// [`IORING_ENTER_GETEVENTS`](crate::io_uring::IORING_ENTER_GETEVENTS), waits for `min_complete`
/// completions; says how many were submitted. io_uring_enter(2).
///
/// `arg` and `arg_size` are what `flags` make of them: a signal set, an
/// [`IoUringGeteventsArg`](crate::io_uring::IoUringGeteventsArg), an offset, or 0.
///
/// # Errors
/// What the kernel says, such as `EINTR`, and `ETIME` when the time in the argument ran out.
///
/// # Safety
/// * What the submitted entries lead to is theirs until their last completion.
/// * `arg` is 0 or what `flags` make of it, with `arg_size` bytes.
#[inline]
pub unsafe fn io_uring_enter(
    fd: i32,
    to_submit: u32,
    min_complete: u32,
    flags: u32,
    arg: usize,
    arg_size: usize,
) -> Result<u32, Errno> {
    let (to_submit, min_complete) = (to_submit as usize, min_complete as usize);
    let number = nr::IO_URING_ENTER;
    // SAFETY: the caller's duty.
    let submitted = unsafe {
        raw::syscall6(
            number,
            word(fd),
            to_submit,
            min_complete,
            flags as usize,
            arg,
            arg_size,
        )
    }?;
    u32::try_from(submitted).map_err(|_| Errno::EOVERFLOW)
}

/// Registers something with a ring, or asks about it: `opcode` is an `IORING_REGISTER_` operation, `arg`
/// and `nr_args` are what it takes. io_uring_register(2).
///
/// # Errors
/// What the kernel says: `EINVAL` for an operation that it does not know.
///
/// # Safety
/// * `arg` is what the operation takes, and leads to `nr_args` of its elements.
/// * Registered memory is the ring's until it is unregistered or the ring has ended.
pub unsafe fn io_uring_register(
    fd: i32,
    opcode: u32,
    arg: usize,
    nr_args: u32,
) -> Result<u32, Errno> {
    let (number, opcode, nr_args) = (nr::IO_URING_REGISTER, opcode as usize, nr_args as usize);
    // SAFETY: the caller's duty.
    let result = unsafe { raw::syscall4(number, word(fd), opcode, arg, nr_args) }?;
    u32::try_from(result).map_err(|_| Errno::EOVERFLOW)
}

/// Ends the process with `status`, of which its parent sees the low 8 bits. exit_group(2).
pub fn exit_group(status: i32) -> ! {
    loop {
        // SAFETY: the call takes no pointer, and ends every thread.
        let _ = unsafe { raw::syscall1(nr::EXIT_GROUP, word(status)) };
    }
}
