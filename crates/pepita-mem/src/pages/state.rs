//! [`FrameState`]: one byte for each frame, which tells every wrong free from a right one.

use core::fmt;
#[cfg(not(all(test, pepita_loom)))]
use core::sync::atomic::{AtomicU8, Ordering};
#[cfg(all(test, pepita_loom))]
use loom::sync::atomic::{AtomicU8, Ordering};

use crate::page::Order;

/// What is known of one frame; one byte, lent to a [`BuddyAllocator`](crate::BuddyAllocator).
///
/// It is atomic because a frame passes between allocated and cached without the allocator's lock.
/// ```
/// use pepita_mem::FrameState;
///
/// let states = [const { FrameState::new() }; 1024];
/// assert_eq!(size_of_val(&states), 1024);
/// ```
#[derive(Default)]
#[repr(transparent)]
pub struct FrameState(AtomicU8);

/// The values. A block is what the buddy system works with; an allocation is one block, or for a range
/// several that follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct State(u8);

impl State {
    /// Not added, so not ours to give.
    pub(super) const ABSENT: Self = Self(0);
    /// In a free block, or in an allocated one but not its first frame.
    pub(super) const INSIDE: Self = Self(1);
    /// In a cache, free for its next user.
    pub(super) const CACHED: Self = Self(2);

    /// The first frame of an allocated block; the low four bits are its order.
    const HEAD: u8 = 0x80;
    /// Another block of the same allocation follows.
    const MORE: u8 = 0x40;
    /// The block is not the first of its allocation.
    const REST: u8 = 0x20;
    const ORDER: u8 = 0x0f;

    /// An allocation that is one block.
    pub(super) const fn whole(order: Order) -> Self {
        Self(Self::HEAD | order.get().to_le_bytes()[0])
    }

    /// One block of an allocation that may have several.
    pub(super) const fn part(order: Order, is_first: bool, is_last: bool) -> Self {
        let rest = if is_first { 0 } else { Self::REST };
        let more = if is_last { 0 } else { Self::MORE };
        Self(Self::whole(order).0 | rest | more)
    }

    /// The order of the allocated block that begins here, if one does.
    pub(super) fn order(self) -> Option<Order> {
        let order = Order::try_new(u32::from(self.0 & Self::ORDER));
        order.ok().filter(|_| self.0 & Self::HEAD != 0)
    }

    pub(super) const fn has_more(self) -> bool {
        self.0 & Self::MORE != 0
    }

    pub(super) const fn is_rest(self) -> bool {
        self.0 & Self::REST != 0
    }
}

impl FrameState {
    /// A frame that nobody has added.
    #[cfg(not(all(test, pepita_loom)))]
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU8::new(State::ABSENT.0))
    }

    /// The atomics of a model are not made at compile time.
    #[cfg(all(test, pepita_loom))]
    pub fn new() -> Self {
        Self(AtomicU8::new(State::ABSENT.0))
    }

    pub(super) fn get(&self) -> State {
        State(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn set(&self, state: State) {
        self.0.store(state.0, Ordering::Relaxed);
    }

    /// Goes from `from` to `to`; whoever else tries the same meanwhile gets what is there now.
    ///
    /// The value carries no other memory with it, so the order is relaxed.
    pub(super) fn change(&self, from: State, to: State) -> Result<(), State> {
        let changed = self
            .0
            .compare_exchange(from.0, to.0, Ordering::Relaxed, Ordering::Relaxed);
        changed.map(|_| ()).map_err(State)
    }
}

impl fmt::Debug for FrameState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameState({:#04x})", self.get().0)
    }
}
