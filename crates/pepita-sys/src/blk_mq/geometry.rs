//! What a device is and takes: [`Geometry`], and [`Geometry::check`], by which front ends keep the rest
//! away from it.

use core::fmt;

use super::op::{RequestFlags, RequestOp};
use super::request::RequestParts;
use super::segment::Segment;
use super::zone::ZoneLimits;
use super::{SECTOR_SHIFT, SECTOR_SIZE};
use crate::error::{Errno, KernelError};

/// The largest logical block: what the kernel's ublk and virtio drivers take on every architecture.
const BLOCK_SIZE_MAX: u32 = 4096;

/// What becomes of a write that has completed when the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteCache {
    /// It is durable, and a flush has nothing to do.
    WriteThrough,
    /// It may be lost, until a flush.
    WriteBack,
    /// The same; a write with [`RequestFlags::FUA`] is durable by itself.
    WriteBackWithFua,
}

/// What a discard may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DiscardLimits {
    /// The most sectors of one request.
    pub max_sectors: u32,
    /// Sectors that are given up together: a smaller or unaligned piece may be kept as it is.
    pub granularity_sectors: u32,
}

/// What a device is, and what it takes. Only the capacity may change as long as the device lives.
///
/// ```
/// use pepita_sys::blk_mq::{Geometry, WriteCache};
///
/// let geometry = Geometry {
///     logical_block_size: 4096,
///     physical_block_size: 4096,
///     write_cache: WriteCache::WriteBack,
///     ..Geometry::new(1 << 21) // 1 GiB
/// };
/// assert_eq!(geometry.validate(), Ok(()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Size in sectors of 512 bytes, a multiple of the logical block.
    pub capacity_sectors: u64,
    /// Bytes of the smallest piece that can be read or written: a power of two from 512 to 4096.
    pub logical_block_size: u32,
    /// Bytes of the smallest piece that is written without reading the rest of a larger one: a power of
    /// two, not below the logical block.
    pub physical_block_size: u32,
    /// The most sectors of one read or write.
    pub max_sectors: u32,
    /// The most segments of one request.
    pub max_segments: u16,
    /// What a discard may be; `None` if there is none.
    pub discard: Option<DiscardLimits>,
    /// The most sectors of one request to write zeroes; 0 if there is none.
    pub max_write_zeroes_sectors: u32,
    /// What a power failure does.
    pub write_cache: WriteCache,
    /// Whether neighbouring sectors are reached faster than far ones.
    pub rotational: bool,
    /// Whether nothing can be changed.
    pub read_only: bool,
    /// What its zones are; `None` if it has none.
    pub zones: Option<ZoneLimits>,
}

/// Why a [`Geometry`] cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GeometryError {
    /// A size of blocks that is no power of two, or too small or large.
    BlockSize {
        /// Bytes of the logical block.
        logical: u32,
        /// Bytes of the physical block.
        physical: u32,
    },
    /// A count of sectors that is no multiple of the logical block, or 0 where there must be some.
    Sectors {
        /// Which field.
        field: &'static str,
        /// The count.
        sectors: u64,
    },
    /// A request could have no segment.
    NoSegment,
    /// Zones that are no power of two of sectors, smaller than a logical block, or do not fill the device.
    ZoneSize {
        /// Sectors of a zone.
        zone_sectors: u32,
        /// Sectors of the device.
        capacity_sectors: u64,
    },
    /// More open zones than active ones, or more than there are.
    ZoneCounts {
        /// The most open zones.
        max_open_zones: u32,
        /// The most active zones.
        max_active_zones: u32,
        /// Count of zones.
        zones: u64,
    },
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlockSize { logical, physical } => write!(
                f,
                "blocks of {logical} (logical) and {physical} (physical) bytes: powers of two from {SECTOR_SIZE} \
                 on, the first at most {BLOCK_SIZE_MAX} and not above the second"
            ),
            Self::Sectors { field, sectors } => write!(
                f,
                "{field} is {sectors}: neither 0 nor between two logical blocks"
            ),
            Self::NoSegment => f.write_str("max_segments is 0, a request needs 1"),
            Self::ZoneSize {
                zone_sectors,
                capacity_sectors,
            } => write!(
                f,
                "zones of {zone_sectors} sectors on a device of {capacity_sectors}: a power of two, whole blocks, and \
                 whole zones only"
            ),
            Self::ZoneCounts {
                max_open_zones,
                max_active_zones,
                zones,
            } => write!(
                f,
                "at most {max_open_zones} open and {max_active_zones} active zones of {zones}: open ones are active, \
                 and neither can be more than there are"
            ),
        }
    }
}

