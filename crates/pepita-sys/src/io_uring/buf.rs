//! Rings of provided buffers. io_uring_register_buf_ring(3)

constants! {
    /// The kernel brings the ring's memory, to be mapped.
    IOU_PBUF_RING_MMAP: u16 = 1;
    /// A buffer may be used up in several goes.
    IOU_PBUF_RING_INC: u16 = 2;
}

structs! {
    /// One buffer in the ring.
    IoUringBuf = "io_uring_buf", 16 {
        /// Where it is.
        addr: u64 = 0,
        /// Bytes.
        len: u32 = 8,
        /// Its id, which completions name.
        bid: u16 = 12,
        /// Zero; in the first entry, the ring's tail.
        resv: u16 = 14,
    }

    /// The ring's first entry, seen as the place of its tail.
    IoUringBufRing = "io_uring_buf_ring", 16 {
        /// Belongs to the first buffer.
        resv1: u64 = 0 [bufs],
        /// Belongs to the first buffer.
        resv2: u32 = 8,
        /// Belongs to the first buffer.
        resv3: u16 = 12,
        /// Count of buffers added, modulo 65,536.
        tail: u16 = 14,
    }

    /// Argument of [`IORING_REGISTER_PBUF_RING`](super::IORING_REGISTER_PBUF_RING).
    IoUringBufReg = "io_uring_buf_reg", 40 {
        /// Where the ring is, page-aligned; 0 with [`IOU_PBUF_RING_MMAP`].
        ring_addr: u64 = 0,
        /// Count of entries, a power of two.
        ring_entries: u32 = 8,
        /// The group.
        bgid: u16 = 12,
        /// `IOU_PBUF_RING_` flags.
        flags: u16 = 14,
        /// With [`IOU_PBUF_RING_INC`]: a rest below this many bytes is not used again.
        min_left: u32 = 16,
        /// Zero.
        resv: [u32; 5] = 20,
    }

    /// Question and answer of [`IORING_REGISTER_PBUF_STATUS`](super::IORING_REGISTER_PBUF_STATUS).
    IoUringBufStatus = "io_uring_buf_status", 40 {
        /// The group.
        buf_group: u32 = 0,
        /// Count of buffers that the kernel has taken, modulo 65,536.
        head: u32 = 4,
        /// Zero.
        resv: [u32; 8] = 8,
    }
}
