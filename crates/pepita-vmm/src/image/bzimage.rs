//! The setup header of a bzImage. Source: Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".

use super::ImageError;
use super::bytes::{array, range, u16_at, u32_at, u64_at};

/// Offsets in the file, which are those in `struct boot_params` too.
pub(crate) const SETUP_HEADER: usize = 0x1f1;
const SETUP_SECTS: usize = 0x1f1;
const HEADER_LENGTH: usize = 0x201;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const INITRD_ADDR_MAX: usize = 0x22c;
const XLOADFLAGS: usize = 0x236;
const CMDLINE_SIZE: usize = 0x238;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const PREF_ADDRESS: usize = 0x258;
const INIT_SIZE: usize = 0x260;
/// Behind the last field that a header of this length may have: `boot_params` has other things there.
const HEADER_END_MAX: usize = 0x290;

/// The version that has `xloadflags`, 2.12.
const VERSION_MIN: u16 = 0x020c;
/// The kernel has the 64-bit entry.
const XLF_KERNEL_64: u16 = 1 << 0;
/// Bytes of a sector of the boot loader's.
const SETUP_SECTOR: usize = 512;
/// What a header without a number of sectors means by that.
const SETUP_SECTS_DEFAULT: u8 = 4;

/// What a bzImage says of itself, as far as a loader wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetupHeader {
    /// From [`SETUP_HEADER`] on, as it belongs into `struct boot_params`.
    pub(crate) bytes: Vec<u8>,
    /// The highest address that the initial ramdisk may have.
    pub(crate) initrd_addr_max: u32,
    /// The most bytes of the command line, without the one that ends it.
    pub(crate) cmdline_size: u32,
    pref_address: u64,
    init_size: u32,
}

impl SetupHeader {
    /// The header of `file` and the compressed kernel in it; none if it is no bzImage.
    pub(super) fn parse(file: &[u8]) -> Result<Option<(Self, &[u8])>, ImageError> {
        if array(file, MAGIC) != Some(*b"HdrS") {
            return Ok(None);
        }
        let cut = || ImageError::Damaged {
            what: "it ends within its header",
        };
        let version = u16_at(file, VERSION).ok_or_else(cut)?;
        let xloadflags = u16_at(file, XLOADFLAGS).ok_or_else(cut)?;
        if version < VERSION_MIN || xloadflags & XLF_KERNEL_64 == 0 {
            return Err(ImageError::Protocol { version });
        }
        // Of the jump over the header, the length.
        let length = usize::from(*file.get(HEADER_LENGTH).ok_or_else(cut)?);
        let end = (MAGIC + length).min(HEADER_END_MAX);
        let bytes = file.get(SETUP_HEADER..end).ok_or_else(cut)?.to_vec();
        let header = Self {
            bytes,
            initrd_addr_max: u32_at(file, INITRD_ADDR_MAX).ok_or_else(cut)?,
            cmdline_size: u32_at(file, CMDLINE_SIZE).ok_or_else(cut)?,
            pref_address: u64_at(file, PREF_ADDRESS).ok_or_else(cut)?,
            init_size: u32_at(file, INIT_SIZE).ok_or_else(cut)?,
        };
        let sectors = match file[SETUP_SECTS] {
            0 => SETUP_SECTS_DEFAULT,
            sectors => sectors,
        };
        let start = (usize::from(sectors) + 1) * SETUP_SECTOR;
        let offset = u32_at(file, PAYLOAD_OFFSET).ok_or_else(cut)?;
        let length = u32_at(file, PAYLOAD_LENGTH).ok_or_else(cut)?;
        let payload = range(file, start as u64 + u64::from(offset), length.into());
        let payload = payload.ok_or(ImageError::Damaged {
            what: "it ends within the compressed kernel",
        })?;
        Ok(Some((header, &file[payload])))
    }

    /// The first address behind what the kernel uses until it knows its memory.
    pub(super) fn end(&self) -> u64 {
        self.pref_address.saturating_add(self.init_size.into())
    }
}
