//! The request model of multi-queue block devices.

/// Base-2 logarithm of [`SECTOR_SIZE`].
pub const SECTOR_SHIFT: u32 = 9;

/// Bytes of a sector, in which the kernel counts whatever a device's block size is.
/// `include/linux/blk_types.h`
pub const SECTOR_SIZE: u64 = 1 << SECTOR_SHIFT;
