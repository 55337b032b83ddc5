#![expect(unsafe_code, reason = "lends its memory to the kernel")]
//! A pool of buffers that the kernel picks from.
//!
//! # Invariants
//! * slab-lives: the slab is freed only after [`BufferPool::close`] has been promised that nothing in flight
//!   has picked from it, and when no piece is held; else never.
//! * pieces-apart: a piece is bytes of the slab that a completion has brought, within one buffer; the kernel
//!   does not write them before the buffer is added again, which is after its last piece was dropped; and no
//!   two pieces overlap.

mod ledger;

use alloc::rc::Rc;
use core::cell::RefCell;
use core::fmt;
use core::iter::FusedIterator;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::{IORING_CQE_F_BUF_MORE, IoUringCqe};

use super::region::Region;
use super::{BufferRing, BufferUse, CqEntry, Ring, SqEntry};
use ledger::{Last, Ledger, Piece, Run};

/// What a completion says of a pool's buffers, and cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BufferError {
    /// It names a buffer that is not in the ring.
    NotLent {
        /// The buffer's id.
        bid: u16,
    },
    /// It brings more than the buffers from there on hold.
    TooLong {
        /// The first buffer's id.
        bid: u16,
        /// What it brings.
        bytes: u32,
    },
}

impl fmt::Display for BufferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLent { bid } => write!(f, "buffer {bid} is not in the ring"),
            Self::TooLong { bid, bytes } => {
                write!(f, "{bytes} bytes do not fit from buffer {bid} on")
            }
        }
    }
}

impl core::error::Error for BufferError {}

impl From<BufferError> for KernelError {
    /// `EPROTO`.
    fn from(_: BufferError) -> Self {
        Self::from_errno("take", Errno::EPROTO)
    }
}

/// A pool of buffers of one size, from which the kernel picks one when there is data (Linux 6.4).
///
/// Entries name the pool by its [group](Self::group). [`Self::take`] turns their completions into
/// [`Buffer`]s, which go back to the kernel when they are dropped.
///
/// The pool is a handle: a clone is the same pool. When the last handle, [`Buffer`] and [`Buffers`] of a pool
/// that was not [closed](Self::close) is dropped, its memory is leaked, since an operation may have picked
/// from it.
///
/// ```
/// # use std::io::Write;
/// # use std::os::fd::AsRawFd;
/// use pepita_io::ring::{BufferPool, BufferUse, RingConfig};
/// use pepita_sys::io_uring::{IORING_RECV_MULTISHOT, IoUringSqe};
///
/// let mut ring = RingConfig::new(8).build()?;
/// let Ok(pool) = BufferPool::new(&mut ring, 0, 4, 1024, BufferUse::Once) else {
///     return Ok(()); // before Linux 6.4
/// };
/// let (ours, mut theirs) = std::os::unix::net::UnixStream::pair()?;
/// let recv = IoUringSqe::recv(ours.as_raw_fd(), core::ptr::null_mut(), 0, 0);
/// let recv = recv.buffer_select(pool.group()).ioprio(IORING_RECV_MULTISHOT);
/// // SAFETY: it writes to the pool's memory, which outlives it.
/// unsafe { ring.push(recv) }?;
/// for word in ["one", "two"] {
///     theirs.write_all(word.as_bytes())?;
///     ring.submit_and_wait(1)?;
///     let cqe = ring.pop().expect("a completion");
///     // SAFETY: the ring's, of the entry above, for the first time.
///     let mut buffers = unsafe { pool.take(&ring, cqe) }?;
///     assert_eq!(&*buffers.next().expect("a buffer"), word.as_bytes());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct BufferPool(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The buffers, one after the other, in pages of their own (slab-lives).
    slab: ManuallyDrop<Region>,
    /// Where the slab begins.
    base: NonNull<u8>,
    buffer_len: u32,
    group: u16,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    ledger: Ledger,
    ring: BufferRing,
    closed: bool,
}

