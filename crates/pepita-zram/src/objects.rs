//! [`Objects`]: what pages are stored as. An object may be the data of several pages.
//!
//! A page knows its object by a number, the object its place in the store, the store its owner's number. So an
//! object is moved, or compressed again, by one compare-and-swap of its *word*, whatever pages it has, and
//! whoever reads goes on.

use std::sync::Arc;

use pepita_mem::PAGE_SIZE;
use pepita_sys::error::Errno;

use crate::backing::Blocks;
use crate::chunked::Chunked;
use crate::counters::Counters;
use crate::dictionaries::{Dictionaries, DictionaryId};
use crate::duplicates::Duplicates;
use crate::store::{BEYOND_ANEW, BEYOND_MOVED, Place, Store, StoreError};
use crate::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, lock, sized};
use crate::threads::{self, Apart, SHARDS};

/// The number of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ObjectId(pub(crate) u32);

/// How an object's bytes are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// No bytes: each 8 bytes of the page are the object's hash.
    Filled,
    /// The page.
    Raw,
    /// An LZ4 block.
    Lz4,
    /// No bytes: the page is in a block of the backing device.
    Backed,
    /// A stream of deflate, with a dictionary or without.
    Deflate(DictionaryId),
}

impl Form {
    /// In the lowest three bits which form it is, above them its dictionary.
    const fn to_bits(self) -> u64 {
        match self {
            Self::Filled => 1,
            Self::Raw => 2,
            Self::Lz4 => 3,
            Self::Backed => 4,
            Self::Deflate(dictionary) => 5 | (dictionary.to_bits() << 3),
        }
    }
}

const _: () = assert!(Word::FORM_SHIFT + 3 + DictionaryId::BITS <= u64::BITS);

/// Where an object's bytes are, and what: in one number, with 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word(u64);

impl Word {
    const LEN_BITS: u32 = 13;
    const FORM_SHIFT: u32 = Place::BITS + Self::LEN_BITS;
    const NONE: Self = Self(0);

    fn new(form: Form, place: Place, len: usize) -> Self {
        let len = len as u64 & ((1 << Self::LEN_BITS) - 1);
        Self((form.to_bits() << Self::FORM_SHIFT) | (len << Place::BITS) | place.to_bits())
    }

    const fn filled() -> Self {
        Self(Form::Filled.to_bits() << Self::FORM_SHIFT)
    }

    const fn backed(block: u64) -> Self {
        Self((Form::Backed.to_bits() << Self::FORM_SHIFT) | block)
    }

    /// The block that the page was written back to.
    const fn block(self) -> Option<u64> {
        match self.form() {
            Some(Form::Backed) => Some(self.0 & ((1 << Self::FORM_SHIFT) - 1)),
            _ => None,
        }
    }

    const fn form(self) -> Option<Form> {
        let form = self.0 >> Self::FORM_SHIFT;
        match form & 7 {
            1 => Some(Form::Filled),
            2 => Some(Form::Raw),
            3 => Some(Form::Lz4),
            4 => Some(Form::Backed),
            5 => Some(Form::Deflate(DictionaryId::from_bits(form >> 3))),
            _ => None,
        }
    }

    /// Where its bytes are, and how many.
    const fn bytes(self) -> Option<(Place, usize)> {
        match self.form() {
            Some(Form::Raw | Form::Lz4 | Form::Deflate(_)) => {
                let len = (self.0 >> Place::BITS) & ((1 << Self::LEN_BITS) - 1);
                Some((Place::from_bits(self.0), len as usize))
            }
            _ => None,
        }
    }
}

/// An object's books.
#[derive(Debug, Default)]
pub(crate) struct Object {
    word: AtomicU64,
    /// Of the page.
    pub(crate) hash: AtomicU64,
    /// Pages that have it, and who looks at it as a possible duplicate.
    refs: AtomicU32,
    /// The next object in the chain of [`Duplicates`].
    pub(crate) next: AtomicU32,
    /// When it was last read or written, in seconds of the device's life, and [`IDLE`].
    used_at: AtomicU32,
    /// What it was last made dense with, or tried to be: the mark of a dictionary, or 0 for nothing.
    dense_with: AtomicU16,
}

