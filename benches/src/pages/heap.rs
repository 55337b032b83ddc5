#![expect(
    unsafe_code,
    reason = "the peer's heap takes and frees memory by its address"
)]
//! The peer that keeps its books in the free memory itself.

use std::alloc::Layout;
use std::ptr::NonNull;

use anyhow::Result;

use super::books::{Books, PEER_ORDERS};

/// Bytes of a block: as small as the peer's smallest lists allow to be fast, so that its books are as
/// dense as they can be. Ours does not touch the memory at all.
const BLOCK_BYTES: usize = 64;

/// Orders of the peer from its smallest block of 8 bytes, three below ours.
const ORDERS: usize = PEER_ORDERS + 4 + 6;

/// # Invariants
/// * *lent*: the heap was given one region that lives as long as the process and that nobody else uses.
pub(super) struct Heap {
    heap: buddy_system_allocator::Heap<ORDERS>,
    layout: Layout,
    bytes: usize,
}

impl Books for Heap {
    type Frame = NonNull<u8>;

    fn with(count: usize) -> Result<Self> {
        let bytes = count * BLOCK_BYTES;
        let region = vec![0_u64; bytes * 2 / size_of::<u64>()].leak();
        let start = region
            .as_mut_ptr()
            .expose_provenance()
            .next_multiple_of(bytes);
        let mut heap = buddy_system_allocator::Heap::new();
        // SAFETY: *lent*: the region is leaked here, and twice the size, so that it holds an aligned start.
        unsafe { heap.init(start, bytes) };
        let layout = Layout::from_size_align(BLOCK_BYTES, BLOCK_BYTES)?;
        Ok(Self {
            heap,
            layout,
            bytes,
        })
    }

    fn alloc(&mut self) -> Option<NonNull<u8>> {
        self.heap.alloc(self.layout).ok()
    }

    fn free(&mut self, frame: NonNull<u8>) {
        // SAFETY: *lent*; the cases free what `alloc` gave, once.
        unsafe { self.heap.dealloc(frame, self.layout) };
    }

    fn is_whole(&mut self) -> bool {
        let Ok(all) = Layout::from_size_align(self.bytes, BLOCK_BYTES) else {
            return false;
        };
        let Ok(block) = self.heap.alloc(all) else {
            return false;
        };
        // SAFETY: *lent*; the block was just given.
        unsafe { self.heap.dealloc(block, all) };
        true
    }
}