impl BufferPool {
    /// Makes a pool of `count` buffers, a power of two up to 32,768, of `buffer_len` bytes, as the group
    /// `group` of `ring`.
    ///
    /// # Errors
    /// As [`Ring::register_buffer_ring`], `EINVAL` for buffers of no bytes, `ENOMEM` for more than there is.
    pub fn new<S: SqEntry, C: CqEntry>(
        ring: &mut Ring<S, C>,
        group: u16,
        count: u16,
        buffer_len: u32,
        buffer_use: BufferUse,
    ) -> Result<Self> {
        if buffer_len == 0 {
            return Err(KernelError::from_errno("io_uring_register", Errno::EINVAL));
        }
        let buffer_ring = ring.register_buffer_ring(group, count, buffer_use)?;
        let bytes = usize::from(count) * buffer_len as usize;
        let slab = Region::anonymous(bytes).inspect_err(|_| {
            let _ = ring.unregister_group(group);
        })?;
        let pool = Shared {
            base: slab.base(),
            slab: ManuallyDrop::new(slab),
            buffer_len,
            group,
            state: RefCell::new(State {
                ledger: Ledger::new(count, buffer_len, buffer_use),
                ring: buffer_ring,
                closed: false,
            }),
        };
        for bid in 0..count {
            pool.add(&mut pool.state.borrow_mut(), bid);
        }
        Ok(Self(Rc::new(pool)))
    }

    /// The group by which entries name it: [`buffer_select`](pepita_sys::io_uring::IoUringSqe::buffer_select).
    #[must_use]
    pub fn group(&self) -> u16 {
        self.0.group
    }

    /// Count of buffers that the kernel may pick, as far as completions have been [taken](Self::take). An
    /// operation that finds none ends with `ENOBUFS`.
    #[must_use]
    pub fn available(&self) -> usize {
        self.0.state.borrow().ledger.in_ring()
    }

    /// The length by which a receive of a bundle asks for all buffers. A whole count of them: for less, kernels
    /// from before June 2026 shorten the last one, and leave it so when nothing comes.
    pub(crate) fn bundle_len(&self) -> u32 {
        let count = u32::try_from(self.0.state.borrow().ledger.capacity()).unwrap_or(u32::MAX);
        let most = i32::MAX.cast_unsigned() / self.0.buffer_len;
        count.min(most) * self.0.buffer_len
    }

    /// The buffers that `cqe` brings; none if it names none. A bundle
    /// ([`IORING_RECVSEND_BUNDLE`](pepita_sys::io_uring::IORING_RECVSEND_BUNDLE)) brings several, in the order
    /// of their bytes.
    ///
    /// A completion that nobody is interested in, such as that of a cancelled operation, is to be taken too,
    /// or its buffer never comes back. Where a completion leaves open whether the kernel is done with a
    /// buffer, the kernel is asked; if it does not tell (before Linux 6.8), the buffer is not used again.
    ///
    /// # Errors
    /// [`BufferError`] for a completion that cannot be; the buffers that it names stay out of use.
    ///
    /// # Safety
    /// * `cqe` is a completion of `ring`, for which this pool was made, and of an operation that selected
    ///   from this pool's group.
    /// * It is given to this function once.
    /// * Where the pool is [incremental](BufferUse::Incremental), completions are taken in the order of the
    ///   ring.
    /// * Where the pool is incremental or the operation a bundle, no operation that selects from the group is
    ///   one that picks a part and completes later: a read of what cannot be polled, or one with `IOSQE_ASYNC`
    ///   or `MSG_WAITALL`.
    pub unsafe fn take<S: SqEntry, C: CqEntry>(
        &self,
        ring: &Ring<S, C>,
        cqe: IoUringCqe,
    ) -> core::result::Result<Buffers, BufferError> {
        let mut run = Run::default();
        if let Some(bid) = cqe.buffer_id() {
            let state = &mut *self.0.state.borrow_mut();
            let bytes = cqe.result().unwrap_or(0);
            let more = cqe.flags & IORING_CQE_F_BUF_MORE != 0;
            let (taken, last) = state.ledger.take(bid, bytes, more)?;
            run = taken;
            if let Last::Doubtful(bid) = last {
                let head = ring.buffer_ring_head(self.0.group).ok();
                if state.ledger.settle(bid, head) {
                    self.0.add(state, bid);
                }
            }
        }
        Ok(Buffers {
            pool: self.0.clone(),
            run,
        })
    }

