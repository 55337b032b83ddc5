//! [`MemoryRegion`]: where a guest has memory.

use std::sync::Arc;

use pepita_sys::error::Errno;
use pepita_virtio::GuestRam;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use crate::VmError;

/// Where the addresses begin that are devices' and the interrupt controllers': the gigabyte below 4 GiB.
const HOLE: u64 = 3 << 30;
const HOLE_END: u64 = 4 << 30;
const MIB: u64 = 1 << 20;

/// A range of the guest's addresses that is memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemoryRegion {
    /// Its first address.
    pub guest_addr: u64,
    /// Its bytes.
    pub size: u64,
}

impl MemoryRegion {
    /// Where a guest with `memory_mib` MiB has them: from 0 to 3 GiB, and the rest from 4 GiB on.
    ///
    /// ```
    /// use pepita_vmm::MemoryRegion;
    ///
    /// let regions = MemoryRegion::of(4096);
    /// assert_eq!(regions[0], MemoryRegion { guest_addr: 0, size: 3 << 30 });
    /// assert_eq!(regions[1], MemoryRegion { guest_addr: 4 << 30, size: 1 << 30 });
    /// ```
    #[must_use]
    pub fn of(memory_mib: u64) -> Vec<Self> {
        let bytes = memory_mib.saturating_mul(MIB);
        let low = Self {
            guest_addr: 0,
            size: bytes.min(HOLE),
        };
        let high = Self {
            guest_addr: HOLE_END,
            size: bytes - low.size,
        };
        [low, high]
            .into_iter()
            .filter(|region| region.size > 0)
            .collect()
    }
}

/// The memory of a guest: mapped, zeroes, taken from the host as it is touched.
pub(crate) struct Memory {
    pub(crate) mapped: Arc<GuestMemoryMmap<()>>,
    pub(crate) ram: GuestRam,
}

impl Memory {
    pub(crate) fn new(memory_mib: u64) -> Result<Self, VmError> {
        let fails = |errno| VmError::Memory { memory_mib, errno };
        let ranges: Vec<(GuestAddress, usize)> = MemoryRegion::of(memory_mib)
            .iter()
            .map(|region| {
                Ok((
                    GuestAddress(region.guest_addr),
                    usize::try_from(region.size)?,
                ))
            })
            .collect::<Result<_, std::num::TryFromIntError>>()
            .map_err(|_| fails(Errno::ENOMEM))?;
        // A mapping fails by the host's limits alone: the ranges do not overlap and have no file.
        let mapped: Arc<GuestMemoryMmap<()>> = GuestMemoryMmap::from_ranges(&ranges)
            .map_err(|_| fails(Errno::ENOMEM))?
            .into();
        let ram = GuestRam::new(Arc::clone(&mapped)).map_err(|_| fails(Errno::ENOMEM))?;
        Ok(Self { mapped, ram })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(memory_mib: u64, want: &[(u64, u64)]) {
        let found: Vec<(u64, u64)> = MemoryRegion::of(memory_mib)
            .iter()
            .map(|region| (region.guest_addr, region.size))
            .collect();
        assert_eq!(found, want);
    }

    #[test]
    fn memory_leaves_out_the_gigabyte_below_four() {
        check(0, &[]);
        check(1, &[(0, 1 << 20)]);
        check(3072, &[(0, 3 << 30)]);
        check(3073, &[(0, 3 << 30), (4 << 30, 1 << 20)]);
        check(1 << 20, &[(0, 3 << 30), (4 << 30, (1 << 40) - (3 << 30))]);
    }
}
