#![expect(unsafe_code, reason = "writes and reads entries in shared memory")]
//! The two queues of a ring, seen from the program.
//!
//! Each queue has a head and a tail that count up and wrap at 2^32; an entry's slot is its number modulo the
//! queue's size. Who adds owns the tail, who takes owns the head, and each stores its own with *release* and
//! loads the other's with *acquire*. The program keeps what it owns in a field of its own and stores it once
//! a batch.
//!
//! # Invariants
//! * regions-along: pointers into a region are dropped together with it (see [`super::region`]).
//! * within: an array has `mask + 1` elements, checked when it was mapped, and an index is masked.
//! * slot-ours: SQE slots from the kernel's head + size on are the program's until the tail is stored past
//!   them; only then does the kernel read them.

use core::iter::FusedIterator;

use core::ptr::NonNull;
use core::sync::atomic::{Ordering, fence};

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::{
    IORING_FEAT_SINGLE_MMAP, IORING_OFF_SQ_RING, IORING_OFF_SQES, IORING_SETUP_CQE32,
    IORING_SETUP_NO_SQARRAY, IORING_SQ_NEED_WAKEUP, IoUringCqe, IoUringCqe32, IoUringParams,
};

use super::entry::{CqEntry, SqEntry};
use super::error::QueueFull;
use super::region::{Region, Word};

/// Both queues, and the memory that they are in.
#[derive(Debug)]
pub(super) struct Queues<S, C: CqEntry> {
    pub(super) sq: SubmissionQueue<S>,
    pub(super) cq: CompletionQueue<C>,
    /// Dropped after the pointers above (regions-along).
    _regions: [Region; 2],
}

impl<S: SqEntry, C: CqEntry> Queues<S, C> {
    /// Maps the queues of the ring `fd`, as the kernel describes them.
    pub(super) fn map(fd: i32, params: &IoUringParams) -> Result<Self> {
        check_sizes(params)?;
        let (sq_off, cq_off) = (&params.sq_off, &params.cq_off);
        let has_array = params.flags & IORING_SETUP_NO_SQARRAY == 0;
        // Both rings are in one mapping (since Linux 5.4); the array stands last where there is one.
        let cq_len = cq_off.cqes as usize + params.cq_entries as usize * size_of_slot(params.flags);
        let array_len = if has_array {
            sq_off.array as usize + 4 * params.sq_entries as usize
        } else {
            0
        };
        let rings = Region::map(fd, array_len.max(cq_len), IORING_OFF_SQ_RING)?;
        let sqes_len = params.sq_entries as usize * size_of::<S>();
        let sqes = Region::map(fd, sqes_len, IORING_OFF_SQES)?;

        if has_array {
            fill_with_indices(&rings, sq_off.array, params.sq_entries)?;
        }
        Ok(Self {
            sq: SubmissionQueue::new(&rings, &sqes, params)?,
            cq: CompletionQueue::new(&rings, params)?,
            _regions: [rings, sqes],
        })
    }

    /// Lets the kernel see what was added and taken, and says how many entries it has not taken.
    #[inline]
    pub(super) fn publish(&mut self) -> u32 {
        self.cq.publish();
        self.sq.publish()
    }
}

/// Bytes of a slot in the completion ring.
const fn size_of_slot(setup_flags: u32) -> usize {
    if setup_flags & IORING_SETUP_CQE32 == 0 {
        size_of::<IoUringCqe>()
    } else {
        size_of::<IoUringCqe32>()
    }
}

/// What the rest relies on in a kernel's answer.
fn check_sizes(params: &IoUringParams) -> Result<()> {
    let whole = params.sq_entries.is_power_of_two() && params.cq_entries.is_power_of_two();
    if whole && params.features & IORING_FEAT_SINGLE_MMAP != 0 {
        return Ok(());
    }
    Err(KernelError::from_errno("io_uring_setup", Errno::EOPNOTSUPP))
}

/// Where kernels before 6.6 want an array of indices: slot `i` holds entry `i`, for good.
fn fill_with_indices(rings: &Region, offset: u32, entries: u32) -> Result<()> {
    for index in 0..entries {
        rings
            .word(offset + 4 * index)?
            .get()
            .store(index, Ordering::Relaxed);
    }
    Ok(())
}

/// What the program adds to.
#[derive(Debug)]
pub(super) struct SubmissionQueue<S> {
    /// How far our tail may go, as far as the kernel's head was when it was last seen: that and the size.
    limit: u32,
    /// Our tail; the kernel knows it up to the last [`Self::publish`].
    tail: u32,
    mask: u32,
    slots: NonNull<S>,
    shared_head: Word,
    shared_tail: Word,
    flags: Word,
}

