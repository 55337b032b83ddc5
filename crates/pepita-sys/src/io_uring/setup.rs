//! Setting a ring up and entering it: flags, parameters, and where things are in the mapped rings.
//! io_uring_setup(2), io_uring_enter(2)

use super::time::Timespec;

constants! {
    /// Completions are polled for, not interrupted for.
    IORING_SETUP_IOPOLL: u32 = 1 << 0;
    /// A kernel thread takes SQEs by itself.
    IORING_SETUP_SQPOLL: u32 = 1 << 1;
    /// That thread stays on CPU `sq_thread_cpu`.
    IORING_SETUP_SQ_AFF: u32 = 1 << 2;
    /// `cq_entries` says how large the completion queue is.
    IORING_SETUP_CQSIZE: u32 = 1 << 3;
    /// Sizes above the limit become the limit.
    IORING_SETUP_CLAMP: u32 = 1 << 4;
    /// Shares the worker threads of the ring `wq_fd`.
    IORING_SETUP_ATTACH_WQ: u32 = 1 << 5;
    /// Starts disabled, until [`IORING_REGISTER_ENABLE_RINGS`](super::IORING_REGISTER_ENABLE_RINGS).
    IORING_SETUP_R_DISABLED: u32 = 1 << 6;
    /// Goes on with a batch after an SQE that is wrong.
    IORING_SETUP_SUBMIT_ALL: u32 = 1 << 7;
    /// Completions wait until the task enters the kernel: no interrupt for them.
    IORING_SETUP_COOP_TASKRUN: u32 = 1 << 8;
    /// The ring says so when completions wait for the task.
    IORING_SETUP_TASKRUN_FLAG: u32 = 1 << 9;
    /// SQEs of 128 bytes.
    IORING_SETUP_SQE128: u32 = 1 << 10;
    /// CQEs of 32 bytes.
    IORING_SETUP_CQE32: u32 = 1 << 11;
    /// Only one thread submits.
    IORING_SETUP_SINGLE_ISSUER: u32 = 1 << 12;
    /// Completions are made only when that thread asks for them.
    IORING_SETUP_DEFER_TASKRUN: u32 = 1 << 13;
    /// The program brings the memory of the rings.
    IORING_SETUP_NO_MMAP: u32 = 1 << 14;
    /// The result is an index of a registered ring, not a descriptor.
    IORING_SETUP_REGISTERED_FD_ONLY: u32 = 1 << 15;
    /// SQEs are taken in order, without the array of indices.
    IORING_SETUP_NO_SQARRAY: u32 = 1 << 16;
    /// Polling that sleeps for the first part of the time.
    IORING_SETUP_HYBRID_IOPOLL: u32 = 1 << 17;
    /// CQEs of 16 and of 32 bytes.
    IORING_SETUP_CQE_MIXED: u32 = 1 << 18;
    /// SQEs of 64 and of 128 bytes.
    IORING_SETUP_SQE_MIXED: u32 = 1 << 19;
    /// Every submission starts at the first SQE.
    IORING_SETUP_SQ_REWIND: u32 = 1 << 20;

    /// Both rings are in one mapping.
    IORING_FEAT_SINGLE_MMAP: u32 = 1 << 0;
    /// Completions that do not fit are kept.
    IORING_FEAT_NODROP: u32 = 1 << 1;
    /// What an SQE leads to is read when it is submitted.
    IORING_FEAT_SUBMIT_STABLE: u32 = 1 << 2;
    /// Offset -1 is the file's position.
    IORING_FEAT_RW_CUR_POS: u32 = 1 << 3;
    /// Operations run with the credentials of who submits.
    IORING_FEAT_CUR_PERSONALITY: u32 = 1 << 4;
    /// Sockets and pipes wait without a worker thread.
    IORING_FEAT_FAST_POLL: u32 = 1 << 5;
    /// Polls take 32 bits of events.
    IORING_FEAT_POLL_32BITS: u32 = 1 << 6;
    /// The polling thread takes files that are not registered.
    IORING_FEAT_SQPOLL_NONFIXED: u32 = 1 << 7;
    /// [`IORING_ENTER_EXT_ARG`] is known.
    IORING_FEAT_EXT_ARG: u32 = 1 << 8;
    /// Workers are threads of the process.
    IORING_FEAT_NATIVE_WORKERS: u32 = 1 << 9;
    /// Registered resources have tags.
    IORING_FEAT_RSRC_TAGS: u32 = 1 << 10;
    /// [`IOSQE_CQE_SKIP_SUCCESS`](super::IOSQE_CQE_SKIP_SUCCESS) is known.
    IORING_FEAT_CQE_SKIP: u32 = 1 << 11;
    /// The file of a linked SQE is looked up when it starts.
    IORING_FEAT_LINKED_FILE: u32 = 1 << 12;
    /// Registering through a registered ring works.
    IORING_FEAT_REG_REG_RING: u32 = 1 << 13;
    /// [`IORING_RECVSEND_BUNDLE`](super::IORING_RECVSEND_BUNDLE) is known.
    IORING_FEAT_RECVSEND_BUNDLE: u32 = 1 << 14;
    /// `min_wait_usec` is known.
    IORING_FEAT_MIN_TIMEOUT: u32 = 1 << 15;
    /// Reads and writes take attributes.
    IORING_FEAT_RW_ATTR: u32 = 1 << 16;
    /// [`IORING_ENTER_NO_IOWAIT`] is known.
    IORING_FEAT_NO_IOWAIT: u32 = 1 << 17;

    /// Wait for `min_complete` completions.
    IORING_ENTER_GETEVENTS: u32 = 1 << 0;
    /// Wake the polling thread.
    IORING_ENTER_SQ_WAKEUP: u32 = 1 << 1;
    /// Wait for room in the submission queue.
    IORING_ENTER_SQ_WAIT: u32 = 1 << 2;
    /// The argument is an [`IoUringGeteventsArg`].
    IORING_ENTER_EXT_ARG: u32 = 1 << 3;
    /// The descriptor is the index of a registered ring.
    IORING_ENTER_REGISTERED_RING: u32 = 1 << 4;
    /// The time in the argument is a point in time.
    IORING_ENTER_ABS_TIMER: u32 = 1 << 5;
    /// The argument is an offset into the registered wait region.
    IORING_ENTER_EXT_ARG_REG: u32 = 1 << 6;
    /// Waiting does not count as waiting for I/O.
    IORING_ENTER_NO_IOWAIT: u32 = 1 << 7;

    /// Where the submission ring is mapped from.
    IORING_OFF_SQ_RING: u64 = 0;
    /// Where the completion ring is mapped from.
    IORING_OFF_CQ_RING: u64 = 0x800_0000;
    /// Where the SQEs are mapped from.
    IORING_OFF_SQES: u64 = 0x1000_0000;
    /// Where the ring of buffer group 0 is mapped from.
    IORING_OFF_PBUF_RING: u64 = 0x8000_0000;
    /// How far the buffer group is shifted in that offset.
    IORING_OFF_PBUF_SHIFT: u32 = 16;
    /// The bits of an offset that say what is mapped.
    IORING_OFF_MMAP_MASK: u64 = 0xf800_0000;

    /// Submission ring: the polling thread sleeps.
    IORING_SQ_NEED_WAKEUP: u32 = 1 << 0;
    /// Submission ring: completions did not fit, and wait in the kernel.
    IORING_SQ_CQ_OVERFLOW: u32 = 1 << 1;
    /// Submission ring: completions wait until the task enters.
    IORING_SQ_TASKRUN: u32 = 1 << 2;
    /// Completion ring: no signals on the registered eventfd.
    IORING_CQ_EVENTFD_DISABLED: u32 = 1 << 0;

    /// [`IoUringRegWait`]: `ts` is set.
    IORING_REG_WAIT_TS: u32 = 1 << 0;
}

