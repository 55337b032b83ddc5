#![doc = include_str!("../README.md")]

pub mod analysis;
#[cfg(any(test, feature = "proptest"))]
mod arbitrary;
mod backing;
mod block;
mod chunked;
pub mod codec;
mod config;
mod counters;
mod device;
mod dictionaries;
mod duplicates;
mod error;
mod idle;
mod objects;
mod page;
mod reading;
mod slot;
mod stats;
mod store;
mod stream;
mod sync;
mod threads;
mod training;
mod upkeep;

pub use block::ZramLane;
pub use config::{Deduplication, ZramCompressor, ZramConfig};
pub use device::ZramDevice;
pub use error::{Unfinished, ZramError};
pub use idle::{Idle, PageKind};
pub use stats::{StatLine, ZramStats};
pub use training::Training;
pub use upkeep::{Upkeep, UpkeepPolicy, UpkeepReport};