impl core::error::Error for GeometryError {}

/// `EINVAL`, with which the kernel refuses such a device too.
impl From<GeometryError> for KernelError {
    fn from(_: GeometryError) -> Self {
        Self::from_errno("checking a geometry", Errno::EINVAL)
    }
}

/// Why a device does not take a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The device does not know the operation, or not with these flags.
    Unsupported {
        /// The operation.
        op: RequestOp,
        /// The flags.
        flags: RequestFlags,
    },
    /// The device can only be read.
    ReadOnly,
    /// The range begins or ends within a logical block.
    Misaligned {
        /// First sector.
        sector: u64,
        /// Count of sectors.
        nr_sectors: u32,
        /// Sectors of a logical block.
        block_sectors: u32,
    },
    /// The range ends behind the device.
    PastEnd {
        /// First sector.
        sector: u64,
        /// Count of sectors.
        nr_sectors: u32,
        /// Sectors of the device.
        capacity_sectors: u64,
    },
    /// More sectors than one request may have.
    TooLong {
        /// Count of sectors.
        nr_sectors: u32,
        /// The most.
        max_sectors: u32,
    },
    /// More segments than one request may have.
    TooManySegments {
        /// Count of segments.
        segments: usize,
        /// The most.
        max_segments: u16,
    },
    /// The segments do not have as many bytes as the operation moves.
    DataLength {
        /// Bytes of the segments.
        bytes: usize,
        /// Bytes that the operation moves.
        wanted: u64,
    },
    /// The operation is for a zone, and no zone begins there.
    NoZoneStart {
        /// The sector.
        sector: u64,
        /// Sectors of a zone.
        zone_sectors: u32,
    },
}

impl RequestError {
    /// The number that the request fails with: `EOPNOTSUPP`, `EPERM` on a read-only device and `EIO` past its
    /// end, as in the kernel's block layer, `EINVAL` for the rest.
    #[must_use]
    pub const fn to_errno(self) -> Errno {
        match self {
            Self::Unsupported { .. } => Errno::EOPNOTSUPP,
            Self::ReadOnly => Errno::EPERM,
            Self::PastEnd { .. } => Errno::EIO,
            _ => Errno::EINVAL,
        }
    }
}

impl From<RequestError> for Errno {
    fn from(error: RequestError) -> Self {
        error.to_errno()
    }
}

/// As [`RequestError::to_errno`].
impl From<RequestError> for KernelError {
    fn from(error: RequestError) -> Self {
        Self::from_errno("checking a request", error.to_errno())
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported { op, flags } => {
                write!(f, "the device does not know {op:?} with {flags:?}")
            }
            Self::ReadOnly => f.write_str("the device can only be read"),
            Self::Misaligned {
                sector,
                nr_sectors,
                block_sectors,
            } => write!(
                f,
                "{nr_sectors} sectors from {sector} on are not whole blocks of {block_sectors} sectors"
            ),
            Self::PastEnd {
                sector,
                nr_sectors,
                capacity_sectors,
            } => write!(
                f,
                "{nr_sectors} sectors from {sector} on end behind the device's {capacity_sectors}"
            ),
            Self::TooLong {
                nr_sectors,
                max_sectors,
            } => write!(f, "{nr_sectors} sectors, the most are {max_sectors}"),
            Self::TooManySegments {
                segments,
                max_segments,
            } => write!(f, "{segments} segments, the most are {max_segments}"),
            Self::DataLength { bytes, wanted } => {
                write!(f, "segments of {bytes} bytes, the operation moves {wanted}")
            }
            Self::NoZoneStart {
                sector,
                zone_sectors,
            } => write!(
                f,
                "no zone of {zone_sectors} sectors begins at sector {sector}"
            ),
        }
    }
}

