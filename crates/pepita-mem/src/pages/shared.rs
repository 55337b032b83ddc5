//! [`SharedPages`]: page frames for many threads.
//!
//! Single frames of the highest zone pass through caches, one for each CPU; all else goes to the zones
//! under one lock. What belongs to whom shows in the frame's state: a thread that frees a frame first
//! changes it from allocated to cached, which only one can, so a double free is found however many
//! threads try, and without the lock.
//!
//! # Invariants
//! * *cached*: a frame is in a cache exactly if its state is `CACHED`, or somebody is about to put it
//!   there, or has just taken it out.
//! * *order of locks*: the zones' lock may be taken from inside a cache, never a cache from inside it.

use super::PageAllocator;
use super::cache::{BATCH, Entered, FrameCache};
use super::error::{AllocError, FreeError};
use super::flags::AllocFlags;
use super::lock::Lock;
use super::report::FrameUsage;
use super::state::{FrameState, State};
use super::zones::ZonedAllocator;
use crate::addr::Pfn;
use crate::page::Order;
use crate::range::PfnRange;

/// A [`ZonedAllocator`] for many threads, with caches of single frames for `CPUS` CPUs.
///
/// Each call says which cache it would like, by the number of the CPU it runs on, or of its thread:
/// any number is right, and taken modulo `CPUS`; a good one is used by no other thread at the same
/// time. Nobody waits for a cache. When the zones have no frames left, the caches are emptied into
/// them, except those that are in use at that moment.
///
/// Without the standard library the zones are guarded by a spin lock: do not call it from an interrupt
/// handler that may interrupt a caller.
/// ```
/// use pepita_mem::{AllocFlags, BuddyAllocator, FrameState, Pfn, PfnRange};
/// use pepita_mem::{SharedPages, ZonedAllocator};
///
/// const MEMORY: PfnRange = PfnRange::new(Pfn::new(0x100), 1024);
/// let mut states = [const { FrameState::new() }; 1024];
/// let mut words = [0; BuddyAllocator::words_for(MEMORY)];
/// let mut zone = BuddyAllocator::new(MEMORY, &mut states, &mut words)?;
/// zone.add(MEMORY)?;
/// let pages: SharedPages<'_, 1, 2> = SharedPages::new(ZonedAllocator::new([zone])?);
///
/// std::thread::scope(|scope| {
///     for cpu in 0..2 {
///         let pages = &pages;
///         scope.spawn(move || {
///             let frame = pages.alloc_page(cpu).expect("a frame");
///             pages.free_page(frame, cpu).expect("it is allocated");
///         });
///     }
/// });
/// assert_eq!(pages.usage().allocated(), 0);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SharedPages<'m, const ZONES: usize, const CPUS: usize> {
    zones: Lock<ZonedAllocator<'m, ZONES>>,
    caches: [FrameCache; CPUS],
    /// The zone whose frames are cached, and its states.
    cached: PfnRange,
    states: &'m [FrameState],
}

impl<'m, const ZONES: usize, const CPUS: usize> SharedPages<'m, ZONES, CPUS> {
    /// Shares `zones`, with empty caches.
    #[must_use]
    pub fn new(zones: ZonedAllocator<'m, ZONES>) -> Self {
        const { assert!(ZONES > 0 && CPUS > 0, "there is a zone and a CPU") };
        let highest = &zones.zones()[ZONES - 1];
        Self {
            cached: highest.range(),
            states: highest.states(),
            zones: Lock::new(zones),
            caches: core::array::from_fn(|_| FrameCache::new()),
        }
    }

    /// Gives one frame, of any address.
    ///
    /// # Errors
    /// [`AllocError::Exhausted`] if none is free.
    #[inline]
    pub fn alloc_page(&self, cpu: usize) -> Result<Pfn, AllocError> {
        if let Some(mut cache) = self.caches[cpu % CPUS].enter()
            && let Some(offset) = cache.pop().or_else(|| self.refill(&mut cache))
        {
            self.states[offset as usize].set(State::whole(Order::ZERO));
            return Ok(self.pfn_at(offset));
        }
        self.alloc_pages(Order::ZERO, AllocFlags::NONE)
    }

    /// Takes back one frame.
    ///
    /// # Errors
    /// [`FreeError`] if it is not allocated as one frame; nothing has changed then.
    #[inline]
    pub fn free_page(&self, pfn: Pfn, cpu: usize) -> Result<(), FreeError> {
        if !self.cached.contains(pfn) {
            return self.zones.with(|zones| zones.free_pages(pfn, Order::ZERO));
        }
        let offset = super::buddy::to_index(pfn.as_u64() - self.cached.start().as_u64());
        let state = &self.states[offset as usize];
        if state
            .change(State::whole(Order::ZERO), State::CACHED)
            .is_err()
        {
            return Err(self.refuse(pfn, 1));
        }
        if let Some(mut cache) = self.caches[cpu % CPUS].enter() {
            if cache.push(offset) {
                return Ok(());
            }
            self.empty(&mut cache, BATCH);
            if cache.push(offset) {
                return Ok(());
            }
        }
        self.put_back(core::iter::once(offset));
        Ok(())
    }

