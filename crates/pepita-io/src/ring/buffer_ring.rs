#![expect(
    unsafe_code,
    reason = "describes buffers in memory that is shared with the kernel"
)]
//! Rings of provided buffers: the kernel picks one when there is data, not when an operation is submitted.
//!
//! # Invariants
//! * regions-along: pointers into the region are dropped together with it (see [`super::region`]).
//! * within: there are `mask + 1` entries, checked when they were mapped, and an index is masked.
//! * entry-ours: entries from the kernel's head + capacity on are the program's until the tail is stored past
//!   them; that the tail stays below is the promise of who [adds](BufferRing::add).

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, Ordering};

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::{
    IORING_OFF_PBUF_RING, IORING_OFF_PBUF_SHIFT, IORING_REGISTER_PBUF_RING,
    IORING_UNREGISTER_PBUF_RING, IOU_PBUF_RING_INC, IOU_PBUF_RING_MMAP, IoUringBuf, IoUringBufReg,
    IoUringBufRing,
};

use super::region::Region;
use super::{CqEntry, Ring, SqEntry, calls};

/// How the kernel uses up a buffer that it picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BufferUse {
    /// One completion, however little it brings, takes the whole buffer.
    Once,
    /// Each completion takes what it brings, and the rest is used on
    /// ([`IORING_CQE_F_BUF_MORE`](pepita_sys::io_uring::IORING_CQE_F_BUF_MORE); Linux 6.12).
    ///
    /// A completion does not say which part of the buffer it brings: it follows from their order. So this is
    /// for operations that pick and complete in one go, which receive from sockets and pipes. A read of a
    /// regular file, and anything with `IOSQE_ASYNC` or `MSG_WAITALL`, takes a part first and completes in
    /// any order.
    Incremental {
        /// A rest of fewer bytes is not used: the buffer is given back. 0 and 1 are to the last byte; kernels
        /// from before 2026 refuse more than that with `EINVAL`.
        min_left: u32,
    },
}

impl BufferUse {
    /// Bytes of the least rest that the kernel uses on.
    #[cfg(feature = "std")]
    pub(super) const fn min_left(self) -> u32 {
        match self {
            Self::Once => u32::MAX,
            Self::Incremental { min_left: 0 } => 1,
            Self::Incremental { min_left } => min_left,
        }
    }
}

/// A ring of provided buffers, in memory that the kernel brings (Linux 6.4).
///
/// This is the bare ring: buffers are lent to the kernel by their addresses. With `std`,
/// `BufferPool` owns its buffers and needs no such care.
///
/// One send can take several buffers, in their order (`IORING_RECVSEND_BUNDLE`, Linux 6.10). Its length is that of
/// all of them; with 0 it goes on until there are no more, with a completion for each step.
///
/// ```
/// # use std::io::Read;
/// # use std::os::fd::AsRawFd;
/// use pepita_io::ring::{BufferUse, RingConfig};
/// use pepita_sys::io_uring::{IORING_FEAT_RECVSEND_BUNDLE, IORING_RECVSEND_BUNDLE, IoUringSqe};
///
/// let mut ring = RingConfig::new(8).build()?;
/// if ring.features() & IORING_FEAT_RECVSEND_BUNDLE == 0 {
///     return Ok(()); // before Linux 6.10
/// }
/// let mut buffers = ring.register_buffer_ring(0, 2, BufferUse::Once)?;
/// let (ours, mut theirs) = std::os::unix::net::UnixStream::pair()?;
/// let words = ["two ", "words"].map(|word| word.as_bytes().to_vec().leak());
/// for (bid, word) in (0..).zip(words) {
///     // SAFETY: leaked, and used by nobody else; two buffers in a ring of two.
///     unsafe { buffers.add(bid, word.as_mut_ptr(), word.len() as u32) };
/// }
/// buffers.publish();
/// let send = IoUringSqe::send(ours.as_raw_fd(), core::ptr::null(), 9, 0);
/// let send = send.buffer_select(0).ioprio(IORING_RECVSEND_BUNDLE);
/// // SAFETY: it reads what was leaked.
/// unsafe { ring.push(send) }?;
/// ring.submit_and_wait(1)?;
/// let cqe = ring.pop().expect("a completion");
/// assert_eq!((cqe.res, cqe.buffer_id()), (9, Some(0)));
/// let mut got = [0; 9];
/// theirs.read_exact(&mut got)?;
/// assert_eq!(&got, b"two words");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Dropping it takes away the mapping alone: the group stays with the ring until
/// [`Ring::unregister_buffer_ring`] or the ring's end, and the mapping keeps the ring open.
///
/// Source: io_uring_register(2), `IORING_REGISTER_PBUF_RING`; io_uring_setup_buf_ring(3).
#[derive(Debug)]
pub struct BufferRing {
    entries: NonNull<IoUringBuf>,
    shared_tail: NonNull<AtomicU16>,
    /// Our tail; the kernel knows it up to the last [`Self::publish`].
    tail: u16,
    mask: u16,
    group: u16,
    /// Dropped after the pointers above (regions-along).
    _region: Region,
}

