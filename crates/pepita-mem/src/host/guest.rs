#![expect(unsafe_code, reason = "gives memory of a memfd to devices")]
//! [`MemfdDma`]: devices that another process plays.

use core::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use pepita_sys::copy;

use super::error::MapError;
use super::mapping::Mapping;
use super::memfd::Memfd;
use crate::addr::{DmaAddr, Pfn};
use crate::dma::{DmaError, DmaMask, DmaPlatform, DmaRegion, DmaSegment};
use crate::page::{Order, PAGE_SIZE};
use crate::pages::{AllocFlags, BuddyAllocator};
use crate::range::PfnRange;

/// Memory that devices in other processes reach through a [`Memfd`], as vhost-user back-ends do: the
/// first frame of the allocator is the memfd's first page, and a frame's physical address is where such a
/// device sees it. All other memory they do not see, so an [`SgList`](crate::SgList) of it is bounced.
///
/// ```
/// use pepita_mem::{BuddyAllocator, DmaBuffer, DmaMask, FrameState, Memfd, MemfdDma, Pfn, PfnRange, ToDevice};
///
/// const GUEST: PfnRange = PfnRange::new(Pfn::new(0x100), 256); // 1 MiB from 1 MiB
/// let memfd = Memfd::new("guest", 256 * 4096)?;
/// let mut states = [const { FrameState::new() }; 256];
/// let mut words = [0; BuddyAllocator::words_for(GUEST)];
/// let mut frames = BuddyAllocator::new(GUEST, &mut states, &mut words)?;
/// frames.add(GUEST)?;
/// let platform = MemfdDma::new(&memfd, frames)?;
///
/// let mut buffer: DmaBuffer<ToDevice, _> = DmaBuffer::new(&platform, 100, DmaMask::new(32))?;
/// buffer.write_at(0, b"to the device")?;
/// let flight = buffer.submit();
/// assert!(flight.addr().as_u64() >= 0x100_000); // for the other process
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MemfdDma<'m> {
    mapping: Mapping,
    range: PfnRange,
    frames: Mutex<BuddyAllocator<'m>>,
}

impl<'m> MemfdDma<'m> {
    /// Gives out the memory of `memfd` by the frames of `frames`, of which nobody else has any.
    ///
    /// # Errors
    /// [`MapError::Bounds`] if the memfd is smaller than the range of `frames`; [`MapError::Map`] if it
    /// cannot be mapped.
    pub fn new(memfd: &Memfd, frames: BuddyAllocator<'m>) -> Result<Self, MapError> {
        let (range, len) = (frames.range(), memfd.len());
        if range.bytes() > len as u64 {
            return Err(MapError::Bounds {
                offset: 0,
                bytes: usize::try_from(range.bytes()).unwrap_or(usize::MAX),
                len,
            });
        }
        Ok(Self {
            mapping: memfd.map()?,
            range,
            frames: Mutex::new(frames),
        })
    }

    /// Where a frame of the range is.
    fn memory(&self, pfn: Pfn) -> NonNull<u8> {
        let frames = pfn.as_u64() - self.range.start().as_u64();
        let offset = usize::try_from(frames).unwrap_or(usize::MAX) * PAGE_SIZE;
        // SAFETY: `new` has checked that the mapping has every frame of the range.
        unsafe { self.mapping.base().add(offset) }
    }
}

/// How many frames `bytes` bytes take.
fn frames_of(bytes: usize) -> u64 {
    bytes.div_ceil(PAGE_SIZE) as u64
}

// SAFETY: *valid*: the mapping lives as long as the platform, which every buffer has or borrows.
// *unshared*: the allocator gives a frame to one at a time; other holders of the memfd are devices.
// *true*: by the choice of the addresses. *within*: the allocator keeps the limit.
unsafe impl DmaPlatform for MemfdDma<'_> {
    fn allocate(&self, bytes: usize, mask: DmaMask) -> Result<DmaRegion, DmaError> {
        let flags = AllocFlags::NONE.with_address_bits(mask.bits());
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let range = frames.alloc_range(frames_of(bytes), Order::ZERO, flags);
        drop(frames);
        let range = range.map_err(|_| DmaError::NoMemory { bytes, mask })?;
        for pfn in range.iter() {
            // SAFETY: *unshared*: the frame was just given, and has a page's bytes.
            unsafe { copy::zero(self.memory(pfn), PAGE_SIZE) };
        }
        Ok(DmaRegion {
            memory: self.memory(range.start()),
            addr: DmaAddr::new(range.start().to_addr().as_u64()),
            bytes,
        })
    }

    unsafe fn release(&self, region: DmaRegion) {
        let start = Pfn::new(region.addr.as_u64() / PAGE_SIZE as u64);
        let range = PfnRange::new(start, frames_of(region.bytes));
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let freed = frames.free_range(range);
        debug_assert_eq!(freed, Ok(()), "the caller gives back what it got");
    }

    unsafe fn map(&self, memory: NonNull<u8>, bytes: usize) -> Result<DmaSegment, DmaError> {
        Ok(DmaSegment {
            memory,
            addr: None,
            bytes,
        })
    }

    unsafe fn unmap(&self, _segment: DmaSegment) {}
}
