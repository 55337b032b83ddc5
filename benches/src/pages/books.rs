//! [`Books`]: what the single-threaded cases ask of an allocator.

use anyhow::{Context, Result};
use buddy_system_allocator::FrameAllocator;
use pepita_mem::{AllocFlags, BuddyAllocator, FrameState, Order, PageAllocator, Pfn, PfnRange};

/// Single frames, in and out.
pub(super) trait Books: Sized {
    /// A frame that is out.
    type Frame: Copy;

    /// An allocator of at least `count` frames, all free.
    fn with(count: usize) -> Result<Self>;

    fn alloc(&mut self) -> Option<Self::Frame>;

    fn free(&mut self, frame: Self::Frame);

    /// Whether all frames are free and in as few blocks as they were at first.
    fn is_whole(&mut self) -> bool;
}

/// The orders of the peer: the largest block is ours, 4 MiB.
pub(super) const PEER_ORDERS: usize = Order::COUNT;

/// An allocator of `count` frames whose books live as long as the process.
pub(super) fn buddy(count: usize) -> Result<BuddyAllocator<'static>> {
    let range = PfnRange::new(Pfn::new(0), u64::try_from(count)?);
    let states: Vec<FrameState> = (0..count).map(|_| FrameState::new()).collect();
    let words = vec![0; BuddyAllocator::words_for(range)];
    let mut pages = BuddyAllocator::new(range, states.leak(), words.leak())?;
    pages.add(range)?;
    Ok(pages)
}

/// Ours.
#[derive(Debug)]
pub(super) struct Buddy {
    pages: BuddyAllocator<'static>,
    at_first: pepita_mem::FrameUsage,
}

impl Books for Buddy {
    type Frame = Pfn;

    fn with(count: usize) -> Result<Self> {
        let pages = buddy(count)?;
        let at_first = pages.usage();
        Ok(Self { pages, at_first })
    }

    fn alloc(&mut self) -> Option<Pfn> {
        self.pages.alloc_pages(Order::ZERO, AllocFlags::NONE).ok()
    }

    fn free(&mut self, frame: Pfn) {
        if let Err(error) = self.pages.free_pages(frame, Order::ZERO) {
            unreachable!("the frame is out: {error}");
        }
    }

    fn is_whole(&mut self) -> bool {
        self.pages.usage() == self.at_first
    }
}

/// The peer that keeps its books in B-trees.
pub(super) struct PeerFrames {
    pages: FrameAllocator<PEER_ORDERS>,
    count: usize,
}

impl Books for PeerFrames {
    type Frame = usize;

    fn with(count: usize) -> Result<Self> {
        let mut pages = FrameAllocator::new();
        pages.add_frame(0, count);
        Ok(Self { pages, count })
    }

    fn alloc(&mut self) -> Option<usize> {
        self.pages.alloc(1)
    }

    fn free(&mut self, frame: usize) {
        self.pages.dealloc(frame, 1);
    }

    fn is_whole(&mut self) -> bool {
        let largest = 1 << self.count.ilog2().min(10);
        let Some(first) = self.pages.alloc(largest) else {
            return false;
        };
        self.pages.dealloc(first, largest);
        true
    }
}

/// Everything out, and its number.
pub(super) fn take_all<B: Books>(books: &mut B, count: usize) -> Result<Vec<B::Frame>> {
    let frames: Option<Vec<_>> = (0..count).map(|_| books.alloc()).collect();
    frames.with_context(|| format!("not all of {count} frames were there"))
}
