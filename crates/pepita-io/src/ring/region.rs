#![expect(unsafe_code, reason = "maps the memory of a ring")]
//! The mappings of a ring and its buffers, and pointers into them that were checked once.

use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::syscall::{self, MAP_POPULATE, MAP_SHARED, PROT_READ, PROT_WRITE};
#[cfg(feature = "std")]
use pepita_sys::syscall::{MAP_ANONYMOUS, MAP_PRIVATE};

/// Memory that is shared with the kernel.
///
/// # Invariants
/// * mapped-until-drop: `len` bytes from `base` on are one mapping of ours until the drop.
#[derive(Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
}

impl Region {
    /// Maps `len` bytes of the ring `fd`, from `offset` (`IORING_OFF_`) on.
    pub(super) fn map(fd: i32, len: usize, offset: u64) -> Result<Self> {
        let prot = PROT_READ | PROT_WRITE;
        // SAFETY: the pages belong to the ring, which has no end that could be cut off.
        unsafe { syscall::mmap(len, prot, MAP_SHARED | MAP_POPULATE, fd, offset) }
            .map(|base| Self { base, len })
            .map_err(|errno| KernelError::from_errno("mmap", errno))
    }

    /// Maps `len` bytes of what `fd` shows, from `offset` on, to be read.
    #[cfg(feature = "std")]
    pub(crate) fn map_read_only(fd: i32, len: usize, offset: u64) -> Result<Self> {
        // SAFETY: the pages belong to a character device, which has no end that could be cut off.
        unsafe { syscall::mmap(len, PROT_READ, MAP_SHARED, fd, offset) }
            .map(|base| Self { base, len })
            .map_err(|errno| KernelError::from_errno("mmap", errno))
    }

    /// Maps `len` bytes of zeroed memory of the program's own.
    #[cfg(feature = "std")]
    pub(crate) fn anonymous(len: usize) -> Result<Self> {
        let flags = MAP_PRIVATE | MAP_ANONYMOUS;
        // SAFETY: there is no file.
        unsafe { syscall::mmap(len, PROT_READ | PROT_WRITE, flags, -1, 0) }
            .map(|base| Self { base, len })
            .map_err(|errno| KernelError::from_errno("mmap", errno))
    }

    /// Where it begins.
    #[cfg(feature = "std")]
    pub(crate) const fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Where `count` elements are, `offset` bytes into the region.
    ///
    /// # Errors
    /// `EFAULT` when they do not lie inside it, or not aligned.
    pub(crate) fn array<T>(&self, offset: u32, count: u32) -> Result<NonNull<T>> {
        let inside = (count as usize)
            .checked_mul(size_of::<T>())
            .and_then(|bytes| bytes.checked_add(offset as usize))
            .is_some_and(|end| end <= self.len);
        let array = self.base.as_ptr().wrapping_add(offset as usize).cast::<T>();
        if !inside || !array.is_aligned() {
            return Err(KernelError::from_errno("io_uring_setup", Errno::EFAULT));
        }
        NonNull::new(array).ok_or(KernelError::from_errno("io_uring_setup", Errno::EFAULT))
    }

    /// A word that the kernel shares.
    ///
    /// # Errors
    /// As [`Self::array`].
    pub(super) fn word(&self, offset: u32) -> Result<Word> {
        self.array(offset, 1).map(Word)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped-until-drop; pointers into it are dropped along with it (regions-along). There is
        // nobody to hear of an error.
        let _ = unsafe { syscall::munmap(self.base, self.len) };
    }
}

/// A word of a region, which the kernel too accesses atomically.
///
/// # Invariants
/// * regions-along: whoever has a word or an array of a region has the region too, and drops it last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word(NonNull<AtomicU32>);

impl Word {
    /// The word itself, for as long as the region is held.
    #[inline]
    pub(super) fn get(&self) -> &AtomicU32 {
        // SAFETY: inside the region and aligned (`Region::array`), and regions-along.
        unsafe { self.0.as_ref() }
    }
}
