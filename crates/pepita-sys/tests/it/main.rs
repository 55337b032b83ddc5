//! Tests on the running kernel.

mod ops;
mod ring;
mod syscall;