    /// Takes the group away, and has the memory freed when the last handle and [`Buffer`] are dropped.
    ///
    /// # Errors
    /// What io_uring_register(2) says; the pool goes on then.
    ///
    /// # Safety
    /// * `ring` is the one for which this pool was made.
    /// * No operation that selects from this pool's group is in flight.
    pub unsafe fn close<S: SqEntry, C: CqEntry>(&self, ring: &mut Ring<S, C>) -> Result<()> {
        ring.unregister_group(self.0.group)?;
        self.0.state.borrow_mut().closed = true;
        Ok(())
    }
}

impl Shared {
    /// What a piece holds.
    ///
    /// # Safety
    /// * The piece is held as long as the answer.
    unsafe fn bytes(&self, piece: Piece) -> &[u8] {
        let Piece { bid, start, len } = piece;
        let address = self.address(bid, start);
        // SAFETY: slab-lives, since this holds the slab; pieces-apart. A mapping begins as zeros.
        unsafe { core::slice::from_raw_parts(address, len as usize) }
    }

    /// Where byte `start` of the buffer `bid` is.
    fn address(&self, bid: u16, start: u32) -> *mut u8 {
        let offset = usize::from(bid) * self.buffer_len as usize + start as usize;
        self.base.as_ptr().wrapping_add(offset)
    }

    /// Lends `bid`, which the ledger has as free, to the kernel.
    fn add(&self, state: &mut State, bid: u16) {
        if state.closed {
            return;
        }
        state.ledger.add(bid, state.ring.tail());
        let address = self.address(bid, 0);
        // SAFETY: the buffer lies in the slab (slab-lives), and no piece of it is held (pieces-apart); each
        // buffer is in the ring at most once, and there are as many as entries (the ledger's invariants).
        unsafe { state.ring.add(bid, address, self.buffer_len) };
        state.ring.publish();
    }

    fn release(&self, bid: u16) {
        let state = &mut *self.state.borrow_mut();
        if state.ledger.release(bid) {
            self.add(state, bid);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.state.get_mut().closed {
            // SAFETY: slab-lives, and this is its last use.
            unsafe { ManuallyDrop::drop(&mut self.slab) };
        }
    }
}

/// The buffers that one completion brought, in the order of their bytes. Those that are not looked at go
/// back when this is dropped.
#[derive(Debug)]
pub struct Buffers {
    pool: Rc<Shared>,
    run: Run,
}

impl Buffers {
    /// Count of bytes in the buffers that were not taken out yet.
    #[must_use]
    pub const fn total_len(&self) -> usize {
        self.run.bytes as usize
    }

    /// What is in the buffers that were not taken out yet, in the order of the bytes.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut run = self.run;
        core::iter::from_fn(move || {
            let (piece, rest) = self.pool.state.borrow().ledger.split(run)?;
            run = rest;
            // SAFETY: this holds the pieces of its run, and is borrowed.
            Some(unsafe { self.pool.bytes(piece) })
        })
    }
}

impl Iterator for Buffers {
    type Item = Buffer;

    fn next(&mut self) -> Option<Buffer> {
        let (piece, rest) = self.pool.state.borrow().ledger.split(self.run)?;
        self.run = rest;
        Some(Buffer {
            pool: self.pool.clone(),
            piece,
        })
    }
}

impl FusedIterator for Buffers {}

impl Drop for Buffers {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

/// What a completion brought into one buffer of a [`BufferPool`]; dropping it gives the bytes back.
///
/// The buffer is lent to the kernel again when all that was brought into it has been dropped.
#[derive(Debug)]
pub struct Buffer {
    pool: Rc<Shared>,
    piece: Piece,
}

impl Buffer {
    /// The id of the buffer that it is in.
    #[must_use]
    pub const fn bid(&self) -> u16 {
        self.piece.bid
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: this holds it.
        unsafe { self.pool.bytes(self.piece) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.release(self.piece.bid);
    }
}
