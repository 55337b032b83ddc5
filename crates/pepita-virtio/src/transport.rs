//! What stands between a driver's registers and a device: status, features, set-up of queues, interrupts.
//!
//! A [`Device`] says what it is and serves its queues. [`Mmio`] and [`Pci`] are the registers that a guest sees of one; what they
//! mean is the same for every transport, and stands in one state machine (`control.rs`).

mod control;
mod device;
mod interrupt;
mod mmio;
mod msix;
mod pci;

pub use device::{Activation, Busy, Device};
pub use interrupt::{Interrupt, Message, Signal};
pub use mmio::Mmio;
pub use pci::Pci;

/// The guest has found the device. virtio 1.3, 2.1
pub const STATUS_ACKNOWLEDGE: u8 = 1;
/// The guest has a driver for it.
pub const STATUS_DRIVER: u8 = 2;
/// The driver is ready.
pub const STATUS_DRIVER_OK: u8 = 4;
/// The features are agreed on.
pub const STATUS_FEATURES_OK: u8 = 8;
/// The device cannot go on.
pub const STATUS_NEEDS_RESET: u8 = 64;
/// The driver has given up.
pub const STATUS_FAILED: u8 = 128;

/// The device complies with virtio 1.0 and above; without it nothing is agreed on. virtio 1.3, 6
pub const VIRTIO_F_VERSION_1: u64 = 1 << 32;
/// Queues can be reset one by one. virtio 1.3, 2.6.1
pub const VIRTIO_F_RING_RESET: u64 = 1 << 40;
