//! [`Span`]: memory for objects of one class, and the books about it.

use std::ops::Range;

use pepita_mem::{Advice, Mapping};
use pepita_sys::error::Errno;

use super::classes::{SPAN_BYTES, Shape, pages};
use crate::sync::atomic::AtomicU32;
use crate::sync::{Mutex, RwLock};

/// Pages of address space that belong to one class at a time, or to none.
///
/// The books are changed by who has the lock of its lists; that of `bytes` comes after it. A span whose
/// memory was given back keeps its addresses, so that the kernel's map of the process stays simple.
#[derive(Debug, Default)]
#[repr(align(128))] // threads write to neighbours at once
pub(super) struct Span {
    /// The [`ListsId`](super::arenas::ListsId) that it belongs to.
    pub(super) lists: AtomicU32,
    pub(super) book: Mutex<Book>,
    pub(super) bytes: RwLock<Bytes>,
}

/// Which places of a span are taken, and by whom.
#[derive(Debug, Default)]
pub(super) struct Book {
    shape: Option<Shape>,
    /// A bit for each place.
    taken: Vec<u64>,
    /// The owner of each place that is taken.
    owners: Vec<u32>,
    live: usize,
    /// Pages, from the first on, that have been written to and are the process's.
    pub(super) touched: usize,
    /// Where the span stands in the lists of its class; nowhere if it is full, or being emptied.
    pub(super) listed: Option<(usize, usize)>,
}

impl Book {
    /// Begins with an empty span of `shape`.
    pub(super) fn begin(&mut self, shape: Shape) {
        self.shape = Some(shape);
        self.taken.clear();
        self.taken.resize(shape.count.div_ceil(64), 0);
        self.owners.clear();
        self.owners.resize(shape.count, 0);
        (self.live, self.touched, self.listed) = (0, 0, None);
    }

    /// Objects in the span.
    pub(super) const fn live(&self) -> usize {
        self.live
    }

    /// Places for more.
    pub(super) fn free(&self) -> usize {
        self.shape.map_or(0, |shape| shape.count - self.live)
    }

    /// The first place that is free, and the pages that are touched once `len` bytes are written there.
    pub(super) fn first_free(&self, len: usize) -> Option<(usize, usize)> {
        let shape = self.shape?;
        let word = self.taken.iter().position(|word| *word != u64::MAX)?;
        let index = word * 64 + self.taken[word].trailing_ones() as usize;
        let touched = self.touched.max(pages(index * shape.bytes + len));
        (index < shape.count).then_some((index, touched))
    }

    /// Notes that `owner` has a place that was free.
    pub(super) fn take(&mut self, index: usize, owner: u32, touched: usize) {
        self.taken[index / 64] |= 1 << (index % 64);
        self.owners[index] = owner;
        self.live += 1;
        self.touched = touched;
    }

    /// Notes that a place is free.
    pub(super) fn give(&mut self, index: usize) {
        let bit = 1 << (index % 64);
        debug_assert!(self.taken[index / 64] & bit != 0, "freed twice");
        self.taken[index / 64] &= !bit;
        self.live -= 1;
    }

    /// Which quarter full it is, of spans that have both objects or touched pages, and room.
    pub(super) fn quarter(&self) -> usize {
        self.shape.map_or(0, |shape| self.live * 4 / shape.count)
    }

    /// The pages that it would take, from the first place on, if `elsewhere` of its objects went.
    pub(super) fn pages_without(&self, elsewhere: usize) -> usize {
        let left = self.live.saturating_sub(elsewhere);
        self.shape.map_or(0, |shape| pages(left * shape.bytes))
    }

    /// The places that are taken, with their owners.
    pub(super) fn taken(&self) -> Vec<(usize, u32)> {
        let is_taken = |index: &usize| self.taken[index / 64] & (1 << (index % 64)) != 0;
        let taken = (0..self.owners.len()).filter(is_taken);
        taken.map(|index| (index, self.owners[index])).collect()
    }

    /// Bytes of the books.
    pub(super) fn bytes(&self) -> usize {
        self.taken.capacity() * 8 + self.owners.capacity() * 4
    }
}

/// The memory of a span.
#[derive(Debug, Default)]
pub(super) struct Bytes {
    memory: Option<Mapping>,
    place_bytes: usize,
}

impl Bytes {
    /// Brings memory for objects that lie `place_bytes` apart.
    pub(super) fn begin(&mut self, place_bytes: usize) -> Result<(), Errno> {
        if self.memory.is_none() {
            let mut memory = Mapping::anonymous(SPAN_BYTES).map_err(|error| error.errno())?;
            // A huge page would take more than is touched. Kernels without huge pages refuse this.
            let _ = memory.advise(Advice::BasePages);
            self.memory = Some(memory);
        }
        self.place_bytes = place_bytes;
        Ok(())
    }

    /// Gives the memory back to the host. It must have no object.
    pub(super) fn end(&mut self) {
        let refused = |memory: &mut Mapping| memory.discard().is_err();
        // Locked memory (mlockall) cannot be discarded, but unmapped.
        if self.memory.as_mut().is_some_and(refused) {
            self.memory = None;
        }
    }

    fn range(&self, index: usize, len: usize) -> Range<usize> {
        let start = index * self.place_bytes;
        start..start + len
    }

    /// The bytes of an object; none if no object of this length can be there.
    pub(super) fn object(&self, index: usize, len: usize) -> &[u8] {
        let all = self.memory.as_ref().and_then(Mapping::as_slice);
        let object = all.and_then(|all| all.get(self.range(index, len)));
        object.unwrap_or_default()
    }

    /// Writes an object.
    pub(super) fn write(&mut self, index: usize, object: &[u8]) {
        let range = self.range(index, object.len());
        let all = self.memory.as_mut().and_then(Mapping::as_mut_slice);
        if let Some(place) = all.and_then(|all| all.get_mut(range)) {
            place.copy_from_slice(object);
        }
    }
}
