#![expect(
    unsafe_code,
    reason = "operations promise to keep what their entries lead to"
)]
//! Operations that wait for other threads, processes and drivers.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use pepita_sys::error::{KernelError, Result};
use pepita_sys::io_uring::{FUTEX2_PRIVATE, FUTEX2_SIZE_U32, IoUringCqe, IoUringSqe};

use super::{Operation, SharedFile, count, done};

/// The futexes of one process, of 32 bits.
const PRIVATE: u32 = FUTEX2_SIZE_U32 | FUTEX2_PRIVATE;
/// Every bit of a wake-up's mask.
const ANY: u64 = u32::MAX as u64;

/// Waits while `futex` has the value `value`; `EAGAIN` when it has another at first. Linux 6.7. futex(2).
#[must_use]
pub fn futex_wait(futex: &Arc<AtomicU32>, value: u32) -> FutexWait {
    FutexWait {
        futex: Arc::clone(futex),
        value,
    }
}

/// See [`futex_wait`].
#[derive(Debug)]
pub struct FutexWait {
    futex: Arc<AtomicU32>,
    value: u32,
}

// SAFETY: it keeps the futex.
unsafe impl Operation for FutexWait {
    type Output = Result<()>;

    fn entry(&mut self) -> IoUringSqe {
        IoUringSqe::futex_wait(self.futex.as_ptr(), u64::from(self.value), ANY, PRIVATE)
    }

    fn complete(self, cqe: IoUringCqe) -> Result<()> {
        done("futex_wait", cqe)
    }
}

/// Wakes up to `count` who wait for `futex`, and says how many. Linux 6.7. futex(2).
#[must_use]
pub fn futex_wake(futex: &Arc<AtomicU32>, count: u32) -> FutexWake {
    FutexWake {
        futex: Arc::clone(futex),
        count,
    }
}

/// See [`futex_wake`].
#[derive(Debug)]
pub struct FutexWake {
    futex: Arc<AtomicU32>,
    count: u32,
}

// SAFETY: it keeps the futex.
unsafe impl Operation for FutexWake {
    type Output = Result<usize>;

    fn entry(&mut self) -> IoUringSqe {
        // The kernel takes it for an `int`, and wakes one for a negative one.
        let count = self.count.min(i32::MAX.cast_unsigned());
        IoUringSqe::futex_wake(self.futex.as_ptr(), u64::from(count), ANY, PRIVATE)
    }

    fn complete(self, cqe: IoUringCqe) -> Self::Output {
        count("futex_wake", cqe)
    }
}

/// Waits for the end of the child that `pidfd` stands for, and reaps it. Linux 6.7. waitid(2).
pub fn wait_child<F: SharedFile>(pidfd: &F) -> WaitChild<F> {
    WaitChild {
        pidfd: pidfd.clone(),
        info: Box::new([0; 32]),
    }
}

/// See [`wait_child`].
#[derive(Debug)]
pub struct WaitChild<F> {
    pidfd: F,
    /// `siginfo_t`: 128 bytes.
    info: Box<[i32; 32]>,
}

/// `P_PIDFD` of waitid(2).
const P_PIDFD: u32 = 3;
/// `WEXITED` of waitid(2).
const WEXITED: u32 = 4;
/// `CLD_EXITED` of sigaction(2): the status is an exit code, and else a signal.
const CLD_EXITED: i32 = 1;
/// `CLD_DUMPED` of sigaction(2): there is a core dump.
const CLD_DUMPED: i32 = 3;
/// Where `si_code` and `si_status` are in the structure, in words.
const SI_CODE: usize = 2;
const SI_STATUS: usize = 6;

// SAFETY: it keeps the descriptor, and the structure is on the heap.
unsafe impl<F: SharedFile> Operation for WaitChild<F> {
    type Output = Result<ExitStatus>;

    fn entry(&mut self) -> IoUringSqe {
        let info = self.info.as_mut_ptr().cast();
        IoUringSqe::waitid(P_PIDFD, self.pidfd.number(), info, WEXITED)
    }

    fn complete(self, cqe: IoUringCqe) -> Self::Output {
        done("waitid", cqe)?;
        let status = self.info[SI_STATUS];
        Ok(ExitStatus::from_raw(match self.info[SI_CODE] {
            CLD_EXITED => (status & 0xff) << 8,
            CLD_DUMPED => status & 0x7f | 0x80,
            _ => status & 0x7f,
        }))
    }
}

/// Gives the command `cmd_op`, with 16 bytes of its own, to the driver behind `file`. The result is the
/// driver's.
///
/// A driver may take any of these bytes for an address, and write there at any time until it is done; which it
/// does, its documentation says. The commands of sockets need no such promise: [`unreceived`](super::unreceived),
/// [`socket_option`](super::socket_option).
///
/// # Safety
/// * The command leads to no memory, or to memory that is the driver's until the operation has ended,
///   however it is dropped.
pub unsafe fn uring_cmd<F: SharedFile>(file: &F, cmd_op: u32, command: [u8; 16]) -> UringCmd<F> {
    UringCmd {
        file: file.clone(),
        cmd_op,
        command,
    }
}

/// See [`uring_cmd`].
#[derive(Debug)]
pub struct UringCmd<F> {
    file: F,
    cmd_op: u32,
    command: [u8; 16],
}

// SAFETY: it keeps the file; the rest was promised when it was made.
unsafe impl<F: SharedFile> Operation for UringCmd<F> {
    type Output = Result<u32>;

    fn entry(&mut self) -> IoUringSqe {
        IoUringSqe::uring_cmd(self.file.number(), self.cmd_op, self.command)
    }

    fn complete(self, cqe: IoUringCqe) -> Self::Output {
        cqe.result()
            .map_err(|errno| KernelError::from_errno("uring_cmd", errno))
    }
}
