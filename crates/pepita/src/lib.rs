#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(feature = "sched", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "sched"),
    doc = "A pure-Rust toolkit at the edge of the Linux kernel."
)]

#[cfg(feature = "sched")]
pub use pepita_sched::{executor, fault, pool, scheduler, task};

#[cfg(all(doctest, feature = "sched"))]
#[doc = include_str!("../../../README.md")]
struct Readme;