/// The bit of an object that was marked as idle, and not used since.
const IDLE: u32 = 1 << 31;

impl Object {
    /// Notes that it is used.
    pub(crate) fn touch(&self, now: u32) {
        // Written only where it changes, so that readers of the same object do not take its line from each other.
        if self.used_at.load(Ordering::Relaxed) != now {
            self.used_at.store(now, Ordering::Relaxed);
        }
    }

    /// Whether it was not used after a second.
    pub(crate) fn is_unused(&self, second: u32) -> bool {
        self.used_at.load(Ordering::Relaxed) & !IDLE <= second
    }

    /// Marks it as idle if it was not used after `until`; says whether that is so.
    pub(crate) fn mark_idle(&self, until: u32) -> bool {
        let used_at = self.used_at.load(Ordering::Relaxed);
        let is_idle = self.is_unused(until);
        if is_idle {
            // Who uses it meanwhile has it not idle.
            let (set, seen) = (Ordering::Relaxed, Ordering::Relaxed);
            let _ = self
                .used_at
                .compare_exchange(used_at, used_at | IDLE, set, seen);
        }
        is_idle
    }

    /// Whether it is known to be stored as densely as can be with a dictionary.
    pub(crate) fn is_dense(&self, with: DictionaryId) -> bool {
        self.dense_with.load(Ordering::Relaxed) == with.mark()
    }

    /// Notes that it is.
    pub(crate) fn set_dense(&self, with: DictionaryId) {
        self.dense_with.store(with.mark(), Ordering::Relaxed);
    }

    /// Whether it was marked as idle, and not used since.
    pub(crate) fn is_idle(&self) -> bool {
        self.used_at.load(Ordering::Relaxed) & IDLE != 0
    }

    /// One more user, unless it is on its way out.
    pub(crate) fn pin(&self) -> bool {
        let more = |refs: u32| refs.checked_add(1).filter(|_| refs > 0);
        self.refs
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, more)
            .is_ok()
    }
}

/// Numbers that a thread takes at once, so that threads that write do not have the books of their objects in the same
/// cache lines. The books of so many are made together.
#[expect(clippy::cast_possible_truncation, reason = "a few")]
const BATCH: u32 = sized(32, 4) as u32;

/// All objects of a device.
#[derive(Debug)]
pub(crate) struct Objects {
    all: Chunked<Object>,
    capacity: u32,
    used: AtomicU32,
    /// Numbers that nothing has, by the threads that are to take them.
    free: [Apart<Mutex<Vec<u32>>>; SHARDS],
    pub(crate) store: Store,
    pub(crate) dictionaries: Arc<Dictionaries>,
    duplicates: Option<Duplicates>,
    blocks: Option<Blocks>,
    counters: Counters<3>,
}

/// Counts of [`Objects`].
#[derive(Debug, Clone, Copy)]
enum Count {
    /// Objects with bytes.
    Stored,
    /// Their bytes.
    Bytes,
    /// Those that are raw pages.
    Raw,
}

