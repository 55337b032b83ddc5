//! Asking what the kernel can do: [`IORING_REGISTER_QUERY`](super::IORING_REGISTER_QUERY).

constants! {
    /// Asks for an [`IoUringQueryOpcode`].
    IO_URING_QUERY_OPCODES: u32 = 0;
    /// Asks for an [`IoUringQueryZcrx`].
    IO_URING_QUERY_ZCRX: u32 = 1;
    /// Asks for an [`IoUringQueryScq`].
    IO_URING_QUERY_SCQ: u32 = 2;
    /// Asks for an [`IoUringQueryZcrxEvent`].
    IO_URING_QUERY_ZCRX_EVENT: u32 = 3;
}

structs! {
    /// One question in a list.
    IoUringQueryHdr = "io_uring_query_hdr", 40 {
        /// Pointer to the next question, or 0.
        next_entry: u64 = 0,
        /// Pointer to where the answer goes.
        query_data: u64 = 8,
        /// `IO_URING_QUERY_` question.
        query_op: u32 = 16,
        /// Bytes there; the kernel says how many it wrote.
        size: u32 = 20,
        /// 0, or an error number with its sign turned.
        result: i32 = 24,
        /// Zero.
        resv: [u32; 3] = 28 [__resv],
    }

    /// Operations and flags that there are.
    IoUringQueryOpcode = "io_uring_query_opcode", 48 {
        /// Count of `IORING_OP_` codes.
        nr_request_opcodes: u32 = 0,
        /// Count of `IORING_REGISTER_` codes.
        nr_register_opcodes: u32 = 4,
        /// `IORING_FEAT_` flags.
        feature_flags: u64 = 8,
        /// `IORING_SETUP_` flags.
        ring_setup_flags: u64 = 16,
        /// `IORING_ENTER_` flags.
        enter_flags: u64 = 24,
        /// `IOSQE_` flags.
        sqe_flags: u64 = 32,
        /// Count of `IO_URING_QUERY_` questions.
        nr_query_opcodes: u32 = 40,
        /// Zero.
        pad: u32 = 44 [__pad],
    }

    /// What zero-copy receive can do.
    IoUringQueryZcrx = "io_uring_query_zcrx", 40 {
        /// `ZCRX_REG_` flags.
        register_flags: u64 = 0,
        /// `IORING_ZCRX_AREA_` flags.
        area_flags: u64 = 8,
        /// Count of `ZCRX_CTRL_` operations.
        nr_ctrl_opcodes: u32 = 16,
        /// `ZCRX_FEATURE_` flags.
        features: u32 = 20,
        /// Bytes of the refill ring's header.
        rq_hdr_size: u32 = 24,
        /// Its alignment.
        rq_hdr_alignment: u32 = 28,
        /// Zero.
        resv2: u64 = 32 [__resv2],
    }

    /// What events of zero-copy receive there are.
    IoUringQueryZcrxEvent = "io_uring_query_zcrx_event", 48 {
        /// `ZCRX_EVENT_` types, as bits.
        event_flags: u32 = 0,
        /// Bytes of the statistics.
        stats_size: u32 = 4,
        /// Their alignment.
        stats_off_alignment: u32 = 8,
        /// Zero.
        resv1: u32 = 12 [__resv1],
        /// Zero.
        resv2: [u64; 4] = 16 [__resv2],
    }

    /// How the rings' headers are laid out, for [`IORING_SETUP_NO_MMAP`](super::IORING_SETUP_NO_MMAP).
    IoUringQueryScq = "io_uring_query_scq", 16 {
        /// Bytes of the header.
        hdr_size: u64 = 0,
        /// Its alignment.
        hdr_alignment: u64 = 8,
    }
}
