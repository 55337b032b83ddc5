//! Tests on the running kernel.

mod filter;
mod local;
mod ram;
mod ring;
