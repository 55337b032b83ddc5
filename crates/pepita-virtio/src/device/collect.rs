//! [`Collector`]: the elements of a buffer, checked one by one.

use pepita_sys::blk_mq::Segment;

use super::Chain;
use crate::error::QueueError;
use crate::format::{BUFFER_BYTES_MAX, VIRTQ_DESC_F_WRITE};
use crate::memory::{GuestRam, Region};

/// Puts elements into a chain.
pub(super) struct Collector<'a> {
    pub(super) ram: &'a GuestRam,
    chain: &'a mut Chain,
    /// Where the last element was, and probably the next one is.
    region: Region,
    /// Bytes so far.
    total: u64,
    is_writable: bool,
}

impl<'a> Collector<'a> {
    #[inline]
    pub(super) fn new(ram: &'a GuestRam, chain: &'a mut Chain) -> Self {
        chain.clear();
        Self {
            region: ram.first_region(),
            ram,
            chain,
            total: 0,
            is_writable: false,
        }
    }

    /// The next element.
    #[inline]
    pub(super) fn add(&mut self, addr: u64, len: u32, flags: u16) -> Result<(), QueueError> {
        let is_writable = flags & VIRTQ_DESC_F_WRITE != 0;
        if is_writable != self.is_writable {
            if !is_writable {
                return Err(QueueError::ReadAfterWrite);
            }
            self.end_readable();
        }
        let len = u64::from(len);
        self.total += len;
        let Some(host) = self.region.find(addr, len) else {
            return self.add_slowly(addr, len);
        };
        if len > 0 {
            self.push(Segment::new(host, usize::try_from(len).unwrap_or(0)));
        }
        Ok(())
    }

    #[inline]
    fn push(&mut self, segment: Segment) {
        self.chain.segments.push(segment);
    }

    fn end_readable(&mut self) {
        self.is_writable = true;
        self.chain.readable = self.chain.segments.len();
        self.chain.readable_len = self.total;
    }

    /// An element of another region, of several, or of none.
    #[cold]
    fn add_slowly(&mut self, addr: u64, len: u64) -> Result<(), QueueError> {
        if let Some(region) = self.ram.region_of(addr) {
            self.region = region;
        }
        let Self { ram, chain, .. } = self;
        ram.pieces(addr, len, |piece| chain.segments.push(piece))
            .map_err(QueueError::Element)
    }

    /// The chain is whole.
    #[inline]
    pub(super) fn finish(mut self) -> Result<(), QueueError> {
        if self.total > BUFFER_BYTES_MAX {
            return Err(QueueError::TooManyBytes);
        }
        if !self.is_writable {
            self.end_readable();
        }
        self.chain.writable_len = self.total - self.chain.readable_len;
        Ok(())
    }
}
