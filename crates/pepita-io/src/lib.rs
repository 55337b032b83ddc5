#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "std")]
extern crate alloc;

#[cfg(feature = "std")]
mod any;
#[cfg(feature = "std")]
pub mod buf;
#[cfg(feature = "std")]
pub mod compose;
#[cfg(feature = "std")]
mod file;
#[cfg(feature = "std")]
mod handle;
#[cfg(feature = "std")]
mod local;
#[cfg(feature = "std")]
mod null;
#[cfg(feature = "std")]
pub mod ops;
#[cfg(feature = "std")]
mod ram;
pub mod ring;
#[cfg(feature = "std")]
mod shared;
#[cfg(feature = "std")]
pub mod ublk;
#[cfg(feature = "std")]
mod zoned;

#[cfg(feature = "std")]
pub use any::{AnyDevice, AnyLane};
#[cfg(feature = "std")]
pub use file::{Engine, FileDevice, FileDeviceError, FileLane, FileOptions};
#[cfg(feature = "std")]
pub use handle::{RingHandle, RingThread, SendChain, Sent, SentMulti};
#[cfg(feature = "std")]
pub use local::{
    Chain, Limited, LocalHandle, LocalPool, LocalRing, Multi, RecvBundle, RecvMany, RecvPooled,
    Submitted, Task,
};
#[cfg(feature = "std")]
pub use null::{NullDevice, NullLane};
#[cfg(feature = "std")]
pub use ram::{RamDevice, RamLane};
#[cfg(feature = "std")]
pub use zoned::{ZonedRamDevice, ZonedRamLane};
