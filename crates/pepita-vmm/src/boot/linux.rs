//! `struct boot_params`. Sources: Documentation/arch/x86/zero-page.rst and boot.rst, v6.12.

use super::{CMDLINE, CMDLINE_DEFAULT, Handover, map};
use crate::image::SETUP_HEADER;

pub(super) const BOOT_PARAMS: u64 = 0x7000;
const BYTES: usize = 4096;

const ACPI_RSDP_ADDR: usize = 0x70;
const E820_ENTRIES: usize = 0x1e8;
const BOOT_FLAG: usize = 0x1fe;
const HEADER: usize = 0x202;
const TYPE_OF_LOADER: usize = 0x210;
const RAMDISK_IMAGE: usize = 0x218;
const RAMDISK_SIZE: usize = 0x21c;
const CMD_LINE_PTR: usize = 0x228;
const KERNEL_ALIGNMENT: usize = 0x230;
const CMDLINE_SIZE: usize = 0x238;
const E820_TABLE: usize = 0x2d0;

/// A loader without a number of its own.
const LOADER_UNDEFINED: u8 = 0xff;
const KERNEL_ALIGNMENT_DEFAULT: u32 = 0x100_0000;

/// Its bytes.
pub(super) fn boot_params(handover: &Handover<'_>) -> Vec<u8> {
    let mut params = vec![0; BYTES];
    let mut put = |offset: usize, bytes: &[u8]| {
        params[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    match &handover.image.header {
        Some(header) => put(SETUP_HEADER, &header.bytes),
        // What a vmlinux would have in its bzImage.
        None => {
            put(BOOT_FLAG, &0xaa55_u16.to_le_bytes());
            put(HEADER, b"HdrS");
            put(KERNEL_ALIGNMENT, &KERNEL_ALIGNMENT_DEFAULT.to_le_bytes());
            put(CMDLINE_SIZE, &CMDLINE_DEFAULT.to_le_bytes());
        }
    }
    put(TYPE_OF_LOADER, &[LOADER_UNDEFINED]);
    put(CMD_LINE_PTR, &low_half(CMDLINE));
    put(ACPI_RSDP_ADDR, &handover.rsdp.to_le_bytes());
    if let Some((addr, bytes)) = handover.initrd {
        put(RAMDISK_IMAGE, &low_half(addr));
        put(RAMDISK_SIZE, &low_half(bytes));
    }
    let mut count = 0_u8;
    let mut offset = E820_TABLE;
    for (addr, bytes, kind) in map::ranges(handover.regions) {
        put(offset, &addr.to_le_bytes());
        put(offset + 8, &bytes.to_le_bytes());
        put(offset + 16, &kind.to_le_bytes());
        offset += 20;
        count += 1;
    }
    put(E820_ENTRIES, &[count]);
    params
}

/// What is below 4 GiB.
fn low_half(addr: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = addr.to_le_bytes();
    [a, b, c, d]
}
