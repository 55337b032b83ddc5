//! [`Duplicates`]: finds the objects of pages that are the same, by a hash of the page.

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use pepita_sys::error::Errno;

use crate::objects::{Object, ObjectId};
use crate::store::lock;

/// Locks, each for a share of the hashes.
const STRIPES: usize = 64;

/// Chains of objects whose hashes have some bits in common. An object has the number of the next one plus 1,
/// and 0 at the end.
#[derive(Debug)]
pub(crate) struct Duplicates {
    stripes: Box<[Stripe]>,
    buckets: u64,
}

#[derive(Debug)]
#[repr(align(128))]
struct Stripe {
    heads: Mutex<Box<[u32]>>,
}

impl Duplicates {
    /// For about `objects` objects. Memory comes with use: 4 bytes for each.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn new(objects: u64) -> Result<Self, Errno> {
        let buckets = objects.div_ceil(STRIPES as u64).next_power_of_two();
        let len = usize::try_from(buckets).map_err(|_| Errno::ENOMEM)?;
        let stripe = || Stripe {
            // Zeroed by the allocator, which leaves large pieces to the host.
            heads: Mutex::new(vec![0; len].into_boxed_slice()),
        };
        Ok(Self {
            stripes: (0..STRIPES).map(|_| stripe()).collect(),
            buckets,
        })
    }

    /// Adds an object.
    pub(crate) fn insert(&self, hash: u64, id: ObjectId, object: &Object) {
        let (mut heads, bucket) = self.heads(hash);
        object.next.store(heads[bucket], Ordering::Relaxed);
        heads[bucket] = id.0 + 1;
    }

    /// Takes an object out.
    pub(crate) fn remove<'o>(&self, hash: u64, id: ObjectId, get: impl Fn(ObjectId) -> &'o Object) {
        let (mut heads, bucket) = self.heads(hash);
        let next = get(id).next.load(Ordering::Relaxed);
        if heads[bucket] == id.0 + 1 {
            heads[bucket] = next;
            return;
        }
        let mut at = heads[bucket];
        while let Some(number) = at.checked_sub(1) {
            let object = get(ObjectId(number));
            at = object.next.load(Ordering::Relaxed);
            if at == id.0 + 1 {
                object.next.store(next, Ordering::Relaxed);
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
        let (heads, bucket) = self.heads(hash);
        let mut at = heads[bucket];
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

    /// Bytes of the table, as if all of it were in use.
    pub(crate) fn bytes(&self) -> u64 {
        self.buckets * STRIPES as u64 * 4
    }

    fn heads(&self, hash: u64) -> (std::sync::MutexGuard<'_, Box<[u32]>>, usize) {
        #[expect(clippy::cast_possible_truncation, reason = "small enough for any")]
        let stripe = (hash % STRIPES as u64) as usize;
        let bucket = (hash >> 32) & (self.buckets - 1);
        let bucket = usize::try_from(bucket).unwrap_or_default();
        (lock(&self.stripes[stripe].heads), bucket)
    }
}
