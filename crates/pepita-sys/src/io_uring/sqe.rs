//! Submission queue entries.

use super::flags::*;
use super::op::*;

structs! {
    /// A submission: one operation to be done.
    ///
    /// Each field serves several operations, which call it differently; it bears the name of its most
    /// common use, and the functions that make an SQE put arguments in their places. Making one is safe;
    /// what the kernel does with the addresses in it is up to who submits it.
    ///
    /// ```
    /// use pepita_sys::io_uring::{IORING_OP_READ, IoUringSqe};
    ///
    /// let mut buf = [0_u8; 512];
    /// let sqe = IoUringSqe::read(3, buf.as_mut_ptr(), 512, 4096).user_data(7).link();
    /// assert_eq!((sqe.opcode, sqe.fd, sqe.len, sqe.off, sqe.user_data), (IORING_OP_READ, 3, 512, 4096, 7));
    /// ```
    IoUringSqe = "io_uring_sqe", 64 {
        /// `IORING_OP_` code.
        opcode: u8 = 0,
        /// `IOSQE_` flags.
        flags: u8 = 1,
        /// Priority of the transfer; for sockets, flags.
        ioprio: u16 = 2,
        /// The file, or its slot in the file table.
        fd: i32 = 4,
        /// Offset in the file, or a second address, or the command.
        off: u64 = 8 [addr2, cmd_op, __pad1],
        /// Address of the buffer.
        addr: u64 = 16 [splice_off_in, level, optname],
        /// Bytes, or a count.
        len: u32 = 24,
        /// The operation's own flags.
        op_flags: u32 = 28 [
            rw_flags, fsync_flags, poll_events, poll32_events, sync_range_flags, msg_flags, timeout_flags,
            accept_flags, cancel_flags, open_flags, statx_flags, fadvise_advice, splice_flags, rename_flags,
            unlink_flags, hardlink_flags, xattr_flags, msg_ring_flags, uring_cmd_flags, waitid_flags,
            futex_flags, install_fd_flags, nop_flags, pipe_flags
        ],
        /// Passed on to the completion.
        user_data: u64 = 32,
        /// Registered buffer, or group of provided buffers.
        buf_index: u16 = 40 [buf_group],
        /// Registered credentials, or 0.
        personality: u16 = 42,
        /// Slot for a new file plus 1, or another small argument.
        file_index: u32 = 44 [
            splice_fd_in, zcrx_ifq_idx, optlen, addr_len, __pad3, write_stream, __pad4
        ],
        /// A third address; the first bytes of a command.
        addr3: u64 = 48 [attr_ptr, optval, cmd],
        /// Zero, or an argument of few operations.
        pad2: u64 = 56 [__pad2, attr_type_mask],
    }
}

impl IoUringSqe {
    /// An SQE of the operation `op`, with a file, an address and a length; the rest is zero.
    #[inline]
    #[must_use]
    pub const fn new(op: u8, fd: i32, addr: u64, len: u32) -> Self {
        Self {
            opcode: op,
            flags: 0,
            ioprio: 0,
            fd,
            off: 0,
            addr,
            len,
            op_flags: 0,
            user_data: 0,
            buf_index: 0,
            personality: 0,
            file_index: 0,
            addr3: 0,
            pad2: 0,
        }
    }

    /// Does nothing, and completes with 0.
    #[inline]
    #[must_use]
    pub const fn nop() -> Self {
        Self::new(IORING_OP_NOP, -1, 0, 0)
    }

    /// Reads `len` bytes at `offset` of `fd` into `buf`; offset -1 (`u64::MAX`) is the file's position.
    /// pread(2).
    #[inline]
    #[must_use]
    pub fn read(fd: i32, buf: *mut u8, len: u32, offset: u64) -> Self {
        let mut sqe = Self::new(IORING_OP_READ, fd, address(buf), len);
        sqe.off = offset;
        sqe
    }

    /// Writes `len` bytes from `buf` at `offset` of `fd`; offset -1 (`u64::MAX`) is the file's position.
    /// pwrite(2).
    #[inline]
    #[must_use]
    pub fn write(fd: i32, buf: *const u8, len: u32, offset: u64) -> Self {
        let mut sqe = Self::new(IORING_OP_WRITE, fd, address(buf), len);
        sqe.off = offset;
        sqe
    }

    /// The command `cmd_op` of the file `fd`, with up to 16 bytes of its own.
    #[inline]
    #[must_use]
    pub const fn uring_cmd(fd: i32, cmd_op: u32, cmd: [u8; 16]) -> Self {
        let mut sqe = Self::new(IORING_OP_URING_CMD, fd, 0, 0);
        sqe.off = cmd_op as u64;
        let [addr3, pad2] = words(&cmd);
        sqe.addr3 = addr3;
        sqe.pad2 = pad2;
        sqe
    }

    /// Sets what the completion will carry.
    #[inline]
    #[must_use]
    pub const fn user_data(mut self, user_data: u64) -> Self {
        self.user_data = user_data;
        self
    }

    /// Adds `IOSQE_` flags.
    #[inline]
    #[must_use]
    pub const fn flags(mut self, flags: u8) -> Self {
        self.flags |= flags;
        self
    }

    /// Adds bits to `ioprio`: a transfer's priority, or `IORING_RECVSEND_` and like flags.
    #[inline]
    #[must_use]
    pub const fn ioprio(mut self, ioprio: u16) -> Self {
        self.ioprio |= ioprio;
        self
    }

    /// Lets it run with registered credentials.
    #[inline]
    #[must_use]
    pub const fn personality(mut self, personality: u16) -> Self {
        self.personality = personality;
        self
    }

