//! [`Memfd`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;

use super::error::{MapError, number};
use super::mapping::{Mapping, host_page_bytes};
use crate::page::PageSize;

/// Memory with a file descriptor: to be mapped more than once, or by another process that gets the
/// descriptor.
///
/// Its size is sealed, so that no holder can take pages from under another's mapping.
/// ```
/// use pepita_mem::Memfd;
///
/// let memory = Memfd::new("guest", 8192)?;
/// let (mut one, other) = (memory.map()?, memory.map()?);
/// one.write_at(100, b"shared")?;
/// let mut seen = [0; 6];
/// other.read_at(100, &mut seen)?;
/// assert_eq!(&seen, b"shared");
/// # Ok::<(), pepita_mem::MapError>(())
/// ```
#[derive(Debug)]
pub struct Memfd {
    fd: OwnedFd,
    len: usize,
}

impl Memfd {
    /// At least `bytes` bytes in whole pages; `name` shows in `/proc/PID/maps`.
    ///
    /// # Errors
    /// [`MapError::Size`] for no bytes, [`MapError::Map`] if the host refuses.
    pub fn new(name: &str, bytes: usize) -> Result<Self, MapError> {
        Self::create(
            name,
            bytes,
            host_page_bytes(),
            MemfdFlags::empty(),
            |errno| MapError::Map {
                bytes,
                errno: number(errno),
            },
        )
    }

    /// The same in huge pages of `size`, 2 MiB or 1 GiB; they are taken when it is mapped.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`MapError::HugePages`] if the host has none of this size.
    pub fn with_huge_pages(name: &str, bytes: usize, size: PageSize) -> Result<Self, MapError> {
        let page = usize::try_from(size.bytes()).unwrap_or(usize::MAX);
        // As in mmap: the shift, from bit 26. Source: include/uapi/linux/memfd.h.
        let flags = MemfdFlags::HUGETLB | MemfdFlags::from_bits_retain(size.shift() << 26);
        Self::create(name, bytes, page, flags, |errno| MapError::HugePages {
            bytes,
            size,
            errno: number(errno),
        })
    }

    fn create(
        name: &str,
        bytes: usize,
        page: usize,
        flags: MemfdFlags,
        error: impl Fn(Errno) -> MapError,
    ) -> Result<Self, MapError> {
        let len = bytes.checked_next_multiple_of(page);
        let len = len.filter(|len| *len > 0 && *len <= isize::MAX.unsigned_abs());
        let len = len.ok_or(MapError::Size { bytes })?;
        let flags = flags | MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = memfd_create(name, flags).map_err(&error)?;
        ftruncate(&fd, len as u64).map_err(&error)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&fd, seals).map_err(&error)?;
        Ok(Self { fd, len })
    }

    /// How many bytes it has: whole pages, at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it has at least a page")]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Maps all of it.
    ///
    /// # Errors
    /// [`MapError::Map`] if the host has no room, or not so many huge pages.
    pub fn map(&self) -> Result<Mapping, MapError> {
        Mapping::of_memfd(self)
    }
}

impl AsFd for Memfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
