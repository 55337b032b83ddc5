#![cfg_attr(not(feature = "std"), no_std)]
//! pepita: a pure-Rust toolkit at the edge of the Linux kernel.

#[cfg(feature = "sched")]
pub use pepita_sched::{executor, fault, pool, scheduler, task};
