//! Commands to `/dev/ublk-control`.

use crate::io_uring::IoUringSqe128;

structs! {
    /// What a control command carries.
    UblksrvCtrlCmd = "ublksrv_ctrl_cmd", 32 {
        /// The device.
        dev_id: u32 = 0,
        /// The queue, or `u16::MAX` where the command is for none.
        queue_id: u16 = 4,
        /// Bytes at `addr`.
        len: u16 = 6,
        /// Buffer, in or out.
        addr: u64 = 8,
        /// A number.
        data: [u64; 1] = 16,
        /// Bytes of the path before the buffer, its zero included.
        dev_path_len: u16 = 24,
        /// Zero.
        pad: u16 = 26,
        /// Zero.
        reserved: u32 = 28,
    }

    /// What a device is: asked for when it is added, and completed by the driver.
    UblksrvCtrlDevInfo = "ublksrv_ctrl_dev_info", 64 {
        /// Count of queues.
        nr_hw_queues: u16 = 0,
        /// Requests in flight for each queue.
        queue_depth: u16 = 2,
        /// `UBLK_S_` state.
        state: u16 = 4,
        /// Zero.
        pad0: u16 = 6,
        /// Most bytes of one request.
        max_io_buf_bytes: u32 = 8,
        /// The device; `u32::MAX` lets the driver choose.
        dev_id: u32 = 12,
        /// The server's process.
        ublksrv_pid: i32 = 16,
        /// Zero.
        pad1: u32 = 20,
        /// `UBLK_F_` flags.
        flags: u64 = 24,
        /// The server's own.
        ublksrv_flags: u64 = 32,
        /// Owner, from the driver.
        owner_uid: u32 = 40,
        /// Owner's group, from the driver.
        owner_gid: u32 = 44,
        /// Zero.
        reserved1: u64 = 48,
        /// Zero.
        reserved2: u64 = 56,
    }
}

/// A control command: its number, beside what it carries.
///
/// ```
/// use pepita_sys::ublk::{UBLK_U_CMD_START_DEV, UblkCtrlCmd};
///
/// let start = UblkCtrlCmd::new(UBLK_U_CMD_START_DEV, 0).data(u64::from(std::process::id()));
/// assert_eq!(start.cmd.queue_id, u16::MAX);
/// let sqe = start.sqe(3);
/// assert_eq!(sqe.sqe.off, u64::from(UBLK_U_CMD_START_DEV));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UblkCtrlCmd {
    /// `UBLK_U_CMD_` number.
    pub cmd_op: u32,
    /// What the kernel reads.
    pub cmd: UblksrvCtrlCmd,
}

impl UblkCtrlCmd {
    /// The command `cmd_op` for the device `dev_id`, for no queue, as the driver demands of every command.
    #[inline]
    #[must_use]
    pub const fn new(cmd_op: u32, dev_id: u32) -> Self {
        let cmd = UblksrvCtrlCmd {
            dev_id,
            queue_id: u16::MAX,
            len: 0,
            addr: 0,
            data: [0],
            dev_path_len: 0,
            pad: 0,
            reserved: 0,
        };
        Self { cmd_op, cmd }
    }

    /// Sets the buffer: `len` bytes at `addr`.
    #[inline]
    #[must_use]
    pub const fn buffer(mut self, addr: u64, len: u16) -> Self {
        self.cmd.addr = addr;
        self.cmd.len = len;
        self
    }

    /// Sets the number that goes along: a process, a queue, a count of sectors.
    #[inline]
    #[must_use]
    pub const fn data(mut self, data: u64) -> Self {
        self.cmd.data = [data];
        self
    }

    /// Says that the buffer begins with `len` bytes of the device's path, its zero included.
    #[inline]
    #[must_use]
    pub const fn dev_path_len(mut self, len: u16) -> Self {
        self.cmd.dev_path_len = len;
        self
    }

    /// The submission, to the open `/dev/ublk-control` that is `fd`. The ring needs 128-byte SQEs.
    #[inline]
    #[must_use]
    pub fn sqe(self, fd: i32) -> IoUringSqe128 {
        let mut bytes = [0; 80];
        bytes[0..4].copy_from_slice(&self.cmd.dev_id.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.cmd.queue_id.to_ne_bytes());
        bytes[6..8].copy_from_slice(&self.cmd.len.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.cmd.addr.to_ne_bytes());
        bytes[16..24].copy_from_slice(&self.cmd.data[0].to_ne_bytes());
        bytes[24..26].copy_from_slice(&self.cmd.dev_path_len.to_ne_bytes());
        IoUringSqe128::uring_cmd(fd, self.cmd_op, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::io_uring::IORING_OP_URING_CMD;

    proptest! {
        #[test]
        fn a_submission_holds_the_command_where_the_kernel_reads_it(command: UblkCtrlCmd, fd: i32) {
            let UblkCtrlCmd { cmd_op, cmd } = command;
            let IoUringSqe128 { sqe, rest } = command.sqe(fd);
            prop_assert_eq!((sqe.opcode, sqe.fd, sqe.off), (IORING_OP_URING_CMD, fd, u64::from(cmd_op)));
            let first = u64::from(cmd.dev_id) | u64::from(cmd.queue_id) << 32 | u64::from(cmd.len) << 48;
            prop_assert_eq!((sqe.addr3, sqe.pad2), (first, cmd.addr));
            prop_assert_eq!(rest, [cmd.data[0], u64::from(cmd.dev_path_len), 0, 0, 0, 0, 0, 0]);
        }
    }
}
