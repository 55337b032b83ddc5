//! Registering things with a ring: operations, flags and arguments. io_uring_register(2)

use super::time::Timespec;

constants! {
    /// Registers buffers, as iovecs.
    IORING_REGISTER_BUFFERS: u32 = 0;
    /// Removes them all.
    IORING_UNREGISTER_BUFFERS: u32 = 1;
    /// Registers files, as descriptors.
    IORING_REGISTER_FILES: u32 = 2;
    /// Removes them all.
    IORING_UNREGISTER_FILES: u32 = 3;
    /// Registers an eventfd that every completion signals.
    IORING_REGISTER_EVENTFD: u32 = 4;
    /// Removes it.
    IORING_UNREGISTER_EVENTFD: u32 = 5;
    /// Changes slots of the file table.
    IORING_REGISTER_FILES_UPDATE: u32 = 6;
    /// Registers an eventfd that only completions outside a submission signal.
    IORING_REGISTER_EVENTFD_ASYNC: u32 = 7;
    /// Asks which operations there are.
    IORING_REGISTER_PROBE: u32 = 8;
    /// Registers the caller's credentials.
    IORING_REGISTER_PERSONALITY: u32 = 9;
    /// Removes them.
    IORING_UNREGISTER_PERSONALITY: u32 = 10;
    /// Restricts what a disabled ring will do.
    IORING_REGISTER_RESTRICTIONS: u32 = 11;
    /// Enables a ring that started disabled.
    IORING_REGISTER_ENABLE_RINGS: u32 = 12;
    /// Registers files with tags.
    IORING_REGISTER_FILES2: u32 = 13;
    /// Changes slots of the file table, with tags.
    IORING_REGISTER_FILES_UPDATE2: u32 = 14;
    /// Registers buffers with tags.
    IORING_REGISTER_BUFFERS2: u32 = 15;
    /// Changes slots of the buffer table, with tags.
    IORING_REGISTER_BUFFERS_UPDATE: u32 = 16;
    /// Sets the CPUs of the worker threads.
    IORING_REGISTER_IOWQ_AFF: u32 = 17;
    /// Lets them run anywhere.
    IORING_UNREGISTER_IOWQ_AFF: u32 = 18;
    /// Sets and gets how many worker threads there may be.
    IORING_REGISTER_IOWQ_MAX_WORKERS: u32 = 19;
    /// Registers rings with the calling thread.
    IORING_REGISTER_RING_FDS: u32 = 20;
    /// Removes them.
    IORING_UNREGISTER_RING_FDS: u32 = 21;
    /// Registers a ring of provided buffers.
    IORING_REGISTER_PBUF_RING: u32 = 22;
    /// Removes it.
    IORING_UNREGISTER_PBUF_RING: u32 = 23;
    /// Cancels operations and waits until they have ended.
    IORING_REGISTER_SYNC_CANCEL: u32 = 24;
    /// Says which slots the kernel may pick for new files.
    IORING_REGISTER_FILE_ALLOC_RANGE: u32 = 25;
    /// Asks how far the kernel is in a ring of provided buffers.
    IORING_REGISTER_PBUF_STATUS: u32 = 26;
    /// Sets busy polling of network cards.
    IORING_REGISTER_NAPI: u32 = 27;
    /// Ends it.
    IORING_UNREGISTER_NAPI: u32 = 28;
    /// Chooses the clock of waits.
    IORING_REGISTER_CLOCK: u32 = 29;
    /// Takes buffers over from another ring.
    IORING_REGISTER_CLONE_BUFFERS: u32 = 30;
    /// Sends a ring message without a ring.
    IORING_REGISTER_SEND_MSG_RING: u32 = 31;
    /// Registers a receive queue of a network card.
    IORING_REGISTER_ZCRX_IFQ: u32 = 32;
    /// Changes the sizes of the rings.
    IORING_REGISTER_RESIZE_RINGS: u32 = 33;
    /// Registers memory for wait arguments.
    IORING_REGISTER_MEM_REGION: u32 = 34;
    /// Asks what the kernel can do.
    IORING_REGISTER_QUERY: u32 = 35;
    /// Controls zero-copy receive.
    IORING_REGISTER_ZCRX_CTRL: u32 = 36;
    /// Registers BPF filters of operations.
    IORING_REGISTER_BPF_FILTER: u32 = 37;
    /// Added to the operation: the descriptor is the index of a registered ring.
    IORING_REGISTER_USE_REGISTERED_RING: u32 = 1 << 31;

    /// Worker threads for what ends in bounded time.
    IO_WQ_BOUND: u32 = 0;
    /// Worker threads for what may take for ever.
    IO_WQ_UNBOUND: u32 = 1;

    /// Region: the memory is the program's, at `user_addr`.
    IORING_MEM_REGION_TYPE_USER: u32 = 1;
    /// Region: holds wait arguments.
    IORING_MEM_REGION_REG_WAIT_ARG: u64 = 1;
    /// Resources: a table of empty slots.
    IORING_RSRC_REGISTER_SPARSE: u32 = 1 << 0;
    /// In an update of files: leaves the slot as it is.
    IORING_REGISTER_FILES_SKIP: i32 = -2;
    /// Probe: the operation is there.
    IO_URING_OP_SUPPORTED: u16 = 1 << 0;
    /// Clone: `src_fd` is the index of a registered ring.
    IORING_REGISTER_SRC_REGISTERED: u32 = 1 << 0;
    /// Clone: replaces buffers that are there.
    IORING_REGISTER_DST_REPLACE: u32 = 1 << 1;

    /// Busy polling: sets how the queues are found.
    IO_URING_NAPI_REGISTER_OP: u8 = 0;
    /// Busy polling: adds a queue.
    IO_URING_NAPI_STATIC_ADD_ID: u8 = 1;
    /// Busy polling: removes a queue.
    IO_URING_NAPI_STATIC_DEL_ID: u8 = 2;
    /// Busy polling: queues are found as sockets are used.
    IO_URING_NAPI_TRACKING_DYNAMIC: u32 = 0;
    /// Busy polling: queues are named.
    IO_URING_NAPI_TRACKING_STATIC: u32 = 1;
    /// Busy polling: none.
    IO_URING_NAPI_TRACKING_INACTIVE: u32 = 255;

    /// Restriction: allows a register operation.
    IORING_RESTRICTION_REGISTER_OP: u16 = 0;
    /// Restriction: allows an operation.
    IORING_RESTRICTION_SQE_OP: u16 = 1;
    /// Restriction: allows SQE flags.
    IORING_RESTRICTION_SQE_FLAGS_ALLOWED: u16 = 2;
    /// Restriction: demands SQE flags.
    IORING_RESTRICTION_SQE_FLAGS_REQUIRED: u16 = 3;
}

