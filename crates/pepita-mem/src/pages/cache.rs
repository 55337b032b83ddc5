//! [`FrameCache`]: single frames at hand for one CPU.
//!
//! Entered by one at a time; who finds it busy goes elsewhere instead of waiting. The fields are atomic
//! so that no `unsafe` is needed: between `enter` and the drop of what it gives, they are plain memory.

#[cfg(not(all(test, pepita_loom)))]
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
#[cfg(all(test, pepita_loom))]
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// How many frames one cache holds at most.
#[cfg(not(all(test, pepita_loom)))]
pub const CACHE_FRAMES: u32 = 126;
/// A model fills and empties a cache within a few steps.
#[cfg(all(test, pepita_loom))]
pub const CACHE_FRAMES: u32 = 2;

/// How many frames come or go when a cache is empty or full: half, so that neither comes again soon. With
/// the one that is wanted they are 64, and where memory is whole their states are as many bytes as a cache
/// line: CPUs that write the same line all the time take five times as long.
pub(super) const BATCH: u32 = CACHE_FRAMES / 2;

/// A stack of frames, as offsets into their zone. Two CPUs never share a line: 128 bytes, since x86-64
/// fetches lines in pairs (Intel optimization manual, "spatial prefetcher").
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct FrameCache {
    is_busy: AtomicBool,
    len: AtomicU32,
    frames: [AtomicU32; CACHE_FRAMES as usize],
}

impl FrameCache {
    pub(super) fn new() -> Self {
        Self {
            is_busy: AtomicBool::new(false),
            len: AtomicU32::new(0),
            frames: core::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    /// How many frames are in it at this moment.
    pub(super) fn len(&self) -> u32 {
        self.len.load(Ordering::Relaxed)
    }

    /// The right to use it; none while another has it.
    #[inline]
    pub(super) fn enter(&self) -> Option<Entered<'_>> {
        let entered =
            self.is_busy
                .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        // Lazily: dropping one gives the cache up.
        entered.is_ok().then(|| Entered { cache: self })
    }
}

/// The right to use a cache, given up when dropped.
#[derive(Debug)]
pub(super) struct Entered<'c> {
    cache: &'c FrameCache,
}

impl Entered<'_> {
    #[inline]
    pub(super) fn pop(&mut self) -> Option<u32> {
        let len = self.cache.len().checked_sub(1)?;
        self.cache.len.store(len, Ordering::Relaxed);
        Some(self.cache.frames[len as usize].load(Ordering::Relaxed))
    }

    /// Whether there was room for it.
    #[inline]
    pub(super) fn push(&mut self, frame: u32) -> bool {
        let len = self.cache.len();
        let Some(place) = self.cache.frames.get(len as usize) else {
            return false;
        };
        place.store(frame, Ordering::Relaxed);
        self.cache.len.store(len + 1, Ordering::Relaxed);
        true
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.cache.is_busy.store(false, Ordering::Release);
    }
}
