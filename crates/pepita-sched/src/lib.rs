//! Tasks for one machine: processes and closures, one pool, retries and limits.

pub mod executor;
pub mod fault;
pub mod pool;
mod process;
pub mod scheduler;
pub mod task;
