#![expect(unsafe_code, reason = "maps memory, and lends blocks of it")]
//! Page frames of a mapping, given out by the page allocator: frame n is page n of the mapping.
//!
//! # Invariants
//! * stays-mapped: the mapping has [`FRAMES`] pages, and stays to the end of the process.
//! * one-owner: the allocator gave a block to nobody else.

use core::ptr::NonNull;

use pepita::memory::{
    AllocFlags, BuddyAllocator, FrameState, FreeError, Order, PAGE_SIZE, PageAllocator, Pfn,
    PfnRange,
};
use pepita::syscall::{self, MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE};

use crate::{Failure, expect};

/// Count of frames: a block of the largest order.
const FRAMES: usize = 1 << Order::MAX.get();
const RANGE: PfnRange = PfnRange::new(Pfn::new(0), FRAMES as u64);

/// The memory behind the frames.
pub(crate) struct Memory {
    base: NonNull<u8>,
}

impl Memory {
    /// Maps zeroed memory.
    pub(crate) fn map() -> Result<Self, Failure> {
        let (prot, flags) = (PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
        // SAFETY: no file, and no `MAP_FIXED`.
        let base = unsafe { syscall::mmap(FRAMES * PAGE_SIZE, prot, flags, -1, 0) };
        let base = base.map_err(|errno| Failure::of("mmap", errno))?;
        Ok(Self { base })
    }

    /// The bytes of the block of `order` at `pfn`.
    ///
    /// # Safety
    /// * The allocator gave it to the caller, who borrows it once (one-owner).
    #[expect(clippy::mut_from_ref, reason = "the caller vouches for one borrow")]
    pub(crate) unsafe fn block(&self, pfn: Pfn, order: Order) -> &mut [u8] {
        let page = usize::try_from(pfn.as_u64()).unwrap_or(usize::MAX);
        let pages = 1 << order.get();
        assert!(page <= FRAMES - pages, "a block of the mapping");
        let first = self.base.as_ptr().wrapping_add(page * PAGE_SIZE);
        // SAFETY: stays-mapped; one-owner.
        unsafe { core::slice::from_raw_parts_mut(first, pages * PAGE_SIZE) }
    }
}

/// Where the allocator keeps its books.
pub(crate) struct Books {
    states: [FrameState; FRAMES],
    words: [u64; BuddyAllocator::words_for(RANGE)],
}

impl Books {
    pub(crate) const fn new() -> Self {
        Self {
            states: [const { FrameState::new() }; FRAMES],
            words: [0; BuddyAllocator::words_for(RANGE)],
        }
    }

    /// An allocator that has all frames.
    pub(crate) fn allocator(&mut self) -> Result<BuddyAllocator<'_>, Failure> {
        let made = BuddyAllocator::new(RANGE, &mut self.states, &mut self.words);
        let mut frames = made.map_err(|error| Failure::Kernel(error.into()))?;
        let added = frames.add(RANGE);
        added.map_err(|error| Failure::Kernel(error.into()))?;
        Ok(frames)
    }
}

/// A block of `order`.
pub(crate) fn take(frames: &mut BuddyAllocator<'_>, order: Order) -> Result<Pfn, Failure> {
    let block = frames.alloc_pages(order, AllocFlags::NONE);
    block.map_err(|error| Failure::Kernel(error.into()))
}

/// Gives a block back.
pub(crate) fn give(frames: &mut BuddyAllocator<'_>, pfn: Pfn, order: Order) -> Result<(), Failure> {
    let given = frames.free_pages(pfn, order);
    given.map_err(|error| Failure::Kernel(error.into()))
}

/// Whether all frames are free, in one block.
pub(crate) fn is_whole(frames: &BuddyAllocator<'_>) -> bool {
    frames.free_count() == FRAMES as u64 && frames.usage().largest_free() == Some(Order::MAX)
}

/// Takes every frame, gives all of them back, and tries what must be refused; says how many there are.
pub(crate) fn check(frames: &mut BuddyAllocator<'_>) -> Result<usize, Failure> {
    const STRIDE: usize = 5;
    let right = |question, is_right| expect("frames", question, is_right);
    right("a new allocator is one block", is_whole(frames))?;

    let mut given = [Pfn::new(0); FRAMES];
    for pfn in &mut given {
        *pfn = take(frames, Order::ZERO)?;
    }
    let mut seen = [false; FRAMES];
    for pfn in given {
        let index = usize::try_from(pfn.as_u64()).unwrap_or(usize::MAX);
        let twice = seen
            .get_mut(index)
            .is_none_or(|seen| core::mem::replace(seen, true));
        right("each frame is given out once", !twice)?;
    }
    let more = frames.alloc_pages(Order::ZERO, AllocFlags::NONE);
    right("there is no further frame", more.is_err())?;

    // 5 and 1,024 have no common divisor, so every frame has its turn, none beside the last.
    for turn in 0..FRAMES {
        give(frames, given[turn * STRIDE % FRAMES], Order::ZERO)?;
    }
    right("free frames become one block", is_whole(frames))?;

    for pfn in given {
        let twice = frames.free_pages(pfn, Order::ZERO);
        let refused = matches!(twice, Err(FreeError::AlreadyFree { pfn: named }) if named == pfn);
        right("a second free is refused", refused)?;
    }
    let foreign = frames.free_pages(Pfn::new(FRAMES as u64), Order::ZERO);
    let refused = matches!(foreign, Err(FreeError::Foreign { .. }));
    right("the frame of another is refused", refused)?;
    right("what is refused changes nothing", is_whole(frames))?;
    Ok(FRAMES)
}
