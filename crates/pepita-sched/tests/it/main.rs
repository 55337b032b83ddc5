//! Tasks as their users see them, on real processes.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod crew;
mod deterministic;
mod errors;
mod histories;
mod join;
mod loops;
mod nesting;
mod pool;
mod process;
mod queue;
mod retries;
mod scheduler;
mod scope;
mod settings;
mod support;
mod tree;
mod workers;
