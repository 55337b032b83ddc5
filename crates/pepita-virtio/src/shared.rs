//! Memory that driver and device both reach: [`Shared`], and what stands for it in a loom model.

#[cfg(all(test, pepita_loom))]
mod model;
#[cfg(not(all(test, pepita_loom)))]
mod raw;

#[cfg(not(all(test, pepita_loom)))]
pub(crate) use core::sync::atomic::fence;
#[cfg(not(all(test, pepita_loom)))]
pub use raw::Shared;

#[cfg(all(test, pepita_loom))]
pub(crate) use loom::sync::atomic::fence;
#[cfg(all(test, pepita_loom))]
pub use model::Shared;
