//! What a kernel finds in memory when it begins: itself, its ramdisk, its command line, tables of the CPU and of
//! ACPI, and who tells it of them.
//!
//! | from | to | what |
//! |---|---|---|
//! | `0x500` | `0x528` | segments ([`tables`]) |
//! | `0x6000` | `0x6200` | `struct hvm_start_info` with its lists ([`pvh`]) |
//! | `0x7000` | `0x8000` | `struct boot_params` ([`linux`]) |
//! | `0x9000` | `0xc000` | page tables ([`tables`]) |
//! | `0x2_0000` | `0x3_0000` | the command line |
//! | `0xe_0000` | `0x10_0000` | ACPI ([`acpi`]) |
//! | `0x10_0000` | | the kernel, where it says |
//! | | end of the memory below 3 GiB | the ramdisk |

mod acpi;
mod linux;
mod map;
mod pvh;
mod tables;

use std::fs;
use std::path::Path;

use pepita_sys::error::Errno;
use pepita_virtio::{GuestRam, MemoryError};

use crate::image::Image;
use crate::memory::MemoryRegion;
use crate::{KernelEntry, VmConfig, VmError};

pub(crate) use tables::{Descriptor, GDT, GDT_LIMIT, PML4};

/// Where the stack of the first instructions ends, below the page tables.
pub(crate) const STACK: u64 = 0x8ff0;
const CMDLINE: u64 = 0x2_0000;
/// Bytes of the command line's place.
const CMDLINE_MAX: usize = 0x1_0000;
/// What the kernel takes if nothing else is known: `COMMAND_LINE_SIZE` of x86, without the byte that ends it.
const CMDLINE_DEFAULT: u32 = 2047;
/// The highest address of a ramdisk that every kernel takes: boot.rst, `initrd_addr_max` of protocol 2.02.
const INITRD_ADDR_MAX: u32 = 0x37ff_ffff;
const PAGE: u64 = 4096;

/// With what the first virtual CPU begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// In long mode.
    Linux64 {
        /// The first instruction.
        rip: u64,
        /// `struct boot_params`.
        rsi: u64,
    },
    /// In protected mode without paging.
    Pvh {
        /// The first instruction.
        rip: u64,
        /// `struct hvm_start_info`.
        rbx: u64,
    },
}

/// What the kernel is told, by either entry.
#[derive(Debug)]
struct Handover<'a> {
    image: &'a Image,
    regions: &'a [MemoryRegion],
    /// Where the ramdisk is, and its bytes.
    initrd: Option<(u64, u64)>,
    /// Bytes of the command line, without the one that ends it.
    rsdp: u64,
}

/// Puts the kernel at `path`, and all that it wants, into the memory.
pub(crate) fn load(path: &Path, config: &VmConfig, ram: &GuestRam) -> Result<Start, VmError> {
    let regions = MemoryRegion::of(config.memory_mib());
    let room = regions[0].size;
    let image =
        Image::parse(read(path)?, config.kernel_entry(), room).map_err(|error| VmError::Image {
            path: path.to_owned(),
            error,
        })?;
    for segment in &image.segments {
        put(ram, segment.addr, image.data(segment))?;
    }
    let cmdline_max = image
        .header
        .as_ref()
        .map_or(CMDLINE_DEFAULT, |header| header.cmdline_size);
    put_cmdline(ram, config.kernel_cmdline(), cmdline_max)?;
    let initrd = match config.initrd_path() {
        None => None,
        Some(path) => Some(put_initrd(ram, path, &image, room)?),
    };
    let handover = Handover {
        image: &image,
        regions: &regions,
        initrd,
        rsdp: acpi::RSDP,
    };
    for (addr, bytes) in acpi::tables(config.vcpus()) {
        put(ram, addr, &bytes)?;
    }
    put(ram, GDT, &tables::segments())?;
    let rip = image.entry;
    match config.kernel_entry() {
        KernelEntry::Linux64 => {
            put(ram, PML4, &tables::pages())?;
            put(ram, linux::BOOT_PARAMS, &linux::boot_params(&handover))?;
            let rsi = linux::BOOT_PARAMS;
            Ok(Start::Linux64 { rip, rsi })
        }
        KernelEntry::Pvh => {
            put(ram, pvh::START_INFO, &pvh::start_info(&handover))?;
            let rbx = pvh::START_INFO;
            Ok(Start::Pvh { rip, rbx })
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, VmError> {
    fs::read(path).map_err(|error| VmError::File {
        path: path.to_owned(),
        errno: Errno::from(error),
    })
}

/// Writes where there is memory: the addresses were checked, or are below 1 MiB.
fn put(ram: &GuestRam, addr: u64, bytes: &[u8]) -> Result<(), VmError> {
    ram.write(addr, bytes)
        .map_err(|_: MemoryError| VmError::Kvm {
            operation: "loading the guest",
            errno: Errno::EFAULT,
        })
}

fn put_cmdline(ram: &GuestRam, cmdline: &str, max: u32) -> Result<(), VmError> {
    let bytes = cmdline.len();
    let max = usize::try_from(max)
        .unwrap_or(CMDLINE_MAX)
        .min(CMDLINE_MAX - 1);
    if bytes > max {
        return Err(VmError::CommandLine { bytes, max });
    }
    // Fresh memory ends it with a zero.
    put(ram, CMDLINE, cmdline.as_bytes())
}

/// Puts the ramdisk as high as it may be, and says where.
fn put_initrd(
    ram: &GuestRam,
    path: &Path,
    image: &Image,
    room: u64,
) -> Result<(u64, u64), VmError> {
    let data = read(path)?;
    let bytes = data.len() as u64;
    let max = image
        .header
        .as_ref()
        .map_or(INITRD_ADDR_MAX, |header| header.initrd_addr_max);
    let end = room.min(u64::from(max) + 1);
    let start = end.checked_sub(bytes).map(|start| start - start % PAGE);
    let start = start.filter(|start| *start >= image.end);
    let start = start.ok_or_else(|| VmError::Initrd {
        path: path.to_owned(),
        bytes,
        room: end.saturating_sub(image.end),
    })?;
    put(ram, start, &data)?;
    Ok((start, bytes))
}

#[cfg(test)]
mod tests;
