//! [`Image`]: a kernel as a file holds it, taken apart. Nothing in the file is believed before it is checked.

mod bytes;
mod bzimage;
mod compressed;
mod elf;

pub(crate) use bzimage::{SETUP_HEADER, SetupHeader};
pub(crate) use elf::Segment;

/// Where the guest's first instruction is, and what it expects.
///
/// Sources: Documentation/arch/x86/boot.rst ("64-bit Boot Protocol"); Xen's `docs/misc/pvh.pandoc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KernelEntry {
    /// The 64-bit entry of Linux, in long mode, with `struct boot_params`. Every 64-bit Linux has it.
    #[default]
    Linux64,
    /// The 32-bit entry that an ELF note names (`XEN_ELFNOTE_PHYS32_ENTRY`), in protected mode, with
    /// `struct hvm_start_info`. Linux built with `CONFIG_PVH` has it, and kernels that are not Linux.
    Pvh,
}

/// Why a file is not a kernel that can be booted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Of no format that is known here.
    #[error(
        "neither a bzImage nor an x86-64 ELF executable: name a distribution's vmlinuz, or a vmlinux"
    )]
    Unknown,
    /// A bzImage for a protocol without a 64-bit entry.
    #[error(
        "a bzImage of boot protocol {}.{:02} without a 64-bit entry: take a 64-bit kernel of 3.8 or later",
        .version >> 8, .version & 0xff
    )]
    Protocol {
        /// Its version, as the header has it.
        version: u16,
    },
    /// Compressed in a way that is not undone here.
    #[error(
        "the kernel is compressed by {name}: take one with CONFIG_KERNEL_ZSTD, CONFIG_KERNEL_LZ4 or \
         CONFIG_KERNEL_GZIP, or its vmlinux (scripts/extract-vmlinux of the kernel's source makes it)"
    )]
    Compression {
        /// The compression.
        name: &'static str,
    },
    /// The file contradicts itself.
    #[error("the image is damaged: {what}: copy it again")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// More than the guest has room for.
    #[error(
        "the kernel takes {bytes} bytes up to 3 GiB, and the guest has {room}: give it more memory"
    )]
    Room {
        /// What it takes, from address 0.
        bytes: u64,
        /// What there is.
        room: u64,
    },
    /// A part of it is to lie where the guest's tables are.
    #[error(
        "a segment of the kernel belongs at {addr:#x}, below 1 MiB, where the guest's tables are"
    )]
    Low {
        /// Where.
        addr: u64,
    },
    /// The wanted entry is not there.
    #[error("the kernel has no {entry:?} entry: take the other one")]
    NoEntry {
        /// Which one.
        entry: KernelEntry,
    },
}

/// A kernel: what to put where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// The ELF file.
    file: Vec<u8>,
    pub(crate) segments: Vec<Segment>,
    /// The first instruction.
    pub(crate) entry: u64,
    /// What a bzImage says of itself.
    pub(crate) header: Option<SetupHeader>,
    /// The first address behind what the kernel uses before it looks for memory.
    pub(crate) end: u64,
}

impl Image {
    /// Takes `file` apart, for a guest with `room` bytes from address 0 on.
    pub(crate) fn parse(file: Vec<u8>, entry: KernelEntry, room: u64) -> Result<Self, ImageError> {
        let (file, header) = match SetupHeader::parse(&file)? {
            Some((header, payload)) => (compressed::unpack(payload, room)?, Some(header)),
            None => (file, None),
        };
        let elf = elf::parse(&file, room)?;
        let address = match entry {
            KernelEntry::Linux64 => Some(elf.entry),
            KernelEntry::Pvh => elf.pvh_entry,
        };
        let is_inside = |addr: &u64| elf.segments.iter().any(|segment| segment.has(*addr));
        let address = address
            .filter(is_inside)
            .ok_or(ImageError::NoEntry { entry })?;
        let end_of = |segment: &Segment| segment.addr + segment.mem_bytes;
        let end = elf.segments.iter().map(end_of).max().unwrap_or(0);
        let end = end.max(header.as_ref().map_or(0, SetupHeader::end));
        if end > room {
            return Err(ImageError::Room { bytes: end, room });
        }
        Ok(Self {
            file,
            segments: elf.segments,
            entry: address,
            header,
            end,
        })
    }

    /// The bytes of a segment that the file has.
    pub(crate) fn data(&self, segment: &Segment) -> &[u8] {
        &self.file[segment.file.clone()]
    }
}

#[cfg(test)]
pub(crate) mod tests;
