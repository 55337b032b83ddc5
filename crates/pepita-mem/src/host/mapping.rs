#![expect(unsafe_code, reason = "maps memory, and reaches it by its address")]
//! [`Mapping`]: pages of this process, given back when dropped.

use core::ffi::c_void;
use core::ptr::NonNull;

use pepita_sys::copy;
use rustix::io::Errno;
use rustix::mm::{self, MapFlags, MprotectFlags, ProtFlags};
use rustix::process::{Resource, getrlimit};

use super::error::{MapError, number};
use super::memfd::Memfd;
use crate::addr::VirtAddr;
use crate::dma::DmaMemory;
use crate::page::PageSize;
use crate::protection::Protection;

/// What a program is going to do with a mapping; see madvise(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// Use transparent huge pages.
    HugePages,
    /// Use none.
    BasePages,
    /// Read it soon.
    WillNeed,
    /// Read it from the beginning to the end.
    Sequential,
    /// Read it here and there.
    Random,
    /// Leave it out of core dumps.
    DontDump,
    /// Leave it out of children.
    DontFork,
}

/// Pages of this process: readable and writable, zeroed at first, given back when dropped.
///
/// Pages of a [`Memfd`] are shared with whoever else has it; their bytes are copied in and out. Those of an
/// anonymous mapping are this program's alone, so they are a slice too.
/// ```
/// use pepita_mem::Mapping;
///
/// let mut memory = Mapping::anonymous(10_000)?;
/// memory.write_at(9_998, b"ab")?;
/// assert_eq!(memory.as_slice().map(|bytes| &bytes[9_997..10_000]), Some(&b"\0ab"[..]));
/// assert!(memory.len() >= 10_000, "whole pages");
/// # Ok::<(), pepita_mem::MapError>(())
/// ```
///
/// # Invariants
/// * *mapped*: `base .. base + len` is one mapping made here, and nothing else unmaps it, until `drop`.
/// * *whole*: a memfd's mapping lies within its size, which a seal keeps from shrinking, so no access is
///   beyond its end.
/// * *alone*: the pages of a mapping that is not shared are reached through this value only.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
    protection: Protection,
    is_shared: bool,
}

// SAFETY: *mapped* does not depend on the thread.
unsafe impl Send for Mapping {}

// SAFETY: through `&Mapping` bytes are read: by slices, of memory that nobody writes (*alone*), and by
// volatile copies.
unsafe impl Sync for Mapping {}

/// Bytes of the host's base page.
pub(super) fn host_page_bytes() -> usize {
    rustix::param::page_size()
}

impl Mapping {
    /// Memory of this program alone, of at least `bytes` bytes: whole pages.
    ///
    /// # Errors
    /// [`MapError::Size`] for no bytes or too many, [`MapError::Map`] if the host has no room.
    pub fn anonymous(bytes: usize) -> Result<Self, MapError> {
        Self::private(bytes, host_page_bytes(), MapFlags::PRIVATE).map_err(|errno| {
            MapError::Map {
                bytes,
                errno: number(errno),
            }
        })?
    }

    /// The same in huge pages of `size`, 2 MiB or 1 GiB, all taken at once. They are never swapped out.
    ///
    /// # Errors
    /// [`MapError::HugePages`] if the host has not so many free; [`MapError::Size`] for no bytes.
    pub fn huge_pages(bytes: usize, size: PageSize) -> Result<Self, MapError> {
        let page = usize::try_from(size.bytes()).unwrap_or(usize::MAX);
        let flags = MapFlags::PRIVATE | MapFlags::HUGETLB | MapFlags::POPULATE | size_flag(size);
        Self::private(bytes, page, flags).map_err(|errno| MapError::HugePages {
            bytes,
            size,
            errno: number(errno),
        })?
    }

    /// The outer error is the system's, the inner one the caller's.
    fn private(
        bytes: usize,
        page: usize,
        flags: MapFlags,
    ) -> Result<Result<Self, MapError>, Errno> {
        let len = bytes.checked_next_multiple_of(page);
        let Some(len) = len.filter(|len| *len > 0 && *len <= isize::MAX.unsigned_abs()) else {
            return Ok(Err(MapError::Size { bytes }));
        };
        let protection = Protection::READ_WRITE;
        // SAFETY: a new mapping wherever there is room; it touches no other.
        let base = unsafe {
            mm::mmap_anonymous(core::ptr::null_mut(), len, prot_flags(protection), flags)
        }?;
        let base = NonNull::new(base.cast()).ok_or(Errno::NOMEM)?;
        Ok(Ok(Self {
            base,
            len,
            protection,
            is_shared: false,
        }))
    }

