//! Tests on the running kernel.

mod callers;
mod compose;
mod file;
mod filter;
mod handle;
mod local;
mod ram;
mod ring;
mod ublk;
mod zoned;
