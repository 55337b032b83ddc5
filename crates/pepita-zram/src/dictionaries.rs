//! [`Dictionaries`]: those that a device's dense objects were made with, the one for new objects among them.
//!
//! # Invariants
//! * *known*: a dictionary is here as long as an object was made with it, or somebody is about to make one.

use std::sync::Arc;

use crate::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use crate::sync::{self, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The most dictionaries at once: the one for new objects, and others until their objects have it, or are gone.
pub(crate) const DICTIONARIES_MAX: usize = 4;

/// The number of a dictionary; 0 is no dictionary, which needs no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct DictionaryId(u16);

impl DictionaryId {
    /// No dictionary.
    pub(crate) const NONE: Self = Self(0);

    /// Bits of the number.
    pub(crate) const BITS: u32 = 10;

    pub(crate) const fn to_bits(self) -> u64 {
        self.0 as u64
    }

    /// The number of the lowest [`BITS`](Self::BITS).
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self((bits & ((1 << Self::BITS) - 1)) as u16)
    }

    /// A mark for what was made with it; 0 is none's.
    pub(crate) const fn mark(self) -> u16 {
        self.0 + 1
    }
}

/// A dictionary.
#[derive(Debug)]
pub(crate) struct Dictionary {
    pub(crate) id: DictionaryId,
    pub(crate) bytes: Box<[u8]>,
    /// Objects that were made with it. One may be freed before it was counted by who made it.
    objects: AtomicI64,
}

/// The dictionaries of a device.
#[derive(Debug, Default)]
pub(crate) struct Dictionaries {
    table: RwLock<Table>,
    /// The write from which on upkeep trains another one.
    pub(crate) next_at: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    all: Vec<Arc<Dictionary>>,
    current: DictionaryId,
    last: DictionaryId,
}

impl Dictionaries {
    fn read(&self) -> RwLockReadGuard<'_, Table> {
        sync::read(&self.table)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        sync::write(&self.table)
    }

    /// The one for new objects, if there is one. Who makes an object keeps this until it is counted (*known*).
    pub(crate) fn current(&self) -> Option<Arc<Dictionary>> {
        let table = self.read();
        table.find(table.current).cloned()
    }

    /// The number of the one for new objects.
    pub(crate) fn current_id(&self) -> DictionaryId {
        self.read().current
    }

    /// The one of a number; none if no object has it any more.
    pub(crate) fn get(&self, id: DictionaryId) -> Option<Arc<Dictionary>> {
        self.read().find(id).cloned()
    }

    /// Counts objects that were made with one, or are gone.
    pub(crate) fn count(&self, id: DictionaryId, sign: i64) {
        if id != DictionaryId::NONE
            && let Some(dictionary) = self.read().find(id)
        {
            dictionary.objects.fetch_add(sign, Ordering::AcqRel);
        }
    }

    /// Makes `bytes` the dictionary for new objects; false if there are too many that objects still have.
    pub(crate) fn set(&self, bytes: Vec<u8>) -> bool {
        let mut table = self.write();
        table.current = DictionaryId::NONE;
        let before = table.all.last().map(|dictionary| dictionary.id);
        table.prune();
        if table.all.len() == DICTIONARIES_MAX {
            table.current = before.unwrap_or_default();
            return false;
        }
        // Numbers come again after 1022 others, and one that objects have is not taken.
        let mut id = table.last;
        loop {
            id = DictionaryId::from_bits(id.to_bits() + 1);
            if id != DictionaryId::NONE && table.find(id).is_none() {
                break;
            }
        }
        (table.current, table.last) = (id, id);
        table.all.push(Arc::new(Dictionary {
            id,
            bytes: bytes.into_boxed_slice(),
            objects: AtomicI64::new(0),
        }));
        true
    }

    /// Lets go of those that no object has, but for the one for new objects.
    pub(crate) fn prune(&self) {
        self.write().prune();
    }

    /// New objects are made without one.
    pub(crate) fn unset(&self) {
        let mut table = self.write();
        table.current = DictionaryId::NONE;
        table.prune();
        self.next_at.store(0, Ordering::Relaxed);
    }

    /// How many there are, and their bytes.
    pub(crate) fn held(&self) -> (u64, u64) {
        let table = self.read();
        let bytes = table
            .all
            .iter()
            .map(|dictionary| dictionary.bytes.len() as u64);
        (table.all.len() as u64, bytes.sum())
    }
}

impl Table {
    fn find(&self, id: DictionaryId) -> Option<&Arc<Dictionary>> {
        self.all.iter().find(|dictionary| dictionary.id == id)
    }

    fn prune(&mut self) {
        let current = self.current;
        self.all.retain_mut(|dictionary| {
            dictionary.id == current
                // Somebody makes an object with it, or reads one.
                || Arc::get_mut(dictionary).is_none_or(|only| only.objects.load(Ordering::Relaxed) != 0)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_stays_while_an_object_has_it_or_is_being_made_with_it() {
        let all = Dictionaries::default();
        assert!(all.current().is_none());
        assert!(all.set(vec![1]));
        let first = all.current().expect("it was set");
        assert!(all.set(vec![2; 10]));
        assert_eq!(all.held(), (2, 11), "who makes an object has the first");
        all.count(first.id, 1);
        let id = first.id;
        drop(first);
        all.prune();
        assert_eq!(all.get(id).expect("an object has it").bytes[..], [1]);
        all.count(id, -1);
        all.prune();
        assert!(all.get(id).is_none());
        assert_eq!(all.held(), (1, 10));
        all.unset();
        assert_eq!(all.held(), (0, 0));
    }

    #[test]
    fn with_too_many_that_objects_have_the_last_one_stays_the_one_for_new_objects() {
        let all = Dictionaries::default();
        for number in 0..4 {
            assert!(all.set(vec![number]));
            all.count(all.current_id(), 1);
        }
        assert!(!all.set(vec![4]));
        assert_eq!(all.current().expect("there is one").bytes[..], [3]);
        let oldest = all.read().all[0].id;
        all.count(oldest, -1);
        assert!(all.set(vec![4]));
        assert_eq!(all.current().expect("there is one").bytes[..], [4]);
    }

    #[test]
    fn a_number_that_an_object_has_is_not_given_again() {
        let all = Dictionaries::default();
        assert!(all.set(vec![0]));
        let kept = all.current_id();
        all.count(kept, 1);
        for _ in 0..2100 {
            assert!(all.set(vec![1]));
            assert_ne!(all.current_id(), kept);
            assert_ne!(all.current_id(), DictionaryId::NONE);
        }
        assert_eq!(all.get(kept).expect("an object has it").bytes[..], [0]);
    }
}
