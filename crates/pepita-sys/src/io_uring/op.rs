//! Operation codes: the first byte of an SQE.

constants! {
    /// Does nothing, completes with 0.
    IORING_OP_NOP: u8 = 0;
    /// preadv2(2).
    IORING_OP_READV: u8 = 1;
    /// pwritev2(2).
    IORING_OP_WRITEV: u8 = 2;
    /// fsync(2), or fdatasync(2) with [`IORING_FSYNC_DATASYNC`](super::IORING_FSYNC_DATASYNC).
    IORING_OP_FSYNC: u8 = 3;
    /// Reads into a registered buffer.
    IORING_OP_READ_FIXED: u8 = 4;
    /// Writes from a registered buffer.
    IORING_OP_WRITE_FIXED: u8 = 5;
    /// Waits for poll(2) events, once or many times.
    IORING_OP_POLL_ADD: u8 = 6;
    /// Removes or changes a poll.
    IORING_OP_POLL_REMOVE: u8 = 7;
    /// sync_file_range(2).
    IORING_OP_SYNC_FILE_RANGE: u8 = 8;
    /// sendmsg(2).
    IORING_OP_SENDMSG: u8 = 9;
    /// recvmsg(2).
    IORING_OP_RECVMSG: u8 = 10;
    /// Completes after a time, or after a count of completions.
    IORING_OP_TIMEOUT: u8 = 11;
    /// Removes or changes a timeout.
    IORING_OP_TIMEOUT_REMOVE: u8 = 12;
    /// accept4(2).
    IORING_OP_ACCEPT: u8 = 13;
    /// Cancels operations.
    IORING_OP_ASYNC_CANCEL: u8 = 14;
    /// Limits the time of the operation before it in a chain.
    IORING_OP_LINK_TIMEOUT: u8 = 15;
    /// connect(2).
    IORING_OP_CONNECT: u8 = 16;
    /// fallocate(2).
    IORING_OP_FALLOCATE: u8 = 17;
    /// openat(2).
    IORING_OP_OPENAT: u8 = 18;
    /// close(2), or empties a slot of the file table.
    IORING_OP_CLOSE: u8 = 19;
    /// Updates the file table.
    IORING_OP_FILES_UPDATE: u8 = 20;
    /// statx(2).
    IORING_OP_STATX: u8 = 21;
    /// pread(2), or read(2) at the file's position.
    IORING_OP_READ: u8 = 22;
    /// pwrite(2), or write(2) at the file's position.
    IORING_OP_WRITE: u8 = 23;
    /// posix_fadvise(2).
    IORING_OP_FADVISE: u8 = 24;
    /// madvise(2).
    IORING_OP_MADVISE: u8 = 25;
    /// send(2), or sendto(2).
    IORING_OP_SEND: u8 = 26;
    /// recv(2).
    IORING_OP_RECV: u8 = 27;
    /// openat2(2).
    IORING_OP_OPENAT2: u8 = 28;
    /// epoll_ctl(2).
    IORING_OP_EPOLL_CTL: u8 = 29;
    /// splice(2).
    IORING_OP_SPLICE: u8 = 30;
    /// Gives the kernel buffers of a group.
    IORING_OP_PROVIDE_BUFFERS: u8 = 31;
    /// Takes buffers of a group back.
    IORING_OP_REMOVE_BUFFERS: u8 = 32;
    /// tee(2).
    IORING_OP_TEE: u8 = 33;
    /// shutdown(2).
    IORING_OP_SHUTDOWN: u8 = 34;
    /// renameat2(2).
    IORING_OP_RENAMEAT: u8 = 35;
    /// unlinkat(2).
    IORING_OP_UNLINKAT: u8 = 36;
    /// mkdirat(2).
    IORING_OP_MKDIRAT: u8 = 37;
    /// symlinkat(2).
    IORING_OP_SYMLINKAT: u8 = 38;
    /// linkat(2).
    IORING_OP_LINKAT: u8 = 39;
    /// Posts a completion, or hands a file, to another ring.
    IORING_OP_MSG_RING: u8 = 40;
    /// fsetxattr(2).
    IORING_OP_FSETXATTR: u8 = 41;
    /// setxattr(2).
    IORING_OP_SETXATTR: u8 = 42;
    /// fgetxattr(2).
    IORING_OP_FGETXATTR: u8 = 43;
    /// getxattr(2).
    IORING_OP_GETXATTR: u8 = 44;
    /// socket(2).
    IORING_OP_SOCKET: u8 = 45;
    /// A command that the file itself defines: ublk, NVMe, sockets, block devices.
    IORING_OP_URING_CMD: u8 = 46;
    /// send(2) without copying; a second completion says when the buffer is free.
    IORING_OP_SEND_ZC: u8 = 47;
    /// sendmsg(2) without copying.
    IORING_OP_SENDMSG_ZC: u8 = 48;
    /// Reads whenever there is something, into provided buffers.
    IORING_OP_READ_MULTISHOT: u8 = 49;
    /// waitid(2).
    IORING_OP_WAITID: u8 = 50;
    /// futex_wait(2).
    IORING_OP_FUTEX_WAIT: u8 = 51;
    /// futex_wake(2).
    IORING_OP_FUTEX_WAKE: u8 = 52;
    /// futex_waitv(2).
    IORING_OP_FUTEX_WAITV: u8 = 53;
    /// Makes a descriptor of a slot of the file table.
    IORING_OP_FIXED_FD_INSTALL: u8 = 54;
    /// ftruncate(2).
    IORING_OP_FTRUNCATE: u8 = 55;
    /// bind(2).
    IORING_OP_BIND: u8 = 56;
    /// listen(2).
    IORING_OP_LISTEN: u8 = 57;
    /// Receives into memory that the network card writes.
    IORING_OP_RECV_ZC: u8 = 58;
    /// epoll_wait(2).
    IORING_OP_EPOLL_WAIT: u8 = 59;
    /// preadv2(2) into parts of a registered buffer.
    IORING_OP_READV_FIXED: u8 = 60;
    /// pwritev2(2) from parts of a registered buffer.
    IORING_OP_WRITEV_FIXED: u8 = 61;
    /// pipe2(2).
    IORING_OP_PIPE: u8 = 62;
    /// Does nothing, in a 128-byte SQE of a ring of mixed sizes.
    IORING_OP_NOP128: u8 = 63;
    /// [`IORING_OP_URING_CMD`] in a 128-byte SQE of a ring of mixed sizes.
    IORING_OP_URING_CMD128: u8 = 64;
}
