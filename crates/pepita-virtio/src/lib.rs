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
mod vsock;

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
#[cfg(all(feature = "std", not(all(test, pepita_loom))))]
pub use vsock::{VIRTIO_VSOCK_EVENT_TRANSPORT_RESET, VirtioVsock, VsockListenError};
pub use vsock::{
    VIRTIO_VSOCK_OP_CREDIT_REQUEST, VIRTIO_VSOCK_OP_CREDIT_UPDATE, VIRTIO_VSOCK_OP_INVALID,
    VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RESPONSE, VIRTIO_VSOCK_OP_RST, VIRTIO_VSOCK_OP_RW,
    VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE, VIRTIO_VSOCK_SHUTDOWN_F_SEND,
    VIRTIO_VSOCK_TYPE_SEQPACKET, VIRTIO_VSOCK_TYPE_STREAM, VSOCK_CID_HOST, VsockAddr,
    VsockPacketHeader,
};
