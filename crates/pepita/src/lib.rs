//! A pure-Rust toolkit at the edge of the Linux kernel.
//!
//! This crate is a facade: each part is a crate of its own, and stands here as modules, behind a
//! feature. It holds no code.
//!
//! | modules | crate | feature |
//! |---|---|---|
//! | `task`, `executor`, `pool`, `scheduler`, `fault` | `pepita-sched` | `sched` (default) |
//!
#![cfg_attr(
    feature = "sched",
    doc = r#"
```
use pepita::scheduler::Scheduler;
use pepita::task::{Priority, Task};

let scheduler = Scheduler::with_workers(4);
let task = Task::builder().binary("echo").arg("hello").priority(Priority::High).build()?;
assert_eq!(scheduler.submit(task).wait()?.stdout_string(), "hello\n");
# Ok::<(), Box<dyn std::error::Error>>(())
```
"#
)]
//! # Features
//! `default` is `std` and every part. Features only add: with `default-features = false`, name the
//! parts that you want, and nothing else is compiled.
#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "sched")]
pub use pepita_sched::{executor, fault, pool, scheduler, task};

#[cfg(all(doctest, feature = "sched"))]
#[doc = include_str!("../../../README.md")]
struct Readme;
