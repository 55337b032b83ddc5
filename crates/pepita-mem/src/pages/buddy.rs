//! [`BuddyAllocator`]: one range of frames in blocks of powers of two.
//!
//! A free block is a number in the set of its order ([`BitTree`]), an allocated one is a byte at its
//! first frame ([`FrameState`]). The block that another merges with is the neighbouring bit of the same
//! word, so a free costs one look for each order that it merges through, however many blocks are free;
//! and the sets give the lowest block first, which keeps high memory whole and answers an address limit
//! without a search.
//!
//! # Invariants
//! * *whole*: of two free blocks of one order that make one block of the next, none is in a set: they
//!   have become that block.
//! * *apart*: each frame that was added is in one free block, in one allocated block, or in a cache.
//! * *counted*: `blocks[k]` is the size of set `k`, and bit `k` of `present` says whether it is above 0.

use core::fmt;

use super::bits::{BitTree, NUMBERS_MAX};
use super::error::{AddError, AllocError, FreeError, SetupError};
use super::flags::AllocFlags;
use super::report::FrameUsage;
use super::state::{FrameState, State};
use super::{PageAllocator, range};
use crate::addr::Pfn;
use crate::page::Order;
use crate::range::PfnRange;

/// Gives out the frames of one range; keeps its books in memory that the caller lends.
///
/// A new one has no frame: [`add`](Self::add) says which of the range are memory, so that a range may
/// have holes. Blocks are aligned to their size in physical memory. Frees of what is not allocated, or
/// not like this, are errors, always.
///
/// ```
/// use pepita_mem::{AllocFlags, BuddyAllocator, FrameState, Order, PageAllocator, Pfn, PfnRange};
///
/// const MEMORY: PfnRange = PfnRange::new(Pfn::new(0x100), 1000);
/// let mut states = [const { FrameState::new() }; 1000];
/// let mut words = [0; BuddyAllocator::words_for(MEMORY)];
/// let mut pages = BuddyAllocator::new(MEMORY, &mut states, &mut words)?;
/// pages.add(MEMORY)?;
///
/// let block = pages.alloc_pages(Order::new(3), AllocFlags::NONE)?;
/// assert_eq!(pages.free_count(), 992);
/// pages.free_pages(block, Order::new(3))?;
/// assert!(pages.free_pages(block, Order::new(3)).is_err());
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub struct BuddyAllocator<'m> {
    range: PfnRange,
    /// The frame of index 0: the start of the range, down to a block of the largest order.
    base: u64,
    /// How many indices at the beginning are before the range.
    lead: u32,
    states: &'m [FrameState],
    pub(super) sets: FreeSets<'m>,
    /// How many frames were added.
    managed: u64,
    /// How many frames are in free blocks.
    free: u64,
}

/// The free blocks.
pub(super) struct FreeSets<'m> {
    words: &'m mut [u64],
    trees: [BitTree; Order::COUNT],
    blocks: [u32; Order::COUNT],
    present: u32,
}

/// Where the trees of `span` indices lie, and how many words they have. Each has a number more than
/// whole blocks, so that every index has one in every tree.
const fn lay_trees(span: u32) -> ([BitTree; Order::COUNT], u32) {
    let (empty, _) = BitTree::lay(1, 0);
    let (mut trees, mut next, mut order) = ([empty; Order::COUNT], 0, 0);
    while order < Order::COUNT {
        (trees[order], next) = BitTree::lay((span >> order) + 1, next);
        order += 1;
    }
    (trees, next)
}

/// How many frames precede `range` in the largest block that its first frame is in.
const fn lead_of(range: PfnRange) -> u64 {
    range.start().as_u64() % Order::MAX.frames()
}

/// How many indices `range` has, its lead included.
const fn span_of(range: PfnRange) -> Option<u32> {
    let span = lead_of(range) + range.frames();
    if range.is_empty() || range.frames() > BuddyAllocator::FRAMES_MAX {
        return None;
    }
    Some(to_index(span))
}

/// An index, or a difference of two.
#[expect(
    clippy::cast_possible_truncation,
    reason = "indices are below NUMBERS_MAX, 2^30"
)]
pub(super) const fn to_index(frames: u64) -> u32 {
    frames as u32
}