structs! {
    /// Changes of the file table, of [`IORING_REGISTER_FILES_UPDATE`]; same as [`IoUringRsrcUpdate`].
    IoUringFilesUpdate = "io_uring_files_update", 16 {
        /// First slot.
        offset: u32 = 0,
        /// Zero.
        resv: u32 = 4,
        /// Pointer to descriptors.
        fds: u64 = 8,
    }

    /// A piece of memory that program and kernel share.
    IoUringRegionDesc = "io_uring_region_desc", 64 {
        /// Where it is, with [`IORING_MEM_REGION_TYPE_USER`].
        user_addr: u64 = 0,
        /// Bytes, whole pages.
        size: u64 = 8,
        /// `IORING_MEM_REGION_TYPE_` flags.
        flags: u32 = 16,
        /// Zero.
        id: u32 = 20,
        /// Where to map it from, from the kernel.
        mmap_offset: u64 = 24,
        /// Zero.
        resv: [u64; 4] = 32 [__resv],
    }

    /// Argument of [`IORING_REGISTER_MEM_REGION`].
    IoUringMemRegionReg = "io_uring_mem_region_reg", 32 {
        /// Pointer to an [`IoUringRegionDesc`].
        region_uptr: u64 = 0,
        /// What it is for: [`IORING_MEM_REGION_REG_WAIT_ARG`].
        flags: u64 = 8,
        /// Zero.
        resv: [u64; 2] = 16 [__resv],
    }

    /// Files or buffers with tags.
    IoUringRsrcRegister = "io_uring_rsrc_register", 32 {
        /// Count.
        nr: u32 = 0,
        /// `IORING_RSRC_REGISTER_` flags.
        flags: u32 = 4,
        /// Zero.
        resv2: u64 = 8,
        /// Pointer to descriptors or iovecs, or 0 for empty slots.
        data: u64 = 16,
        /// Pointer to tags, or 0.
        tags: u64 = 24,
    }

    /// Changes of a table.
    IoUringRsrcUpdate = "io_uring_rsrc_update", 16 {
        /// First slot; for [`IORING_REGISTER_RING_FDS`] the index wanted, or `u32::MAX`.
        offset: u32 = 0,
        /// Zero.
        resv: u32 = 4,
        /// Pointer to descriptors or iovecs.
        data: u64 = 8,
    }

    /// Changes of a table with tags.
    IoUringRsrcUpdate2 = "io_uring_rsrc_update2", 32 {
        /// First slot.
        offset: u32 = 0,
        /// Zero.
        resv: u32 = 4,
        /// Pointer to descriptors or iovecs.
        data: u64 = 8,
        /// Pointer to tags, or 0.
        tags: u64 = 16,
        /// Count of slots.
        nr: u32 = 24,
        /// Zero.
        resv2: u32 = 28,
    }

    /// Whether one operation is there.
    IoUringProbeOp = "io_uring_probe_op", 8 {
        /// Operation code.
        op: u8 = 0,
        /// Zero.
        resv: u8 = 1,
        /// [`IO_URING_OP_SUPPORTED`] or 0.
        flags: u16 = 2,
        /// Zero.
        resv2: u32 = 4,
    }

    /// Answer of [`IORING_REGISTER_PROBE`]; `ops_len` times [`IoUringProbeOp`] follow.
    IoUringProbe = "io_uring_probe", 16 {
        /// The last operation that the kernel knows.
        last_op: u8 = 0,
        /// Count of what follows.
        ops_len: u8 = 1,
        /// Zero.
        resv: u16 = 2,
        /// Zero.
        resv2: [u32; 3] = 4 [ops],
    }

    /// One restriction of [`IORING_REGISTER_RESTRICTIONS`].
    IoUringRestriction = "io_uring_restriction", 16 {
        /// `IORING_RESTRICTION_` kind.
        opcode: u16 = 0,
        /// The operation, register operation, or flags.
        arg: u8 = 2 [register_op, sqe_op, sqe_flags],
        /// Zero.
        resv: u8 = 3,
        /// Zero.
        resv2: [u32; 3] = 4,
    }

    /// Restrictions of the calling task; `nr_res` times [`IoUringRestriction`] follow.
    IoUringTaskRestriction = "io_uring_task_restriction", 16 {
        /// Zero.
        flags: u16 = 0,
        /// Count of what follows.
        nr_res: u16 = 2,
        /// Zero.
        resv: [u32; 3] = 4 [restrictions],
    }

    /// Argument of [`IORING_REGISTER_CLOCK`].
    IoUringClockRegister = "io_uring_clock_register", 16 {
        /// `CLOCK_MONOTONIC` (1) or `CLOCK_BOOTTIME` (7).
        clockid: u32 = 0,
        /// Zero.
        resv: [u32; 3] = 4 [__resv],
    }

    /// Argument of [`IORING_REGISTER_CLONE_BUFFERS`].
    IoUringCloneBuffers = "io_uring_clone_buffers", 32 {
        /// The other ring.
        src_fd: u32 = 0,
        /// [`IORING_REGISTER_SRC_REGISTERED`], [`IORING_REGISTER_DST_REPLACE`].
        flags: u32 = 4,
        /// First slot there.
        src_off: u32 = 8,
        /// First slot here.
        dst_off: u32 = 12,
        /// Count, or 0 for all.
        nr: u32 = 16,
        /// Zero.
        pad: [u32; 3] = 20,
    }

    /// Argument of [`IORING_REGISTER_NAPI`].
    IoUringNapi = "io_uring_napi", 16 {
        /// Microseconds of busy polling.
        busy_poll_to: u32 = 0,
        /// 1 to prefer it over interrupts.
        prefer_busy_poll: u8 = 4,
        /// `IO_URING_NAPI_` operation.
        opcode: u8 = 5,
        /// Zero.
        pad: [u8; 2] = 6,
        /// The `IO_URING_NAPI_TRACKING_` strategy, or the queue.
        op_param: u32 = 8,
        /// Zero.
        resv: u32 = 12,
    }

    /// Argument of [`IORING_REGISTER_SYNC_CANCEL`].
    IoUringSyncCancelReg = "io_uring_sync_cancel_reg", 64 {
        /// User data to look for.
        addr: u64 = 0,
        /// Descriptor to look for.
        fd: i32 = 8,
        /// `IORING_ASYNC_CANCEL_` flags.
        flags: u32 = 12,
        /// How long to wait; -1 in both fields is for ever.
        timeout: Timespec = 16,
        /// Operation code to look for.
        opcode: u8 = 32,
        /// Zero.
        pad: [u8; 7] = 33,
        /// Zero.
        pad2: [u64; 3] = 40,
    }

    /// Argument of [`IORING_REGISTER_FILE_ALLOC_RANGE`].
    IoUringFileIndexRange = "io_uring_file_index_range", 16 {
        /// First slot.
        off: u32 = 0,
        /// Count.
        len: u32 = 4,
        /// Zero.
        resv: u64 = 8,
    }
}