impl Objects {
    /// Room for `max` objects.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn new(
        max: u32,
        duplicates: Option<Duplicates>,
        blocks: Option<Blocks>,
    ) -> Result<Self, Errno> {
        Ok(Self {
            all: Chunked::new(max as usize)?,
            capacity: max,
            used: AtomicU32::new(0),
            free: Default::default(),
            store: Store::new(u64::from(max))?,
            dictionaries: Arc::default(),
            duplicates,
            blocks,
            counters: Counters::default(),
        })
    }

    /// An object with one user: `bytes` in `form`, of a page with this `hash`.
    ///
    /// # Errors
    /// When there is no memory; nothing has changed then.
    pub(crate) fn insert(
        &self,
        form: Form,
        bytes: &[u8],
        hash: u64,
        used_at: u32,
    ) -> Result<ObjectId, StoreError> {
        let id = self.new_id()?;
        let word = if bytes.is_empty() {
            Word::filled()
        } else {
            match self.store.insert(id.0, bytes) {
                Ok(place) => Word::new(form, place, bytes.len()),
                Err(error) => {
                    lock(&self.free[threads::shard()].0).push(id.0);
                    return Err(error);
                }
            }
        };
        let object = self.get(id);
        object.hash.store(hash, Ordering::Relaxed);
        object.used_at.store(used_at, Ordering::Relaxed);
        object.dense_with.store(0, Ordering::Relaxed);
        object.word.store(word.0, Ordering::Release);
        self.count(form, bytes.len(), 1);
        if let Some(duplicates) = self.duplicates.as_ref().filter(|_| !bytes.is_empty()) {
            duplicates.insert(hash, id, |id| self.get(id));
        }
        // Whoever finds it from here on may write it back, and takes it out of the duplicates for good.
        object.refs.store(1, Ordering::Release);
        Ok(id)
    }

    fn count(&self, form: Form, len: usize, sign: i64) {
        if len > 0 {
            self.counters.add(Count::Stored as usize, sign);
            let len = i64::try_from(len).unwrap_or_default();
            self.counters.add(Count::Bytes as usize, sign * len);
        }
        match form {
            Form::Raw => self.counters.add(Count::Raw as usize, sign),
            Form::Deflate(dictionary) => self.dictionaries.count(dictionary, sign),
            _ => {}
        }
    }

    /// Objects that have bytes.
    pub(crate) fn stored(&self) -> u64 {
        self.counters.sum(Count::Stored as usize)
    }

    /// The bytes of all objects.
    pub(crate) fn bytes(&self) -> u64 {
        self.counters.sum(Count::Bytes as usize)
    }

    /// Objects that are raw pages.
    pub(crate) fn raw(&self) -> u64 {
        self.counters.sum(Count::Raw as usize)
    }

    /// An object of a page with this `hash` that is `equal`, with one more user.
    pub(crate) fn share(
        &self,
        hash: u64,
        mut equal: impl FnMut(Form, &[u8]) -> bool,
    ) -> Option<ObjectId> {
        let duplicates = self.duplicates.as_ref()?;
        // With the hash of another page in the way, the next ones are looked at; few are enough.
        for nth in 0..4 {
            let id = duplicates.nth(hash, nth, |id| self.get(id))?;
            if self.read(id, &mut equal) {
                return Some(id);
            }
            // Nobody else may have it by now.
            self.release(id);
        }
        None
    }

    /// Calls `f` with the object's form and bytes. The caller is one of its users.
    pub(crate) fn read<R>(&self, id: ObjectId, f: impl FnOnce(Form, &[u8]) -> R) -> R {
        let object = self.get(id);
        loop {
            let word = Word(object.word.load(Ordering::Acquire));
            let form = word.form().expect("its users keep it");
            let Some((place, len)) = word.bytes() else {
                return f(form, &[]);
            };
            let reader = self.store.reader(place);
            // Else it has just moved.
            if object.word.load(Ordering::Acquire) == word.0 {
                return f(form, reader.object(len));
            }
        }
    }

    /// How the object's bytes are to be read. The caller is one of its users.
    pub(crate) fn form(&self, id: ObjectId) -> Form {
        let word = Word(self.get(id).word.load(Ordering::Acquire));
        word.form().expect("its users keep it")
    }

    /// The block that the object was written back to. The caller is one of its users.
    pub(crate) fn block(&self, id: ObjectId) -> Option<u64> {
        Word(self.get(id).word.load(Ordering::Acquire)).block()
    }

    /// A block for an object; none if there is none.
    pub(crate) fn take_block(&self) -> Option<u64> {
        self.blocks.as_ref()?.take()
    }

    /// Frees a block that no object has.
    pub(crate) fn give_block(&self, block: u64) {
        if let Some(blocks) = &self.blocks {
            blocks.give(block);
        }
    }

    /// Sets a block that no object has, and that could not be written, aside.
    pub(crate) fn give_bad_block(&self, block: u64) {
        if let Some(blocks) = &self.blocks {
            blocks.give_bad(block);
        }
    }

    /// Frees what was set aside.
    pub(crate) fn forget_bad_blocks(&self) {
        if let Some(blocks) = &self.blocks {
            blocks.forget_bad();
        }
    }

    /// Blocks that were set aside.
    pub(crate) fn bad_blocks(&self) -> u64 {
        self.blocks.as_ref().map_or(0, Blocks::bad)
    }

    /// Blocks that objects have, or are about to have.
    pub(crate) fn blocks_in_use(&self) -> u64 {
        self.blocks.as_ref().map_or(0, Blocks::in_use)
    }

    /// Notes that the object, of which the caller is a user, is in `block` by now, and frees its memory; false, and the
    /// block is free, if it is in another one.
    pub(crate) fn set_backed(&self, id: ObjectId, block: u64) -> bool {
        let object = self.get(id);
        let mut word = Word(object.word.load(Ordering::Acquire));
        while let (Some((place, len)), Some(form)) = (word.bytes(), word.form()) {
            let (set, seen) = (Ordering::AcqRel, Ordering::Acquire);
            let new = Word::backed(block).0;
            match object.word.compare_exchange(word.0, new, set, seen) {
                Ok(_) => {
                    self.leave_duplicates(id);
                    self.store.remove(place);
                    self.count(form, len, -1);
                    return true;
                }
                Err(moved) => word = Word(moved),
            }
        }
        self.give_block(block);
        false
    }

    /// Stores the same page in another form, and frees what it was. The caller is one of the object's users.
    ///
    /// # Errors
    /// When there is no memory, where the limit may be passed by some pages; nothing has changed then.
    pub(crate) fn replace(&self, id: ObjectId, form: Form, bytes: &[u8]) -> Result<(), StoreError> {
        let object = self.get(id);
        let to = self.store.insert_beyond(id.0, bytes, BEYOND_ANEW)?;
        let new = Word::new(form, to, bytes.len());
        let mut word = Word(object.word.load(Ordering::Acquire));
        while let (Some((place, len)), Some(old)) = (word.bytes(), word.form()) {
            let (set, seen) = (Ordering::AcqRel, Ordering::Acquire);
            match object.word.compare_exchange(word.0, new.0, set, seen) {
                Ok(_) => {
                    self.count(form, bytes.len(), 1);
                    self.store.remove(place);
                    self.count(old, len, -1);
                    return Ok(());
                }
                Err(moved) => word = Word(moved),
            }
        }
        // It was written back.
        self.store.remove(to);
        Ok(())
    }

    /// Nobody else finds it as a duplicate.
    fn leave_duplicates(&self, id: ObjectId) {
        if let Some(duplicates) = &self.duplicates {
            let hash = self.get(id).hash.load(Ordering::Relaxed);
            duplicates.remove(hash, id, |id| self.get(id));
        }
    }

    /// Objects from a number on, with one more user each, which is to be released.
    pub(crate) fn pin_each(&self, from: u32) -> impl Iterator<Item = (ObjectId, &Object)> {
        let pinned = self
            .all
            .iter_from(from as usize)
            .filter(|(_, object)| object.pin());
        pinned.filter_map(|(index, object)| Some((ObjectId(u32::try_from(index).ok()?), object)))
    }

    /// One user less; says what the object was like, if it was the last one.
    pub(crate) fn release(&self, id: ObjectId) -> Option<Form> {
        let object = self.get(id);
        if object.refs.fetch_sub(1, Ordering::AcqRel) != 1 {
            return None;
        }
        let word = Word(object.word.swap(Word::NONE.0, Ordering::AcqRel));
        let form = word.form()?;
        if let Some((place, len)) = word.bytes() {
            self.leave_duplicates(id);
            self.store.remove(place);
            self.count(form, len, -1);
        }
        if let Some(block) = word.block() {
            self.give_block(block);
        }
        lock(&self.free[threads::shard()].0).push(id.0);
        Some(form)
    }

    /// The books of an object.
    pub(crate) fn get(&self, id: ObjectId) -> &Object {
        self.all.get(id.0 as usize).expect("made with its number")
    }

    /// Moves objects together, and says how many pages that gave back to the host.
    pub(crate) fn compact(&self) -> u64 {
        let mut copy = Vec::with_capacity(PAGE_SIZE);
        self.store.compact(|owner, from| {
            let object = self.get(ObjectId(owner));
            let word = Word(object.word.load(Ordering::Acquire));
            let Some((place, len)) = word.bytes().filter(|(place, _)| *place == from) else {
                return; // it is being stored, or freed
            };
            copy.clear();
            copy.extend_from_slice(self.store.reader(place).object(len));
            let Some(form) = word.form() else { return };
            // Freed meanwhile, the bytes may be another object's, and as many; then they or the word differ below.
            if copy.len() != len {
                return;
            }
            if let Ok(to) = self.store.insert_beyond(owner, &copy, BEYOND_MOVED) {
                let new = Word::new(form, to, len);
                let (set, seen) = (Ordering::AcqRel, Ordering::Relaxed);
                // Another object may have the number and the place by now, hence the same word. Nothing is written there
                // while it is read.
                let reader = self.store.reader(place);
                let is_same = *reader.object(len) == *copy;
                let is_moved = is_same
                    && object
                        .word
                        .compare_exchange(word.0, new.0, set, seen)
                        .is_ok();
                drop(reader);
                self.store.remove(if is_moved { place } else { to });
            }
        })
    }

    /// Bytes of the books, the store's included.
    pub(crate) fn metadata_bytes(&self) -> u64 {
        let free = self.free.iter().map(|ids| lock(&ids.0).capacity() * 4);
        let books = self.all.bytes() + free.sum::<usize>();
        let chains = self.duplicates.as_ref().map_or(0, Duplicates::bytes);
        let blocks = self.blocks.as_ref().map_or(0, Blocks::bytes);
        let (_, dictionaries) = self.dictionaries.held();
        (books + chains + blocks) as u64 + dictionaries + self.store.metadata_bytes()
    }

    fn new_id(&self) -> Result<ObjectId, StoreError> {
        let own = &self.free[threads::shard()].0;
        if let Some(id) = lock(own).pop() {
            return Ok(ObjectId(id));
        }
        // What others gave back comes first: its books are there.
        let mut ids = self.free.iter().map(|ids| last_of(&mut lock(&ids.0)));
        let mut ids = match ids.find(|ids| !ids.is_empty()) {
            Some(ids) => ids,
            None => self.fresh()?,
        };
        let id = ids.pop().ok_or(StoreError::Host(Errno::ENOMEM))?;
        lock(own).append(&mut ids);
        Ok(ObjectId(id))
    }

    /// Numbers that nothing ever had, with books; none if there are no more.
    fn fresh(&self) -> Result<Vec<u32>, StoreError> {
        let (set, seen) = (Ordering::Relaxed, Ordering::Relaxed);
        let mut first = self.used.load(Ordering::Relaxed);
        while first < self.capacity {
            let end = (first + BATCH).min(self.capacity);
            self.all.get_or_make(first as usize)?;
            match self.used.compare_exchange_weak(first, end, set, seen) {
                Ok(_) => return Ok((first..end).rev().collect()),
                Err(used) => first = used,
            }
        }
        Ok(Vec::new())
    }
}

/// Takes the last few of `ids`.
fn last_of(ids: &mut Vec<u32>) -> Vec<u32> {
    ids.drain(ids.len().saturating_sub(BATCH as usize)..)
        .collect()
}

#[cfg(all(test, pepita_loom))]
mod models;

#[cfg(test)]
impl Objects {
    /// Changes a byte in the middle of an object.
    pub(crate) fn corrupt(&self, id: ObjectId) {
        let word = Word(self.get(id).word.load(Ordering::Acquire));
        let (place, len) = word.bytes().expect("it has bytes");
        self.store.corrupt(place, len / 2);
    }
}
