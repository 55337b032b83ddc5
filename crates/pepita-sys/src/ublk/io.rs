//! Requests as the driver gives them to a server, and the commands that answer.

use super::commands::UBLK_U_IO_COMMIT_AND_FETCH_REQ;
use crate::blk_mq::{SECTOR_SHIFT, SECTOR_SIZE};
use crate::io_uring::IoUringSqe;

constants! {
    /// Request: read.
    UBLK_IO_OP_READ: u8 = 0;
    /// Request: write.
    UBLK_IO_OP_WRITE: u8 = 1;
    /// Request: make earlier writes durable.
    UBLK_IO_OP_FLUSH: u8 = 2;
    /// Request: the sectors are not needed any more.
    UBLK_IO_OP_DISCARD: u8 = 3;
    /// Request: write one block many times. No kernel sends it.
    UBLK_IO_OP_WRITE_SAME: u8 = 4;
    /// Request: make the sectors zero.
    UBLK_IO_OP_WRITE_ZEROES: u8 = 5;
    /// Request: open a zone.
    UBLK_IO_OP_ZONE_OPEN: u8 = 10;
    /// Request: close a zone.
    UBLK_IO_OP_ZONE_CLOSE: u8 = 11;
    /// Request: finish a zone.
    UBLK_IO_OP_ZONE_FINISH: u8 = 12;
    /// Request: write at a zone's write pointer.
    UBLK_IO_OP_ZONE_APPEND: u8 = 13;
    /// Request: reset all zones.
    UBLK_IO_OP_ZONE_RESET_ALL: u8 = 14;
    /// Request: reset a zone.
    UBLK_IO_OP_ZONE_RESET: u8 = 15;
    /// Request: report zones into the request's buffer.
    UBLK_IO_OP_REPORT_ZONES: u8 = 18;

    /// Request flag: do not retry after an error of the device.
    UBLK_IO_F_FAILFAST_DEV: u32 = 1 << 8;
    /// Request flag: do not retry after an error of the transport.
    UBLK_IO_F_FAILFAST_TRANSPORT: u32 = 1 << 9;
    /// Request flag: do not retry after an error of the driver.
    UBLK_IO_F_FAILFAST_DRIVER: u32 = 1 << 10;
    /// Request flag: metadata of a file system.
    UBLK_IO_F_META: u32 = 1 << 11;
    /// Request flag: durable when it completes.
    UBLK_IO_F_FUA: u32 = 1 << 13;
    /// Request flag: zeroed sectors keep their space.
    UBLK_IO_F_NOUNMAP: u32 = 1 << 15;
    /// Request flag: from or to swap.
    UBLK_IO_F_SWAP: u32 = 1 << 16;
    /// Request flag: the data was not registered by itself.
    UBLK_IO_F_NEED_REG_BUF: u32 = 1 << 17;
    /// Request flag: has integrity data.
    UBLK_IO_F_INTEGRITY: u32 = 1 << 18;
    /// Request flag: `addr` is a place in shared memory.
    UBLK_IO_F_SHMEM_ZC: u32 = 1 << 19;

    /// Automatic registration: where it fails, say so in the request.
    UBLK_AUTO_BUF_REG_FALLBACK: u8 = 1 << 0;
    /// The flags of automatic registration there are.
    UBLK_AUTO_BUF_REG_F_MASK: u8 = UBLK_AUTO_BUF_REG_FALLBACK;

    /// Batch: each element ends in a zone append's sector.
    UBLK_BATCH_F_HAS_ZONE_LBA: u16 = 1 << 0;
    /// Batch: each element ends in a buffer's address.
    UBLK_BATCH_F_HAS_BUF_ADDR: u16 = 1 << 1;
    /// Batch: [`UBLK_AUTO_BUF_REG_FALLBACK`] for all.
    UBLK_BATCH_F_AUTO_BUF_REG_FALLBACK: u16 = 1 << 2;
}

