#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "std"), no_std)]

mod addr;
#[cfg(any(test, feature = "proptest"))]
mod arbitrary;
mod dma;
mod error;
#[cfg(feature = "std")]
mod host;
mod page;
mod pages;
mod protection;
mod range;

pub use addr::{AddrError, DmaAddr, Pfn, PhysAddr, VirtAddr};
pub use dma::{
    Bidirectional, CoherentBuffer, CpuReads, CpuWrites, Direction, DmaBuffer, DmaDirection,
    DmaError, DmaMask, DmaMemory, DmaPlatform, DmaRegion, DmaSegment, FromDevice, Handover,
    InFlight, SgList, ToDevice,
};
#[cfg(feature = "std")]
pub use host::{
    Advice, HostDma, MapError, Mapping, Memfd, MemfdDma, NumaPolicy, Pagemap, PagemapError,
};
pub use page::{Order, PAGE_SHIFT, PAGE_SIZE, PageSize, SizeError};
pub use pages::{
    AddError, AllocError, AllocFlags, BuddyAllocator, CACHE_FRAMES, FrameState, FrameUsage,
    FreeError, PageAllocator, SetupError, SharedPages, ZonedAllocator,
};
pub use protection::Protection;
pub use range::{PfnRange, PhysRange, RangeError};
