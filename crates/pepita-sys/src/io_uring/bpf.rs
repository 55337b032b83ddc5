//! BPF filters of operations: [`IORING_REGISTER_BPF_FILTER`](super::IORING_REGISTER_BPF_FILTER).

constants! {
    /// Operations without a filter are denied.
    IO_URING_BPF_FILTER_DENY_REST: u32 = 1;
    /// `pdu_size` has to be the kernel's.
    IO_URING_BPF_FILTER_SZ_STRICT: u32 = 2;
    /// Command: registers a filter.
    IO_URING_BPF_CMD_FILTER: u16 = 1;
}

structs! {
    /// What a filter sees.
    IoUringBpfCtx = "io_uring_bpf_ctx", 40 {
        /// User data of the SQE.
        user_data: u64 = 0,
        /// Operation code.
        opcode: u8 = 8,
        /// `IOSQE_` flags.
        sqe_flags: u8 = 9,
        /// Bytes of `data`.
        pdu_size: u8 = 10,
        /// Zero.
        pad: [u8; 5] = 11,
        /// Arguments of the operation, by its kind.
        data: [u64; 3] = 16 [socket, open, connect],
    }

    /// A filter.
    IoUringBpfFilter = "io_uring_bpf_filter", 64 {
        /// Operation code.
        opcode: u32 = 0,
        /// `IO_URING_BPF_FILTER_` flags.
        flags: u32 = 4,
        /// Count of instructions.
        filter_len: u32 = 8,
        /// Bytes of data that the filter expects.
        pdu_size: u8 = 12,
        /// Zero.
        resv: [u8; 3] = 13,
        /// Pointer to the instructions.
        filter_ptr: u64 = 16,
        /// Zero.
        resv2: [u64; 5] = 24,
    }

    /// Argument of [`IORING_REGISTER_BPF_FILTER`](super::IORING_REGISTER_BPF_FILTER).
    IoUringBpf = "io_uring_bpf", 72 {
        /// [`IO_URING_BPF_CMD_FILTER`].
        cmd_type: u16 = 0,
        /// Zero.
        cmd_flags: u16 = 2,
        /// Zero.
        resv: u32 = 4,
        /// The filter.
        filter: IoUringBpfFilter = 8,
    }
}
