#![expect(unsafe_code, reason = "registers memory by its addresses")]
//! Tables of registered buffers.

use core::ops::Range;

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::{
    IORING_REGISTER_BUFFERS_UPDATE, IORING_REGISTER_BUFFERS2, IORING_REGISTER_DST_REPLACE,
    IORING_RSRC_REGISTER_SPARSE, IoUringCloneBuffers, IoUringRsrcRegister, IoUringRsrcUpdate2,
    Iovec,
};

use super::super::{CqEntry, Ring, SqEntry, calls};
use super::{address_of, count_of, operations};

/// Tables of registered buffers.
///
/// A ring has one table. The pages of a registered buffer are looked up and held once, not by each operation.
/// Entries such as [`read_fixed`](pepita_sys::io_uring::IoUringSqe::read_fixed) name a slot, and an address
/// and a length within its buffer.
///
/// The kernel reads or writes a buffer when such an operation runs, and holds its pages until the slot is
/// changed and every operation on it has ended; where the slot has a tag other than 0, a completion then
/// comes with the tag as its `user_data`, and 0 in the rest.
impl<S: SqEntry, C: CqEntry> Ring<S, C> {
    /// Makes a table of `count` empty slots.
    ///
    /// # Errors
    /// What io_uring_register(2) says: `EBUSY` when there is a table, `EINVAL` for none or more than 16,384
    /// slots.
    pub fn register_buffers_sparse(&mut self, count: u32) -> Result<()> {
        const SIZE: u32 = 32;
        const { assert!(size_of::<IoUringRsrcRegister>() == SIZE as usize) };
        let register = IoUringRsrcRegister {
            nr: count,
            flags: IORING_RSRC_REGISTER_SPARSE,
            ..IoUringRsrcRegister::default()
        };
        let arg = core::ptr::from_ref(&register).expose_provenance();
        // SAFETY: the structure lives as long as the call, and names no memory.
        unsafe { calls::register(self.fd(), IORING_REGISTER_BUFFERS2, arg, SIZE) }.map(drop)
    }

    /// Sets the slots from `first` on to `buffers`, with `tags`, or none if that is empty.
    ///
    /// Operations in flight go on with the buffer that was there. Returns how many slots were set: fewer
    /// than asked for when one failed.
    ///
    /// ```
    /// use pepita_io::ring::RingConfig;
    /// use pepita_sys::io_uring::{IoUringSqe, Iovec};
    ///
    /// let mut ring = RingConfig::new(8).build()?;
    /// ring.register_buffers_sparse(1)?;
    /// let mut bytes = [1_u8; 64];
    /// let buffer = Iovec { iov_base: bytes.as_mut_ptr().expose_provenance() as u64, iov_len: 64 };
    /// // SAFETY: the bytes are used by the read below alone, whose completion is waited for.
    /// unsafe { ring.update_buffers(0, &[buffer], &[]) }?;
    ///
    /// let zero = std::fs::File::open("/dev/zero")?;
    /// let fd = std::os::fd::AsRawFd::as_raw_fd(&zero);
    /// // SAFETY: as above.
    /// unsafe { ring.push(IoUringSqe::read_fixed(fd, bytes.as_mut_ptr(), 32, 0, 0)) }?;
    /// ring.submit_and_wait(1)?;
    /// ring.unregister_buffers()?;
    /// assert_eq!((bytes[31], bytes[32]), (0, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What io_uring_register(2) says, if the first slot fails: `ENXIO` without a table, `EFAULT` for memory
    /// that is not there or more than 1 GiB, `ENOMEM` beyond `RLIMIT_MEMLOCK`, `EINVAL` for slots outside
    /// the table or lists of two lengths.
    ///
    /// # Safety
    /// * The memory of `buffers` stays what it is until its slot was changed or the table taken away, *and*
    ///   every operation that names the slot has ended: all have been seen to complete, or the slot's tag
    ///   came.
    /// * That holds also when the ring is dropped.
    /// * Whoever pushes an operation that names the slot may rely on it.
    pub unsafe fn update_buffers(
        &mut self,
        first: u32,
        buffers: &[Iovec],
        tags: &[u64],
    ) -> Result<u32> {
        self.update_buffers_with(&IoUringRsrcUpdate2 {
            offset: first,
            data: address_of(buffers),
            tags: address_of(tags),
            nr: count_of(buffers, tags)?,
            ..IoUringRsrcUpdate2::default()
        })
    }