    /// `fd` is a slot of the file table.
    #[inline]
    #[must_use]
    pub const fn fixed_file(self) -> Self {
        self.flags(IOSQE_FIXED_FILE)
    }

    /// Starts when everything before it has completed.
    #[inline]
    #[must_use]
    pub const fn drain(self) -> Self {
        self.flags(IOSQE_IO_DRAIN)
    }

    /// The next SQE starts when this one has succeeded.
    #[inline]
    #[must_use]
    pub const fn link(self) -> Self {
        self.flags(IOSQE_IO_LINK)
    }

    /// The next SQE starts when this one has ended, however.
    #[inline]
    #[must_use]
    pub const fn hardlink(self) -> Self {
        self.flags(IOSQE_IO_HARDLINK)
    }

    /// Goes to a worker thread at once.
    #[inline]
    #[must_use]
    pub const fn force_async(self) -> Self {
        self.flags(IOSQE_ASYNC)
    }

    /// The kernel picks a buffer of `group` when there is data.
    #[inline]
    #[must_use]
    pub const fn buffer_select(mut self, group: u16) -> Self {
        self.buf_index = group;
        self.flags(IOSQE_BUFFER_SELECT)
    }

    /// No completion if it succeeds.
    #[inline]
    #[must_use]
    pub const fn skip_success(self) -> Self {
        self.flags(IOSQE_CQE_SKIP_SUCCESS)
    }

    /// The file that it makes goes into slot `slot` of the file table, not into a descriptor.
    ///
    /// # Panics
    /// When `slot` is `u32::MAX` or the one before it, which are no slots.
    #[inline]
    #[must_use]
    pub const fn direct(mut self, slot: u32) -> Self {
        assert!(slot < u32::MAX - 1, "no slot of a file table");
        self.file_index = slot + 1;
        self
    }

    /// The file that it makes goes into a slot that the kernel picks, which is the result.
    #[inline]
    #[must_use]
    pub const fn direct_any(mut self) -> Self {
        self.file_index = IORING_FILE_INDEX_ALLOC;
        self
    }
}

/// The address of what a pointer leads to, as SQEs carry it.
#[inline]
pub(super) fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}

/// The bytes of a command as words.
const fn words<const BYTES: usize, const WORDS: usize>(bytes: &[u8; BYTES]) -> [u64; WORDS] {
    const { assert!(BYTES == 8 * WORDS) };
    let mut words = [0; WORDS];
    let (chunks, _) = bytes.as_chunks::<8>();
    let mut index = 0;
    while index < WORDS {
        words[index] = u64::from_ne_bytes(chunks[index]);
        index += 1;
    }
    words
}

/// A submission of 128 bytes, in rings with [`IORING_SETUP_SQE128`](super::IORING_SETUP_SQE128), or of
/// mixed sizes when its operation is one of the `128` codes.
///
/// A command in it has 80 bytes, from byte 48 on: `addr3` and `pad2` of the first half are its first 16.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct IoUringSqe128 {
    /// The first half, which has a small submission's shape.
    pub sqe: IoUringSqe,
    /// The rest of the command.
    pub rest: [u64; 8],
}

const _: () = assert!(size_of::<IoUringSqe128>() == 2 * size_of::<IoUringSqe>());

impl IoUringSqe128 {
    /// The command `cmd_op` of the file `fd`, with 80 bytes of its own.
    #[inline]
    #[must_use]
    pub const fn uring_cmd(fd: i32, cmd_op: u32, cmd: &[u8; 80]) -> Self {
        let [addr3, pad2, rest @ ..] = words::<80, 10>(cmd);
        let mut sqe = IoUringSqe::new(IORING_OP_URING_CMD, fd, 0, 0);
        sqe.off = cmd_op as u64;
        sqe.addr3 = addr3;
        sqe.pad2 = pad2;
        Self { sqe, rest }
    }
}

impl From<IoUringSqe> for IoUringSqe128 {
    /// The same operation in a larger entry.
    #[inline]
    fn from(sqe: IoUringSqe) -> Self {
        Self { sqe, rest: [0; 8] }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_setter_changes_its_own_field(sqe: IoUringSqe, user_data: u64, flags: u8) {
            prop_assert_eq!(IoUringSqe { user_data: sqe.user_data, ..sqe.user_data(user_data) }, sqe);
            prop_assert_eq!(sqe.user_data(user_data).user_data, user_data);
            let more = sqe.flags(flags);
            prop_assert_eq!(IoUringSqe { flags: sqe.flags, ..more }, sqe);
            prop_assert_eq!(more.flags, sqe.flags | flags);
        }

        #[test]
        fn a_large_entry_begins_with_the_small_one(large: IoUringSqe128) {
            let again = IoUringSqe128::from(large.sqe);
            prop_assert_eq!((again.sqe, again.rest), (large.sqe, [0; 8]));
            let [addr3, pad2] = [large.sqe.addr3, large.sqe.pad2].map(u64::to_ne_bytes);
            let mut bytes = [0; 80];
            bytes[..8].copy_from_slice(&addr3);
            bytes[8..16].copy_from_slice(&pad2);
            for (to, from) in bytes[16..].chunks_exact_mut(8).zip(large.rest) {
                to.copy_from_slice(&from.to_ne_bytes());
            }
            let command = IoUringSqe128::uring_cmd(large.sqe.fd, 7, &bytes);
            prop_assert_eq!((command.sqe.addr3, command.sqe.pad2), (large.sqe.addr3, large.sqe.pad2));
            prop_assert_eq!(command.rest, large.rest);
        }
    }
}
