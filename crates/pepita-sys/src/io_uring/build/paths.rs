//! Operations on paths. Folders are descriptors, or [`AT_FDCWD`](crate::syscall::AT_FDCWD).

use core::ffi::{c_char, c_void};

use super::super::sqe::address;
use super::super::*;

impl IoUringSqe {
    /// Opens `path`, seen from `dirfd`. openat(2).
    #[inline]
    #[must_use]
    pub fn openat(dirfd: i32, path: *const c_char, flags: u32, mode: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_OPENAT, dirfd, address(path), mode);
        sqe.op_flags = flags;
        sqe
    }

    /// Opens `path`, seen from `dirfd`, as `how` says. openat2(2).
    #[inline]
    #[must_use]
    pub fn openat2(dirfd: i32, path: *const c_char, how: *const OpenHow) -> Self {
        const SIZE: u32 = 24;
        const { assert!(size_of::<OpenHow>() == SIZE as usize) };
        let mut sqe = Self::new(IORING_OP_OPENAT2, dirfd, address(path), SIZE);
        sqe.off = address(how);
        sqe
    }

    /// Tells about `path`, seen from `dirfd`, in the `struct statx` at `statxbuf`. statx(2), with `AT_`
    /// `flags` and a `STATX_` `mask`.
    #[inline]
    #[must_use]
    pub fn statx(
        dirfd: i32,
        path: *const c_char,
        flags: u32,
        mask: u32,
        statxbuf: *mut c_void,
    ) -> Self {
        let mut sqe = Self::new(IORING_OP_STATX, dirfd, address(path), mask);
        sqe.off = address(statxbuf);
        sqe.op_flags = flags;
        sqe
    }

    /// Renames. renameat2(2), with `RENAME_` `flags`.
    #[inline]
    #[must_use]
    pub fn renameat(
        olddirfd: i32,
        oldpath: *const c_char,
        newdirfd: i32,
        newpath: *const c_char,
        flags: u32,
    ) -> Self {
        let len = newdirfd.cast_unsigned();
        let mut sqe = Self::new(IORING_OP_RENAMEAT, olddirfd, address(oldpath), len);
        sqe.off = address(newpath);
        sqe.op_flags = flags;
        sqe
    }

    /// Removes a name; with `AT_REMOVEDIR` in `flags`, a folder. unlinkat(2).
    #[inline]
    #[must_use]
    pub fn unlinkat(dirfd: i32, path: *const c_char, flags: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_UNLINKAT, dirfd, address(path), 0);
        sqe.op_flags = flags;
        sqe
    }

    /// Makes a folder. mkdirat(2).
    #[inline]
    #[must_use]
    pub fn mkdirat(dirfd: i32, path: *const c_char, mode: u32) -> Self {
        Self::new(IORING_OP_MKDIRAT, dirfd, address(path), mode)
    }

    /// Makes a symbolic link at `linkpath` that leads to `target`. symlinkat(2).
    #[inline]
    #[must_use]
    pub fn symlinkat(target: *const c_char, newdirfd: i32, linkpath: *const c_char) -> Self {
        let mut sqe = Self::new(IORING_OP_SYMLINKAT, newdirfd, address(target), 0);
        sqe.off = address(linkpath);
        sqe
    }

    /// Makes another name of a file. linkat(2), with `AT_` `flags`.
    #[inline]
    #[must_use]
    pub fn linkat(
        olddirfd: i32,
        oldpath: *const c_char,
        newdirfd: i32,
        newpath: *const c_char,
        flags: u32,
    ) -> Self {
        let mut sqe = Self::renameat(olddirfd, oldpath, newdirfd, newpath, flags);
        sqe.opcode = IORING_OP_LINKAT;
        sqe
    }

    /// Gets the attribute `name` of `path` into `size` bytes at `value`. getxattr(2).
    #[inline]
    #[must_use]
    pub fn getxattr(path: *const c_char, name: *const c_char, value: *mut u8, size: u32) -> Self {
        let mut sqe = Self::fgetxattr(0, name, value, size);
        sqe.opcode = IORING_OP_GETXATTR;
        sqe.addr3 = address(path);
        sqe
    }

    /// Sets the attribute `name` of `path` to `size` bytes at `value`. setxattr(2), with `XATTR_` `flags`.
    #[inline]
    #[must_use]
    pub fn setxattr(
        path: *const c_char,
        name: *const c_char,
        value: *const u8,
        size: u32,
        flags: u32,
    ) -> Self {
        let mut sqe = Self::fsetxattr(0, name, value, size, flags);
        sqe.opcode = IORING_OP_SETXATTR;
        sqe.addr3 = address(path);
        sqe
    }

    /// Gets the attribute `name` of `fd`. fgetxattr(2).
    #[inline]
    #[must_use]
    pub fn fgetxattr(fd: i32, name: *const c_char, value: *mut u8, size: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_FGETXATTR, fd, address(name), size);
        sqe.off = address(value);
        sqe
    }

    /// Sets the attribute `name` of `fd`. fsetxattr(2).
    #[inline]
    #[must_use]
    pub fn fsetxattr(
        fd: i32,
        name: *const c_char,
        value: *const u8,
        size: u32,
        flags: u32,
    ) -> Self {
        let mut sqe = Self::new(IORING_OP_FSETXATTR, fd, address(name), size);
        sqe.off = address(value);
        sqe.op_flags = flags;
        sqe
    }
}
