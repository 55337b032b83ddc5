//! Parameters of a device.

constants! {
    /// Attribute: cannot be written.
    UBLK_ATTR_READ_ONLY: u32 = 1 << 0;
    /// Attribute: seeks take time.
    UBLK_ATTR_ROTATIONAL: u32 = 1 << 1;
    /// Attribute: writes are durable only after a flush.
    UBLK_ATTR_VOLATILE_CACHE: u32 = 1 << 2;
    /// Attribute: knows durable writes; only beside [`UBLK_ATTR_VOLATILE_CACHE`].
    UBLK_ATTR_FUA: u32 = 1 << 3;
    /// The least of [`UblkParamSegment`]'s sizes, in bytes.
    UBLK_MIN_SEGMENT_SIZE: u32 = 4096;
    /// `basic` is set.
    UBLK_PARAM_TYPE_BASIC: u32 = 1 << 0;
    /// `discard` is set.
    UBLK_PARAM_TYPE_DISCARD: u32 = 1 << 1;
    /// `devt` is set, by the driver alone.
    UBLK_PARAM_TYPE_DEVT: u32 = 1 << 2;
    /// `zoned` is set.
    UBLK_PARAM_TYPE_ZONED: u32 = 1 << 3;
    /// `dma` is set.
    UBLK_PARAM_TYPE_DMA_ALIGN: u32 = 1 << 4;
    /// `seg` is set.
    UBLK_PARAM_TYPE_SEGMENT: u32 = 1 << 5;
    /// `integrity` is set.
    UBLK_PARAM_TYPE_INTEGRITY: u32 = 1 << 6;
}

structs! {
    /// Size, block sizes and limits. Shifts are base-2 logarithms of bytes.
    UblkParamBasic = "ublk_param_basic", 32 {
        /// `UBLK_ATTR_` attributes.
        attrs: u32 = 0,
        /// Logical block, 9 to 12.
        logical_bs_shift: u8 = 4,
        /// Physical block.
        physical_bs_shift: u8 = 5,
        /// Best size of a transfer.
        io_opt_shift: u8 = 6,
        /// Least size without a penalty.
        io_min_shift: u8 = 7,
        /// Most sectors of one request.
        max_sectors: u32 = 8,
        /// Requests do not cross multiples of this many sectors; for zoned devices the size of a zone.
        chunk_sectors: u32 = 12,
        /// Sectors of the device.
        dev_sectors: u64 = 16,
        /// Segments of a request may end only where these bits of an address are zero.
        virt_boundary_mask: u64 = 24,
    }

    /// Limits of discard and of writing zeroes.
    UblkParamDiscard = "ublk_param_discard", 20 {
        /// Bytes by which the first discardable unit is off.
        discard_alignment: u32 = 0,
        /// Bytes of a unit.
        discard_granularity: u32 = 4,
        /// Most sectors of one discard.
        max_discard_sectors: u32 = 8,
        /// Most sectors of one write of zeroes.
        max_write_zeroes_sectors: u32 = 12,
        /// Ranges of one discard: 1.
        max_discard_segments: u16 = 16,
        /// Zero.
        reserved0: u16 = 18,
    }

    /// Device numbers, from the driver.
    UblkParamDevt = "ublk_param_devt", 16 {
        /// Major number of the character device.
        char_major: u32 = 0,
        /// Its minor number.
        char_minor: u32 = 4,
        /// Major number of the disk.
        disk_major: u32 = 8,
        /// Its minor number.
        disk_minor: u32 = 12,
    }

    /// Limits of zones.
    UblkParamZoned = "ublk_param_zoned", 32 {
        /// Most zones open at once.
        max_open_zones: u32 = 0,
        /// Most zones partly written at once.
        max_active_zones: u32 = 4,
        /// Most sectors of one append.
        max_zone_append_sectors: u32 = 8,
        /// Zero.
        reserved: [u8; 20] = 12,
    }

    /// Alignment of request data.
    UblkParamDmaAlign = "ublk_param_dma_align", 8 {
        /// Mask of address bits that have to be zero.
        alignment: u32 = 0,
        /// Zero.
        pad: [u8; 4] = 4,
    }

    /// Limits of segments.
    UblkParamSegment = "ublk_param_segment", 16 {
        /// A segment does not cross multiples of this plus 1.
        seg_boundary_mask: u64 = 0,
        /// Most bytes of a segment.
        max_segment_size: u32 = 8,
        /// Most segments of a request.
        max_segments: u16 = 12,
        /// Zero.
        pad: [u8; 2] = 14,
    }

    /// Integrity data.
    UblkParamIntegrity = "ublk_param_integrity", 16 {
        /// What is checked.
        flags: u32 = 0,
        /// Most segments of integrity data, or 0 for no limit.
        max_integrity_segments: u16 = 4,
        /// Base-2 logarithm of the bytes that one checksum covers.
        interval_exp: u8 = 6,
        /// Bytes for each interval.
        metadata_size: u8 = 7,
        /// Where in them the protection information starts.
        pi_offset: u8 = 8,
        /// Kind of checksum.
        csum_type: u8 = 9,
        /// Bytes of the application tag.
        tag_size: u8 = 10,
        /// Zero.
        pad: [u8; 5] = 11,
    }

    /// All parameters. An older driver reads and writes only as much as it knows.
    UblkParams = "ublk_params", 152 {
        /// Bytes of this structure.
        len: u32 = 0,
        /// `UBLK_PARAM_TYPE_` parts that are set.
        types: u32 = 4,
        /// Size, block sizes and limits.
        basic: UblkParamBasic = 8,
        /// Limits of discard.
        discard: UblkParamDiscard = 40,
        /// Device numbers.
        devt: UblkParamDevt = 60,
        /// Limits of zones.
        zoned: UblkParamZoned = 76,
        /// Alignment of data.
        dma: UblkParamDmaAlign = 108,
        /// Limits of segments.
        seg: UblkParamSegment = 120 ,
        /// Integrity data.
        integrity: UblkParamIntegrity = 136,
    }
}

impl UblkParams {
    /// The parameters that every device needs; further parts are added to the fields and `types`.
    ///
    /// ```
    /// use pepita_sys::ublk::{UblkParamBasic, UblkParams};
    ///
    /// let basic = UblkParamBasic { logical_bs_shift: 9, dev_sectors: 2048, ..UblkParamBasic::default() };
    /// let params = UblkParams::new(basic);
    /// assert_eq!((params.len, params.types), (152, 1));
    /// ```
    #[must_use]
    pub fn new(basic: UblkParamBasic) -> Self {
        const LEN: u32 = 152;
        const { assert!(size_of::<UblkParams>() == LEN as usize) };
        Self {
            len: LEN,
            types: UBLK_PARAM_TYPE_BASIC,
            basic,
            ..Self::default()
        }
    }
}
