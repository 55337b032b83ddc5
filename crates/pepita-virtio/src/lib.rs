#![doc = include_str!("../README.md")]
#![cfg_attr(not(any(test, feature = "std")), no_std)]

#[cfg(all(feature = "std", not(all(test, pepita_loom))))]
mod block;
#[cfg(feature = "std")]
mod device;
mod driver;
#[cfg(feature = "std")]
mod error;
mod event;
mod format;
#[cfg(all(feature = "std", not(all(test, pepita_loom))))]
mod limit;
#[cfg(feature = "std")]
mod memory;
mod queue;
#[cfg(all(feature = "std", not(all(test, pepita_loom))))]
mod rng;
mod shared;
#[cfg(all(feature = "std", not(all(test, pepita_loom))))]
mod transport;

#[cfg(all(feature = "std", not(all(test, pepita_loom))))]
pub use block::{BlockConfig, BlockError, VirtioBlock};
#[cfg(feature = "std")]
pub use device::{ActiveQueue, Chain};
pub use driver::{AddError, DeviceFault, DriverQueue, Element, Slot, Used};
#[cfg(feature = "std")]
pub use error::QueueError;
pub use format::{
    Area, BUFFER_BYTES_MAX, PackedDesc, QUEUE_SIZE_MAX, RingFeatures, VIRTQ_DESC_F_AVAIL,
    VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_USED, VIRTQ_DESC_F_WRITE, VirtqDesc,
};
#[cfg(all(feature = "std", not(all(test, pepita_loom))))]
pub use limit::{Rate, RateLimiter, RateLimits};
#[cfg(feature = "std")]
pub use memory::{GuestRam, MemoryError};
pub use queue::VirtQueue;
#[cfg(all(feature = "std", not(all(test, pepita_loom))))]
pub use rng::VirtioRng;
pub use shared::Shared;
#[cfg(all(feature = "std", not(all(test, pepita_loom))))]
pub use transport::{
    Activation, Busy, Device, Interrupt, Message, Mmio, Pci, STATUS_ACKNOWLEDGE, STATUS_DRIVER,
    STATUS_DRIVER_OK, STATUS_FAILED, STATUS_FEATURES_OK, STATUS_NEEDS_RESET, Signal,
    VIRTIO_F_RING_RESET, VIRTIO_F_VERSION_1,
};