impl BufferRing {
    /// Maps the ring of `entries` of `group`, which the ring `fd` has.
    fn map(fd: i32, group: u16, entries: u16) -> Result<Self> {
        let len = usize::from(entries) * size_of::<IoUringBuf>();
        let offset = IORING_OFF_PBUF_RING | u64::from(group) << IORING_OFF_PBUF_SHIFT;
        let region = Region::map(fd, len, offset)?;
        Ok(Self {
            entries: region.array(0, u32::from(entries))?,
            shared_tail: region.array(TAIL_OFFSET, 1)?,
            tail: 0,
            mask: entries - 1,
            group,
            _region: region,
        })
    }

    /// The group by which entries name it: [`buffer_select`](pepita_sys::io_uring::IoUringSqe::buffer_select).
    #[must_use]
    pub const fn group(&self) -> u16 {
        self.group
    }

    /// Count of buffers that it holds.
    #[must_use]
    pub const fn capacity(&self) -> u16 {
        // At most 2^15.
        self.mask + 1
    }

    /// Count of buffers that were added since the ring was made, modulo 65,536: the position of the next one.
    #[must_use]
    pub const fn tail(&self) -> u16 {
        self.tail
    }

    /// Adds the `len` bytes at `addr`, which completions will name `bid`. The kernel may pick them after
    /// [`Self::publish`].
    ///
    /// # Safety
    /// * The memory is the kernel's to read and write until the kernel gives it back: by a completion that
    ///   names the buffer, without [`IORING_CQE_F_BUF_MORE`](pepita_sys::io_uring::IORING_CQE_F_BUF_MORE)
    ///   and after it has moved past the buffer's position ([`Ring::buffer_ring_head`]); or when the group
    ///   is not registered any more and every operation that selects from it has ended.
    /// * The kernel has moved past all but fewer than [`Self::capacity`] of the buffers added before.
    pub unsafe fn add(&mut self, bid: u16, addr: *mut u8, len: u32) {
        let index = usize::from(self.tail & self.mask);
        let entry = self.entries.as_ptr().wrapping_add(index);
        let addr = addr.expose_provenance() as u64;
        // Field by field: the last one of the first entry is the ring's tail.
        // SAFETY: within, regions-along, entry-ours.
        unsafe { (*entry).addr = addr };
        // SAFETY: the same.
        unsafe { (*entry).len = len };
        // SAFETY: the same.
        unsafe { (*entry).bid = bid };
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel pick what was added.
    pub fn publish(&mut self) {
        // SAFETY: inside the region and aligned (`Region::array`), regions-along; the kernel too accesses it
        // atomically.
        let shared_tail = unsafe { self.shared_tail.as_ref() };
        shared_tail.store(self.tail, Ordering::Release);
    }
}

/// Where the tail is: in the first entry.
const TAIL_OFFSET: u32 = 14;
const _: () = assert!(core::mem::offset_of!(IoUringBufRing, tail) == TAIL_OFFSET as usize);

impl<S: SqEntry, C: CqEntry> Ring<S, C> {
    /// Makes a ring of provided buffers with `entries`, a power of two up to 32,768, as the group `group`.
    ///
    /// # Errors
    /// What io_uring_register(2) and mmap(2) say: `EEXIST` when there is such a group, `EINVAL` for another
    /// count, before Linux 6.4, and for [`BufferUse::Incremental`] before Linux 6.12.
    pub fn register_buffer_ring(
        &mut self,
        group: u16,
        entries: u16,
        buffer_use: BufferUse,
    ) -> Result<BufferRing> {
        if !entries.is_power_of_two() {
            return Err(KernelError::from_errno("io_uring_register", Errno::EINVAL));
        }
        let register = IoUringBufReg {
            ring_entries: u32::from(entries),
            bgid: group,
            flags: match buffer_use {
                BufferUse::Once => IOU_PBUF_RING_MMAP,
                BufferUse::Incremental { .. } => IOU_PBUF_RING_MMAP | IOU_PBUF_RING_INC,
            },
            min_left: match buffer_use {
                BufferUse::Incremental { min_left } if min_left > 1 => min_left,
                _ => 0,
            },
            ..IoUringBufReg::default()
        };
        let arg = core::ptr::from_ref(&register).expose_provenance();
        // SAFETY: the operation takes one such structure, which lives as long as the call; the memory of the
        // ring is the kernel's (`IOU_PBUF_RING_MMAP`).
        unsafe { calls::register(self.fd(), IORING_REGISTER_PBUF_RING, arg, 1) }?;
        BufferRing::map(self.fd(), group, entries).inspect_err(|_| {
            let _ = self.unregister_group(group);
        })
    }

    /// Takes the group of `buffers` away: no operation picks one any more. Those that have picked one go on
    /// until they complete.
    ///
    /// # Errors
    /// What io_uring_register(2) says: `ENOENT` when `buffers` belongs to another ring.
    pub fn unregister_buffer_ring(&mut self, buffers: BufferRing) -> Result<()> {
        self.unregister_group(buffers.group)
    }

    pub(super) fn unregister_group(&self, group: u16) -> Result<()> {
        let unregister = IoUringBufReg {
            bgid: group,
            ..IoUringBufReg::default()
        };
        let arg = core::ptr::from_ref(&unregister).expose_provenance();
        // SAFETY: the operation takes one such structure, which lives as long as the call.
        unsafe { calls::register(self.fd(), IORING_UNREGISTER_PBUF_RING, arg, 1) }.map(drop)
    }
}
