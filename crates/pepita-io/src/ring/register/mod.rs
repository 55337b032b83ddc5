//! What is registered with a ring, or asked of it, besides its entries.
//!
//! Methods of [`Ring`](super::Ring): which operations there are ([`Probe`]), and tables of files, whose slots
//! spare each operation the look-up of a descriptor.
//!
//! Source: io_uring_register(2).

mod files;
mod operations;
mod probe;

pub use probe::{Probe, query};
