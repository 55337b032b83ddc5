#![expect(unsafe_code, reason = "gives memory of this process to devices")]
//! [`HostDma`]: devices that a process drives itself, by physical addresses.

use core::num::NonZeroUsize;
use core::ptr::NonNull;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rustix::mm;

use super::error::number;
use super::mapping::{Advice, Mapping, host_page_bytes};
use super::pagemap::{Pagemap, PagemapError};
use crate::addr::{DmaAddr, PhysAddr, VirtAddr};
use crate::dma::{DmaError, DmaMask, DmaPlatform, DmaRegion, DmaSegment};
use crate::page::PageSize;

/// How many pieces of memory are looked at until one lies as it is asked for.
const TRIES: usize = 16;

/// Memory of this process for devices without an IOMMU between them and memory: the address of a byte is
/// its physical address, which `/proc/self/pagemap` tells to root.
///
/// More than a page in a row comes from a huge page: a reserved one if there is one free, else a
/// transparent one. A mask is met by looking at several pieces. Memory is locked and stays out of
/// children, whose first write would move it.
#[derive(Debug)]
pub struct HostDma {
    pagemap: Pagemap,
    /// What was given, by its address.
    regions: Mutex<HashMap<NonZeroUsize, Mapping>>,
}

impl HostDma {
    /// The platform of this process.
    ///
    /// # Errors
    /// [`PagemapError`] if physical addresses are hidden from this process.
    ///
    /// # Safety
    /// While a device has memory of this platform:
    /// * Devices see physical addresses: no IOMMU translates them.
    /// * The kernel does not move locked pages: `/proc/sys/vm/compact_unevictable_allowed` is 0, and
    ///   nobody migrates pages of this process or takes its memory offline. (Where that cannot be had, the
    ///   pages must be pinned by a driver, such as VFIO.)
    pub unsafe fn new() -> Result<Self, PagemapError> {
        let pagemap = Pagemap::open()?;
        let here = 0_u8;
        pagemap.lookup(VirtAddr::from_ptr(&raw const here))?;
        Ok(Self {
            pagemap,
            regions: Mutex::default(),
        })
    }

    /// Where the `bytes` bytes at `memory` are, if they are in a row.
    fn in_a_row(&self, memory: NonNull<u8>, bytes: usize) -> Result<Option<PhysAddr>, DmaError> {
        let (start, len) = self.run(memory, bytes)?;
        Ok((len == bytes).then_some(start))
    }

    /// Where `memory` is, and how many of the `bytes` bytes follow in a row.
    fn run(&self, memory: NonNull<u8>, bytes: usize) -> Result<(PhysAddr, usize), DmaError> {
        let first = VirtAddr::from_ptr(memory.as_ptr());
        let start = self.lookup(first)?;
        let page = host_page_bytes();
        let in_page = usize::try_from(first.as_u64() % page as u64).unwrap_or(0);
        let mut len = page - in_page;
        while len < bytes {
            let next = first.checked_add(len as u64).map(|addr| self.lookup(addr));
            if next.transpose()? != start.checked_add(len as u64) {
                break;
            }
            len += page;
        }
        Ok((start, len.min(bytes)))
    }

    fn lookup(&self, addr: VirtAddr) -> Result<PhysAddr, DmaError> {
        let place = self.pagemap.lookup(addr);
        place.map_err(|error| DmaError::Platform {
            errno: error.errno(),
        })
    }

    /// Memory of which some `bytes` bytes may lie in a row, and where they begin; `None` if the host has
    /// none.
    fn candidate(bytes: usize) -> Option<(Mapping, usize)> {
        let huge = usize::try_from(PageSize::SIZE_2M.bytes()).ok()?;
        if bytes > host_page_bytes() {
            if let Ok(mut mapping) = Mapping::huge_pages(bytes, PageSize::SIZE_2M) {
                mapping.advise(Advice::DontFork).ok()?;
                return Some((mapping, 0));
            }
            // Twice the size, so that a whole aligned huge page is inside.
            let mut mapping =
                Mapping::anonymous(bytes.checked_next_multiple_of(huge)?.checked_add(huge)?)
                    .ok()?;
            mapping.advise(Advice::HugePages).ok()?;
            mapping.advise(Advice::DontFork).ok()?;
            let start =
                usize::try_from(mapping.addr().as_u64().wrapping_neg() % huge as u64).ok()?;
            mapping.lock().ok()?;
            return Some((mapping, start));
        }
        let mut mapping = Mapping::anonymous(bytes).ok()?;
        mapping.advise(Advice::BasePages).ok()?;
        mapping.advise(Advice::DontFork).ok()?;
        mapping.lock().ok()?;
        Some((mapping, 0))
    }
}

// SAFETY: *valid* and *unshared*: a region is a mapping of its own, kept until `release`. *true*: the
// kernel says where the pages are, and by the duties of `new` they stay, and devices see them there.
// *within*: `allocate` checks it.
unsafe impl DmaPlatform for HostDma {
    fn allocate(&self, bytes: usize, mask: DmaMask) -> Result<DmaRegion, DmaError> {
        let mut refused = Vec::new();
        for _ in 0..TRIES {
            let Some((mapping, start)) = Self::candidate(bytes) else {
                break;
            };
            // SAFETY: a candidate's start is inside of it.
            let memory = unsafe { mapping.base().add(start) };
            let place = self.in_a_row(memory, bytes)?;
            let addr = place.map(|place| DmaAddr::new(place.as_u64()));
            if let Some(addr) = addr.filter(|addr| mask.reaches(*addr, bytes as u64)) {
                let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
                regions.insert(memory.addr(), mapping);
                return Ok(DmaRegion {
                    memory,
                    addr,
                    bytes,
                });
            }
            // Kept until the end, so that the host gives another.
            refused.push(mapping);
        }
        Err(DmaError::NoMemory { bytes, mask })
    }

    unsafe fn release(&self, region: DmaRegion) {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        drop(regions.remove(&region.memory.addr()));
    }

    /// Locks the memory and keeps it out of children; both last until it is unmapped from this process.
    unsafe fn map(&self, memory: NonNull<u8>, bytes: usize) -> Result<DmaSegment, DmaError> {
        let platform = |errno: rustix::io::Errno| DmaError::Platform {
            errno: number(errno),
        };
        let page = host_page_bytes();
        let before = memory.addr().get() % page;
        let (start, len) = (memory.as_ptr().wrapping_sub(before), bytes + before);
        // SAFETY: the caller's memory, from the beginning of its page; the contents stay.
        unsafe { mm::madvise(start.cast(), len, mm::Advice::LinuxDontFork) }.map_err(platform)?;
        // SAFETY: as above.
        unsafe { mm::mlock(start.cast(), len) }.map_err(platform)?;
        let (addr, bytes) = self.run(memory, bytes)?;
        Ok(DmaSegment {
            memory,
            addr: Some(DmaAddr::new(addr.as_u64())),
            bytes,
        })
    }

    unsafe fn unmap(&self, _segment: DmaSegment) {}
}

impl Drop for HostDma {
    /// What was not given back may be with a device still, so it is never freed.
    fn drop(&mut self) {
        let regions = self
            .regions
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        for (_, mapping) in regions.drain() {
            core::mem::forget(mapping);
        }
    }
}