    /// The whole of `memfd`, shared.
    pub(super) fn of_memfd(memfd: &Memfd) -> Result<Self, MapError> {
        let (len, protection) = (memfd.len(), Protection::READ_WRITE);
        // SAFETY: a new mapping wherever there is room; it touches no other.
        let base = unsafe {
            mm::mmap(
                core::ptr::null_mut(),
                len,
                prot_flags(protection),
                MapFlags::SHARED,
                memfd,
                0,
            )
        };
        let mapped = base.and_then(|base| NonNull::new(base.cast()).ok_or(Errno::NOMEM));
        let base = mapped.map_err(|errno| MapError::Map {
            bytes: len,
            errno: number(errno),
        })?;
        Ok(Self {
            base,
            len,
            protection,
            is_shared: true,
        })
    }

    /// How many bytes it has: whole pages, at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a mapping has at least a page")]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The address of its first byte.
    #[must_use]
    pub fn addr(&self) -> VirtAddr {
        VirtAddr::from_ptr(self.base.as_ptr())
    }

    /// What its pages allow.
    #[must_use]
    pub const fn protection(&self) -> Protection {
        self.protection
    }

    /// Its bytes; none if they are shared, or cannot be read.
    #[must_use]
    pub fn as_slice(&self) -> Option<&[u8]> {
        if self.is_shared || !self.protection.is_readable() {
            return None;
        }
        // SAFETY: *mapped*, readable, and *alone*: whoever writes has `&mut self`.
        Some(unsafe { core::slice::from_raw_parts(self.base.as_ptr(), self.len) })
    }

