//! [`Pagemap`]: where the pages of this process are in physical memory.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::mapping::host_page_bytes;
use crate::addr::{PhysAddr, VirtAddr};
use pepita_sys::error::Errno;

/// Why the physical place of an address is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PagemapError {
    /// `/proc/self/pagemap` cannot be read.
    #[error("reading /proc/self/pagemap")]
    Read(#[source] std::io::Error),
    /// The kernel does not tell frame numbers to this process.
    #[error(
        "frame numbers are hidden: /proc/self/pagemap shows them to CAP_SYS_ADMIN only, as to root"
    )]
    Hidden,
    /// The page is not in memory: never touched, or swapped out.
    #[error("the page at {addr} is not in memory: touch it, or lock it")]
    Absent {
        /// The address.
        addr: VirtAddr,
    },
}

impl PagemapError {
    /// The error number that a system call gave, or would give.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Read(error) => error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
            Self::Hidden => Errno::EPERM,
            Self::Absent { .. } => Errno::EFAULT,
        }
    }
}

/// Where the pages of this process are in physical memory, from `/proc/self/pagemap`.
///
/// The answer holds until the kernel moves the page: pages of [`Mapping::lock`](super::Mapping::lock)
/// stay in memory, but compaction may still move them unless
/// `/proc/sys/vm/compact_unevictable_allowed` is 0.
///
/// Source: Documentation/admin-guide/mm/pagemap.rst.
#[derive(Debug)]
pub struct Pagemap {
    file: File,
    page_bytes: u64,
}

/// Bits 0 to 54 of an entry are the frame number.
const FRAME_BITS: u64 = (1 << 55) - 1;
/// The page is in memory.
const PRESENT: u64 = 1 << 63;

impl Pagemap {
    /// Opens it.
    ///
    /// # Errors
    /// [`PagemapError::Read`] if there is none.
    pub fn open() -> Result<Self, PagemapError> {
        Ok(Self {
            file: File::open("/proc/self/pagemap").map_err(PagemapError::Read)?,
            page_bytes: host_page_bytes() as u64,
        })
    }

    /// The physical address of `addr`.
    ///
    /// # Errors
    /// [`PagemapError::Hidden`] without the right to know, [`PagemapError::Absent`] if the page is not in
    /// memory.
    pub fn lookup(&self, addr: VirtAddr) -> Result<PhysAddr, PagemapError> {
        let mut entry = [0; 8];
        let at = addr.as_u64() / self.page_bytes * entry.len() as u64;
        let read = self.file.read_exact_at(&mut entry, at);
        read.map_err(PagemapError::Read)?;
        let entry = u64::from_ne_bytes(entry);
        if entry & PRESENT == 0 {
            return Err(PagemapError::Absent { addr });
        }
        // Frame 0 is the firmware's, never a process's: it stands for a number that is not shown.
        match entry & FRAME_BITS {
            0 => Err(PagemapError::Hidden),
            frame => Ok(PhysAddr::new_truncate(
                frame * self.page_bytes + addr.as_u64() % self.page_bytes,
            )),
        }
    }
}
