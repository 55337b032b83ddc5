//! The request model of multi-queue block devices.
//!
//! A front end (ublk, virtio, a queue in the process) makes [`Request`]s and hands them to a [`Lane`] of a
//! [`BlockDevice`]; whoever ends one calls back by its [`Completion`]. The contract between them is on
//! [`BlockDevice`]. A device is safe code: it reads a request's [`Source`], fills its [`Sink`], and ends it.
//!
//! ```
//! use std::sync::Mutex;
//!
//! use pepita_sys::blk_mq::{BlockDevice, DeviceId, Geometry, Lane, Request, RequestOp, Sink, Source};
//! use pepita_sys::error::{Errno, Result};
//!
//! /// 1 MiB of memory.
//! struct Ram(Mutex<[u8; 1 << 20]>);
//!
//! impl BlockDevice for Ram {
//!     type Lane<'d> = &'d Ram;
//!
//!     fn geometry(&self) -> Geometry {
//!         Geometry::new(2048)
//!     }
//!     fn id(&self) -> DeviceId {
//!         DeviceId::new("ram")
//!     }
//!     fn open_lane(&self, _depth: u16) -> Result<&Ram> {
//!         Ok(self)
//!     }
//! }
//!
//! impl Lane for &Ram {
//!     fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
//!         let done = self.serve(&request);
//!         request.complete(done);
//!         Ok(())
//!     }
//!     fn commit(&mut self) {}
//!     fn poll(&mut self) {}
//!     fn descriptor(&self) -> Option<i32> {
//!         None
//!     }
//! }
//!
//! impl Ram {
//!     fn serve(&self, request: &Request) -> std::result::Result<(), Errno> {
//!         let start = request.sector().checked_mul(512).ok_or(Errno::EIO)? as usize;
//!         let bytes = request.nr_sectors() as usize * 512;
//!         let mut memory = self.0.lock().unwrap();
//!         let place = memory.get_mut(start..).and_then(|rest| rest.get_mut(..bytes));
//!         match (request.op(), place) {
//!             (RequestOp::Flush, _) => Ok(()),
//!             (RequestOp::Read, Some(place)) => Ok(request.sink().write(place)?),
//!             (RequestOp::Write, Some(place)) => Ok(request.source().read(place)?),
//!             (RequestOp::Read | RequestOp::Write, None) => Err(Errno::EIO),
//!             _ => Err(Errno::EOPNOTSUPP),
//!         }
//!     }
//! }
//! ```
//!
//! [`TagSet`] gives out the numbers of requests in flight:
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

#[cfg(feature = "conformance")]
pub mod conformance;
mod data;
mod device;
mod geometry;
mod op;
mod pointers;
mod queue_map;
mod request;
mod segment;
mod tags;
mod zone;

pub use data::{Sink, Source};
pub use device::{BlockDevice, DeviceId, Lane};
pub use geometry::{DiscardLimits, Geometry, GeometryError, RequestError, WriteCache};
pub use op::{RequestFlags, RequestOp};
pub use queue_map::{CpuPlace, map_queues};
pub use request::{Completion, CompletionVtable, Request, RequestParts};
pub use segment::{Segment, Segments, ShortData};
pub use tags::{TagError, TagHint, TagSet, TagSetConfig, TagWord};
pub use zone::{Zone, ZoneCondition, ZoneLimits};

/// Base-2 logarithm of [`SECTOR_SIZE`].
pub const SECTOR_SHIFT: u32 = 9;

/// Bytes of a sector, in which the kernel counts whatever a device's block size is.
/// `include/linux/blk_types.h`
pub const SECTOR_SIZE: u64 = 1 << SECTOR_SHIFT;
