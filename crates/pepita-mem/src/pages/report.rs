//! [`FrameUsage`].

use crate::page::Order;

/// How the frames of an allocator are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameUsage {
    /// How many frames the allocator was given.
    pub managed: u64,
    /// How many are in free blocks.
    pub free: u64,
    /// How many are in caches: free, in blocks of one.
    pub cached: u64,
    /// How many free blocks there are of each order.
    pub free_blocks: [u32; Order::COUNT],
}

impl FrameUsage {
    /// How many frames are in use.
    #[must_use]
    pub const fn allocated(&self) -> u64 {
        self.managed - self.free - self.cached
    }

    /// The order of the largest free block; none if there is no free block.
    #[must_use]
    pub fn largest_free(&self) -> Option<Order> {
        Order::all().rfind(|order| self.free_blocks[order.get() as usize] > 0)
    }

    /// How much of the free memory is of no use for a block of `order`, in thousandths: 0 if all of it
    /// is, 1000 if none is (or nothing is free).
    ///
    /// It is the unusable free space index of Gorman and Whitcroft, "Measuring the Impact of the Linux
    /// Memory Manager" (2005), which Linux shows in `/sys/kernel/debug/extfrag/unusable_index`.
    #[must_use]
    pub fn unusable_permille(&self, order: Order) -> u64 {
        let orders = Order::all().filter(|other| *other >= order);
        let usable: u64 = orders
            .map(|other| u64::from(self.free_blocks[other.get() as usize]) << other.get())
            .sum();
        let free = self.free + self.cached;
        ((free - usable) * 1000).checked_div(free).unwrap_or(1000)
    }

    /// The sum of two.
    pub(super) fn plus(mut self, other: &Self) -> Self {
        self.managed += other.managed;
        self.free += other.free;
        self.cached += other.cached;
        for (sum, blocks) in self.free_blocks.iter_mut().zip(other.free_blocks) {
            *sum += blocks;
        }
        self
    }
}
