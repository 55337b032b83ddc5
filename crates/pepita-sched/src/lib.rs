#![doc = include_str!("../README.md")]
//!
//! # Where to start
//! [`task::Task`] says what is to be run, [`pool::Pool`] runs many, [`scheduler::Scheduler`] runs
//! closures beside them. [`executor::Executor`] is the trait for other kinds of work, and
//! [`fault`] has what decides on retries.
//!
//! # Guarantees
//! * Every task has exactly one outcome, whatever is cancelled, panics or is shut down.
//! * No descriptor, blocked signal or memory of this process reaches a child.
//! * Idle workers sleep; nothing here polls by the clock.
//!
//! # Not here
//! No isolation beyond processes, limits and namespaces of process ids: for code that you do not
//! trust with your files or network, run it in a virtual machine or a container. No `tracing`
//! subscriber: spans and events are emitted, the program decides what becomes of them.

#[cfg(any(test, feature = "proptest"))]
mod arbitrary;
mod error;
pub mod executor;
pub mod fault;
pub mod pool;
mod process;
pub mod scheduler;
pub mod task;
