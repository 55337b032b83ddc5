//! The ABI of io_uring: operation codes, flags, submissions, completions, registration.
//!
//! Names are the kernel's; structures are in Rust's case. This is memory layout only: a ring that uses
//! it is in `pepita-io`.
//!
//! ```
//! use pepita_sys::io_uring::{IORING_OP_URING_CMD, IoUringCqe, IoUringSqe};
//!
//! let sqe = IoUringSqe::new(IORING_OP_URING_CMD, 3, 0, 0).user_data(1);
//! assert_eq!(sqe.opcode, IORING_OP_URING_CMD);
//! ```
//!
//! A kernel that is older than a name answers `EINVAL`; [`IORING_REGISTER_PROBE`] tells operations
//! beforehand, and `abi/uapi-7.2.txt` marks each name that the headers of Linux 6.1 do not have.
//!
//! Source: `include/uapi/linux/io_uring.h` and `io_uring/*.h`, v7.2; io_uring(7).

mod args;
mod bpf;
mod buf;
mod build;
mod cqe;
mod flags;
mod op;
mod query;
mod register;
mod setup;
mod sqe;
mod time;
mod zcrx;

pub use args::*;
pub use bpf::*;
pub use buf::*;
pub use cqe::*;
pub use flags::*;
pub use op::*;
pub use query::*;
pub use register::*;
pub use setup::*;
pub use sqe::*;
pub use time::*;
pub use zcrx::*;

/// The tables of all modules, for the test of the ABI.
#[cfg(test)]
pub(crate) mod tables {
    use super::*;
    use crate::abi::tests::{Constant, Struct};

    pub(crate) const CONSTANTS: [&[Constant]; 9] = [
        args::CONSTANTS,
        bpf::CONSTANTS,
        buf::CONSTANTS,
        flags::CONSTANTS,
        op::CONSTANTS,
        query::CONSTANTS,
        register::CONSTANTS,
        setup::CONSTANTS,
        zcrx::CONSTANTS,
    ];
    pub(crate) const STRUCTS: [&[Struct]; 11] = [
        args::STRUCTS,
        bpf::STRUCTS,
        buf::STRUCTS,
        cqe::STRUCTS,
        flags::STRUCTS,
        query::STRUCTS,
        register::STRUCTS,
        setup::STRUCTS,
        sqe::STRUCTS,
        time::STRUCTS,
        zcrx::STRUCTS,
    ];
}
