#![expect(
    unsafe_code,
    reason = "the trait's implementations vouch for memory and addresses"
)]
//! [`DmaPlatform`]: what a kernel, a hypervisor or a host does so that devices reach memory.

use core::ptr::NonNull;
use core::sync::atomic::{Ordering, fence};

use super::direction::DmaDirection;
use super::error::DmaError;
use super::list::DmaSegment;
use super::mask::DmaMask;
use crate::addr::DmaAddr;

/// Memory that a platform gave: where the CPU sees it, where devices do, and how long it is.
#[derive(Debug)]
pub struct DmaRegion {
    /// Its first byte for the CPU.
    pub memory: NonNull<u8>,
    /// Its first byte for devices, which see the rest in a row.
    pub addr: DmaAddr,
    /// How many bytes it has.
    pub bytes: usize,
}

// SAFETY: a region is an address and a length; *valid* and *unshared* below hold on any thread.
unsafe impl Send for DmaRegion {}

// SAFETY: as above; nothing is reached through a shared region.
unsafe impl Sync for DmaRegion {}

/// How devices reach memory in some place.
///
/// Where devices share the caches of the CPUs, as on x86-64, the two `sync` functions are what they are
/// here: fences. Elsewhere they write back or invalidate cache lines.
///
/// # Safety
/// Every implementation holds these:
/// * *valid*: a region of [`allocate`](Self::allocate) is readable and writable memory until
///   [`release`](Self::release), from any thread.
/// * *unshared*: until then no other region, and nothing else in the program, has any byte of it.
/// * *true*: the bytes that a device accesses at a region's or segment's addresses are that memory and no
///   other, until `release` or [`unmap`](Self::unmap).
/// * *within*: a region has at least the bytes that were asked for, and lies within the mask.
pub unsafe trait DmaPlatform {
    /// Gives `bytes` zeroed bytes, more than 0, that a device of `mask` sees in a row.
    ///
    /// # Errors
    /// [`DmaError::NoMemory`] if there are none, [`DmaError::Platform`] if their place is not known.
    fn allocate(&self, bytes: usize, mask: DmaMask) -> Result<DmaRegion, DmaError>;

    /// Takes a region back.
    ///
    /// # Safety
    /// * This platform gave it, and has not taken it back.
    /// * Neither the program nor a device accesses it from now on.
    unsafe fn release(&self, region: DmaRegion);

    /// Lets devices at the caller's memory: says where they see `memory`, and how many of its `bytes`
    /// bytes, more than 0, follow there in a row; or how many in a row no device sees.
    ///
    /// # Errors
    /// [`DmaError::Platform`] if its place is not known.
    ///
    /// # Safety
    /// * The memory is valid for reads and writes until [`unmap`](Self::unmap), and stays where it is.
    unsafe fn map(&self, memory: NonNull<u8>, bytes: usize) -> Result<DmaSegment, DmaError>;

    /// Ends what [`map`](Self::map) began.
    ///
    /// # Safety
    /// * This platform gave the segment, and has not ended it.
    /// * No device accesses it from now on.
    unsafe fn unmap(&self, segment: DmaSegment);

    /// Makes what the CPU wrote visible to devices, before a device gets the memory.
    fn sync_for_device(&self, memory: NonNull<u8>, bytes: usize, direction: DmaDirection) {
        let _ = (memory, bytes, direction);
        fence(Ordering::SeqCst);
    }

    /// Makes what devices wrote visible to the CPU, after a device has given the memory back.
    fn sync_for_cpu(&self, memory: NonNull<u8>, bytes: usize, direction: DmaDirection) {
        let _ = (memory, bytes, direction);
        fence(Ordering::SeqCst);
    }
}

// SAFETY: it is the platform itself, which holds all of them.
unsafe impl<P: DmaPlatform + ?Sized> DmaPlatform for &P {
    fn allocate(&self, bytes: usize, mask: DmaMask) -> Result<DmaRegion, DmaError> {
        (**self).allocate(bytes, mask)
    }

    unsafe fn release(&self, region: DmaRegion) {
        // SAFETY: the caller's duties are the same.
        unsafe { (**self).release(region) }
    }

    unsafe fn map(&self, memory: NonNull<u8>, bytes: usize) -> Result<DmaSegment, DmaError> {
        // SAFETY: the caller's duties are the same.
        unsafe { (**self).map(memory, bytes) }
    }

    unsafe fn unmap(&self, segment: DmaSegment) {
        // SAFETY: the caller's duties are the same.
        unsafe { (**self).unmap(segment) }
    }

    fn sync_for_device(&self, memory: NonNull<u8>, bytes: usize, direction: DmaDirection) {
        (**self).sync_for_device(memory, bytes, direction);
    }

    fn sync_for_cpu(&self, memory: NonNull<u8>, bytes: usize, direction: DmaDirection) {
        (**self).sync_for_cpu(memory, bytes, direction);
    }
}
