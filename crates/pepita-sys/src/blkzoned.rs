//! The ABI of zoned block devices: what a report has of a zone, and the ioctls of their disks.
//!
//! [`blk_mq::Zone`](crate::blk_mq::Zone) is what a device of pepita says; it becomes a [`BlkZone`].
//!
//! ```
//! use pepita_sys::blkzoned::{BLK_ZONE_COND_EMPTY, BLK_ZONE_TYPE_SEQWRITE_REQ, BlkZone};
//!
//! let zone = BlkZone {
//!     start: 8192,
//!     len: 8192,
//!     wp: 8192,
//!     zone_type: BLK_ZONE_TYPE_SEQWRITE_REQ,
//!     cond: BLK_ZONE_COND_EMPTY,
//!     capacity: 8192,
//!     ..BlkZone::default()
//! };
//! assert_eq!(size_of_val(&zone), 64);
//! ```
//!
//! Source: `include/uapi/linux/blkzoned.h`, v7.2.

constants! {
    /// Type: written anywhere.
    BLK_ZONE_TYPE_CONVENTIONAL: u8 = 1;
    /// Type: has to be written in order.
    BLK_ZONE_TYPE_SEQWRITE_REQ: u8 = 2;
    /// Type: is better written in order.
    BLK_ZONE_TYPE_SEQWRITE_PREF: u8 = 3;
    /// Condition: without a write pointer.
    BLK_ZONE_COND_NOT_WP: u8 = 0;
    /// Condition: nothing is written.
    BLK_ZONE_COND_EMPTY: u8 = 1;
    /// Condition: opened by a write.
    BLK_ZONE_COND_IMP_OPEN: u8 = 2;
    /// Condition: opened by a request.
    BLK_ZONE_COND_EXP_OPEN: u8 = 3;
    /// Condition: begun, and not open.
    BLK_ZONE_COND_CLOSED: u8 = 4;
    /// Condition: can only be read.
    BLK_ZONE_COND_READONLY: u8 = 13;
    /// Condition: nothing more is written until it is reset.
    BLK_ZONE_COND_FULL: u8 = 14;
    /// Condition: can be neither read nor written.
    BLK_ZONE_COND_OFFLINE: u8 = 15;

    /// Condition: open or closed, as far as the kernel knows without asking the device.
    BLK_ZONE_COND_ACTIVE: u8 = 255;

    /// Report flag: zones have their capacity.
    BLK_ZONE_REP_CAPACITY: u32 = 1 << 0;
    /// Report flag, with [`BLKREPORTZONEV2`]: what the kernel knows without asking the device.
    BLK_ZONE_REP_CACHED: u32 = 1 << 31;

    /// ioctl: reports zones into a [`BlkZoneReport`] and what follows it.
    BLKREPORTZONE: u32 = 0xc010_1282;
    /// ioctl: resets the zones of a [`BlkZoneRange`].
    BLKRESETZONE: u32 = 0x4010_1283;
    /// ioctl: sectors of a zone.
    BLKGETZONESZ: u32 = 0x8004_1284;
    /// ioctl: count of zones.
    BLKGETNRZONES: u32 = 0x8004_1285;
    /// ioctl: opens the zones of a [`BlkZoneRange`].
    BLKOPENZONE: u32 = 0x4010_1286;
    /// ioctl: closes the zones of a [`BlkZoneRange`].
    BLKCLOSEZONE: u32 = 0x4010_1287;
    /// ioctl: has the zones of a [`BlkZoneRange`] be full.
    BLKFINISHZONE: u32 = 0x4010_1288;
    /// ioctl: as [`BLKREPORTZONE`], by the flags that are asked for (Linux 6.19).
    BLKREPORTZONEV2: u32 = 0xc010_128e;
}

structs! {
    /// What a report has of a zone. Places and lengths are in sectors.
    BlkZone = "blk_zone", 64 {
        /// First sector.
        start: u64 = 0,
        /// Count of sectors.
        len: u64 = 8,
        /// The sector to be written next.
        wp: u64 = 16,
        /// `BLK_ZONE_TYPE_` type.
        zone_type: u8 = 24 [type],
        /// `BLK_ZONE_COND_` condition.
        cond: u8 = 25,
        /// 1 if it was not written in order, which costs the device.
        non_seq: u8 = 26,
        /// 1 if the device recommends to reset it.
        reset: u8 = 27,
        /// Zero.
        resv: [u8; 4] = 28,
        /// Sectors that can be written, with [`BLK_ZONE_REP_CAPACITY`].
        capacity: u64 = 32,
        /// Zero.
        reserved: [u8; 24] = 40,
    }

    /// How a report begins, asked for and answered; `nr_zones` times [`BlkZone`] follow.
    BlkZoneReport = "blk_zone_report", 16 {
        /// The first zone is the one with this sector.
        sector: u64 = 0,
        /// Room for so many; then, how many there are.
        nr_zones: u32 = 8,
        /// `BLK_ZONE_REP_` flags.
        flags: u32 = 12 [zones],
    }

    /// Whole zones.
    BlkZoneRange = "blk_zone_range", 16 {
        /// First sector.
        sector: u64 = 0,
        /// Count of sectors.
        nr_sectors: u64 = 8,
    }
}