impl FreeSets<'_> {
    /// Whether the block of `order` that holds `index` is free as such.
    pub(super) fn has(&self, index: u32, order: Order) -> bool {
        let k = order.get() as usize;
        self.trees[k].has(self.words, index >> k)
    }

    /// The order of the free block that holds `index`, if one does.
    pub(super) fn order_at(&self, index: u32) -> Option<Order> {
        Order::all().find(|order| self.has(index, *order))
    }

    #[inline]
    fn insert(&mut self, index: u32, order: Order) {
        let k = order.get() as usize;
        self.trees[k].insert(self.words, index >> k);
        self.blocks[k] += 1;
        self.present |= 1 << k;
    }

    /// Takes the block of `order` that holds `index` out; whether it was free.
    #[inline]
    fn remove(&mut self, index: u32, order: Order) -> bool {
        let k = order.get() as usize;
        let was_free = self.trees[k].remove(self.words, index >> k);
        if was_free {
            self.blocks[k] -= 1;
            if self.blocks[k] == 0 {
                self.present &= !(1 << k);
            }
        }
        was_free
    }

    /// Puts a block in, together with its free buddies.
    #[inline]
    fn merge(&mut self, index: u32, order: Order) {
        let (mut index, mut order) = (index, order);
        while order < Order::MAX && self.remove(index ^ (1 << order.get()), order) {
            index &= !(1 << order.get());
            order = order.next();
        }
        self.insert(index, order);
    }

    /// Takes out a block of `order` whose frames are all below index `end`: the lowest one of the
    /// smallest order that has one.
    #[inline]
    fn take(&mut self, order: Order, end: u64) -> Option<u32> {
        let mut orders = self.present >> order.get() << order.get();
        while orders != 0 {
            let k = orders.trailing_zeros();
            let number = self.trees[k as usize].least(self.words)?;
            let index = number << k;
            if u64::from(index) + order.frames() <= end {
                self.remove(index, Order::new(k));
                for half in (order.get()..k).rev() {
                    self.insert(index + (1 << half), Order::new(half));
                }
                return Some(index);
            }
            orders &= orders - 1;
        }
        None
    }
}

impl<'m> BuddyAllocator<'m> {
    /// How many frames one allocator keeps at most: just below 2^30, which are 4 TiB.
    pub const FRAMES_MAX: u64 = NUMBERS_MAX as u64 - Order::MAX.frames();

    /// How many words [`new`](Self::new) needs for `range`: about one for 31 frames.
    ///
    /// # Panics
    /// If the range is empty or larger than [`FRAMES_MAX`](Self::FRAMES_MAX).
    #[must_use]
    pub const fn words_for(range: PfnRange) -> usize {
        match span_of(range) {
            Some(span) => lay_trees(span).1 as usize,
            None => panic!("the range is empty or larger than FRAMES_MAX"),
        }
    }

    /// An allocator for `range` that has none of its frames; whatever the lent memory held is
    /// overwritten.
    ///
    /// # Errors
    /// [`SetupError`] if there is not a state for each frame, if there are fewer words than
    /// [`words_for`](Self::words_for) says, or for a range without frames or with too many.
    pub fn new(
        range: PfnRange,
        states: &'m mut [FrameState],
        words: &'m mut [u64],
    ) -> Result<Self, SetupError> {
        let span = span_of(range).ok_or(SetupError::Frames {
            frames: range.frames(),
            max: Self::FRAMES_MAX,
        })?;
        if states.len() as u64 != range.frames() {
            return Err(SetupError::States {
                lent: states.len(),
                needed: usize::try_from(range.frames()).unwrap_or(usize::MAX),
            });
        }
        let (trees, needed) = lay_trees(span);
        let lent = words.len();
        let words = words.get_mut(..needed as usize).ok_or(SetupError::Words {
            lent,
            needed: needed as usize,
        })?;
        words.fill(0);
        states.fill_with(FrameState::new);
        let lead = lead_of(range);
        Ok(Self {
            range,
            base: range.start().as_u64() - lead,
            lead: to_index(lead),
            states,
            sets: FreeSets {
                words,
                trees,
                blocks: [0; Order::COUNT],
                present: 0,
            },
            managed: 0,
            free: 0,
        })
    }

    /// The range whose frames it may have.
    #[must_use]
    pub const fn range(&self) -> PfnRange {
        self.range
    }

    /// Takes over frames that are memory and used by nobody else.
    ///
    /// # Errors
    /// [`AddError`] if a frame is outside of the range or was added before; nothing has changed then.
    pub fn add(&mut self, range: PfnRange) -> Result<(), AddError> {
        let managed = self.range;
        if !managed.contains_range(range) {
            return Err(AddError::Outside { range, managed });
        }
        if range.is_empty() {
            return Ok(());
        }
        let first = self.index_of(range.start());
        let states = first - self.lead..first - self.lead + to_index(range.frames());
        let states = &self.states[states.start as usize..states.end as usize];
        let present =
            |(state, pfn): (&FrameState, Pfn)| (state.get() != State::ABSENT).then_some(pfn);
        if let Some(pfn) = states.iter().zip(range.iter()).find_map(present) {
            return Err(AddError::Present { pfn });
        }
        for state in states {
            state.set(State::INSIDE);
        }
        self.managed += range.frames();
        self.release(first, to_index(range.frames()));
        Ok(())
    }