    /// Empties `slot`. Its memory is free when every operation that names the slot has ended.
    ///
    /// # Errors
    /// As [`Self::update_buffers`].
    pub fn clear_buffer(&mut self, slot: u32) -> Result<()> {
        let empty = [Iovec::default()];
        let cleared = self.update_buffers_with(&IoUringRsrcUpdate2 {
            offset: slot,
            data: address_of(&empty),
            nr: 1,
            ..IoUringRsrcUpdate2::default()
        });
        cleared.map(drop)
    }

    fn update_buffers_with(&self, update: &IoUringRsrcUpdate2) -> Result<u32> {
        const SIZE: u32 = 32;
        const { assert!(size_of::<IoUringRsrcUpdate2>() == SIZE as usize) };
        let arg = core::ptr::from_ref(update).expose_provenance();
        // SAFETY: the structure and the lists that the callers above put into it live as long as the call;
        // the memory of the buffers is the promise of who called `update_buffers`.
        unsafe { calls::register(self.fd(), IORING_REGISTER_BUFFERS_UPDATE, arg, SIZE) }
    }

    /// Takes the table away. The memory of its buffers is free when every operation that names a slot has
    /// ended; a kernel before Linux 6.13 waits for that.
    ///
    /// # Errors
    /// What io_uring_register(2) says: `ENXIO` without a table.
    pub fn unregister_buffers(&mut self) -> Result<()> {
        operations::UNREGISTER_BUFFERS.call(self.fd(), 0).map(drop)
    }

    /// Makes a table like that of `source`, whose pages are shared, not looked up again (Linux 6.12).
    ///
    /// # Errors
    /// What io_uring_register(2) says: `EBUSY` when there is a table, `ENXIO` when `source` has none,
    /// `EINVAL` on an older kernel.
    ///
    /// # Safety
    /// * The memory of the buffers stays what it is as [`Self::update_buffers`] demands, with regard to this
    ///   ring too.
    pub unsafe fn clone_buffers<T: SqEntry, U: CqEntry>(
        &mut self,
        source: &Ring<T, U>,
    ) -> Result<()> {
        self.clone_buffers_with(&mut IoUringCloneBuffers {
            src_fd: source.fd().cast_unsigned(),
            ..IoUringCloneBuffers::default()
        })
    }

    /// Sets the slots from `first` on to what is in `slots` of `source`; the table grows if that is needed
    /// (Linux 6.13).
    ///
    /// # Errors
    /// What io_uring_register(2) says: `ENXIO` when `source` has no table, `EOVERFLOW` or
    /// `EINVAL` for slots outside it, `EINVAL` for no slots; on an older kernel `EINVAL`, or `EBUSY` when
    /// there is a table.
    ///
    /// # Safety
    /// * As [`Self::clone_buffers`].
    pub unsafe fn clone_buffer_range<T: SqEntry, U: CqEntry>(
        &mut self,
        source: &Ring<T, U>,
        slots: Range<u32>,
        first: u32,
    ) -> Result<()> {
        let nr = slots.end.saturating_sub(slots.start);
        if nr == 0 {
            // The kernel takes 0 for all.
            return Err(KernelError::from_errno("io_uring_register", Errno::EINVAL));
        }
        self.clone_buffers_with(&mut IoUringCloneBuffers {
            src_fd: source.fd().cast_unsigned(),
            flags: IORING_REGISTER_DST_REPLACE,
            src_off: slots.start,
            dst_off: first,
            nr,
            pad: [0; 3],
        })
    }

    fn clone_buffers_with(&self, clone: &mut IoUringCloneBuffers) -> Result<()> {
        operations::CLONE_BUFFERS.call(self.fd(), clone).map(drop)
    }
}
