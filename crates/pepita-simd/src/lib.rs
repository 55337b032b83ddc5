#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "std"), no_std)]

mod capabilities;
mod element;
mod error;
mod isa;
mod matrix;
mod ops;
pub mod roof;
mod vector;

pub use capabilities::{SimdCapabilities, Tier, TierError};
pub use element::Element;
pub use error::ShapeError;
pub use matrix::{MatMut, MatRef, scratch_len};
#[cfg(feature = "std")]
pub use ops::MatrixOps;
pub use ops::SimdOps;