impl<S: SqEntry> SubmissionQueue<S> {
    fn new(rings: &Region, sqes: &Region, params: &IoUringParams) -> Result<Self> {
        let off = &params.sq_off;
        let shared_head = rings.word(off.head)?;
        let shared_tail = rings.word(off.tail)?;
        let head = shared_head.get().load(Ordering::Acquire);
        Ok(Self {
            limit: head.wrapping_add(params.sq_entries),
            tail: shared_tail.get().load(Ordering::Relaxed),
            mask: params.sq_entries - 1,
            slots: sqes.array(0, params.sq_entries)?,
            shared_head,
            shared_tail,
            flags: rings.word(off.flags)?,
        })
    }

    /// Count of slots.
    #[inline]
    pub(super) const fn capacity(&self) -> u32 {
        self.mask + 1
    }

    /// Count of entries that the kernel had not taken when it was last asked.
    #[inline]
    pub(super) const fn len(&self) -> u32 {
        self.capacity() - self.known_room()
    }

    /// Count of entries that may be added, as far as the kernel was when it was last asked.
    #[inline]
    pub(super) const fn known_room(&self) -> u32 {
        self.limit.wrapping_sub(self.tail)
    }

    /// Asks how far the kernel is.
    #[inline]
    pub(super) fn refresh(&mut self) {
        let head = self.shared_head.get().load(Ordering::Acquire);
        // A head that is not between the old one and the tail is no head.
        if self.tail.wrapping_sub(head) <= self.len() {
            self.limit = head.wrapping_add(self.capacity());
        }
    }

    /// Adds an entry, which the kernel sees after [`Self::publish`], and says how many more may be added, as
    /// far as the kernel was when it was last asked.
    #[inline(always)]
    pub(super) fn push(&mut self, entry: S) -> core::result::Result<u32, QueueFull> {
        if self.known_room() == 0 {
            self.make_room()?;
        }
        // The entry is written in between, which the compiler cannot tell from writing these.
        let (tail, limit) = (self.tail, self.limit);
        let index = (tail & self.mask) as usize;
        let slot = self.slots.as_ptr().wrapping_add(index);
        // SAFETY: a masked index into a live array is no null pointer (within, regions-along).
        let slot = unsafe { NonNull::new_unchecked(slot) };
        // SAFETY: within, regions-along; slot-ours, since fewer than all entries are the kernel's.
        unsafe { entry.store(slot) };
        let tail = tail.wrapping_add(1);
        self.tail = tail;
        Ok(limit.wrapping_sub(tail))
    }

    /// Looks whether the kernel has taken an entry since.
    #[cold]
    fn make_room(&mut self) -> core::result::Result<(), QueueFull> {
        self.refresh();
        if self.known_room() == 0 {
            return Err(QueueFull);
        }
        Ok(())
    }

    /// Lets the kernel see what was added, and says how many entries it has not taken.
    #[inline]
    pub(super) fn publish(&mut self) -> u32 {
        self.shared_tail.get().store(self.tail, Ordering::Release);
        self.refresh();
        self.len()
    }

    /// `IORING_SQ_` flags.
    #[inline]
    pub(super) fn flags(&self) -> u32 {
        self.flags.get().load(Ordering::Relaxed)
    }

    /// Whether the polling thread sleeps, after a [`Self::publish`].
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        // The thread sets the flag, and then looks at the tail once more; we have stored the tail, and then
        // look at the flag. One of the two sees the other.
        fence(Ordering::SeqCst);
        self.flags() & IORING_SQ_NEED_WAKEUP != 0
    }
}

/// What the program takes from.
#[derive(Debug)]
pub(super) struct CompletionQueue<C: CqEntry> {
    /// Our head; the kernel knows it up to the last [`Self::publish`].
    head: u32,
    /// The kernel's tail as last seen.
    tail: u32,
    mask: u32,
    slots: NonNull<C::Slot>,
    shared_head: Word,
    shared_tail: Word,
    overflow: Word,
}

impl<C: CqEntry> CompletionQueue<C> {
    fn new(rings: &Region, params: &IoUringParams) -> Result<Self> {
        let off = &params.cq_off;
        let shared_head = rings.word(off.head)?;
        let shared_tail = rings.word(off.tail)?;
        let head = shared_head.get().load(Ordering::Relaxed);
        Ok(Self {
            head,
            tail: head,
            mask: params.cq_entries - 1,
            slots: rings.array(off.cqes, params.cq_entries)?,
            shared_head,
            shared_tail,
            overflow: rings.word(off.overflow)?,
        })
    }

    /// Count of slots.
    #[inline]
    pub(super) const fn capacity(&self) -> u32 {
        self.mask + 1
    }

