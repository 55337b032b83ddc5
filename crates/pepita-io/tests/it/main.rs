//! Tests on the running kernel.

mod file;
mod filter;
mod handle;
mod local;
mod ram;
mod ring;
mod ublk;
