//! Memory of this process, as the host gives it.
//!
//! [`Mapping`] owns pages, anonymous or of a [`Memfd`]; [`Pagemap`] says where they are; [`HostDma`] and
//! [`MemfdDma`] are the DMA platforms made of these.

mod dma;
mod error;
mod guest;
mod mapping;
mod memfd;
mod numa;
mod pagemap;

pub use dma::HostDma;
pub use error::MapError;
pub use guest::MemfdDma;
pub use mapping::{Advice, Mapping};
pub use memfd::Memfd;
pub use numa::NumaPolicy;
pub use pagemap::{Pagemap, PagemapError};
