#![expect(
    unsafe_code,
    reason = "writes wait arguments in memory that is shared with the kernel"
)]
//! Wait arguments that the kernel has at hand, instead of copying them in for each wait.
//!
//! # Invariants
//! * regions-along: pointers into the region are dropped together with it (see [`super::region`]).
//! * slots-within: there are `count` slots and `count` signal sets, checked when they were mapped.

use core::ptr::NonNull;

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::{
    IORING_MEM_REGION_REG_WAIT_ARG, IORING_REGISTER_MEM_REGION, IoUringMemRegionReg,
    IoUringRegWait, IoUringRegionDesc,
};

use super::calls;
use super::region::Region;
use super::wait::Wait;

/// Bytes of a slot, by which the kernel counts.
const SLOT_BYTES: u32 = 64;
const _: () = assert!(size_of::<IoUringRegWait>() == SLOT_BYTES as usize);

/// Bytes of a page, on most hosts, and on those with the largest.
const PAGES_BYTES: [u64; 2] = [4 << 10, 64 << 10];

/// The slots, and behind them a signal set for each.
#[derive(Debug)]
pub(super) struct WaitRegion {
    slots: NonNull<IoUringRegWait>,
    signals: NonNull<u64>,
    count: u32,
    /// Dropped after the pointers above (regions-along).
    _region: Region,
}

impl WaitRegion {
    /// Registers `count` slots with the ring `fd`, which is disabled. All of them wait for ever.
    pub(super) fn register(fd: i32, count: u32) -> Result<Self> {
        let bytes = u64::from(count) * u64::from(SLOT_BYTES + 8);
        let mut desc = register_region(fd, bytes, PAGES_BYTES[0]);
        if desc.is_err_and(|error| error.to_errno() == Errno::EINVAL) {
            desc = register_region(fd, bytes, PAGES_BYTES[1]);
        }
        let desc = desc?;
        let too_long = KernelError::from_errno("io_uring_register", Errno::EOVERFLOW);
        let len = usize::try_from(desc.size).map_err(|_| too_long)?;
        let region = Region::map(fd, len, desc.mmap_offset)?;
        let signals = count.checked_mul(SLOT_BYTES).ok_or(too_long)?;
        Ok(Self {
            slots: region.array(0, count)?,
            signals: region.array(signals, count)?,
            count,
            _region: region,
        })
    }

    /// Where slot `index` is, as the kernel counts: in bytes.
    pub(super) const fn offset(&self, index: u32) -> Option<usize> {
        if index < self.count {
            // In bounds, so no overflow.
            Some(index as usize * SLOT_BYTES as usize)
        } else {
            None
        }
    }

    /// Sets slot `index`; says whether there is one.
    pub(super) fn set(&mut self, index: u32, wait: &Wait) -> bool {
        if index >= self.count {
            return false;
        }
        let signals = self.signals.as_ptr().wrapping_add(index as usize);
        let slot = self.slots.as_ptr().wrapping_add(index as usize);
        let (value, set) = wait.to_registered(signals);
        // SAFETY: slots-within, regions-along.
        unsafe { signals.write_volatile(set) };
        // SAFETY: the same.
        unsafe { slot.write_volatile(value) };
        true
    }
}

/// Registers a region of at least `bytes`, in pages of `page` bytes, and says where it is.
fn register_region(fd: i32, bytes: u64, page: u64) -> Result<IoUringRegionDesc> {
    let mut desc = IoUringRegionDesc {
        size: bytes.next_multiple_of(page),
        ..IoUringRegionDesc::default()
    };
    let register = IoUringMemRegionReg {
        region_uptr: core::ptr::from_mut(&mut desc).expose_provenance() as u64,
        flags: IORING_MEM_REGION_REG_WAIT_ARG,
        resv: [0; 2],
    };
    let arg = core::ptr::from_ref(&register).expose_provenance();
    // SAFETY: both structures live as long as the call, which writes to the second; the memory that it
    // registers is the kernel's.
    unsafe { calls::register(fd, IORING_REGISTER_MEM_REGION, arg, 1) }?;
    Ok(desc)
}
