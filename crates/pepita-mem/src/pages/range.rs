//! Runs of any length: [`BuddyAllocator::alloc_range`] and [`BuddyAllocator::free_range`].

use super::buddy::{BuddyAllocator, to_index};
use super::error::{AllocError, FreeError};
use super::flags::AllocFlags;
use super::state::State;
use crate::page::Order;
use crate::range::PfnRange;

/// The largest aligned blocks that make up `frames` frames from `index`, in their order.
pub(super) fn blocks(index: u32, frames: u32) -> impl Iterator<Item = (u32, Order)> {
    let (mut at, mut left) = (index, frames);
    core::iter::from_fn(move || {
        let largest = left.checked_ilog2()?;
        let order = Order::new(largest.min(at.trailing_zeros()).min(Order::MAX.get()));
        let block = (at, order);
        let size = to_index(order.frames());
        at += size;
        left -= size;
        Some(block)
    })
}

impl BuddyAllocator<'_> {
    /// Gives `frames` frames in a row, any number, beginning with a frame whose number is a multiple
    /// of `align`'s frames, that `flags` allow.
    ///
    /// It finds a run whenever there is one. Up to the size of the largest block it takes a block and
    /// gives the rest back; only if none is free, or for more frames, it looks through the whole range,
    /// which takes time in proportion to its blocks.
    ///
    /// # Errors
    /// [`AllocError`] for no frames, or if there is no such run.
    pub fn alloc_range(
        &mut self,
        frames: u64,
        align: Order,
        flags: AllocFlags,
    ) -> Result<PfnRange, AllocError> {
        if frames == 0 {
            return Err(AllocError::Nothing);
        }
        let end = self.end_for(flags).min(u64::from(self.end()));
        let found = match Order::for_frames(frames) {
            Some(order) => self.take_front(order.max(align), to_index(frames), end),
            None => None,
        };
        let found = found.or_else(|| self.take_run(frames, align, to_index(end)));
        let first = found.ok_or_else(|| self.exhausted(frames, flags))?;
        self.mark(first, to_index(frames));
        Ok(PfnRange::new(self.pfn_at(first), frames))
    }

    /// Takes back what [`alloc_range`](Self::alloc_range) gave, as a whole. A block of
    /// [`alloc_pages`](super::PageAllocator::alloc_pages) is a range too.
    ///
    /// # Errors
    /// [`FreeError`] if these frames are not exactly one allocation; nothing has changed then.
    pub fn free_range(&mut self, range: PfnRange) -> Result<(), FreeError> {
        let pfn = range.start();
        let index = match self.range().contains(pfn) {
            true => self.index_of(pfn),
            false => return Err(FreeError::Foreign { pfn }),
        };
        let state = self.state(index).get();
        let is_start = state.order().is_some() && !state.is_rest();
        if !is_start || self.allocated_at(index, state) != range.frames() {
            return Err(self.refuse(pfn, range.frames()));
        }
        for (at, order) in blocks(index, to_index(range.frames())) {
            self.state(at).set(State::INSIDE);
            self.put(at, order);
        }
        Ok(())
    }

    /// How many frames the allocation has that begins at `index` with a block of `state`. The state is
    /// not read again, since that of a single frame may change meanwhile.
    pub(super) fn allocated_at(&self, index: u32, state: State) -> u64 {
        let (mut at, mut state, mut frames) = (index, state, 0);
        loop {
            let Some(order) = state.order() else {
                unreachable!("apart: each block of an allocation has its order")
            };
            frames += order.frames();
            if !state.has_more() {
                return frames;
            }
            at += to_index(order.frames());
            state = self.state(at).get();
        }
    }

    /// Takes a block of `order`, and puts all but its first `frames` back.
    fn take_front(&mut self, order: Order, frames: u32, end: u64) -> Option<u32> {
        let index = self.take(order, end)?;
        self.release(index + frames, to_index(order.frames()) - frames);
        Some(index)
    }

    /// Takes the lowest run of `frames` free frames before `end`.
    fn take_run(&mut self, frames: u64, align: Order, end: u32) -> Option<u32> {
        let align = to_index(align.frames());
        let (mut at, mut run) = (self.first(), self.first());
        while at < end {
            let state = self.state(at).get();
            let (size, is_free) = match state.order() {
                Some(order) => (to_index(order.frames()), false),
                None if state == State::INSIDE => match self.sets.order_at(at) {
                    Some(order) => (to_index(order.frames()), true),
                    None => unreachable!("apart: frame {at} begins no allocated block"),
                },
                None => (1, false),
            };
            at += size;
            if !is_free {
                run = at;
                continue;
            }
            let first = run.next_multiple_of(align);
            let last = u64::from(first) + frames;
            if last <= u64::from(at.min(end)) {
                self.claim(first, to_index(frames));
                return Some(first);
            }
        }
        None
    }

    /// Writes the states of an allocation's blocks.
    fn mark(&self, first: u32, frames: u32) {
        let end = first + frames;
        for (at, order) in blocks(first, frames) {
            let is_last = at + to_index(order.frames()) == end;
            self.state(at).set(State::part(order, at == first, is_last));
        }
    }
}
