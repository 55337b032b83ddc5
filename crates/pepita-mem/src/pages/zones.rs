//! [`ZonedAllocator`]: several ranges of frames as one.

use super::PageAllocator;
use super::buddy::BuddyAllocator;
use super::error::{AllocError, FreeError, SetupError};
use super::flags::AllocFlags;
use super::report::FrameUsage;
use crate::addr::Pfn;
use crate::page::Order;
use crate::range::PfnRange;

/// Zones in the order of their addresses; each allocation comes from the highest that has it.
///
/// So low memory, which alone some devices reach, is used last by those who can do without. Cut zones
/// where such limits are, for instance at 16 MiB and 4 GiB.
/// ```
/// use pepita_mem::{AllocFlags, BuddyAllocator, FrameState, Order, PageAllocator, Pfn, PfnRange};
/// use pepita_mem::ZonedAllocator;
///
/// const LOW: PfnRange = PfnRange::new(Pfn::new(0), 4096); // below 16 MiB
/// const HIGH: PfnRange = PfnRange::new(Pfn::new(4096), 4096);
/// let mut states = [const { FrameState::new() }; 8192];
/// let (low_states, high_states) = states.split_at_mut(4096);
/// let (mut low_words, mut high_words) = ([0; 1000], [0; 1000]);
/// let low = BuddyAllocator::new(LOW, low_states, &mut low_words)?;
/// let high = BuddyAllocator::new(HIGH, high_states, &mut high_words)?;
/// let mut pages = ZonedAllocator::new([low, high])?;
/// for zone in pages.zones_mut() {
///     zone.add(zone.range())?;
/// }
///
/// assert!(HIGH.contains(pages.alloc_pages(Order::ZERO, AllocFlags::NONE)?));
/// assert!(LOW.contains(pages.alloc_pages(Order::ZERO, AllocFlags::DMA)?));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ZonedAllocator<'m, const ZONES: usize> {
    zones: [BuddyAllocator<'m>; ZONES],
}

impl<'m, const ZONES: usize> ZonedAllocator<'m, ZONES> {
    /// Joins `zones`, the lowest first.
    ///
    /// # Errors
    /// [`SetupError::ZoneOrder`] if one begins before the one ahead of it ends.
    pub fn new(zones: [BuddyAllocator<'m>; ZONES]) -> Result<Self, SetupError> {
        let ranges = zones.each_ref().map(BuddyAllocator::range);
        for (low, high) in ranges.iter().zip(ranges.iter().skip(1)) {
            if high.start().as_u64() < low.end() {
                return Err(SetupError::ZoneOrder { zone: *high });
            }
        }
        Ok(Self { zones })
    }

    /// The zones, the lowest first.
    #[must_use]
    pub const fn zones(&self) -> &[BuddyAllocator<'m>; ZONES] {
        &self.zones
    }

    /// The zones, to add frames to them.
    pub const fn zones_mut(&mut self) -> &mut [BuddyAllocator<'m>; ZONES] {
        &mut self.zones
    }

    /// Gives `frames` frames in a row; see [`BuddyAllocator::alloc_range`]. A run does not pass from one
    /// zone into the next.
    ///
    /// # Errors
    /// [`AllocError`] for no frames, or if no zone has such a run.
    pub fn alloc_range(
        &mut self,
        frames: u64,
        align: Order,
        flags: AllocFlags,
    ) -> Result<PfnRange, AllocError> {
        if frames == 0 {
            return Err(AllocError::Nothing);
        }
        let found = self
            .allowed(flags)
            .find_map(|zone| zone.alloc_range(frames, align, flags).ok());
        found.ok_or_else(|| self.exhausted(frames, flags))
    }

    /// Takes back a range; see [`BuddyAllocator::free_range`].
    ///
    /// # Errors
    /// [`FreeError`] if these frames are not exactly one allocation; nothing has changed then.
    pub fn free_range(&mut self, range: PfnRange) -> Result<(), FreeError> {
        self.zone_of(range.start())?.free_range(range)
    }

    /// How the frames of all zones are used.
    #[must_use]
    pub fn usage(&self) -> FrameUsage {
        let usages = self.zones.iter().map(BuddyAllocator::usage);
        usages.fold(FrameUsage::default(), |sum, usage| sum.plus(&usage))
    }

    /// The zones with a frame that `flags` allow, the highest first.
    fn allowed(&mut self, flags: AllocFlags) -> impl Iterator<Item = &mut BuddyAllocator<'m>> {
        let zones = self.zones.iter_mut().rev();
        zones.filter(move |zone| zone.end_for(flags) > 0)
    }

    pub(super) fn zone_of(&mut self, pfn: Pfn) -> Result<&mut BuddyAllocator<'m>, FreeError> {
        let mut zones = self.zones.iter_mut();
        let zone = zones.find(|zone| zone.range().contains(pfn));
        zone.ok_or(FreeError::Foreign { pfn })
    }

    fn exhausted(&self, frames: u64, flags: AllocFlags) -> AllocError {
        AllocError::Exhausted {
            frames,
            address_bits: flags.address_bits(),
            free: self.free_count(),
        }
    }
}

impl<const ZONES: usize> PageAllocator for ZonedAllocator<'_, ZONES> {
    fn alloc_pages(&mut self, order: Order, flags: AllocFlags) -> Result<Pfn, AllocError> {
        let found = self
            .allowed(flags)
            .find_map(|zone| zone.alloc_pages(order, flags).ok());
        found.ok_or_else(|| self.exhausted(order.frames(), flags))
    }

    fn free_pages(&mut self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        self.zone_of(pfn)?.free_pages(pfn, order)
    }

    fn free_count(&self) -> u64 {
        self.zones.iter().map(BuddyAllocator::free_count).sum()
    }
}
