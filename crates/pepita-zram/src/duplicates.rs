//! [`Duplicates`]: finds the objects of pages that are the same, by a hash of the page.

use crate::objects::{Object, ObjectId};
use crate::sync::atomic::Ordering;
use crate::sync::{Mutex, MutexGuard, lock, sized};
use crate::threads::Apart;

/// Locks, each for a share of the hashes.
const STRIPES: usize = sized(64, 1);

/// Chains of objects whose hashes have some bits in common. An object has the number of the next one plus 1,
/// and 0 at the end.
#[derive(Debug, Default)]
pub(crate) struct Duplicates {
    stripes: Box<[Stripe]>,
}

type Stripe = Apart<Mutex<Chains>>;

/// The chains of a stripe: a power of two, and about as many as there are objects.
#[derive(Debug, Default)]
struct Chains {
    heads: Vec<u32>,
    objects: usize,
}

impl Chains {
    /// Where the chain of a hash begins. The lowest bits have chosen the stripe.
    const fn bucket(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.heads.len() - 1)
    }

    fn push(&mut self, hash: u64, id: ObjectId, object: &Object) {
        let bucket = self.bucket(hash);
        object.next.store(self.heads[bucket], Ordering::Relaxed);
        self.heads[bucket] = id.0 + 1;
    }

    /// Makes twice as many chains. Without memory they stay, and grow longer.
    fn grow<'o>(&mut self, get: impl Fn(ObjectId) -> &'o Object) {
        let mut heads = Vec::new();
        let more = (self.heads.len() * 2).max(16);
        if heads.try_reserve_exact(more).is_err() {
            return;
        }
        heads.resize(more, 0);
        for mut at in std::mem::replace(&mut self.heads, heads) {
            while let Some(number) = at.checked_sub(1) {
                let object = get(ObjectId(number));
                at = object.next.load(Ordering::Relaxed);
                self.push(
                    object.hash.load(Ordering::Relaxed),
                    ObjectId(number),
                    object,
                );
            }
        }
    }
}

impl Duplicates {
    pub(crate) fn new() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Stripe::default()).collect(),
        }
    }

    /// Adds an object. Where there is no memory for it, it is left out.
    pub(crate) fn insert<'o>(&self, hash: u64, id: ObjectId, get: impl Fn(ObjectId) -> &'o Object) {
        let mut chains = self.chains(hash);
        if chains.objects >= chains.heads.len() {
            chains.grow(&get);
        }
        if !chains.heads.is_empty() {
            chains.objects += 1;
            chains.push(hash, id, get(id));
        }
    }

    /// Takes an object out, if it is there.
    pub(crate) fn remove<'o>(&self, hash: u64, id: ObjectId, get: impl Fn(ObjectId) -> &'o Object) {
        let mut chains = self.chains(hash);
        if chains.heads.is_empty() {
            return;
        }
        let bucket = chains.bucket(hash);
        let next = get(id).next.load(Ordering::Relaxed);
        let mut at = chains.heads[bucket];
        if at == id.0 + 1 {
            chains.heads[bucket] = next;
            chains.objects -= 1;
            return;
        }
        while let Some(number) = at.checked_sub(1) {
            let object = get(ObjectId(number));
            at = object.next.load(Ordering::Relaxed);
            if at == id.0 + 1 {
                object.next.store(next, Ordering::Relaxed);
                chains.objects -= 1;
                return;
            }
        }
    }

    /// The object with this hash before which `skip` others come, with one more user.
    pub(crate) fn nth<'o>(
        &self,
        hash: u64,
        skip: usize,
        get: impl Fn(ObjectId) -> &'o Object,
    ) -> Option<ObjectId> {
        let chains = self.chains(hash);
        if chains.heads.is_empty() {
            return None;
        }
        let mut at = chains.heads[chains.bucket(hash)];
        let mut left = skip;
        while let Some(number) = at.checked_sub(1) {
            let object = get(ObjectId(number));
            at = object.next.load(Ordering::Relaxed);
            if object.hash.load(Ordering::Relaxed) != hash {
                continue;
            }
            if left == 0 && object.pin() {
                return Some(ObjectId(number));
            }
            left = left.saturating_sub(1);
        }
        None
    }

    /// Bytes of the table.
    pub(crate) fn bytes(&self) -> usize {
        let heads = |stripe: &Stripe| lock(&stripe.0).heads.capacity() * 4;
        size_of_val::<[_]>(&self.stripes) + self.stripes.iter().map(heads).sum::<usize>()
    }

    #[expect(clippy::cast_possible_truncation, reason = "below the count")]
    fn chains(&self, hash: u64) -> MutexGuard<'_, Chains> {
        lock(&self.stripes[(hash % STRIPES as u64) as usize].0)
    }
}

#[cfg(all(test, pepita_loom))]
impl Duplicates {
    /// Objects that are in chains.
    pub(crate) fn objects(&self) -> usize {
        let objects = |stripe: &Stripe| lock(&stripe.0).objects;
        self.stripes.iter().map(objects).sum()
    }
}
