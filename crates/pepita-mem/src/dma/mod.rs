//! Memory that devices read and write.
//!
//! Reading order: [`DmaPlatform`] is what a place must be able to do; [`DmaBuffer`] is memory of the
//! platform for one transfer at a time, [`CoherentBuffer`] for rings that both sides use all the time,
//! [`SgList`] the caller's own memory, in segments; [`InFlight`] holds what a device has.
//!
//! A device is a peer that cannot be trusted to keep to its turn, so no memory here is ever a reference:
//! bytes are copied in and out, each read once.

mod buffer;
mod coherent;
mod direction;
mod error;
mod flight;
mod list;
mod mask;
mod platform;
mod region;

pub use buffer::DmaBuffer;
pub use coherent::CoherentBuffer;
pub use direction::{
    Bidirectional, CpuReads, CpuWrites, Direction, DmaDirection, FromDevice, ToDevice,
};
pub use error::DmaError;
pub use flight::{Handover, InFlight};
pub use list::{DmaMemory, DmaSegment, SgList};
pub use mask::DmaMask;
pub use platform::{DmaPlatform, DmaRegion};
