//! Zero-copy receive: what a network card with header split and steered queues is registered with.
//!
//! Numbers and layouts only: there is no builder, since nothing that tests pepita has such a card.

constants! {
    /// The area's id starts at this bit of an offset.
    IORING_ZCRX_AREA_SHIFT: u32 = 48;
    /// The area's id in an offset.
    IORING_ZCRX_AREA_MASK: u64 = !((1 << IORING_ZCRX_AREA_SHIFT) - 1);
    /// Area: memory of a DMA buffer.
    IORING_ZCRX_AREA_DMABUF: u32 = 1;
    /// Registration: takes over the one that `if_idx` names.
    ZCRX_REG_IMPORT: u32 = 1;
    /// Registration: without a network card; data is copied.
    ZCRX_REG_NODEV: u32 = 2;
    /// Feature: the size of receive pages can be chosen.
    ZCRX_FEATURE_RX_PAGE_SIZE: u32 = 1 << 0;
    /// Feature: events.
    ZCRX_FEATURE_EVENT: u32 = 1 << 1;
    /// Event: no memory was left.
    ZCRX_EVENT_ALLOC_FAIL: u32 = 0;
    /// Event: data was copied.
    ZCRX_EVENT_COPY: u32 = 1;
    /// Event description: `stats_offset` is set.
    ZCRX_EVENT_DESC_FLAG_STATS: u32 = 1 << 0;
    /// Control: empties the refill queue.
    ZCRX_CTRL_FLUSH_RQ: u32 = 0;
    /// Control: makes a descriptor for another ring.
    ZCRX_CTRL_EXPORT: u32 = 1;
    /// Control: lets an event fire again.
    ZCRX_CTRL_ARM_EVENT: u32 = 2;
}

structs! {
    /// Entry of the refill queue.
    IoUringZcrxRqe = "io_uring_zcrx_rqe", 16 {
        /// Offset of the buffer.
        off: u64 = 0,
        /// Bytes.
        len: u32 = 8,
        /// Zero.
        pad: u32 = 12 [__pad],
    }

    /// Second half of a completion.
    IoUringZcrxCqe = "io_uring_zcrx_cqe", 16 {
        /// Offset of the data.
        off: u64 = 0,
        /// Zero.
        pad: u64 = 8 [__pad],
    }

    /// Where the parts of the refill queue are.
    IoUringZcrxOffsets = "io_uring_zcrx_offsets", 32 {
        /// First entry that the kernel has not taken.
        head: u32 = 0,
        /// First entry that the program has not filled.
        tail: u32 = 4,
        /// The entries.
        rqes: u32 = 8,
        /// Zero.
        resv2: u32 = 12 [__resv2],
        /// Zero.
        resv: [u64; 2] = 16 [__resv],
    }

    /// Memory to receive into.
    IoUringZcrxAreaReg = "io_uring_zcrx_area_reg", 48 {
        /// Where it is.
        addr: u64 = 0,
        /// Bytes.
        len: u64 = 8,
        /// The area's id in offsets, from the kernel.
        rq_area_token: u64 = 16,
        /// `IORING_ZCRX_AREA_` flags.
        flags: u32 = 24,
        /// The DMA buffer.
        dmabuf_fd: u32 = 28,
        /// Zero.
        resv2: [u64; 2] = 32 [__resv2],
    }

    /// Counts since registration.
    ZcrxStats = "zcrx_stats", 16 {
        /// Completions whose data was copied.
        copy_count: u64 = 0,
        /// Bytes copied.
        copy_bytes: u64 = 8,
    }

    /// How events are told.
    ZcrxEventDesc = "zcrx_event_desc", 96 {
        /// User data of their completions.
        user_data: u64 = 0,
        /// `ZCRX_EVENT_` types, as bits.
        type_mask: u32 = 8,
        /// `ZCRX_EVENT_DESC_` flags.
        flags: u32 = 12,
        /// Where the statistics go, from the refill region's start.
        stats_offset: u64 = 16,
        /// Zero.
        resv2: [u64; 9] = 24 [__resv2],
    }

    /// Argument of [`IORING_REGISTER_ZCRX_IFQ`](super::IORING_REGISTER_ZCRX_IFQ).
    IoUringZcrxIfqReg = "io_uring_zcrx_ifq_reg", 96 {
        /// The network card.
        if_idx: u32 = 0,
        /// Its receive queue.
        if_rxq: u32 = 4,
        /// Entries of the refill queue.
        rq_entries: u32 = 8,
        /// `ZCRX_REG_` flags.
        flags: u32 = 12,
        /// Pointer to an [`IoUringZcrxAreaReg`].
        area_ptr: u64 = 16,
        /// Pointer to an [`IoUringRegionDesc`](super::IoUringRegionDesc).
        region_ptr: u64 = 24,
        /// Offsets in the refill queue, from the kernel.
        offsets: IoUringZcrxOffsets = 32,
        /// The id, from the kernel.
        zcrx_id: u32 = 64,
        /// Bytes of a receive page, or 0.
        rx_buf_len: u32 = 68,
        /// Pointer to a [`ZcrxEventDesc`], or 0.
        event_desc: u64 = 72,
        /// Zero.
        resv: [u64; 2] = 80 [__resv],
    }

    /// Argument of [`ZCRX_CTRL_FLUSH_RQ`].
    ZcrxCtrlFlushRq = "zcrx_ctrl_flush_rq", 48 {
        /// Zero.
        resv: [u64; 6] = 0 [__resv],
    }

    /// Argument of [`ZCRX_CTRL_EXPORT`].
    ZcrxCtrlExport = "zcrx_ctrl_export", 48 {
        /// The descriptor, from the kernel.
        zcrx_fd: u32 = 0,
        /// Zero.
        resv1: [u32; 11] = 4 [__resv1],
    }

    /// Argument of [`ZCRX_CTRL_ARM_EVENT`].
    ZcrxCtrlArmEvent = "zcrx_ctrl_arm_event", 48 {
        /// `ZCRX_EVENT_` type.
        event_type: u32 = 0,
        /// Zero.
        resv: [u32; 11] = 4 [__resv],
    }

    /// Argument of [`IORING_REGISTER_ZCRX_CTRL`](super::IORING_REGISTER_ZCRX_CTRL).
    ZcrxCtrl = "zcrx_ctrl", 72 {
        /// The id.
        zcrx_id: u32 = 0,
        /// `ZCRX_CTRL_` operation.
        op: u32 = 4,
        /// Zero.
        resv: [u64; 2] = 8 [__resv],
        /// One of [`ZcrxCtrlExport`], [`ZcrxCtrlFlushRq`], [`ZcrxCtrlArmEvent`].
        arg: [u64; 6] = 24 [zc_export, zc_flush, zc_arm_event],
    }
}
