#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "std")]
pub mod buf;
#[cfg(feature = "std")]
mod handle;
#[cfg(feature = "std")]
mod local;
#[cfg(feature = "std")]
pub mod ops;
pub mod ring;

#[cfg(feature = "std")]
pub use handle::{RingHandle, RingThread, Sent};
#[cfg(feature = "std")]
pub use local::{LocalHandle, LocalRing, Submitted, Task};