    /// Its bytes, to be written; none if they are shared, or cannot be read and written.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> Option<&mut [u8]> {
        let can = self.protection.is_readable() && self.protection.is_writable();
        if self.is_shared || !can {
            return None;
        }
        // SAFETY: *mapped*, readable and writable, and *alone*: `&mut self` is the only way to it.
        Some(unsafe { core::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) })
    }

    /// Copies bytes out. Those that another writes meanwhile may tear.
    ///
    /// # Errors
    /// [`MapError::Bounds`] or [`MapError::Protection`]; nothing is read then.
    pub fn read_at(&self, offset: usize, into: &mut [u8]) -> Result<(), MapError> {
        let from = self.place(offset, into.len(), Protection::READ)?;
        // SAFETY: *mapped* and *whole*, and `place` has checked bounds and protection.
        unsafe { copy::read(from, into) };
        Ok(())
    }

    /// Copies bytes in.
    ///
    /// # Errors
    /// [`MapError::Bounds`] or [`MapError::Protection`]; nothing is written then.
    pub fn write_at(&mut self, offset: usize, from: &[u8]) -> Result<(), MapError> {
        let into = self.place(offset, from.len(), Protection::WRITE)?;
        // SAFETY: *mapped* and *whole*, and `place` has checked bounds and protection.
        unsafe { copy::write(into, from) };
        Ok(())
    }

    /// Changes what its pages allow; see mprotect(2).
    ///
    /// # Errors
    /// [`MapError::Refused`] if the kernel does not allow it, as some refuse write with execute.
    pub fn protect(&mut self, protection: Protection) -> Result<(), MapError> {
        let flags = MprotectFlags::from_bits_retain(prot_flags(protection).bits());
        // SAFETY: *mapped*; no slice of it is alive, and later ones look at `protection`.
        let done = unsafe { mm::mprotect(self.raw(), self.len, flags) };
        done.map_err(|errno| self.refused("mprotect", errno))?;
        self.protection = protection;
        Ok(())
    }

    /// Keeps all its pages in memory, and brings them there; see mlock(2). The kernel may still move
    /// them from one frame to another.
    ///
    /// # Errors
    /// [`MapError::Lock`] with the limit of this process.
    pub fn lock(&mut self) -> Result<(), MapError> {
        // SAFETY: *mapped*; the contents stay.
        let done = unsafe { mm::mlock(self.raw(), self.len) };
        done.map_err(|errno| MapError::Lock {
            bytes: self.len,
            limit_bytes: getrlimit(Resource::Memlock).current,
            errno: number(errno),
        })
    }

    /// Lets its pages leave memory again.
    ///
    /// # Errors
    /// [`MapError::Refused`] for reasons of the kernel.
    pub fn unlock(&mut self) -> Result<(), MapError> {
        // SAFETY: *mapped*; the contents stay.
        let done = unsafe { mm::munlock(self.raw(), self.len) };
        done.map_err(|errno| self.refused("munlock", errno))
    }

    /// Tells the kernel what it is for; see madvise(2). The contents stay.
    ///
    /// # Errors
    /// [`MapError::Refused`] if the kernel lacks it, such as transparent huge pages.
    pub fn advise(&mut self, advice: Advice) -> Result<(), MapError> {
        let (operation, advice) = match advice {
            Advice::HugePages => ("madvise(MADV_HUGEPAGE)", mm::Advice::LinuxHugepage),
            Advice::BasePages => ("madvise(MADV_NOHUGEPAGE)", mm::Advice::LinuxNoHugepage),
            Advice::WillNeed => ("madvise(MADV_WILLNEED)", mm::Advice::WillNeed),
            Advice::Sequential => ("madvise(MADV_SEQUENTIAL)", mm::Advice::Sequential),
            Advice::Random => ("madvise(MADV_RANDOM)", mm::Advice::Random),
            Advice::DontDump => ("madvise(MADV_DONTDUMP)", mm::Advice::LinuxDontDump),
            Advice::DontFork => ("madvise(MADV_DONTFORK)", mm::Advice::LinuxDontFork),
        };
        // SAFETY: *mapped*; none of these changes the contents or takes pages away from this process.
        let done = unsafe { mm::madvise(self.raw(), self.len, advice) };
        done.map_err(|errno| self.refused(operation, errno))
    }

    /// Gives its pages back to the host, keeping the addresses: an anonymous mapping is zeroed by this,
    /// that of a memfd shows its contents again.
    ///
    /// # Errors
    /// [`MapError::Refused`] if its pages are locked.
    pub fn discard(&mut self) -> Result<(), MapError> {
        // SAFETY: *mapped*; no slice of it is alive whose contents could change.
        let done = unsafe { mm::madvise(self.raw(), self.len, mm::Advice::LinuxDontNeed) };
        done.map_err(|errno| self.refused("madvise(MADV_DONTNEED)", errno))
    }

    pub(super) fn refused(&self, operation: &'static str, errno: Errno) -> MapError {
        MapError::Refused {
            operation,
            bytes: self.len,
            errno: number(errno),
        }
    }

    pub(super) const fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(super) fn raw(&self) -> *mut c_void {
        self.base.as_ptr().cast()
    }

    fn place(
        &self,
        offset: usize,
        bytes: usize,
        needs: Protection,
    ) -> Result<NonNull<u8>, MapError> {
        let (len, has) = (self.len, self.protection);
        if offset > len || bytes > len - offset {
            return Err(MapError::Bounds { offset, bytes, len });
        }
        if has | needs != has {
            return Err(MapError::Protection { has, needs });
        }
        // SAFETY: *mapped*, and `offset` is at most its length.
        Ok(unsafe { self.base.add(offset) })
    }
}

fn prot_flags(protection: Protection) -> ProtFlags {
    let mut flags = ProtFlags::empty();
    flags.set(ProtFlags::READ, protection.is_readable());
    flags.set(ProtFlags::WRITE, protection.is_writable());
    flags.set(ProtFlags::EXEC, protection.is_executable());
    flags
}

/// The flag for huge pages of `size`, which has no name for all sizes: its shift, from bit 26.
/// Source: include/uapi/asm-generic/hugetlb_encode.h.
fn size_flag(size: PageSize) -> MapFlags {
    MapFlags::from_bits_retain(size.shift() << 26)
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: *mapped*; this is its end. An error cannot come, the range is whole pages.
        let _ = unsafe { mm::munmap(self.raw(), self.len) };
    }
}

// SAFETY: *still*: a mapping stays where it is until it is dropped, and `new` of an `SgList` takes it, so
// nobody changes its protection (which the list's maker has checked by `DmaMemory::memory`). *alone*: the
// same, but for other holders of a memfd, who are as untrusted as a device.
unsafe impl DmaMemory for Mapping {
    /// Nothing, if it cannot be read and written.
    fn memory(&self) -> (NonNull<u8>, usize) {
        let can = self.protection.is_readable() && self.protection.is_writable();
        (self.base, if can { self.len } else { 0 })
    }
}
