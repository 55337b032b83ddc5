//! The request model of multi-queue block devices: operations, flags, and the tags of requests in flight.
//!
//! ```
//! use pepita_sys::blk_mq::{TagHint, TagSet, TagSetConfig, TagWord};
//!
//! let config = TagSetConfig::new(1, 128);
//! let words = [const { TagWord::new() }; TagSetConfig::words(128, 0)];
//! let tags = TagSet::new(config, &words)?;
//! let mut hint = TagHint::new(0);
//! let tag = tags.alloc(&mut hint).expect("127 others are free too");
//! tags.free(tag, &mut hint)?;
//! # Ok::<(), pepita_sys::blk_mq::TagError>(())
//! ```

mod op;
mod tags;

pub use op::{RequestFlags, RequestOp};
pub use tags::{TagError, TagHint, TagSet, TagSetConfig, TagWord};

/// Base-2 logarithm of [`SECTOR_SIZE`].
pub const SECTOR_SHIFT: u32 = 9;

/// Bytes of a sector, in which the kernel counts whatever a device's block size is.
/// `include/linux/blk_types.h`
pub const SECTOR_SIZE: u64 = 1 << SECTOR_SHIFT;
