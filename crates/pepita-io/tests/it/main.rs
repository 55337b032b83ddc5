//! Tests on the running kernel.

mod file;
mod filter;
mod local;
mod ram;
mod ring;
