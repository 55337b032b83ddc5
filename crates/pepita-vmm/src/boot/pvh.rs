//! `struct hvm_start_info`. Source: xen/include/public/arch-x86/hvm/start_info.h.

use super::{CMDLINE, Handover, map};

pub(super) const START_INFO: u64 = 0x6000;
/// Where the list of modules is, behind the structure, and the map of memory behind that.
const MODULES: usize = 0x40;
const MEMORY_MAP: usize = 0x80;

const MAGIC: u32 = 0x336e_c578;
/// The version that has a map of memory.
const VERSION: u32 = 1;

/// Its bytes, with the lists that it leads to.
pub(super) fn start_info(handover: &Handover<'_>) -> Vec<u8> {
    let ranges = map::ranges(handover.regions);
    let mut info = Vec::new();
    let modules = u32::from(handover.initrd.is_some());
    for word in [MAGIC, VERSION, 0, modules] {
        info.extend(word.to_le_bytes());
    }
    let modules_at = START_INFO + MODULES as u64;
    let map_at = START_INFO + MEMORY_MAP as u64;
    for word in [modules_at, CMDLINE, handover.rsdp, map_at] {
        info.extend(word.to_le_bytes());
    }
    let entries = ranges.len() as u64;
    // The count is 32 bits, with as many reserved ones behind it.
    info.extend(entries.to_le_bytes());
    info.resize(MODULES, 0);
    let (addr, bytes) = handover.initrd.unwrap_or_default();
    for word in [addr, bytes, 0, 0] {
        info.extend(word.to_le_bytes());
    }
    info.resize(MEMORY_MAP, 0);
    for (addr, bytes, kind) in ranges {
        for word in [addr, bytes, kind.into()] {
            info.extend(word.to_le_bytes());
        }
    }
    info
}
