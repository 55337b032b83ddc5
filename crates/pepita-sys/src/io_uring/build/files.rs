//! Operations on open files.

use super::super::sqe::address;
use super::super::*;

impl IoUringSqe {
    /// Reads at `offset` of `fd` into `nr_vecs` pieces. preadv2(2), with `RWF_` `flags`.
    #[inline]
    #[must_use]
    pub fn readv(fd: i32, iovecs: *const Iovec, nr_vecs: u32, offset: u64, flags: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_READV, fd, address(iovecs), nr_vecs);
        sqe.off = offset;
        sqe.op_flags = flags;
        sqe
    }

    /// Writes at `offset` of `fd` from `nr_vecs` pieces. pwritev2(2), with `RWF_` `flags`.
    #[inline]
    #[must_use]
    pub fn writev(fd: i32, iovecs: *const Iovec, nr_vecs: u32, offset: u64, flags: u32) -> Self {
        let mut sqe = Self::readv(fd, iovecs, nr_vecs, offset, flags);
        sqe.opcode = IORING_OP_WRITEV;
        sqe
    }

    /// [`Self::read`] into a part of the registered buffer `buf_index`.
    #[inline]
    #[must_use]
    pub fn read_fixed(fd: i32, buf: *mut u8, len: u32, offset: u64, buf_index: u16) -> Self {
        let mut sqe = Self::read(fd, buf, len, offset);
        sqe.opcode = IORING_OP_READ_FIXED;
        sqe.buf_index = buf_index;
        sqe
    }

    /// [`Self::write`] from a part of the registered buffer `buf_index`.
    #[inline]
    #[must_use]
    pub fn write_fixed(fd: i32, buf: *const u8, len: u32, offset: u64, buf_index: u16) -> Self {
        let mut sqe = Self::write(fd, buf, len, offset);
        sqe.opcode = IORING_OP_WRITE_FIXED;
        sqe.buf_index = buf_index;
        sqe
    }

    /// [`Self::readv`] into parts of the registered buffer `buf_index`.
    #[inline]
    #[must_use]
    pub fn readv_fixed(
        fd: i32,
        iovecs: *const Iovec,
        nr_vecs: u32,
        offset: u64,
        flags: u32,
        buf_index: u16,
    ) -> Self {
        let mut sqe = Self::readv(fd, iovecs, nr_vecs, offset, flags);
        sqe.opcode = IORING_OP_READV_FIXED;
        sqe.buf_index = buf_index;
        sqe
    }

    /// [`Self::writev`] from parts of the registered buffer `buf_index`.
    #[inline]
    #[must_use]
    pub fn writev_fixed(
        fd: i32,
        iovecs: *const Iovec,
        nr_vecs: u32,
        offset: u64,
        flags: u32,
        buf_index: u16,
    ) -> Self {
        let mut sqe = Self::readv(fd, iovecs, nr_vecs, offset, flags);
        sqe.opcode = IORING_OP_WRITEV_FIXED;
        sqe.buf_index = buf_index;
        sqe
    }

    /// Reads whenever there is something, up to `len` bytes (0 for a whole buffer) at `offset`, into buffers
    /// of `group`. Completes again and again.
    #[inline]
    #[must_use]
    pub const fn read_multishot(fd: i32, len: u32, offset: u64, group: u16) -> Self {
        let mut sqe = Self::new(IORING_OP_READ_MULTISHOT, fd, 0, len);
        sqe.off = offset;
        sqe.buffer_select(group)
    }

    /// Makes what was written durable. fsync(2), or fdatasync(2) with [`IORING_FSYNC_DATASYNC`].
    #[inline]
    #[must_use]
    pub const fn fsync(fd: i32, fsync_flags: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_FSYNC, fd, 0, 0);
        sqe.op_flags = fsync_flags;
        sqe
    }

    /// Writes `len` bytes at `offset` back, as `SYNC_FILE_RANGE_` `flags` say. sync_file_range(2).
    #[inline]
    #[must_use]
    pub const fn sync_file_range(fd: i32, len: u32, offset: u64, flags: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_SYNC_FILE_RANGE, fd, 0, len);
        sqe.off = offset;
        sqe.op_flags = flags;
        sqe
    }

    /// Allocates, zeroes or frees `len` bytes at `offset`, as `FALLOC_FL_` `mode` says. fallocate(2).
    #[inline]
    #[must_use]
    pub const fn fallocate(fd: i32, mode: u32, offset: u64, len: u64) -> Self {
        let mut sqe = Self::new(IORING_OP_FALLOCATE, fd, len, mode);
        sqe.off = offset;
        sqe
    }

    /// Cuts or grows the file to `len` bytes. ftruncate(2).
    #[inline]
    #[must_use]
    pub const fn ftruncate(fd: i32, len: u64) -> Self {
        let mut sqe = Self::new(IORING_OP_FTRUNCATE, fd, 0, 0);
        sqe.off = len;
        sqe
    }

    /// Says how `len` bytes at `offset` will be used. posix_fadvise(2).
    #[inline]
    #[must_use]
    pub const fn fadvise(fd: i32, offset: u64, len: u32, advice: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_FADVISE, fd, 0, len);
        sqe.off = offset;
        sqe.op_flags = advice;
        sqe
    }

    /// Says how `len` bytes of memory at `addr` will be used. madvise(2).
    #[inline]
    #[must_use]
    pub fn madvise(addr: *mut u8, len: u32, advice: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_MADVISE, -1, address(addr), len);
        sqe.op_flags = advice;
        sqe
    }

    /// Moves `nbytes` from `fd_in` to `fd_out`, one of them a pipe; an offset of `u64::MAX` is the file's
    /// position, and the only one for a pipe. splice(2), with `SPLICE_F_` `splice_flags`.
    #[inline]
    #[must_use]
    pub const fn splice(
        fd_in: i32,
        off_in: u64,
        fd_out: i32,
        off_out: u64,
        nbytes: u32,
        splice_flags: u32,
    ) -> Self {
        let mut sqe = Self::new(IORING_OP_SPLICE, fd_out, off_in, nbytes);
        sqe.off = off_out;
        sqe.file_index = fd_in.cast_unsigned();
        sqe.op_flags = splice_flags;
        sqe
    }

    /// Copies `nbytes` from the pipe `fd_in` to the pipe `fd_out`. tee(2).
    #[inline]
    #[must_use]
    pub const fn tee(fd_in: i32, fd_out: i32, nbytes: u32, splice_flags: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_TEE, fd_out, 0, nbytes);
        sqe.file_index = fd_in.cast_unsigned();
        sqe.op_flags = splice_flags;
        sqe
    }

    /// Makes a pipe, whose two descriptors go to `fds`. pipe2(2), with `O_` `flags`.
    #[inline]
    #[must_use]
    pub fn pipe(fds: *mut [i32; 2], flags: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_PIPE, 0, address(fds), 0);
        sqe.op_flags = flags;
        sqe
    }

    /// Closes `fd`. close(2).
    #[inline]
    #[must_use]
    pub const fn close(fd: i32) -> Self {
        Self::new(IORING_OP_CLOSE, fd, 0, 0)
    }

    /// Empties `slot` of the file table.
    ///
    /// # Panics
    /// As [`Self::direct`].
    #[inline]
    #[must_use]
    pub const fn close_direct(slot: u32) -> Self {
        Self::new(IORING_OP_CLOSE, 0, 0, 0).direct(slot)
    }

    /// Puts `nr` descriptors at `fds` into the file table from slot `offset` on; -1 empties a slot.
    #[inline]
    #[must_use]
    pub fn files_update(fds: *mut i32, nr: u32, offset: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_FILES_UPDATE, -1, address(fds), nr);
        sqe.off = offset as u64;
        sqe
    }

    /// Makes a descriptor of `slot` of the file table, with `O_CLOEXEC` unless `flags` has
    /// [`IORING_FIXED_FD_NO_CLOEXEC`].
    #[inline]
    #[must_use]
    pub const fn fixed_fd_install(slot: u32, flags: u32) -> Self {
        let mut sqe = Self::new(IORING_OP_FIXED_FD_INSTALL, slot.cast_signed(), 0, 0);
        sqe.op_flags = flags;
        sqe.fixed_file()
    }
}
