//! [`Chain`]: a buffer that a device has taken.

use std::fmt;
#[cfg(not(all(test, pepita_loom)))]
use std::io;
#[cfg(not(all(test, pepita_loom)))]
use std::os::fd::BorrowedFd;

use pepita_sys::blk_mq::{Segment, ShortData};

use super::Taken;
#[cfg(not(all(test, pepita_loom)))]
use crate::memory;
use crate::memory::{GuestRam, copy_from, copy_to};

/// Room for a buffer: first the elements that the device reads, then those that it writes, as addresses of the
/// host.
///
/// It keeps the guest's memory mapped. Elements without a byte are left out, and one that lies in several
/// regions of memory is several segments.
pub struct Chain {
    pub(super) segments: Vec<Segment>,
    /// How many of them are readable.
    pub(super) readable: usize,
    pub(super) readable_len: u64,
    pub(super) writable_len: u64,
    pub(super) taken: Taken,
    /// When it was taken, if that matters.
    pub(super) turn: u16,
    /// Which queue's buffer it holds; 0 for none.
    pub(super) queue: u64,
    ram: GuestRam,
}

impl Chain {
    /// The room of a usual chain; it grows up to the queue's size when there is a longer one.
    const USUAL: usize = 128;

    pub(super) fn new(ram: GuestRam, size: u16) -> Self {
        Self {
            segments: Vec::with_capacity(usize::from(size).min(Self::USUAL)),
            readable: 0,
            readable_len: 0,
            writable_len: 0,
            taken: Taken::default(),
            turn: 0,
            queue: 0,
            ram,
        }
    }

    /// Whether a buffer is in it.
    #[must_use]
    pub const fn is_taken(&self) -> bool {
        self.queue != 0
    }

    /// Its head in a split ring, its id in a packed one.
    #[must_use]
    pub const fn id(&self) -> u16 {
        self.taken.id
    }

    /// What the device reads. The guest may write it at the same time.
    #[must_use]
    pub fn readable(&self) -> &[Segment] {
        self.segments.get(..self.readable).unwrap_or_default()
    }

    /// What the device writes.
    #[must_use]
    pub fn writable(&self) -> &[Segment] {
        self.segments.get(self.readable..).unwrap_or_default()
    }

    /// Bytes that the device reads.
    #[must_use]
    pub const fn readable_len(&self) -> u64 {
        self.readable_len
    }

    /// Bytes that the device writes.
    #[must_use]
    pub const fn writable_len(&self) -> u64 {
        self.writable_len
    }

    /// Copies the readable bytes from `offset` on. What the guest writes meanwhile may be in or not.
    ///
    /// # Errors
    /// [`ShortData`] where there are fewer; nothing is copied then.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), ShortData> {
        copy_from(&self.ram, self.readable(), offset, into)
    }

    /// Copies `from` to the writable bytes from `offset` on.
    ///
    /// # Errors
    /// [`ShortData`] where there are fewer; nothing is copied then.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), ShortData> {
        copy_to(&self.ram, self.writable(), offset, from)
    }

    /// Sends `len` of the readable bytes, from `offset` on, to a socket, without waiting; gives how many went.
    #[cfg(not(all(test, pepita_loom)))]
    pub(crate) fn send(&self, to: BorrowedFd<'_>, offset: usize, len: usize) -> io::Result<usize> {
        memory::send(&self.ram, to, self.readable(), offset, len)
    }

    /// Receives from a socket into up to `len` of the writable bytes, from `offset` on, without waiting; gives how many
    /// came.
    #[cfg(not(all(test, pepita_loom)))]
    pub(crate) fn receive(
        &self,
        from: BorrowedFd<'_>,
        offset: usize,
        len: usize,
    ) -> io::Result<usize> {
        memory::receive(&self.ram, from, self.writable(), offset, len)
    }

    #[inline]
    pub(super) const fn ram(&self) -> &GuestRam {
        &self.ram
    }

    /// As before a buffer was in it.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.segments.clear();
        self.readable = 0;
        self.readable_len = 0;
        self.writable_len = 0;
        self.queue = 0;
    }
}

/// Without the addresses of the host, of which a log should not tell.
impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain")
            .field("is_taken", &self.is_taken())
            .field("id", &self.taken.id)
            .field("readable_len", &self.readable_len)
            .field("writable_len", &self.writable_len)
            .finish_non_exhaustive()
    }
}
