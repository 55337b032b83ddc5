//! Tests on the running kernel.

mod filter;
mod handle;
mod local;
mod ram;
mod ring;