structs! {
    /// One request, in memory that the driver writes and the server reads.
    ///
    /// ```
    /// use pepita_sys::ublk::{UBLK_IO_F_FUA, UBLK_IO_OP_WRITE, UblkIoDesc};
    ///
    /// let op_flags = u32::from(UBLK_IO_OP_WRITE) | UBLK_IO_F_FUA;
    /// let desc = UblkIoDesc { op_flags, nr_sectors: 8, start_sector: 2048, addr: 0 };
    /// assert_eq!((desc.op(), desc.flags()), (UBLK_IO_OP_WRITE, UBLK_IO_F_FUA));
    /// assert_eq!((desc.byte_offset(), desc.byte_len()), (1 << 20, 4096));
    /// ```
    UblkIoDesc = "ublksrv_io_desc", 24 {
        /// Operation in the low 8 bits, flags above.
        op_flags: u32 = 0,
        /// Count of sectors; for a report, of zones.
        nr_sectors: u32 = 4 [nr_zones],
        /// First sector.
        start_sector: u64 = 8,
        /// The server's buffer.
        addr: u64 = 16,
    }

    /// What an I/O command carries.
    UblksrvIoCmd = "ublksrv_io_cmd", 16 {
        /// The queue.
        q_id: u16 = 0,
        /// The tag.
        tag: u16 = 2,
        /// Result of a commit: bytes, or an error number with its sign turned.
        result: i32 = 4,
        /// Buffer of a fetch, or sector of a zone append.
        addr: u64 = 8 [zone_append_lba],
    }

    /// Which entry of the ring's buffer table request data goes to by itself.
    UblkAutoBufReg = "ublk_auto_buf_reg", 8 {
        /// The entry.
        index: u16 = 0,
        /// [`UBLK_AUTO_BUF_REG_FALLBACK`] or 0.
        flags: u8 = 2,
        /// Zero.
        reserved0: u8 = 3,
        /// Zero.
        reserved1: u32 = 4,
    }

    /// How an element of a batch begins.
    UblkElemHeader = "ublk_elem_header", 8 {
        /// The tag.
        tag: u16 = 0,
        /// Entry of the buffer table, with automatic registration.
        buf_index: u16 = 2,
        /// Result of a commit.
        result: i32 = 4,
    }

    /// What a command for many tags carries.
    UblkBatchIo = "ublk_batch_io", 16 {
        /// The queue.
        q_id: u16 = 0,
        /// `UBLK_BATCH_F_` flags.
        flags: u16 = 2,
        /// Count of elements.
        nr_elem: u16 = 4,
        /// Bytes of an element.
        elem_bytes: u8 = 6,
        /// Zero.
        reserved: u8 = 7,
        /// Zero.
        reserved2: u64 = 8,
    }
}

impl UblkIoDesc {
    /// `UBLK_IO_OP_` operation.
    #[inline]
    #[must_use]
    pub const fn op(&self) -> u8 {
        self.op_flags.to_le_bytes()[0]
    }

    /// `UBLK_IO_F_` flags, at their places in `op_flags`.
    #[inline]
    #[must_use]
    pub const fn flags(&self) -> u32 {
        self.op_flags & !0xff
    }

    /// First sector, of 512 bytes whatever the device's block size is.
    #[inline]
    #[must_use]
    pub const fn start_sector(&self) -> u64 {
        self.start_sector
    }

    /// Count of sectors.
    #[inline]
    #[must_use]
    pub const fn nr_sectors(&self) -> u32 {
        self.nr_sectors
    }

    /// The server's buffer.
    #[inline]
    #[must_use]
    pub const fn addr(&self) -> u64 {
        self.addr
    }

    /// First byte on the device. A sector that no device can have gives `u64::MAX`.
    #[inline]
    #[must_use]
    pub const fn byte_offset(&self) -> u64 {
        self.start_sector.saturating_mul(SECTOR_SIZE)
    }

    /// Count of bytes.
    #[inline]
    #[must_use]
    pub const fn byte_len(&self) -> u64 {
        (self.nr_sectors as u64) << SECTOR_SHIFT
    }
}