    /// Asks for the kernel's tail, and says how many slots are full.
    #[inline]
    pub(super) fn refresh(&mut self) -> u32 {
        let tail = self.shared_tail.get().load(Ordering::Acquire);
        // A tail that is further than the queue is long is no tail.
        if tail.wrapping_sub(self.head) <= self.capacity() {
            self.tail = tail;
        }
        self.tail.wrapping_sub(self.head)
    }

    /// Takes a completion out of what was there at the last [`Self::refresh`].
    #[inline(always)]
    fn take(&mut self) -> Option<C> {
        let mut view = self.view();
        let cqe = view.take();
        self.head = view.head;
        cqe
    }

    /// As [`Self::take`], if the completion is `wanted`.
    #[cfg(feature = "std")]
    #[inline(always)]
    pub(super) fn take_if(&mut self, wanted: impl FnOnce(&C) -> bool) -> Option<C> {
        let mut view = self.view();
        let cqe = view.take().filter(wanted)?;
        self.head = view.head;
        Some(cqe)
    }

    #[inline(always)]
    const fn view(&self) -> View<C> {
        View {
            head: self.head,
            tail: self.tail,
            mask: self.mask,
            slots: self.slots,
        }
    }

    /// Takes all completions that are there, and gives their slots back.
    ///
    /// Where the iterator notes each step in the queue, so that forgetting it repeats nothing, this works on
    /// values of its own, which is a third faster.
    #[inline(always)]
    pub(super) fn drain(&mut self, mut each: impl FnMut(C)) {
        self.refresh();
        // Notes the last step also when `each` panics.
        let mut rest = Rest {
            view: self.view(),
            queue: self,
        };
        while let Some(cqe) = rest.view.take() {
            each(cqe);
        }
    }

    /// Gives the slots of what was taken back to the kernel.
    #[inline]
    pub(super) fn publish(&self) {
        self.shared_head.get().store(self.head, Ordering::Release);
    }

    /// Takes one completion.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<C> {
        self.refresh();
        let cqe = self.take();
        self.publish();
        cqe
    }

    /// Count of completions that the kernel had to drop since the ring was made.
    pub(super) fn dropped(&self) -> u32 {
        self.overflow.get().load(Ordering::Relaxed)
    }
}

/// Where completions are: a copy of the queue's own fields.
#[derive(Debug)]
struct View<C: CqEntry> {
    head: u32,
    tail: u32,
    mask: u32,
    /// As in the queue that this is a copy of, which outlives it (within, regions-along).
    slots: NonNull<C::Slot>,
}

impl<C: CqEntry> View<C> {
    #[inline(always)]
    fn take(&mut self) -> Option<C> {
        while self.tail != self.head {
            // SAFETY: within, regions-along. Whether the kernel has written the slot decides what the
            // completion says, not whether the memory is valid.
            let (cqe, slots) = unsafe { C::load(self.slots, self.mask, self.head) };
            // Two slots where one is left come from no kernel; the queue then is empty.
            let left = self.tail.wrapping_sub(self.head);
            self.head = self.head.wrapping_add(slots.min(left));
            if cqe.is_some() {
                return cqe;
            }
        }
        None
    }
}

/// What is left of a queue that is drained.
struct Rest<'queue, C: CqEntry> {
    view: View<C>,
    queue: &'queue mut CompletionQueue<C>,
}

impl<C: CqEntry> Drop for Rest<'_, C> {
    #[inline]
    fn drop(&mut self) {
        self.queue.head = self.view.head;
        self.queue.publish();
    }
}

/// The completions that were there when this was made.
///
/// Each is taken out as it is returned; their slots go back to the kernel together, when this is dropped.
#[derive(Debug)]
pub struct Completions<'ring, C: CqEntry> {
    queue: &'ring mut CompletionQueue<C>,
}

impl<'ring, C: CqEntry> Completions<'ring, C> {
    #[inline]
    pub(super) fn new(queue: &'ring mut CompletionQueue<C>) -> Self {
        queue.refresh();
        Self { queue }
    }
}

impl<C: CqEntry> Iterator for Completions<'_, C> {
    type Item = C;

    #[inline(always)]
    fn next(&mut self) -> Option<C> {
        self.queue.take()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let slots = self.queue.tail.wrapping_sub(self.queue.head) as usize;
        // In a ring of mixed sizes, some slots are halves or gaps.
        (0, Some(slots))
    }
}

impl<C: CqEntry> FusedIterator for Completions<'_, C> {}

impl<C: CqEntry> Drop for Completions<'_, C> {
    #[inline]
    fn drop(&mut self) {
        self.queue.publish();
    }
}
