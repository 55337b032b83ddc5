//! Page frames: who gives them out, and in which blocks.
//!
//! Reading order: this module has the [`PageAllocator`] trait; [`BuddyAllocator`] keeps one range of
//! frames, [`ZonedAllocator`] several, [`SharedPages`] lets many threads at them through caches.
//! `bits` is the ordered set of free blocks that all rests on.

mod bits;
mod buddy;
mod cache;
mod error;
mod flags;
mod lock;
#[cfg(all(test, pepita_loom))]
mod model;
mod range;
mod report;
mod shared;
#[cfg(any(not(feature = "std"), test))]
mod spin;
mod state;
#[cfg(test)]
#[cfg(not(pepita_loom))]
mod tests;
mod zones;

pub use buddy::BuddyAllocator;
pub use cache::CACHE_FRAMES;
pub use error::{AddError, AllocError, FreeError, SetupError};
pub use flags::AllocFlags;
pub use report::FrameUsage;
pub use shared::SharedPages;
pub use state::FrameState;
pub use zones::ZonedAllocator;

use crate::addr::Pfn;
use crate::page::Order;

/// Gives out blocks of page frames, and takes them back.
///
/// Frames are numbers here: nobody reads or writes the memory behind them.
pub trait PageAllocator {
    /// Gives a block of `order`, aligned to its own size, that `flags` allow.
    ///
    /// # Errors
    /// [`AllocError`] if no free block will do.
    fn alloc_pages(&mut self, order: Order, flags: AllocFlags) -> Result<Pfn, AllocError>;

    /// Takes back the block of `order` at `pfn`.
    ///
    /// # Errors
    /// [`FreeError`] if no such block is allocated; nothing has changed then.
    fn free_pages(&mut self, pfn: Pfn, order: Order) -> Result<(), FreeError>;

    /// How many frames are free.
    fn free_count(&self) -> u64;
}
