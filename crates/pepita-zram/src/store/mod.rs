//! [`Store`]: memory for objects of 1 to 4096 bytes, of which little is wasted and all is given back.
//!
//! Objects of about the same size (a *class*) share *spans* of 16 pages. They lie end to end, so most of them
//! cross pages, as in the kernel's zsmalloc; a span's addresses are contiguous, so none is in pieces. The first
//! place that is free is taken, hence pages that were never needed were never touched, and take no memory.
//! A span without objects is given back to the host; [`Store::compact`] makes such spans.
//!
//! A class has some *arenas*, each for the threads of some numbers: threads that write at once do so in different
//! spans. An arena that needs a span takes it over from another one that has several, or does not use the one it has.
//!
//! # Locks
//! Each arena of a class has one, for its lists, which is held while a place is looked up; each span has one for its
//! bytes, held for reading while an object is read. They are taken in this order. An object is never changed.

mod arenas;
mod classes;
mod compact;
mod span;

use pepita_mem::PAGE_SIZE;
use pepita_sys::error::Errno;

use crate::chunked::Chunked;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, RwLockReadGuard, lock, read, write};
use crate::threads::Apart;
use arenas::{ARENAS, Lists, ListsId};
pub(crate) use classes::Sizes;
use classes::{SPAN_OBJECTS_MAX, SPAN_PAGES};
use span::{Book, Bytes, Span};

/// Pages beyond the limit that objects may take which are stored anew, since what they were is freed then, if not at once
/// by whole pages.
pub(crate) const BEYOND_ANEW: u64 = SPAN_PAGES as u64;

/// The same for objects that are moved, which frees more than it takes: at the limit, too, when it is passed.
pub(crate) const BEYOND_MOVED: u64 = 2 * BEYOND_ANEW;

/// The most spans: what a place has bits for.
const SPANS_MAX: u64 = 1 << Place::SPAN_BITS;

/// Where an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    span: u32,
    index: u16,
}

impl Place {
    const SPAN_BITS: u32 = 26;
    const INDEX_BITS: u32 = SPAN_OBJECTS_MAX.trailing_zeros();

    /// Bits of a place as a number.
    pub(crate) const BITS: u32 = Self::SPAN_BITS + Self::INDEX_BITS;

    pub(crate) fn to_bits(self) -> u64 {
        (u64::from(self.span) << Self::INDEX_BITS) | u64::from(self.index)
    }

    /// The place of the lowest [`BITS`](Self::BITS).
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self {
            span: ((bits >> Self::INDEX_BITS) & ((1 << Self::SPAN_BITS) - 1)) as u32,
            index: (bits & ((1 << Self::INDEX_BITS) - 1)) as u16,
        }
    }
}

/// An object that wants a place.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    owner: u32,
    len: usize,
    /// Pages by which it may pass the limit.
    beyond: u64,
}

/// Why an object cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreError {
    /// The memory limit.
    Limit,
    /// The host has no memory.
    Host(Errno),
}

impl From<Errno> for StoreError {
    fn from(errno: Errno) -> Self {
        Self::Host(errno)
    }
}

/// Memory for objects; see the module.
#[derive(Debug)]
pub(crate) struct Store {
    sizes: Sizes,
    /// Of each class and arena, by their [`ListsId`].
    lists: Box<[Apart<Mutex<Lists>>]>,
    spans: Chunked<Span>,
    /// Spans without memory.
    unused: Mutex<Vec<u32>>,
    spans_used: AtomicU32,
    /// In pages; the most that there may be, and what there is and was.
    limit: AtomicU64,
    mapped: AtomicU64,
    mapped_max: AtomicU64,
    compacting: Mutex<()>,
}

impl Store {
    /// A store of at most `objects_max` objects.
    ///
    /// # Errors
    /// `ENOMEM`, also for more objects than a store can have.
    pub(crate) fn new(objects_max: u64) -> Result<Self, Errno> {
        let sizes = Sizes::new();
        // A span for each object is the worst that there can be, and one that is kept for each class.
        let spans = (objects_max + sizes.shapes().len() as u64).min(SPANS_MAX);
        Ok(Self {
            lists: (0..sizes.shapes().len() * ARENAS)
                .map(|_| Apart::default())
                .collect(),
            sizes,
            spans: Chunked::new(usize::try_from(spans).map_err(|_| Errno::ENOMEM)?)?,
            unused: Mutex::default(),
            spans_used: AtomicU32::new(0),
            limit: AtomicU64::new(u64::MAX),
            mapped: AtomicU64::new(0),
            mapped_max: AtomicU64::new(0),
            compacting: Mutex::default(),
        })
    }