structs! {
    /// Where the parts of the submission ring are, in bytes from its mapping's start.
    IoSqringOffsets = "io_sqring_offsets", 40 {
        /// First entry that the kernel has not taken.
        head: u32 = 0,
        /// First entry that the program has not filled.
        tail: u32 = 4,
        /// Mask that makes an index of a counter.
        ring_mask: u32 = 8,
        /// Count of entries.
        ring_entries: u32 = 12,
        /// `IORING_SQ_` flags.
        flags: u32 = 16,
        /// Count of entries that were wrong.
        dropped: u32 = 20,
        /// Array of indices of SQEs.
        array: u32 = 24,
        /// Zero.
        resv1: u32 = 28,
        /// With `NO_MMAP`: the program's memory for the SQEs.
        user_addr: u64 = 32,
    }

    /// Where the parts of the completion ring are, in bytes from its mapping's start.
    IoCqringOffsets = "io_cqring_offsets", 40 {
        /// First entry that the program has not seen.
        head: u32 = 0,
        /// First entry that the kernel has not filled.
        tail: u32 = 4,
        /// Mask that makes an index of a counter.
        ring_mask: u32 = 8,
        /// Count of entries.
        ring_entries: u32 = 12,
        /// Count of completions that were lost.
        overflow: u32 = 16,
        /// The CQEs.
        cqes: u32 = 20,
        /// `IORING_CQ_` flags.
        flags: u32 = 24,
        /// Zero.
        resv1: u32 = 28,
        /// With `NO_MMAP`: the program's memory for both rings.
        user_addr: u64 = 32,
    }

    /// What a ring is to be, and what it became.
    IoUringParams = "io_uring_params", 120 {
        /// Count of submission entries.
        sq_entries: u32 = 0,
        /// Count of completion entries.
        cq_entries: u32 = 4,
        /// `IORING_SETUP_` flags.
        flags: u32 = 8,
        /// CPU of the polling thread.
        sq_thread_cpu: u32 = 12,
        /// Milliseconds after which the polling thread sleeps.
        sq_thread_idle: u32 = 16,
        /// `IORING_FEAT_` flags, from the kernel.
        features: u32 = 20,
        /// Descriptor of the ring whose workers are shared.
        wq_fd: u32 = 24,
        /// Zero.
        resv: [u32; 3] = 28,
        /// Offsets in the submission ring.
        sq_off: IoSqringOffsets = 40,
        /// Offsets in the completion ring.
        cq_off: IoCqringOffsets = 80,
    }

    /// How long and with which signals to wait, with [`IORING_ENTER_EXT_ARG`].
    IoUringGeteventsArg = "io_uring_getevents_arg", 24 {
        /// Pointer to a signal set, or 0.
        sigmask: u64 = 0,
        /// Bytes of the set: 8.
        sigmask_sz: u32 = 8,
        /// Microseconds to wait for all completions before being content with one.
        min_wait_usec: u32 = 12,
        /// Pointer to a [`Timespec`], or 0.
        ts: u64 = 16,
    }

    /// The same in a registered wait region, with [`IORING_ENTER_EXT_ARG_REG`].
    IoUringRegWait = "io_uring_reg_wait", 64 {
        /// How long to wait, with [`IORING_REG_WAIT_TS`].
        ts: Timespec = 0,
        /// As in [`IoUringGeteventsArg`].
        min_wait_usec: u32 = 16,
        /// `IORING_REG_WAIT_` flags.
        flags: u32 = 20,
        /// Pointer to a signal set, or 0.
        sigmask: u64 = 24,
        /// Bytes of the set: 8.
        sigmask_sz: u32 = 32,
        /// Zero.
        pad: [u32; 3] = 36,
        /// Zero.
        pad2: [u64; 2] = 48,
    }
}
