#![expect(unsafe_code, reason = "takes buffers that completions brought")]
//! Pools of buffers of a ring.

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::{IORING_FEAT_RECVSEND_BUNDLE, IoUringCqe};

use super::{Driver, Inner};
use crate::ring::{BufferError, BufferPool, BufferUse, Buffers};

impl Driver {
    /// Makes a pool of buffers, which is closed with the ring.
    pub(in crate::local) fn add_pool(&self, count: u16, buffer_len: u32) -> Result<BufferPool> {
        let add = |inner: &mut Inner| {
            let group = u16::try_from(inner.pools.len())
                .map_err(|_| KernelError::from_errno("io_uring_register", Errno::ENOSPC))?;
            let pool = BufferPool::new(&mut inner.ring, group, count, buffer_len, BufferUse::Once)?;
            inner.pools.push(pool.clone());
            Ok(pool)
        };
        // SAFETY: leaf.
        unsafe { self.inner.with(add) }
    }

    /// The buffers that a completion brought.
    ///
    /// # Safety
    /// * `pool` is of this ring, and the completion of an operation that selected from it.
    /// * It is given to this function once.
    pub(in crate::local) unsafe fn take_buffers(
        &self,
        pool: &BufferPool,
        cqe: IoUringCqe,
    ) -> std::result::Result<Buffers, BufferError> {
        // SAFETY: the caller's duty; buffers are used once, and only receives that complete as they pick select
        // from them.
        let take = |inner: &mut Inner| unsafe { pool.take(&inner.ring, cqe) };
        // SAFETY: leaf.
        unsafe { self.inner.with(take) }
    }

    /// Whether the kernel receives into several buffers at once.
    pub(in crate::local) fn has_bundles(&self) -> bool {
        // SAFETY: leaf.
        let features = unsafe { self.inner.with(|inner| inner.ring.features()) };
        features & IORING_FEAT_RECVSEND_BUNDLE != 0
    }
}
