//! Zones: what a zoned device has ([`ZoneLimits`]), and what it reports of each ([`Zone`]).

use core::mem::offset_of;

use super::geometry::{GeometryError, RequestError};
use super::request::RequestParts;
use crate::blkzoned::*;

/// What a zoned device takes. Its zones are all of one size, and as many as fill the device.
///
/// ```
/// use pepita_sys::blk_mq::{Geometry, ZoneLimits};
///
/// let zones = ZoneLimits { max_open_zones: 8, ..ZoneLimits::new(8192) }; // of 4 MiB
/// let geometry = Geometry { zones: Some(zones), ..Geometry::new(1 << 21) };
/// assert_eq!(geometry.validate(), Ok(()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ZoneLimits {
    /// Sectors of a zone: a power of two, as the kernel demands.
    pub zone_sectors: u32,
    /// The most zones that are open at a time; 0 for no limit.
    pub max_open_zones: u32,
    /// The most zones that are open or closed, which is begun and not full, at a time; 0 for no limit.
    pub max_active_zones: u32,
    /// The most sectors of one append: not more than a zone has.
    pub max_append_sectors: u32,
}

impl ZoneLimits {
    /// Zones of `zone_sectors` without limits; an append may fill one.
    #[must_use]
    pub const fn new(zone_sectors: u32) -> Self {
        Self {
            zone_sectors,
            max_open_zones: 0,
            max_active_zones: 0,
            max_append_sectors: zone_sectors,
        }
    }

    /// Whether a device of `capacity_sectors` in blocks of `block_sectors` can have such zones.
    pub(super) const fn validate(
        &self,
        capacity_sectors: u64,
        block_sectors: u32,
    ) -> Result<(), GeometryError> {
        let size = self.zone_sectors;
        let whole = size.is_power_of_two()
            && size >= block_sectors
            && capacity_sectors.is_multiple_of(size as u64);
        if !whole {
            return Err(GeometryError::ZoneSize {
                zone_sectors: size,
                capacity_sectors,
            });
        }
        let append = self.max_append_sectors;
        if append == 0 || append > size || !append.is_multiple_of(block_sectors) {
            return Err(GeometryError::Sectors {
                field: "zones.max_append_sectors",
                sectors: append as u64,
            });
        }
        let zones = capacity_sectors / size as u64;
        let (open, active) = (self.max_open_zones, self.max_active_zones);
        let above = active != 0 && open > active;
        if open as u64 > zones || active as u64 > zones || above {
            return Err(GeometryError::ZoneCounts {
                max_open_zones: open,
                max_active_zones: active,
                zones,
            });
        }
        Ok(())
    }

    /// Whether `parts` are about a whole zone.
    pub(super) const fn check_start(&self, parts: &RequestParts<'_>) -> Result<(), RequestError> {
        let (sector, zone_sectors) = (parts.sector, self.zone_sectors);
        if sector.is_multiple_of(zone_sectors as u64) {
            return Ok(());
        }
        Err(RequestError::NoZoneStart {
            sector,
            zone_sectors,
        })
    }
}

/// How far a zone is, by its number in the kernel's reports. `enum blk_zone_cond` of `include/uapi/linux/blkzoned.h`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ZoneCondition {
    /// It has no write pointer, and is written anywhere.
    Conventional = BLK_ZONE_COND_NOT_WP,
    /// Nothing is written.
    Empty = BLK_ZONE_COND_EMPTY,
    /// Opened by a write.
    ImplicitlyOpen = BLK_ZONE_COND_IMP_OPEN,
    /// Opened by a request.
    ExplicitlyOpen = BLK_ZONE_COND_EXP_OPEN,
    /// Begun, and not open.
    Closed = BLK_ZONE_COND_CLOSED,
    /// Nothing more is written until it is reset.
    Full = BLK_ZONE_COND_FULL,
}

/// What a device reports of a zone.
///
/// ```
/// use pepita_sys::blk_mq::{Zone, ZoneCondition};
///
/// let zone = Zone { start: 8192, sectors: 8192, write_pointer: 8200, condition: ZoneCondition::Closed };
/// let bytes = zone.to_bytes();
/// assert_eq!(bytes[16..18], 8200_u16.to_le_bytes());
/// assert_eq!(bytes[24..26], [2, 4]); // has to be written in order; closed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Zone {
    /// First sector.
    pub start: u64,
    /// Count of sectors, all of which can be written.
    pub sectors: u32,
    /// The sector to be written next; the end of the zone where it is full or conventional.
    pub write_pointer: u64,
    /// How far it is.
    pub condition: ZoneCondition,
}

impl Zone {
    /// Bytes of a zone in the data of a [`ZoneReport`](super::RequestOp::ZoneReport).
    pub const BYTES: usize = size_of::<BlkZone>();

    /// The zone as the kernel's [`BlkZone`], with its usable capacity.
    #[must_use]
    pub const fn to_blk_zone(&self) -> BlkZone {
        let is_conventional = matches!(self.condition, ZoneCondition::Conventional);
        BlkZone {
            start: self.start,
            len: self.sectors as u64,
            wp: self.write_pointer,
            zone_type: match is_conventional {
                true => BLK_ZONE_TYPE_CONVENTIONAL,
                false => BLK_ZONE_TYPE_SEQWRITE_REQ,
            },
            cond: self.condition as u8,
            non_seq: 0,
            reset: 0,
            resv: [0; 4],
            capacity: self.sectors as u64,
            reserved: [0; 24],
        }
    }

    /// The bytes of [`Self::to_blk_zone`].
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let zone = self.to_blk_zone();
        let mut bytes = [0; Self::BYTES];
        let words = [
            (offset_of!(BlkZone, start), zone.start),
            (offset_of!(BlkZone, len), zone.len),
            (offset_of!(BlkZone, wp), zone.wp),
            (offset_of!(BlkZone, capacity), zone.capacity),
        ];
        for (offset, word) in words {
            bytes[offset..offset + 8].copy_from_slice(&word.to_ne_bytes());
        }
        bytes[offset_of!(BlkZone, zone_type)] = zone.zone_type;
        bytes[offset_of!(BlkZone, cond)] = zone.cond;
        bytes
    }
}