impl UblkAutoBufReg {
    /// As it stands in `addr` of the SQE.
    #[inline]
    #[must_use]
    pub const fn to_addr(self) -> u64 {
        self.index as u64 | (self.flags as u64) << 16
    }
}

/// An I/O command: a queue's tag fetches its first request, or gives a result and fetches the next.
///
/// ```
/// use pepita_sys::ublk::{UBLK_U_IO_FETCH_REQ, UblkIoCmd};
///
/// let fetch = UblkIoCmd::new(0, 5).buffer(0x1000).sqe(UBLK_U_IO_FETCH_REQ, 3);
/// assert_eq!((fetch.fd, fetch.off), (3, u64::from(UBLK_U_IO_FETCH_REQ)));
/// let commit = UblkIoCmd::completed(0, 5, 4096);
/// assert_eq!(commit.cmd.result, 4096);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UblkIoCmd {
    /// What the kernel reads.
    pub cmd: UblksrvIoCmd,
}

impl UblkIoCmd {
    /// For tag `tag` of queue `q_id`, without result or buffer.
    #[inline]
    #[must_use]
    pub const fn new(q_id: u16, tag: u16) -> Self {
        Self::completed(q_id, tag, 0)
    }

    /// With `result`: bytes, or an error number with its sign turned.
    #[inline]
    #[must_use]
    pub const fn completed(q_id: u16, tag: u16, result: i32) -> Self {
        Self {
            cmd: UblksrvIoCmd {
                q_id,
                tag,
                result,
                addr: 0,
            },
        }
    }

    /// Sets the buffer for the next request's data; 0 where the server copies, or where the ring registers.
    #[inline]
    #[must_use]
    pub const fn buffer(mut self, addr: u64) -> Self {
        self.cmd.addr = addr;
        self
    }

    /// The command `cmd_op` (`UBLK_U_IO_…`) on the character device `fd`.
    #[inline]
    #[must_use]
    pub const fn sqe(self, cmd_op: u32, fd: i32) -> IoUringSqe {
        let UblksrvIoCmd {
            q_id,
            tag,
            result,
            addr,
        } = self.cmd;
        let mut sqe = IoUringSqe::uring_cmd(fd, cmd_op, [0; 16]);
        // Both architectures are little-endian: the first field is the lowest.
        sqe.addr3 = q_id as u64 | (tag as u64) << 16 | (result.cast_unsigned() as u64) << 32;
        sqe.pad2 = addr;
        sqe
    }

    /// [`Self::sqe`] that gives the result and fetches the next request.
    #[inline]
    #[must_use]
    pub const fn commit_and_fetch(self, fd: i32) -> IoUringSqe {
        self.sqe(UBLK_U_IO_COMMIT_AND_FETCH_REQ, fd)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_request_is_told_in_sectors_and_bytes(desc: UblkIoDesc) {
            prop_assert_eq!(u32::from(desc.op()) | desc.flags(), desc.op_flags);
            prop_assert_eq!(desc.byte_offset() / SECTOR_SIZE, desc.start_sector());
            prop_assert_eq!(desc.byte_len() / SECTOR_SIZE, u64::from(desc.nr_sectors()));
        }

        #[test]
        fn a_submission_holds_the_result_where_the_kernel_reads_it(command: UblkIoCmd, cmd_op: u32, fd: i32) {
            let UblksrvIoCmd { q_id, tag, result, addr } = command.cmd;
            let again = UblkIoCmd::completed(q_id, tag, result).buffer(addr);
            prop_assert_eq!(again, command);
            let sqe = command.sqe(cmd_op, fd);
            prop_assert_eq!((sqe.fd, sqe.off, sqe.pad2), (fd, u64::from(cmd_op), addr));
            let [low, high, third, fourth] = result.to_le_bytes();
            let [queue, tag] = [q_id, tag].map(u16::to_le_bytes);
            let first = [queue[0], queue[1], tag[0], tag[1], low, high, third, fourth];
            prop_assert_eq!(sqe.addr3.to_le_bytes(), first);
        }
    }
}
