//! [`BlockConfig`]: what a driver reads of a disk. virtio 1.3, 5.2.3 and 5.2.4

use pepita_sys::blk_mq::{Geometry, SECTOR_SIZE, WriteCache};

/// Feature bits. virtio 1.3, 5.2.3
const SIZE_MAX: u64 = 1 << 1;
const SEG_MAX: u64 = 1 << 2;
const RO: u64 = 1 << 5;
const BLK_SIZE: u64 = 1 << 6;
pub(super) const FLUSH: u64 = 1 << 9;
const TOPOLOGY: u64 = 1 << 10;
pub(super) const CONFIG_WCE: u64 = 1 << 11;
const MQ: u64 = 1 << 12;
const DISCARD: u64 = 1 << 13;
const WRITE_ZEROES: u64 = 1 << 14;

/// A page of a guest: smaller segments are refused by some drivers.
const SEGMENT_BYTES_MIN: u64 = 4096;

/// `struct virtio_blk_config` up to where zones begin, without what no feature tells of.
///
/// ```
/// use pepita_sys::blk_mq::{DiscardLimits, Geometry};
/// use pepita_virtio::BlockConfig;
///
/// let discard = DiscardLimits { max_sectors: 64, granularity_sectors: 8 };
/// let geometry = Geometry { discard: Some(discard), ..Geometry::new(2048) };
/// let config = BlockConfig::new(&geometry, 4, 256);
/// assert_eq!((config.capacity, config.num_queues, config.max_discard_sectors), (2048, 4, 64));
/// assert_eq!(config.to_bytes()[..8], 2048_u64.to_le_bytes());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockConfig {
    /// Sectors of 512 bytes.
    pub capacity: u64,
    /// The most bytes of a segment.
    pub size_max: u32,
    /// The most segments of a request.
    pub seg_max: u32,
    /// Bytes of a logical block.
    pub blk_size: u32,
    /// Logical blocks of a physical one, as the power of two.
    pub physical_block_exp: u8,
    /// Whether writes may be lost until a flush; the driver may write it.
    pub is_write_back: bool,
    /// Count of queues.
    pub num_queues: u16,
    /// The most sectors of a discard; 0 if there is none.
    pub max_discard_sectors: u32,
    /// Sectors that are given up together.
    pub discard_sector_alignment: u32,
    /// The most sectors of a request to write zeroes; 0 if there is none.
    pub max_write_zeroes_sectors: u32,
    /// Whether nothing can be changed.
    pub is_read_only: bool,
    /// Whether the cache can be switched.
    pub has_cache: bool,
}

impl BlockConfig {
    /// Bytes of the structure.
    pub const BYTES: usize = 60;
    /// Where the mode of the cache is.
    pub(super) const WRITEBACK: usize = 32;

    /// Of a device of `geometry`, with `num_queues` queues of `queue_size` descriptors.
    #[must_use]
    pub fn new(geometry: &Geometry, num_queues: u16, queue_size: u16) -> Self {
        // A request has a descriptor for its header, and one for its status.
        let seg_max = u64::from(
            geometry
                .max_segments
                .min(queue_size.saturating_sub(2))
                .max(1),
        );
        let bytes = u64::from(geometry.max_sectors) * SECTOR_SIZE;
        // As many segments of the largest size as there may be are no more than a request may have.
        let seg_max = seg_max.min(bytes / SEGMENT_BYTES_MIN).max(1);
        let size_max = (bytes / seg_max).max(SECTOR_SIZE);
        let size_max = if size_max > SEGMENT_BYTES_MIN {
            size_max - size_max % SEGMENT_BYTES_MIN
        } else {
            size_max
        };
        let exp = geometry.physical_block_size / geometry.logical_block_size;
        let discard = geometry.discard;
        Self {
            capacity: geometry.capacity_sectors,
            size_max: u32::try_from(size_max).unwrap_or(u32::MAX),
            seg_max: u32::try_from(seg_max).unwrap_or(u32::MAX),
            blk_size: geometry.logical_block_size,
            physical_block_exp: u8::try_from(exp.trailing_zeros()).unwrap_or(0),
            is_write_back: geometry.write_cache != WriteCache::WriteThrough,
            num_queues,
            max_discard_sectors: discard.map_or(0, |limits| limits.max_sectors),
            discard_sector_alignment: discard.map_or(0, |limits| limits.granularity_sectors),
            max_write_zeroes_sectors: geometry.max_write_zeroes_sectors,
            is_read_only: geometry.read_only,
            has_cache: geometry.write_cache != WriteCache::WriteThrough,
        }
    }

    /// The features that go with it.
    #[must_use]
    pub const fn features(&self) -> u64 {
        let mut features = SIZE_MAX | SEG_MAX | BLK_SIZE | FLUSH | TOPOLOGY;
        let optional = [
            (self.is_read_only, RO),
            (self.has_cache, CONFIG_WCE),
            (self.num_queues > 1, MQ),
            (self.max_discard_sectors > 0, DISCARD),
            (self.max_write_zeroes_sectors > 0, WRITE_ZEROES),
        ];
        let mut index = 0;
        while index < optional.len() {
            if optional[index].0 {
                features |= optional[index].1;
            }
            index += 1;
        }
        features
    }

    /// As a driver reads it. A discard, or a request to write zeroes, has one range.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &self.capacity.to_le_bytes());
        put(8, &self.size_max.to_le_bytes());
        put(12, &self.seg_max.to_le_bytes());
        // 16: cylinders, heads and sectors, which only VIRTIO_BLK_F_GEOMETRY tells.
        put(20, &self.blk_size.to_le_bytes());
        // 25 to 31: the first block is aligned, and nothing is suggested.
        put(24, &[self.physical_block_exp]);
        put(Self::WRITEBACK, &[self.is_write_back.into()]);
        put(34, &self.num_queues.to_le_bytes());
        put(36, &self.max_discard_sectors.to_le_bytes());
        put(40, &u32::from(self.max_discard_sectors > 0).to_le_bytes());
        put(44, &self.discard_sector_alignment.to_le_bytes());
        put(48, &self.max_write_zeroes_sectors.to_le_bytes());
        put(
            52,
            &u32::from(self.max_write_zeroes_sectors > 0).to_le_bytes(),
        );
        put(56, &[(self.max_write_zeroes_sectors > 0).into()]);
        bytes
    }
}