impl core::error::Error for RequestError {}

impl Geometry {
    /// A device of `capacity_sectors` sectors with blocks of 512 bytes, 128 segments and 1 MiB in a
    /// request, no cache, and neither discard nor zeroes nor zones.
    #[must_use]
    pub const fn new(capacity_sectors: u64) -> Self {
        Self {
            capacity_sectors,
            logical_block_size: 512,
            physical_block_size: 512,
            max_sectors: 2048,
            max_segments: 128,
            discard: None,
            max_write_zeroes_sectors: 0,
            write_cache: WriteCache::WriteThrough,
            rotational: false,
            read_only: false,
            zones: None,
        }
    }

    /// Sectors of a logical block.
    #[must_use]
    pub const fn block_sectors(&self) -> u32 {
        self.logical_block_size >> SECTOR_SHIFT
    }

    /// Whether a device can be like this. A device of no sectors can.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub const fn validate(&self) -> Result<(), GeometryError> {
        let (logical, physical) = (self.logical_block_size, self.physical_block_size);
        let powers = logical.is_power_of_two() && physical.is_power_of_two();
        let small = (logical as u64) < SECTOR_SIZE || logical > BLOCK_SIZE_MAX;
        if !powers || small || physical < logical {
            return Err(GeometryError::BlockSize { logical, physical });
        }
        if !self
            .capacity_sectors
            .is_multiple_of(self.block_sectors() as u64)
        {
            return Err(GeometryError::Sectors {
                field: "capacity_sectors",
                sectors: self.capacity_sectors,
            });
        }
        let mut counts = [
            ("max_sectors", self.max_sectors),
            ("discard.max_sectors", self.block_sectors()),
            ("discard.granularity_sectors", self.block_sectors()),
            // 0 says that there is none.
            ("max_write_zeroes_sectors", self.block_sectors()),
        ];
        if let Some(discard) = self.discard {
            counts[1].1 = discard.max_sectors;
            counts[2].1 = discard.granularity_sectors;
        }
        if self.max_write_zeroes_sectors != 0 {
            counts[3].1 = self.max_write_zeroes_sectors;
        }
        let mut index = 0;
        while index < counts.len() {
            let (field, sectors) = counts[index];
            if sectors == 0 || !sectors.is_multiple_of(self.block_sectors()) {
                let sectors = sectors as u64;
                return Err(GeometryError::Sectors { field, sectors });
            }
            index += 1;
        }
        if self.max_segments == 0 {
            return Err(GeometryError::NoSegment);
        }
        match self.zones {
            Some(zones) => zones.validate(self.capacity_sectors, self.block_sectors()),
            None => Ok(()),
        }
    }

    /// Whether the device takes a request of `parts`. A front end asks before it makes one, since the
    /// numbers come from whoever uses the device.
    ///
    /// A request of no sectors is taken anywhere on the device, and does nothing. A flush has no range, and
    /// what it says of one is not looked at: ublk's come from sector 2⁶⁴ - 1.
    ///
    /// # Errors
    /// The first reason against it.
    #[inline]
    pub fn check(&self, parts: &RequestParts<'_>) -> Result<(), RequestError> {
        let RequestParts { op, flags, .. } = *parts;
        let max_sectors = match op {
            RequestOp::Read | RequestOp::Write => Some(self.max_sectors),
            RequestOp::Flush => return self.check_data(parts),
            RequestOp::Discard => self.discard.map(|limits| limits.max_sectors),
            RequestOp::WriteZeroes if self.max_write_zeroes_sectors > 0 => {
                Some(self.max_write_zeroes_sectors)
            }
            _ if op.is_zone_op() => return self.check_zone_op(parts),
            _ => None,
        };
        let no_fua = flags.contains(RequestFlags::FUA) && self.write_cache == WriteCache::WriteBack;
        let Some(max_sectors) = max_sectors.filter(|_| !no_fua) else {
            return Err(RequestError::Unsupported { op, flags });
        };
        if self.read_only && op.changes_device() {
            return Err(RequestError::ReadOnly);
        }
        self.check_range(parts, max_sectors)?;
        self.check_data(parts)
    }

    /// What [`check`](Self::check) says of a request that is about zones. One that manages a zone is for the zone
    /// that begins at its sector, and its count of sectors is not looked at, as all of its range is not where it is
    /// for all zones: the kernel's have none.
    #[cold]
    fn check_zone_op(&self, parts: &RequestParts<'_>) -> Result<(), RequestError> {
        let RequestParts { op, flags, .. } = *parts;
        let Some(zones) = self.zones else {
            return Err(RequestError::Unsupported { op, flags });
        };
        if self.read_only && op.changes_device() {
            return Err(RequestError::ReadOnly);
        }
        match op {
            RequestOp::ZoneAppend => {
                if flags.contains(RequestFlags::FUA) && self.write_cache == WriteCache::WriteBack {
                    return Err(RequestError::Unsupported { op, flags });
                }
                zones.check_start(parts)?;
                self.check_range(parts, zones.max_append_sectors)?;
            }
            RequestOp::ZoneResetAll => {}
            RequestOp::ZoneReport => self.check_is_on(parts)?,
            _ => {
                zones.check_start(parts)?;
                self.check_is_on(parts)?;
            }
        }
        self.check_data(parts)
    }

    /// Whether the device has the first sector of `parts`.
    const fn check_is_on(&self, parts: &RequestParts<'_>) -> Result<(), RequestError> {
        if parts.sector < self.capacity_sectors {
            return Ok(());
        }
        Err(RequestError::PastEnd {
            sector: parts.sector,
            nr_sectors: parts.nr_sectors,
            capacity_sectors: self.capacity_sectors,
        })
    }

    #[inline]
    fn check_range(&self, parts: &RequestParts<'_>, max_sectors: u32) -> Result<(), RequestError> {
        let RequestParts {
            sector, nr_sectors, ..
        } = *parts;
        let capacity_sectors = self.capacity_sectors;
        let block_sectors = self.block_sectors();
        // Both are multiples of a power of two exactly if their union is.
        let below_block = u64::from(block_sectors).wrapping_sub(1);
        if (sector | u64::from(nr_sectors)) & below_block != 0 {
            return Err(RequestError::Misaligned {
                sector,
                nr_sectors,
                block_sectors,
            });
        }
        let end = sector.checked_add(u64::from(nr_sectors));
        if end.is_none_or(|end| end > capacity_sectors) {
            return Err(RequestError::PastEnd {
                sector,
                nr_sectors,
                capacity_sectors,
            });
        }
        if nr_sectors > max_sectors {
            return Err(RequestError::TooLong {
                nr_sectors,
                max_sectors,
            });
        }
        Ok(())
    }

    #[inline]
    fn check_data(&self, parts: &RequestParts<'_>) -> Result<(), RequestError> {
        let (segments, max_segments) = (parts.segments.len(), self.max_segments);
        if segments > usize::from(max_segments) {
            return Err(RequestError::TooManySegments {
                segments,
                max_segments,
            });
        }
        let wanted = parts.data_bytes();
        let bytes = Segment::total_len(parts.segments);
        if bytes as u64 != wanted {
            return Err(RequestError::DataLength { bytes, wanted });
        }
        Ok(())
    }
}

#[cfg(all(test, not(pepita_loom)))]
mod tests;
