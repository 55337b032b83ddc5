//! Command numbers, feature flags and the limits of the driver.

use super::{UblkBatchIo, UblksrvCtrlCmd, UblksrvIoCmd};
use crate::error::Errno;

/// The number of a command that the kernel only answers: `_IOR('u', nr, T)`.
const fn ior<T>(nr: u32) -> u32 {
    ioc::<T>(2, nr)
}

/// The number of a command with data both ways: `_IOWR('u', nr, T)`.
const fn iowr<T>(nr: u32) -> u32 {
    ioc::<T>(2 | 1, nr)
}

/// `_IOC` of `include/uapi/asm-generic/ioctl.h`: direction, size, type and number in 32 bits.
const fn ioc<T>(direction: u32, nr: u32) -> u32 {
    const { assert!(size_of::<T>() < 1 << 14) };
    #[expect(clippy::cast_possible_truncation, reason = "asserted above")]
    let size = size_of::<T>() as u32;
    direction << 30 | size << 16 | (b'u' as u32) << 8 | nr
}

constants! {
    /// Number in [`UBLK_U_CMD_GET_QUEUE_AFFINITY`].
    UBLK_CMD_GET_QUEUE_AFFINITY: u32 = 0x01;
    /// Number in [`UBLK_U_CMD_GET_DEV_INFO`].
    UBLK_CMD_GET_DEV_INFO: u32 = 0x02;
    /// Number in [`UBLK_U_CMD_ADD_DEV`].
    UBLK_CMD_ADD_DEV: u32 = 0x04;
    /// Number in [`UBLK_U_CMD_DEL_DEV`].
    UBLK_CMD_DEL_DEV: u32 = 0x05;
    /// Number in [`UBLK_U_CMD_START_DEV`].
    UBLK_CMD_START_DEV: u32 = 0x06;
    /// Number in [`UBLK_U_CMD_STOP_DEV`].
    UBLK_CMD_STOP_DEV: u32 = 0x07;
    /// Number in [`UBLK_U_CMD_SET_PARAMS`].
    UBLK_CMD_SET_PARAMS: u32 = 0x08;
    /// Number in [`UBLK_U_CMD_GET_PARAMS`].
    UBLK_CMD_GET_PARAMS: u32 = 0x09;
    /// Number in [`UBLK_U_CMD_START_USER_RECOVERY`].
    UBLK_CMD_START_USER_RECOVERY: u32 = 0x10;
    /// Number in [`UBLK_U_CMD_END_USER_RECOVERY`].
    UBLK_CMD_END_USER_RECOVERY: u32 = 0x11;
    /// Number in [`UBLK_U_CMD_GET_DEV_INFO2`].
    UBLK_CMD_GET_DEV_INFO2: u32 = 0x12;

    /// Gets the CPUs of queue `data`, as a bit set at `addr`.
    UBLK_U_CMD_GET_QUEUE_AFFINITY: u32 = ior::<UblksrvCtrlCmd>(UBLK_CMD_GET_QUEUE_AFFINITY);
    /// Gets the device's [`UblksrvCtrlDevInfo`](super::UblksrvCtrlDevInfo).
    UBLK_U_CMD_GET_DEV_INFO: u32 = ior::<UblksrvCtrlCmd>(UBLK_CMD_GET_DEV_INFO);
    /// Makes a device of the [`UblksrvCtrlDevInfo`](super::UblksrvCtrlDevInfo) at `addr`, which the kernel
    /// completes.
    UBLK_U_CMD_ADD_DEV: u32 = iowr::<UblksrvCtrlCmd>(UBLK_CMD_ADD_DEV);
    /// Removes the device, once nobody has it open.
    UBLK_U_CMD_DEL_DEV: u32 = iowr::<UblksrvCtrlCmd>(UBLK_CMD_DEL_DEV);
    /// Starts the device for the server process `data`; waits until every queue has fetched.
    UBLK_U_CMD_START_DEV: u32 = iowr::<UblksrvCtrlCmd>(UBLK_CMD_START_DEV);
    /// Stops the device: its I/O commands end.
    UBLK_U_CMD_STOP_DEV: u32 = iowr::<UblksrvCtrlCmd>(UBLK_CMD_STOP_DEV);
    /// Sets the [`UblkParams`](super::UblkParams) at `addr`.
    UBLK_U_CMD_SET_PARAMS: u32 = iowr::<UblksrvCtrlCmd>(UBLK_CMD_SET_PARAMS);
    /// Gets them.
    UBLK_U_CMD_GET_PARAMS: u32 = ior::<UblksrvCtrlCmd>(UBLK_CMD_GET_PARAMS);
    /// Begins the recovery of a device whose server is gone.
    UBLK_U_CMD_START_USER_RECOVERY: u32 = iowr::<UblksrvCtrlCmd>(UBLK_CMD_START_USER_RECOVERY);
    /// Ends the recovery, with the server process `data`.
    UBLK_U_CMD_END_USER_RECOVERY: u32 = iowr::<UblksrvCtrlCmd>(UBLK_CMD_END_USER_RECOVERY);
    /// As [`UBLK_U_CMD_GET_DEV_INFO`], for devices of other users: the path stands before the buffer.
    UBLK_U_CMD_GET_DEV_INFO2: u32 = ior::<UblksrvCtrlCmd>(UBLK_CMD_GET_DEV_INFO2);
    /// Gets the driver's `UBLK_F_` flags, [`UBLK_FEATURES_LEN`] bytes.
    UBLK_U_CMD_GET_FEATURES: u32 = ior::<UblksrvCtrlCmd>(0x13);
    /// Removes the device without waiting.
    UBLK_U_CMD_DEL_DEV_ASYNC: u32 = ior::<UblksrvCtrlCmd>(0x14);
    /// Changes the size of the device to `data` sectors.
    UBLK_U_CMD_UPDATE_SIZE: u32 = iowr::<UblksrvCtrlCmd>(0x15);
    /// Brings a recoverable device to rest, so that its server can be replaced.
    UBLK_U_CMD_QUIESCE_DEV: u32 = iowr::<UblksrvCtrlCmd>(0x16);
    /// Stops the device unless somebody has it open.
    UBLK_U_CMD_TRY_STOP_DEV: u32 = iowr::<UblksrvCtrlCmd>(0x17);
    /// Registers memory that server and clients share.
    UBLK_U_CMD_REG_BUF: u32 = iowr::<UblksrvCtrlCmd>(0x18);
    /// Removes it.
    UBLK_U_CMD_UNREG_BUF: u32 = iowr::<UblksrvCtrlCmd>(0x19);
    /// Bytes of the answer to [`UBLK_U_CMD_GET_FEATURES`].
    UBLK_FEATURES_LEN: u16 = 8;

    /// Number in [`UBLK_U_IO_FETCH_REQ`].
    UBLK_IO_FETCH_REQ: u32 = 0x20;
    /// Number in [`UBLK_U_IO_COMMIT_AND_FETCH_REQ`].
    UBLK_IO_COMMIT_AND_FETCH_REQ: u32 = 0x21;
    /// Number in [`UBLK_U_IO_NEED_GET_DATA`].
    UBLK_IO_NEED_GET_DATA: u32 = 0x22;
    /// Waits for the first request of a tag.
    UBLK_U_IO_FETCH_REQ: u32 = iowr::<UblksrvIoCmd>(UBLK_IO_FETCH_REQ);
    /// Ends the request of a tag, and waits for the next one.
    UBLK_U_IO_COMMIT_AND_FETCH_REQ: u32 = iowr::<UblksrvIoCmd>(UBLK_IO_COMMIT_AND_FETCH_REQ);
    /// Gives a buffer for the data of a write.
    UBLK_U_IO_NEED_GET_DATA: u32 = iowr::<UblksrvIoCmd>(UBLK_IO_NEED_GET_DATA);
    /// Puts the data of a request into the ring's buffer table, at index `addr`.
    UBLK_U_IO_REGISTER_IO_BUF: u32 = iowr::<UblksrvIoCmd>(0x23);
    /// Takes it out.
    UBLK_U_IO_UNREGISTER_IO_BUF: u32 = iowr::<UblksrvIoCmd>(0x24);
    /// Announces tags, many at a time.
    UBLK_U_IO_PREP_IO_CMDS: u32 = iowr::<UblkBatchIo>(0x25);
    /// Ends requests, many at a time.
    UBLK_U_IO_COMMIT_IO_CMDS: u32 = iowr::<UblkBatchIo>(0x26);
    /// Waits for requests, many at a time; completes again and again, with tags in a provided buffer.
    UBLK_U_IO_FETCH_IO_CMDS: u32 = iowr::<UblkBatchIo>(0x27);

    /// An I/O command's result: there is a request.
    UBLK_IO_RES_OK: i32 = 0;
    /// An I/O command's result: there is a write that wants a buffer.
    UBLK_IO_RES_NEED_GET_DATA: i32 = 1;
    /// An I/O command's result: the device stops; nothing more is to be fetched.
    UBLK_IO_RES_ABORT: i32 = -Errno::ENODEV.raw();

    /// Where the request descriptors of queue 0 are mapped from.
    UBLKSRV_CMD_BUF_OFFSET: u64 = 0;
    /// Where the data of requests begins in the character device.
    UBLKSRV_IO_BUF_OFFSET: u64 = 0x8000_0000;
    /// The largest queue depth.
    UBLK_MAX_QUEUE_DEPTH: u16 = 4096;
    /// First bit of the byte in such an offset.
    UBLK_IO_BUF_OFF: u32 = 0;
    /// Bits of the byte: 32 MiB a tag.
    UBLK_IO_BUF_BITS: u32 = 25;
    /// Mask of those bits.
    UBLK_IO_BUF_BITS_MASK: u64 = (1 << UBLK_IO_BUF_BITS) - 1;
    /// First bit of the tag.
    UBLK_TAG_OFF: u32 = UBLK_IO_BUF_BITS;
    /// Bits of the tag.
    UBLK_TAG_BITS: u32 = 16;
    /// Mask of those bits.
    UBLK_TAG_BITS_MASK: u64 = (1 << UBLK_TAG_BITS) - 1;
    /// First bit of the queue.
    UBLK_QID_OFF: u32 = UBLK_TAG_OFF + UBLK_TAG_BITS;
    /// Bits of the queue.
    UBLK_QID_BITS: u32 = 12;
    /// Mask of those bits.
    UBLK_QID_BITS_MASK: u64 = (1 << UBLK_QID_BITS) - 1;
    /// The largest count of queues.
    UBLK_MAX_NR_QUEUES: u16 = 1 << UBLK_QID_BITS;
    /// Bits of byte, tag and queue.
    UBLKSRV_IO_BUF_TOTAL_BITS: u32 = UBLK_QID_OFF + UBLK_QID_BITS;
    /// Bytes that those bits reach.
    UBLKSRV_IO_BUF_TOTAL_SIZE: u64 = 1 << UBLKSRV_IO_BUF_TOTAL_BITS;
    /// Bit of [`UBLKSRV_IO_INTEGRITY_FLAG`].
    UBLK_INTEGRITY_FLAG_OFF: u32 = 62;
    /// In such an offset: the request's integrity buffer, not its data.
    UBLKSRV_IO_INTEGRITY_FLAG: u64 = 1 << UBLK_INTEGRITY_FLAG_OFF;

    /// Feature: request data is registered with the ring, not copied.
    UBLK_F_SUPPORT_ZERO_COPY: u64 = 1 << 0;
    /// Feature: completions by task work.
    UBLK_F_URING_CMD_COMP_IN_TASK: u64 = 1 << 1;
    /// Feature: writes ask for a buffer when they come.
    UBLK_F_NEED_GET_DATA: u64 = 1 << 2;
    /// Feature: the device outlives its server.
    UBLK_F_USER_RECOVERY: u64 = 1 << 3;
    /// Feature: with recovery, requests of the old server are issued again.
    UBLK_F_USER_RECOVERY_REISSUE: u64 = 1 << 4;
    /// Feature: users without privilege may serve devices.
    UBLK_F_UNPRIVILEGED_DEV: u64 = 1 << 5;
    /// Feature: commands are numbered as ioctls.
    UBLK_F_CMD_IOCTL_ENCODE: u64 = 1 << 6;
    /// Feature: the server copies data by pread and pwrite on the character device.
    UBLK_F_USER_COPY: u64 = 1 << 7;
    /// Feature: zoned devices.
    UBLK_F_ZONED: u64 = 1 << 8;
    /// Feature: with recovery, requests fail while there is no server.
    UBLK_F_USER_RECOVERY_FAIL_IO: u64 = 1 << 9;
    /// Feature: [`UBLK_U_CMD_UPDATE_SIZE`].
    UBLK_F_UPDATE_SIZE: u64 = 1 << 10;
    /// Feature: request data is registered with the ring when the request comes.
    UBLK_F_AUTO_BUF_REG: u64 = 1 << 11;
    /// Feature: [`UBLK_U_CMD_QUIESCE_DEV`].
    UBLK_F_QUIESCE: u64 = 1 << 12;
    /// Feature: each tag may be served by its own thread.
    UBLK_F_PER_IO_DAEMON: u64 = 1 << 13;
    /// Feature: any thread may register request data.
    UBLK_F_BUF_REG_OFF_DAEMON: u64 = 1 << 14;
    /// Feature: commands for many tags at a time.
    UBLK_F_BATCH_IO: u64 = 1 << 15;
    /// Feature: integrity data.
    UBLK_F_INTEGRITY: u64 = 1 << 16;
    /// Feature: [`UBLK_U_CMD_TRY_STOP_DEV`].
    UBLK_F_SAFE_STOP_DEV: u64 = 1 << 17;
    /// Feature: no look for partitions at the start.
    UBLK_F_NO_AUTO_PART_SCAN: u64 = 1 << 18;
    /// Feature: memory that server and clients share.
    UBLK_F_SHMEM_ZC: u64 = 1 << 19;

    /// State: not started, or stopped.
    UBLK_S_DEV_DEAD: u16 = 0;
    /// State: serving.
    UBLK_S_DEV_LIVE: u16 = 1;
    /// State: without a server; requests wait.
    UBLK_S_DEV_QUIESCED: u16 = 2;
    /// State: without a server; requests fail.
    UBLK_S_DEV_FAIL_IO: u16 = 3;
}
