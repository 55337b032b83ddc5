//! Segments and page tables of the first instructions. Source: Intel SDM volume 3, 3.4.5 and 4.5.

use kvm_bindings::kvm_segment;

pub(crate) const GDT: u64 = 0x500;
/// The last byte of it: five entries.
pub(crate) const GDT_LIMIT: u16 = 5 * 8 - 1;
/// The first of three tables, a page each.
pub(crate) const PML4: u64 = 0x9000;
const PDPT: u64 = 0xa000;
const PD: u64 = 0xb000;

const PRESENT_WRITABLE: u64 = 0b11;
const HUGE: u64 = 1 << 7;
const HUGE_PAGE: u64 = 2 << 20;
const ENTRIES: usize = 512;

/// A segment from 0 to the end of the address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Descriptor {
    /// 64-bit code: `__BOOT_CS` of Linux with [`selector`](Self::selector).
    Code64,
    /// 32-bit code, in the same place.
    Code32,
    /// Data: `__BOOT_DS`.
    Data,
    /// The task, which nobody switches.
    Task,
}

impl Descriptor {
    const fn selector(self) -> u16 {
        match self {
            Self::Code64 | Self::Code32 => 0x10,
            Self::Data => 0x18,
            Self::Task => 0x20,
        }
    }

    /// As the CPU keeps it.
    pub(crate) fn segment(self) -> kvm_segment {
        let is_code = matches!(self, Self::Code64 | Self::Code32);
        let is_task = self == Self::Task;
        kvm_segment {
            base: 0,
            limit: if is_task { 0x67 } else { u32::MAX },
            selector: self.selector(),
            // Accessed: execute and read; read and write; a busy task of 64 bits.
            type_: if is_code || is_task { 0xb } else { 0x3 },
            present: 1,
            dpl: 0,
            db: u8::from(matches!(self, Self::Code32 | Self::Data)),
            s: u8::from(!is_task),
            l: u8::from(self == Self::Code64),
            g: u8::from(!is_task),
            avl: 0,
            unusable: 0,
            padding: 0,
        }
    }

    /// As a table has it.
    fn entry(self) -> u64 {
        let segment = self.segment();
        let bits = |value: u8, at: u32| u64::from(value) << at;
        let pages = segment.g == 1;
        let limit = u64::from(if pages {
            segment.limit >> 12
        } else {
            segment.limit
        });
        (limit & 0xffff)
            | (limit >> 16) << 48
            | bits(segment.type_, 40)
            | bits(segment.s, 44)
            | bits(segment.present, 47)
            | bits(segment.l, 53)
            | bits(segment.db, 54)
            | bits(segment.g, 55)
    }
}

/// The table of segments, for [`GDT`].
pub(super) fn segments() -> Vec<u8> {
    let entries = [
        0,
        0,
        Descriptor::Code64.entry(),
        Descriptor::Data.entry(),
        Descriptor::Task.entry(),
    ];
    entries
        .iter()
        .flat_map(|entry| entry.to_le_bytes())
        .collect()
}

/// Page tables, for [`PML4`]: the first GiB, each address to itself.
pub(super) fn pages() -> Vec<u8> {
    let mut entries = vec![0_u64; 3 * ENTRIES];
    entries[0] = PDPT | PRESENT_WRITABLE;
    entries[ENTRIES] = PD | PRESENT_WRITABLE;
    for (page, entry) in (0..).zip(&mut entries[2 * ENTRIES..]) {
        *entry = (page * HUGE_PAGE) | HUGE | PRESENT_WRITABLE;
    }
    entries
        .iter()
        .flat_map(|entry| entry.to_le_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_those_of_linux_boot_protocol() {
        // As arch/x86/boot/compressed/head_64.S and pm.c of Linux have them, accessed.
        assert_eq!(Descriptor::Code64.entry(), 0x00af_9b00_0000_ffff);
        assert_eq!(Descriptor::Code32.entry(), 0x00cf_9b00_0000_ffff);
        assert_eq!(Descriptor::Data.entry(), 0x00cf_9300_0000_ffff);
        assert_eq!(Descriptor::Task.entry(), 0x0000_8b00_0000_0067);
    }
}
