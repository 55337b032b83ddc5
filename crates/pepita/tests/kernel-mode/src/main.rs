//! A program in kernel mode: it has neither std nor alloc nor a C library, only `pepita`.
//!
//! It gives out page frames, opens a ring, does file I/O through it in the current folder, and compares
//! what comes back. Each part prints a line when all its answers were right.
//!
//! | status | meaning |
//! |---|---|
//! | 0 | all answers were right |
//! | 2 | there is no ring here; the message says who refuses |
//! | 3 | the kernel refused an operation |
//! | 4 | an answer was wrong |
//! | 101 | a panic |
//!
//! `start` enters the program and ends it, `bytes` has the functions that the compiler calls, `out` prints.
#![no_std]
#![no_main]
// The loops of `bytes` would become calls of the functions that they are.
#![no_builtins]

mod bytes;
mod file;
mod frames;
mod operations;
mod out;
mod start;

use core::fmt;

use pepita::error::{Errno, KernelError};
use pepita::io::ring::{RingConfig, SetupError};

use frames::{Books, Memory};
use operations::Operations;
use out::say;

/// Why the program ends early.
#[derive(Debug)]
enum Failure {
    /// There is no ring.
    Ring(SetupError),
    /// The kernel refused an operation.
    Kernel(KernelError),
    /// A part gave a wrong answer: the part, and what was asked of it.
    Wrong(&'static str, &'static str),
}

impl Failure {
    /// The status that the program ends with.
    const fn status(&self) -> i32 {
        match self {
            Self::Ring(_) => 2,
            Self::Kernel(_) => 3,
            Self::Wrong(..) => 4,
        }
    }

    /// The operation `name` failed with `errno`.
    const fn of(name: &'static str, errno: Errno) -> Self {
        Self::Kernel(KernelError::from_errno(name, errno))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(error) => error.fmt(f),
            Self::Kernel(error) => error.fmt(f),
            Self::Wrong(part, question) => write!(f, "{part}: wrong answer: {question}"),
        }
    }
}

/// Demands that an answer is right.
const fn expect(part: &'static str, question: &'static str, is_right: bool) -> Result<(), Failure> {
    if is_right {
        Ok(())
    } else {
        Err(Failure::Wrong(part, question))
    }
}

/// The program.
fn run() -> Result<(), Failure> {
    bytes::check()?;
    say(format_args!(
        "bytes: copied, moved, filled and compared like the compiler wants it"
    ))?;

    let memory = Memory::map()?;
    let mut books = Books::new();
    let mut frames = books.allocator()?;
    let count = frames::check(&mut frames)?;
    say(format_args!(
        "frames: gave out {count}, took them back into one block, refused them a second time"
    ))?;

    let words = operations::storage();
    let tags = operations::check_tags(&words)?;
    say(format_args!(
        "tags: gave out {} to one holder each, refused to free one twice",
        tags.depth()
    ))?;

    let ring = RingConfig::new(operations::ENTRIES)
        .build()
        .map_err(Failure::Ring)?;
    say(format_args!(
        "ring: {} submissions, {} completions, flags {:#x}",
        ring.sq_capacity(),
        ring.cq_capacity(),
        ring.setup_flags()
    ))?;

    let bytes = file::check(&mut Operations::new(ring, tags), &memory, &mut frames)?;
    say(format_args!(
        "file: wrote, synced, read back and removed {bytes} bytes"
    ))?;
    say(format_args!("kernel mode: all answers were right"))
}
