//! Flags in SQEs and CQEs. io_uring_enter(2)

constants! {
    /// Bit of [`IOSQE_FIXED_FILE`].
    IOSQE_FIXED_FILE_BIT: u8 = 0;
    /// Bit of [`IOSQE_IO_DRAIN`].
    IOSQE_IO_DRAIN_BIT: u8 = 1;
    /// Bit of [`IOSQE_IO_LINK`].
    IOSQE_IO_LINK_BIT: u8 = 2;
    /// Bit of [`IOSQE_IO_HARDLINK`].
    IOSQE_IO_HARDLINK_BIT: u8 = 3;
    /// Bit of [`IOSQE_ASYNC`].
    IOSQE_ASYNC_BIT: u8 = 4;
    /// Bit of [`IOSQE_BUFFER_SELECT`].
    IOSQE_BUFFER_SELECT_BIT: u8 = 5;
    /// Bit of [`IOSQE_CQE_SKIP_SUCCESS`].
    IOSQE_CQE_SKIP_SUCCESS_BIT: u8 = 6;
    /// `fd` is a slot of the registered file table.
    IOSQE_FIXED_FILE: u8 = 1 << IOSQE_FIXED_FILE_BIT;
    /// Starts when everything before it has completed.
    IOSQE_IO_DRAIN: u8 = 1 << IOSQE_IO_DRAIN_BIT;
    /// The next SQE starts when this one has succeeded; else it is cancelled.
    IOSQE_IO_LINK: u8 = 1 << IOSQE_IO_LINK_BIT;
    /// The next SQE starts when this one has ended, however.
    IOSQE_IO_HARDLINK: u8 = 1 << IOSQE_IO_HARDLINK_BIT;
    /// Goes to a worker thread without a first try inline.
    IOSQE_ASYNC: u8 = 1 << IOSQE_ASYNC_BIT;
    /// The kernel picks a buffer of the group `buf_index`.
    IOSQE_BUFFER_SELECT: u8 = 1 << IOSQE_BUFFER_SELECT_BIT;
    /// No CQE when it succeeds.
    IOSQE_CQE_SKIP_SUCCESS: u8 = 1 << IOSQE_CQE_SKIP_SUCCESS_BIT;

    /// In `file_index`: the kernel picks the slot for the new file.
    IORING_FILE_INDEX_ALLOC: u32 = !0;
    /// In `attr_type_mask`: `attr_ptr` leads to an [`IoUringAttrPi`].
    IORING_RW_ATTR_FLAG_PI: u64 = 1 << 0;

    /// `uring_cmd_flags`: the data is the registered buffer `buf_index`.
    IORING_URING_CMD_FIXED: u32 = 1 << 0;
    /// `uring_cmd_flags`: many completions, each with a provided buffer.
    IORING_URING_CMD_MULTISHOT: u32 = 1 << 1;
    /// The `uring_cmd_flags` there are.
    IORING_URING_CMD_MASK: u32 = IORING_URING_CMD_FIXED | IORING_URING_CMD_MULTISHOT;

    /// `fsync_flags`: only what is needed to read the data back, as fdatasync(2).
    IORING_FSYNC_DATASYNC: u32 = 1 << 0;

    /// `timeout_flags`: a point in time, not a duration.
    IORING_TIMEOUT_ABS: u32 = 1 << 0;
    /// `timeout_flags` of a removal: change the timeout.
    IORING_TIMEOUT_UPDATE: u32 = 1 << 1;
    /// `timeout_flags`: by `CLOCK_BOOTTIME`.
    IORING_TIMEOUT_BOOTTIME: u32 = 1 << 2;
    /// `timeout_flags`: by `CLOCK_REALTIME`.
    IORING_TIMEOUT_REALTIME: u32 = 1 << 3;
    /// `timeout_flags` of a removal: change the timeout of a chain.
    IORING_LINK_TIMEOUT_UPDATE: u32 = 1 << 4;
    /// `timeout_flags`: running out counts as success, so a chain goes on.
    IORING_TIMEOUT_ETIME_SUCCESS: u32 = 1 << 5;
    /// `timeout_flags`: fires again and again.
    IORING_TIMEOUT_MULTISHOT: u32 = 1 << 6;
    /// `timeout_flags`: `addr` is the time in nanoseconds, not a pointer.
    IORING_TIMEOUT_IMMEDIATE_ARG: u32 = 1 << 7;
    /// The `timeout_flags` that choose a clock.
    IORING_TIMEOUT_CLOCK_MASK: u32 = IORING_TIMEOUT_BOOTTIME | IORING_TIMEOUT_REALTIME;
    /// The `timeout_flags` that make a removal a change.
    IORING_TIMEOUT_UPDATE_MASK: u32 = IORING_TIMEOUT_UPDATE | IORING_LINK_TIMEOUT_UPDATE;

    /// `splice_flags`: `splice_fd_in` is a slot of the file table.
    SPLICE_F_FD_IN_FIXED: u32 = 1 << 31;

    /// In `len` of a poll: fires again and again.
    IORING_POLL_ADD_MULTI: u32 = 1 << 0;
    /// In `len` of a poll's removal: change its events.
    IORING_POLL_UPDATE_EVENTS: u32 = 1 << 1;
    /// In `len` of a poll's removal: change its user data.
    IORING_POLL_UPDATE_USER_DATA: u32 = 1 << 2;
    /// In `len` of a poll: level-triggered.
    IORING_POLL_ADD_LEVEL: u32 = 1 << 3;

    /// `cancel_flags`: all that match, not the first.
    IORING_ASYNC_CANCEL_ALL: u32 = 1 << 0;
    /// `cancel_flags`: what works on `fd`.
    IORING_ASYNC_CANCEL_FD: u32 = 1 << 1;
    /// `cancel_flags`: any operation.
    IORING_ASYNC_CANCEL_ANY: u32 = 1 << 2;
    /// `cancel_flags`: `fd` is a slot of the file table.
    IORING_ASYNC_CANCEL_FD_FIXED: u32 = 1 << 3;
    /// `cancel_flags`: by user data, beside another key.
    IORING_ASYNC_CANCEL_USERDATA: u32 = 1 << 4;
    /// `cancel_flags`: by operation code, in `len`.
    IORING_ASYNC_CANCEL_OP: u32 = 1 << 5;

    /// `ioprio` of a transfer: wait for the socket before the first try.
    IORING_RECVSEND_POLL_FIRST: u16 = 1 << 0;
    /// `ioprio` of a receive: many completions, each with a provided buffer.
    IORING_RECV_MULTISHOT: u16 = 1 << 1;
    /// `ioprio` of a zero-copy send: the data is in the registered buffer `buf_index`.
    IORING_RECVSEND_FIXED_BUF: u16 = 1 << 2;
    /// `ioprio` of a zero-copy send: the notification says whether data was copied after all.
    IORING_SEND_ZC_REPORT_USAGE: u16 = 1 << 3;
    /// `ioprio` of a transfer: several provided buffers in one go.
    IORING_RECVSEND_BUNDLE: u16 = 1 << 4;
    /// `ioprio` of a send: `addr` leads to `len` iovecs.
    IORING_SEND_VECTORIZED: u16 = 1 << 5;
    /// In `res` of a notification, as an unsigned number: data was copied.
    IORING_NOTIF_USAGE_ZC_COPIED: u32 = 1 << 31;

    /// `ioprio` of an accept: many completions.
    IORING_ACCEPT_MULTISHOT: u16 = 1 << 0;
    /// `ioprio` of an accept: `EAGAIN` instead of waiting.
    IORING_ACCEPT_DONTWAIT: u16 = 1 << 1;
    /// `ioprio` of an accept: wait before the first try.
    IORING_ACCEPT_POLL_FIRST: u16 = 1 << 2;

    /// In `addr` of a ring message: `len` and `off` become `res` and `user_data` there.
    IORING_MSG_DATA: u64 = 0;
    /// In `addr` of a ring message: hand over the file in slot `addr3`.
    IORING_MSG_SEND_FD: u64 = 1;
    /// `msg_ring_flags`: no completion on the other ring.
    IORING_MSG_RING_CQE_SKIP: u32 = 1 << 0;
    /// `msg_ring_flags`: `file_index` becomes `flags` there.
    IORING_MSG_RING_FLAGS_PASS: u32 = 1 << 1;

    /// `install_fd_flags`: without `O_CLOEXEC`.
    IORING_FIXED_FD_NO_CLOEXEC: u32 = 1 << 0;

    /// `nop_flags`: `len` becomes the result.
    IORING_NOP_INJECT_RESULT: u32 = 1 << 0;
    /// `nop_flags`: takes the file `fd` and lets it go.
    IORING_NOP_FILE: u32 = 1 << 1;
    /// `nop_flags`: with [`IORING_NOP_FILE`], `fd` is a slot of the file table.
    IORING_NOP_FIXED_FILE: u32 = 1 << 2;
    /// `nop_flags`: takes the registered buffer `buf_index` and lets it go.
    IORING_NOP_FIXED_BUFFER: u32 = 1 << 3;
    /// `nop_flags`: completes by task work.
    IORING_NOP_TW: u32 = 1 << 4;
    /// `nop_flags`: a 32-byte CQE, with `off` and `addr` in its second half.
    IORING_NOP_CQE32: u32 = 1 << 5;

    /// CQE: the buffer's id is in the upper 16 bits.
    IORING_CQE_F_BUFFER: u32 = 1 << 0;
    /// CQE: more completions of the same SQE follow.
    IORING_CQE_F_MORE: u32 = 1 << 1;
    /// CQE: the socket has more to read.
    IORING_CQE_F_SOCK_NONEMPTY: u32 = 1 << 2;
    /// CQE: a zero-copy send's notification that its buffer is free.
    IORING_CQE_F_NOTIF: u32 = 1 << 3;
    /// CQE: the kernel goes on using the rest of this buffer.
    IORING_CQE_F_BUF_MORE: u32 = 1 << 4;
    /// CQE: fills a gap at the end of the queue; says nothing.
    IORING_CQE_F_SKIP: u32 = 1 << 5;
    /// CQE: takes 32 bytes, in a ring of mixed sizes.
    IORING_CQE_F_32: u32 = 1 << 15;
    /// How far the buffer's id is shifted in a CQE's flags.
    IORING_CQE_BUFFER_SHIFT: u32 = 16;

    /// Socket command: bytes ready to be received, as `ioctl` `SIOCINQ`.
    SOCKET_URING_OP_SIOCINQ: u32 = 0;
    /// Socket command: bytes not sent yet, as `ioctl` `SIOCOUTQ`.
    SOCKET_URING_OP_SIOCOUTQ: u32 = 1;
    /// Socket command: getsockopt(2).
    SOCKET_URING_OP_GETSOCKOPT: u32 = 2;
    /// Socket command: setsockopt(2).
    SOCKET_URING_OP_SETSOCKOPT: u32 = 3;
    /// Socket command: time stamps of what was sent.
    SOCKET_URING_OP_TX_TIMESTAMP: u32 = 4;
    /// Socket command: getsockname(2), getpeername(2).
    SOCKET_URING_OP_GETSOCKNAME: u32 = 5;
    /// Bit of [`IORING_CQE_F_TSTAMP_HW`].
    IORING_TIMESTAMP_HW_SHIFT: u32 = 16;
    /// The type of a time stamp starts at this bit of the CQE's flags.
    IORING_TIMESTAMP_TYPE_SHIFT: u32 = IORING_TIMESTAMP_HW_SHIFT + 1;
    /// CQE of a time stamp: taken by the network card.
    IORING_CQE_F_TSTAMP_HW: u32 = 1 << IORING_TIMESTAMP_HW_SHIFT;
}

structs! {
    /// Protection information of a read or write: [`IORING_RW_ATTR_FLAG_PI`].
    IoUringAttrPi = "io_uring_attr_pi", 32 {
        /// What is checked.
        flags: u16 = 0,
        /// The application tag.
        app_tag: u16 = 2,
        /// Bytes at `addr`.
        len: u32 = 4,
        /// Where the protection information is.
        addr: u64 = 8,
        /// The first reference tag.
        seed: u64 = 16,
        /// Zero.
        rsvd: u64 = 24,
    }

    /// A time stamp in the second half of a CQE.
    IoTimespec = "io_timespec", 16 {
        /// Seconds.
        tv_sec: u64 = 0,
        /// Nanoseconds.
        tv_nsec: u64 = 8,
    }

    /// What stands before the data of a multishot `recvmsg` in its buffer.
    IoUringRecvmsgOut = "io_uring_recvmsg_out", 16 {
        /// Bytes of the sender's address.
        namelen: u32 = 0,
        /// Bytes of control data.
        controllen: u32 = 4,
        /// Bytes of data.
        payloadlen: u32 = 8,
        /// `MSG_` flags.
        flags: u32 = 12,
    }
}
