//! Tests on the running kernel, and the conformance suite on devices of the tests.

#[cfg(feature = "conformance")]
mod blk;
mod ops;
mod ring;
mod syscall;
