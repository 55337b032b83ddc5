//! Tasks for one machine: processes and closures, one pool, retries and limits.

pub mod fault;
