//! Side-by-side benches: ours and the peers, interleaved on one machine.
//!
//! A *suite* is what `cargo xtask bench NAME` runs: a list of [`Case`]s. A case is one piece of work
//! that several [`Contender`]s do, the first of them ours. To add a suite, write a module with a
//! function that gives its cases and name it in [`SUITES`].
//!
//! # How a case is measured
//! * The answers of all contenders are compared before anything is timed.
//! * In each round every contender does the work once, in random order, so that what disturbs the
//!   machine disturbs all of them. At least [`ROUNDS`] rounds, unless the case says otherwise.
//! * A contender that keeps threads lives in a process of its own ([`Home::Own`]): this program again,
//!   driven over a pipe, stopped by SIGSTOP while another one is timed. The others share this process.
//! * The figure is the median of the paired ratios, one per round, with the 95 % bootstrap interval of
//!   that median ([`stats`]). Above 1 is ahead, for times and for rates.

pub mod blas;
mod case;
mod cli;
pub mod codec;
mod corpus;
mod home;
mod host;
pub mod join;
mod kernel_zram;
pub mod loops;
mod output;
pub mod pages;
mod run;
mod server;
pub mod spawn;
pub mod stats;
pub mod tags;
pub mod tasks;
mod timing;
pub mod ublk;
pub mod uring;
pub mod virtio;
mod watchdog;
pub mod zram;

pub use case::{Bar, Case, Contender, Entry, Home, Role, Settings, Suite, Unit};
pub use cli::main;
pub use timing::{per_second, wall_ms};

/// Rounds of a case when nothing else is said, and the least that a published figure may have.
pub const ROUNDS: usize = 30;

/// Every suite.
pub const SUITES: &[Suite] = &[
    codec::SUITE,
    blas::DGEMM,
    join::SUITE,
    loops::SUITE,
    pages::SUITE,
    blas::SGEMM,
    spawn::SUITE,
    tags::SUITE,
    tasks::SUITE,
    ublk::SUITE,
    ublk::DISK_SUITE,
    ublk::ZRAM_SUITE,
    uring::SUITE,
    blas::VECTOR,
    virtio::SUITE,
    zram::SUITE,
];
