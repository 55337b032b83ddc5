//! Tasks as their users see them, on real processes.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod errors;
mod join;
mod nesting;
mod pool;
mod process;
mod retries;
mod scheduler;
mod settings;
mod support;
mod tree;
