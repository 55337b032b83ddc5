#![no_std]
#![doc = include_str!("../README.md")]
//!
//! # Guarantees
//! * No state: nothing here allocates, locks or keeps anything between calls.
//! * Every constant, size and offset is compared with the kernel's own headers by a test (`abi/`).
//!
//! # Not here
//! No ring (`pepita-io`), and no C library: what a program needs besides is its own.
//!
//! # Sources
//! `include/uapi` of Linux 6.12 and 7.2, and the man pages that items name.

#[cfg(any(test, feature = "std"))]
extern crate std;

#[macro_use]
mod abi;

#[cfg(any(test, feature = "proptest"))]
mod arbitrary;
pub mod blk_mq;
pub mod blkzoned;
pub mod copy;
pub mod error;
pub mod io_uring;
pub mod syscall;
pub mod ublk;