    /// How its frames are used.
    #[must_use]
    pub fn usage(&self) -> FrameUsage {
        FrameUsage {
            managed: self.managed,
            free: self.free,
            cached: 0,
            free_blocks: self.sets.blocks,
        }
    }

    /// The states of its frames, the first for the range's first.
    pub(super) const fn states(&self) -> &'m [FrameState] {
        self.states
    }

    /// The index of a frame of the range.
    pub(super) const fn index_of(&self, pfn: Pfn) -> u32 {
        to_index(pfn.as_u64() - self.base)
    }

    /// The frame of an index that is in the range.
    pub(super) const fn pfn_at(&self, index: u32) -> Pfn {
        Pfn::new(self.base + index as u64)
    }

    /// The index after the last.
    pub(super) const fn end(&self) -> u32 {
        self.lead + to_index(self.range.frames())
    }

    /// The first index.
    pub(super) const fn first(&self) -> u32 {
        self.lead
    }

    /// The index after the last that `flags` allow.
    pub(super) fn end_for(&self, flags: AllocFlags) -> u64 {
        flags.end_frame().saturating_sub(self.base)
    }

    #[inline]
    pub(super) fn state(&self, index: u32) -> &'m FrameState {
        &self.states[(index - self.lead) as usize]
    }

    /// Takes a block out of the sets. Its state is the caller's to set.
    #[inline]
    pub(super) fn take(&mut self, order: Order, end: u64) -> Option<u32> {
        let index = self.sets.take(order, end)?;
        self.free -= order.frames();
        Some(index)
    }

    /// Puts a block whose state is `INSIDE` into the sets.
    #[inline]
    pub(super) fn put(&mut self, index: u32, order: Order) {
        self.sets.merge(index, order);
        self.free += order.frames();
    }

    /// Puts `frames` frames whose states are `INSIDE` into the sets.
    pub(super) fn release(&mut self, index: u32, frames: u32) {
        for (index, order) in range::blocks(index, frames) {
            self.put(index, order);
        }
    }

    /// Takes exactly these frames, all of them free, out of the sets.
    pub(super) fn claim(&mut self, first: u32, frames: u32) {
        let end = first + frames;
        let mut at = first;
        while at < end {
            let Some(order) = self.sets.order_at(at) else {
                unreachable!("apart: frame {at} is free, so a free block holds it")
            };
            self.sets.remove(at, order);
            self.free -= order.frames();
            let size = to_index(order.frames());
            let start = at & !(size - 1);
            self.release(start, at - start);
            at = end.min(start + size);
            self.release(at, start + size - at);
        }
    }

    /// No frames: what was asked for, and what is there.
    pub(super) const fn exhausted(&self, frames: u64, flags: AllocFlags) -> AllocError {
        AllocError::Exhausted {
            frames,
            address_bits: flags.address_bits(),
            free: self.free,
        }
    }

    /// Why `frames` frames at `pfn` cannot be freed.
    #[cold]
    pub(super) fn refuse(&self, pfn: Pfn, given: u64) -> FreeError {
        if !self.range.contains(pfn) {
            return FreeError::Foreign { pfn };
        }
        let index = self.index_of(pfn);
        match self.state(index).get() {
            State::ABSENT => FreeError::Foreign { pfn },
            State::CACHED => FreeError::AlreadyFree { pfn },
            State::INSIDE if self.sets.order_at(index).is_some() => FreeError::AlreadyFree { pfn },
            state if state.order().is_some() && !state.is_rest() => FreeError::WrongSize {
                pfn,
                given,
                allocated: self.allocated_at(index, state),
            },
            _ => FreeError::NotTheStart { pfn },
        }
    }
}

impl PageAllocator for BuddyAllocator<'_> {
    #[inline]
    fn alloc_pages(&mut self, order: Order, flags: AllocFlags) -> Result<Pfn, AllocError> {
        let index = self.take(order, self.end_for(flags));
        let index = index.ok_or_else(|| self.exhausted(order.frames(), flags))?;
        self.state(index).set(State::whole(order));
        Ok(self.pfn_at(index))
    }

    #[inline]
    fn free_pages(&mut self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        if !self.range.contains(pfn) {
            return Err(FreeError::Foreign { pfn });
        }
        let index = self.index_of(pfn);
        let state = self.state(index);
        if state.get() != State::whole(order) {
            return Err(self.refuse(pfn, order.frames()));
        }
        state.set(State::INSIDE);
        self.put(index, order);
        Ok(())
    }

    fn free_count(&self) -> u64 {
        self.free
    }
}

impl fmt::Debug for BuddyAllocator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuddyAllocator")
            .field("range", &self.range)
            .field("usage", &self.usage())
            .finish_non_exhaustive()
    }
}