    /// Sets the most bytes of memory that objects may take. What they have stays.
    pub(crate) fn set_limit(&self, bytes: Option<u64>) {
        let pages = bytes.map_or(u64::MAX, |bytes| bytes / PAGE_SIZE as u64);
        self.limit.store(pages, Ordering::Relaxed);
    }

    /// Bytes of memory that objects take, the books left out: pages that were written to.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.mapped.load(Ordering::Relaxed) * PAGE_SIZE as u64
    }

    /// The most that it has been, since [`reset_peak`](Self::reset_peak).
    pub(crate) fn mapped_bytes_max(&self) -> u64 {
        self.mapped_max.load(Ordering::Relaxed) * PAGE_SIZE as u64
    }

    /// Lets the most begin with what there is.
    pub(crate) fn reset_peak(&self) {
        let mapped = self.mapped.load(Ordering::Relaxed);
        self.mapped_max.store(mapped, Ordering::Relaxed);
    }

    /// Bytes of the books.
    pub(crate) fn metadata_bytes(&self) -> u64 {
        let books = self.spans.iter().map(|(_, span)| lock(&span.book).bytes());
        (self.spans.bytes() + size_of_val::<[_]>(&self.lists) + books.sum::<usize>()) as u64
    }

    /// Stores `object` for `owner`, whose number [`compact`](Self::compact) tells.
    ///
    /// # Errors
    /// When there is no memory; nothing has changed then.
    ///
    /// # Panics
    /// If `object` is empty or longer than a page.
    pub(crate) fn insert(&self, owner: u32, object: &[u8]) -> Result<Place, StoreError> {
        self.insert_in(arenas::of_thread(), owner, object, 0)
    }

    /// The same, where the limit may be passed by some pages.
    pub(crate) fn insert_beyond(
        &self,
        owner: u32,
        object: &[u8],
        pages: u64,
    ) -> Result<Place, StoreError> {
        self.insert_in(arenas::of_thread(), owner, object, pages)
    }

    /// The same in an arena.
    fn insert_in(
        &self,
        arena: usize,
        owner: u32,
        object: &[u8],
        beyond: u64,
    ) -> Result<Place, StoreError> {
        let len = object.len();
        let class = self.sizes.class_of(len).expect("1 to 4096 bytes");
        let wanted = Wanted { owner, len, beyond };
        let (span_id, index) = self.take(ListsId::new(class, arena), wanted)?;
        let span = self.span(span_id);
        let mut bytes = write(&span.bytes);
        bytes.write(index, object);
        Ok(Place {
            span: span_id,
            index: u16::try_from(index).unwrap_or_default(),
        })
    }

    /// Frees the place of an object. Who calls it is the only one to do so.
    pub(crate) fn remove(&self, place: Place) {
        let span = self.span(place.span);
        let mut lists = self.lists_of(span);
        let mut book = lock(&span.book);
        let was_full = book.free() == 0;
        book.give(usize::from(place.index));
        // A page is kept, or who writes and frees in turn would have it brought each time.
        if book.live() == 0 && book.touched > 1 {
            lists.take_out(self, &mut book);
            self.close(place.span, span, lists, book);
        } else if book.listed.is_some() || was_full {
            lists.put(self, place.span, &mut book);
        }
    }

    /// Locks what `place` is in against changes of its bytes, to read an object there.
    pub(crate) fn reader(&self, place: Place) -> Reader<'_> {
        let bytes = &self.span(place.span).bytes;
        Reader {
            bytes: read(bytes),
            index: usize::from(place.index),
        }
    }

    /// A place in a span of these lists, in one that they take over, or else in an empty one.
    fn take(&self, own: ListsId, wanted: Wanted) -> Result<(u32, usize), StoreError> {
        if let Some(taken) = self.take_open(&mut lock(self.lists(own)), wanted) {
            return Ok(taken);
        }
        if self.take_over(own)
            && let Some(taken) = self.take_open(&mut lock(self.lists(own)), wanted)
        {
            return Ok(taken);
        }
        let error = {
            let mut lists = lock(self.lists(own));
            match self.open(own, &mut lists, wanted.beyond) {
                Ok(()) => match self.take_open(&mut lists, wanted) {
                    Some(taken) => return Ok(taken),
                    None => StoreError::Limit,
                },
                Err(error) => error,
            }
        };
        // Without more memory, what others have open serves as well.
        let others = own.others();
        let taken = others.map(|id| self.take_open(&mut lock(self.lists(id)), wanted));
        taken.flatten().next().ok_or(error)
    }

    /// A place in an open span, from the fullest on; none if there is none within the limit.
    fn take_open(&self, lists: &mut Lists, wanted: Wanted) -> Option<(u32, usize)> {
        for quarter in (0..lists.open.len()).rev() {
            for at in (0..lists.open[quarter].len()).rev() {
                let id = lists.open[quarter][at];
                let mut book = lock(&self.span(id).book);
                let Some((index, touched)) = book.first_free(wanted.len) else {
                    continue;
                };
                if !self.charge(touched - book.touched, wanted.beyond) {
                    continue; // another may do without a new page
                }
                book.take(index, wanted.owner, touched);
                lists.is_used = true;
                lists.put(self, id, &mut book);
                return Some((id, index));
            }
        }
        None
    }

    /// Adds an empty span to the lists.
    fn open(&self, own: ListsId, lists: &mut Lists, beyond: u64) -> Result<(), StoreError> {
        if self.mapped.load(Ordering::Relaxed) >= self.limit_and(beyond) {
            return Err(StoreError::Limit);
        }
        let unused = lock(&self.unused).pop();
        let id = unused.map_or_else(|| self.new_span(), Ok)?;
        let span = self.span(id);
        let shape = self.sizes.shapes()[own.class()];
        let mut bytes = write(&span.bytes);
        if let Err(errno) = bytes.begin(shape.bytes) {
            lock(&self.unused).push(id);
            return Err(StoreError::Host(errno));
        }
        drop(bytes);
        span.lists.store(own.0, Ordering::Relaxed);
        let mut book = lock(&span.book);
        book.begin(shape);
        lists.put(self, id, &mut book);
        Ok(())
    }

    /// A span that was never used.
    fn new_span(&self) -> Result<u32, StoreError> {
        let next = |used: u32| {
            used.checked_add(1)
                .filter(|used| u64::from(*used) < SPANS_MAX)
        };
        let (set, seen) = (Ordering::Relaxed, Ordering::Relaxed);
        let id = self.spans_used.fetch_update(set, seen, next);
        let id = id.map_err(|_| StoreError::Host(Errno::ENOMEM))?;
        if let Err(errno) = self.spans.get_or_make(id as usize) {
            return Err(StoreError::Host(errno));
        }
        Ok(id)
    }

    /// Gives the memory of a span without objects back; it is in no list of its `lists`.
    fn close(
        &self,
        id: u32,
        span: &Span,
        lists: MutexGuard<'_, Lists>,
        mut book: MutexGuard<'_, Book>,
    ) {
        span.lists.store(ListsId::NONE.0, Ordering::Relaxed);
        drop(lists);
        let touched = std::mem::take(&mut book.touched);
        drop(book);
        let mut bytes = write(&span.bytes);
        bytes.end();
        drop(bytes);
        self.mapped.fetch_sub(touched as u64, Ordering::Relaxed);
        lock(&self.unused).push(id);
    }

    /// The limit and some pages.
    fn limit_and(&self, beyond: u64) -> u64 {
        self.limit.load(Ordering::Relaxed).saturating_add(beyond)
    }

    /// Whether objects take more pages than the limit.
    pub(crate) fn is_beyond(&self) -> bool {
        self.mapped.load(Ordering::Relaxed) > self.limit_and(0)
    }

    /// Counts pages that are about to be touched; false if that is more than the limit and `beyond`.
    fn charge(&self, pages: usize, beyond: u64) -> bool {
        if pages == 0 {
            return true;
        }
        let mapped = self.mapped.fetch_add(pages as u64, Ordering::Relaxed) + pages as u64;
        if mapped > self.limit_and(beyond) {
            self.mapped.fetch_sub(pages as u64, Ordering::Relaxed);
            return false;
        }
        if mapped > self.mapped_max.load(Ordering::Relaxed) {
            self.mapped_max.fetch_max(mapped, Ordering::Relaxed);
        }
        true
    }

    fn span(&self, id: u32) -> &Span {
        self.spans.get(id as usize).expect("a place is in a span")
    }
}

/// An object that nobody changes meanwhile.
#[derive(Debug)]
pub(crate) struct Reader<'s> {
    bytes: RwLockReadGuard<'s, Bytes>,
    index: usize,
}

impl Reader<'_> {
    /// The object's bytes, if it has `len`; none if no such object can be there.
    pub(crate) fn object(&self, len: usize) -> &[u8] {
        self.bytes.object(self.index, len)
    }
}

#[cfg(test)]
impl Store {
    /// Changes a byte of an object.
    pub(crate) fn corrupt(&self, place: Place, at: usize) {
        let mut bytes = self.span(place.span).bytes.write().expect("no panic");
        let mut object = bytes.object(usize::from(place.index), at + 1).to_vec();
        object[at] ^= 0x10;
        bytes.write(usize::from(place.index), &object);
    }
}

#[cfg(all(test, pepita_loom))]
pub(crate) mod models;
#[cfg(test)]
mod tests;