    /// Gives a block; see [`PageAllocator::alloc_pages`]. Single frames of any address come faster from
    /// [`alloc_page`](Self::alloc_page).
    ///
    /// # Errors
    /// [`AllocError`] if no free block will do.
    pub fn alloc_pages(&self, order: Order, flags: AllocFlags) -> Result<Pfn, AllocError> {
        self.at_last(|zones| zones.alloc_pages(order, flags))
    }

    /// Takes back a block.
    ///
    /// # Errors
    /// [`FreeError`] if no such block is allocated; nothing has changed then.
    pub fn free_pages(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        if order == Order::ZERO {
            // Its state may change without the lock, so it is freed by a change of its state.
            return self.free_page(pfn, 0);
        }
        self.zones.with(|zones| zones.free_pages(pfn, order))
    }

    /// Gives `frames` frames in a row; see [`BuddyAllocator::alloc_range`](super::BuddyAllocator::alloc_range).
    ///
    /// # Errors
    /// [`AllocError`] for no frames, or if no zone has such a run.
    pub fn alloc_range(
        &self,
        frames: u64,
        align: Order,
        flags: AllocFlags,
    ) -> Result<PfnRange, AllocError> {
        self.at_last(|zones| zones.alloc_range(frames, align, flags))
    }

    /// Takes back a range.
    ///
    /// # Errors
    /// [`FreeError`] if these frames are not exactly one allocation; nothing has changed then.
    pub fn free_range(&self, range: PfnRange) -> Result<(), FreeError> {
        if range.frames() == 1 {
            return self.free_page(range.start(), 0);
        }
        self.zones.with(|zones| zones.free_range(range))
    }

    /// How the frames are used; while others allocate and free, `cached` may be off by what they do.
    #[must_use]
    pub fn usage(&self) -> FrameUsage {
        let mut usage = self.zones.with(|zones| zones.usage());
        let cached: u64 = self.caches.iter().map(|cache| u64::from(cache.len())).sum();
        usage.cached = cached.min(usage.managed - usage.free);
        usage
    }

    /// How many frames are free, in blocks or caches.
    #[must_use]
    pub fn free_count(&self) -> u64 {
        let usage = self.usage();
        usage.free + usage.cached
    }

    /// Empties the caches into the zones, except those that are in use at this moment.
    pub fn drain_caches(&self) {
        for cache in &self.caches {
            if let Some(mut cache) = cache.enter() {
                self.empty(&mut cache, u32::MAX);
            }
        }
    }

    /// Allocates from the zones, and once more without what is in the caches.
    fn at_last<T>(
        &self,
        mut alloc: impl FnMut(&mut ZonedAllocator<'m, ZONES>) -> Result<T, AllocError>,
    ) -> Result<T, AllocError> {
        match self.zones.with(&mut alloc) {
            Err(AllocError::Exhausted { .. }) => {
                self.drain_caches();
                self.zones.with(alloc)
            }
            done => done,
        }
    }

    /// Takes a frame from the zone, and a batch more for an empty cache, as far as there are.
    #[cold]
    fn refill(&self, cache: &mut Entered<'_>) -> Option<u32> {
        self.zones.with(|zones| {
            let zone = &mut zones.zones_mut()[ZONES - 1];
            let mut take = || {
                let index = zone.take(Order::ZERO, u64::MAX)?;
                zone.state(index).set(State::CACHED);
                Some(index - zone.first())
            };
            let wanted = take()?;
            for offset in core::iter::from_fn(take).take(BATCH as usize) {
                if !cache.push(offset) {
                    unreachable!("an empty cache has room for a batch");
                }
            }
            Some(wanted)
        })
    }

    /// Puts up to `count` frames of a cache back into their zone.
    #[cold]
    fn empty(&self, cache: &mut Entered<'_>, count: u32) {
        self.put_back(core::iter::from_fn(|| cache.pop()).take(count as usize));
    }

    /// Puts frames that are in no cache any more back into their zone.
    #[cold]
    fn put_back(&self, offsets: impl Iterator<Item = u32>) {
        self.zones.with(|zones| {
            let zone = &mut zones.zones_mut()[ZONES - 1];
            for offset in offsets {
                let index = offset + zone.first();
                zone.state(index).set(State::INSIDE);
                zone.put(index, Order::ZERO);
            }
        });
    }

    #[cold]
    fn refuse(&self, pfn: Pfn, given: u64) -> FreeError {
        self.zones.with(|zones| match zones.zone_of(pfn) {
            Ok(zone) => zone.refuse(pfn, given),
            Err(error) => error,
        })
    }

    fn pfn_at(&self, offset: u32) -> Pfn {
        Pfn::new(self.cached.start().as_u64() + u64::from(offset))
    }
}

/// Each holder of a reference is an allocator of blocks.
impl<const ZONES: usize, const CPUS: usize> PageAllocator for &SharedPages<'_, ZONES, CPUS> {
    fn alloc_pages(&mut self, order: Order, flags: AllocFlags) -> Result<Pfn, AllocError> {
        SharedPages::alloc_pages(self, order, flags)
    }

    fn free_pages(&mut self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        SharedPages::free_pages(self, pfn, order)
    }

    fn free_count(&self) -> u64 {
        SharedPages::free_count(self)
    }
}
