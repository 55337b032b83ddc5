#![expect(unsafe_code, reason = "passes a set of CPUs by its address")]
//! The worker threads, which run what cannot run without waiting.

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::IORING_REGISTER_IOWQ_AFF;

use super::super::{CqEntry, Ring, SqEntry, calls};
use super::operations;

/// How many worker threads the submitting thread may have, on each NUMA node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerLimits {
    /// For what ends in bounded time, as a read from a disk.
    pub bounded: u32,
    /// For what may take for ever, as a read from a socket.
    pub unbounded: u32,
}

impl<S: SqEntry, C: CqEntry> Ring<S, C> {
    /// How many worker threads there may be.
    ///
    /// # Errors
    /// What io_uring_register(2) says.
    pub fn worker_limits(&self) -> Result<WorkerLimits> {
        self.exchange_worker_limits([0, 0])
    }

    /// Says how many worker threads there may be, and returns how many there might be before. A limit of 0
    /// stays as it is.
    ///
    /// # Errors
    /// What io_uring_register(2) says: `EINVAL` above `i32::MAX`.
    pub fn set_worker_limits(&mut self, limits: WorkerLimits) -> Result<WorkerLimits> {
        self.exchange_worker_limits([limits.bounded, limits.unbounded])
    }

    fn exchange_worker_limits(&self, mut counts: [u32; 2]) -> Result<WorkerLimits> {
        operations::IOWQ_MAX_WORKERS.call(self.fd(), &mut counts)?;
        let [bounded, unbounded] = counts;
        Ok(WorkerLimits { bounded, unbounded })
    }

    /// Has worker threads run on `cpus` alone: CPU `n` is bit `n % 64` of word `n / 64`.
    ///
    /// # Errors
    /// What io_uring_register(2) says: `EINVAL` for an empty list, or for CPUs that the thread may not use.
    pub fn set_worker_affinity(&mut self, cpus: &[u64]) -> Result<()> {
        let len = u32::try_from(size_of_val(cpus))
            .map_err(|_| KernelError::from_errno("io_uring_register", Errno::EINVAL))?;
        let arg = cpus.as_ptr().expose_provenance();
        // SAFETY: the operation reads `len` bytes, which live as long as the call.
        unsafe { calls::register(self.fd(), IORING_REGISTER_IOWQ_AFF, arg, len) }.map(drop)
    }

    /// Lets worker threads run wherever the submitting thread may.
    ///
    /// # Errors
    /// What io_uring_register(2) says.
    pub fn clear_worker_affinity(&mut self) -> Result<()> {
        operations::UNREGISTER_IOWQ_AFF.call(self.fd(), 0).map(drop)
    }
}
