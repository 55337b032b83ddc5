//! What the guest's addresses are, as firmware tells it: "e820".

use crate::memory::MemoryRegion;

/// The end of the memory that is the kernel's below 1 MiB: where BIOSes keep their own begins.
const LOW_END: u64 = 0x9_fc00;
/// Where BIOSes end.
const HIGH_START: u64 = 0x10_0000;

/// Kinds of ranges. Source: ACPI 6.5, 15.1, "Address Range Types"; PVH has the same.
pub(super) const RAM: u32 = 1;
pub(super) const RESERVED: u32 = 2;

/// A range: address, bytes, kind.
pub(super) type Range = (u64, u64, u32);

/// The ranges of a guest with memory at `regions`, of which the first begins at 0 and is 1 MiB at least.
pub(super) fn ranges(regions: &[MemoryRegion]) -> Vec<Range> {
    let mut ranges = vec![(0, LOW_END, RAM), (LOW_END, HIGH_START - LOW_END, RESERVED)];
    for region in regions {
        let start = region.guest_addr.max(HIGH_START);
        let bytes = (region.guest_addr + region.size).saturating_sub(start);
        if bytes > 0 {
            ranges.push((start, bytes, RAM));
        }
    }
    ranges
}
