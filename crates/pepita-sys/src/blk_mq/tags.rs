//! Tags: small numbers, one for each request in flight, so that everything about a request can stand in
//! arrays. After the kernel's `sbitmap` (`include/linux/sbitmap.h`).
//!
//! A tag is a bit in one of several words, each on a cache line of its own; who allocates starts where its
//! hint says. Nothing here waits: a caller that finds no tag decides what to do.
//!
//! # Invariants
//! * one-holder: a bit is set by the one exchange that found it clear, and cleared by the one `fetch_and`
//!   that found it set. Setting acquires what clearing released, so a tag's next holder sees what its last
//!   one wrote.

use core::fmt;

#[cfg(not(all(test, pepita_loom)))]
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(all(test, pepita_loom))]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::error::{Errno, KernelError};

/// The most tags of a queue: a tag is 16 bits, with one value to spare.
const TAGS_MAX: u32 = 1 << 15;

/// The most bits that a word holds; fewer where there are few tags, so that they spread over several words.
const WORD_BITS_MAX: u32 = 64;

/// The words that tags are spread over, if there are that many.
const SPREAD_WORDS: u32 = 4;

/// How many queues a device has, and how many requests each may have in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagSetConfig {
    /// Count of hardware queues.
    pub nr_hw_queues: u16,
    /// Tags of each queue, the reserved ones included.
    pub queue_depth: u16,
    /// Tags that only [`TagSet::alloc_reserved`] gives out: the lowest ones.
    pub reserved_tags: u16,
}

impl TagSetConfig {
    /// `nr_hw_queues` queues of `queue_depth` tags, none of them reserved.
    #[must_use]
    pub const fn new(nr_hw_queues: u16, queue_depth: u16) -> Self {
        Self {
            nr_hw_queues,
            queue_depth,
            reserved_tags: 0,
        }
    }

    /// Reserves the lowest `tags` of each queue.
    #[must_use]
    pub const fn reserved(mut self, tags: u16) -> Self {
        self.reserved_tags = tags;
        self
    }

    /// Whether such a set can be.
    ///
    /// # Errors
    /// [`TagError::NoQueue`], or [`TagError::Depth`] where there is no tag beside the reserved ones, or more
    /// than 32,768.
    pub const fn validate(&self) -> Result<(), TagError> {
        if self.nr_hw_queues == 0 {
            return Err(TagError::NoQueue);
        }
        if self.queue_depth <= self.reserved_tags || self.queue_depth as u32 > TAGS_MAX {
            return Err(TagError::Depth {
                depth: self.queue_depth,
                reserved: self.reserved_tags,
            });
        }
        Ok(())
    }

    /// Tags of all queues together.
    #[must_use]
    pub const fn total_tags(&self) -> u32 {
        self.nr_hw_queues as u32 * self.queue_depth as u32
    }

    /// Words that one queue's tags need, of which `reserved` are reserved.
    #[must_use]
    pub const fn words(queue_depth: u16, reserved: u16) -> usize {
        Bitmap::shape(reserved as u32).words()
            + Bitmap::shape(queue_depth.saturating_sub(reserved) as u32).words()
    }
}

/// Why tags cannot be set up or given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TagError {
    /// A device needs a queue.
    NoQueue,
    /// No depth that a queue can have.
    Depth {
        /// What was asked for.
        depth: u16,
        /// Tags that are reserved.
        reserved: u16,
    },
    /// Too little storage was lent.
    Storage {
        /// Words lent.
        words: usize,
        /// Words needed.
        needed: usize,
    },
    /// The storage has tags in use.
    StorageInUse,
    /// Nobody holds this tag.
    NotInUse {
        /// The tag.
        tag: u16,
    },
}

impl fmt::Display for TagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoQueue => f.write_str("a device needs at least 1 hardware queue"),
            Self::Depth { depth, reserved } => write!(
                f,
                "queue depth {depth} is not in {}..={TAGS_MAX}: {reserved} tags are reserved",
                u32::from(*reserved) + 1
            ),
            Self::Storage { words, needed } => {
                write!(f, "{words} words of storage, {needed} are needed")
            }
            Self::StorageInUse => f.write_str("the storage has tags in use"),
            Self::NotInUse { tag } => write!(f, "tag {tag} is not in use"),
        }
    }
}

impl core::error::Error for TagError {}

impl TagError {
    /// The error number that a system call would give: `EBUSY` for storage in use, else `EINVAL`.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::StorageInUse => Errno::EBUSY,
            _ => Errno::EINVAL,
        }
    }
}

impl From<TagError> for KernelError {
    fn from(error: TagError) -> Self {
        Self::from_errno("managing tags", error.errno())
    }
}

/// Storage for up to 64 tags, on a cache line of its own (two, where the processor fetches lines in pairs).
#[derive(Debug)]
#[repr(align(128))]
pub struct TagWord {
    /// A set bit is a tag in use.
    bits: AtomicU64,
}

impl TagWord {
    /// With no tag in use.
    #[cfg(not(all(test, pepita_loom)))]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bits: AtomicU64::new(0),
        }
    }

    #[cfg(all(test, pepita_loom))]
    fn new() -> Self {
        Self {
            bits: AtomicU64::new(0),
        }
    }
}

impl Default for TagWord {
    fn default() -> Self {
        Self::new()
    }
}

/// Where one caller looks first: keep one for each CPU or thread, so that they stay out of each other's way.
#[derive(Debug, Clone)]
pub struct TagHint {
    /// The last tag, or where to start, modulo the count of tags.
    next: u32,
}

impl TagHint {
    /// The hint of caller number `index`: neighbours start in different words.
    #[must_use]
    pub const fn new(index: u32) -> Self {
        // An odd multiplier visits all starts; its high bits are spread out evenly (Knuth, TAOCP 6.4).
        Self {
            next: index.wrapping_mul(0x9e37_79b1),
        }
    }
}

/// How a count of tags is laid out over words.
#[derive(Debug, Clone, Copy)]
struct Bitmap {
    tags: u32,
    bits_log2: u32,
}

impl Bitmap {
    const fn shape(tags: u32) -> Self {
        let mut bits_log2 = WORD_BITS_MAX.ilog2();
        while bits_log2 > 0 && SPREAD_WORDS << bits_log2 > tags {
            bits_log2 -= 1;
        }
        // Below 4 tags there is nothing to spread.
        if tags < SPREAD_WORDS {
            bits_log2 = 2;
        }
        Self { tags, bits_log2 }
    }

    const fn words(self) -> usize {
        self.tags.div_ceil(1 << self.bits_log2) as usize
    }

    /// Sets a clear bit below `depth`, looking at `start` first; `None` if it saw none.
    fn set_any(self, words: &[TagWord], depth: u32, start: u32) -> Option<u32> {
        let depth = depth.min(self.tags);
        if depth == 0 {
            return None;
        }
        let bits = 1 << self.bits_log2;
        let in_use = depth.div_ceil(bits);
        // A hint is a tag nearly always, and a division takes as long as the rest.
        let start = if start < depth { start } else { start % depth };
        let (mut word, mut from) = (start >> self.bits_log2, start & (bits - 1));
        for _ in 0..in_use {
            let valid = (depth - (word << self.bits_log2)).min(bits);
            if let Some(bit) = set_any_bit(&words.get(word as usize)?.bits, valid, from) {
                return Some((word << self.bits_log2) + bit);
            }
            (word, from) = (word + 1, 0);
            if word == in_use {
                word = 0;
            }
        }
        None
    }

    /// Clears the bit of `tag`, and says whether it was set.
    fn clear(self, words: &[TagWord], tag: u32) -> bool {
        let Some(word) = words.get((tag >> self.bits_log2) as usize) else {
            return false;
        };
        let bit = 1 << (tag & ((1 << self.bits_log2) - 1));
        // One-holder; releases what the holder wrote to the next one.
        tag < self.tags && word.bits.fetch_and(!bit, Ordering::Release) & bit != 0
    }
}

/// Sets a clear bit among the lowest `valid` ones of `word`, from bit `from` on, then from bit 0 on.
fn set_any_bit(word: &AtomicU64, valid: u32, from: u32) -> Option<u32> {
    let mask = u64::MAX >> (WORD_BITS_MAX - valid);
    let mut seen = word.load(Ordering::Relaxed);
    loop {
        let free = !seen & mask;
        if free == 0 {
            return None;
        }
        let behind = free & (u64::MAX << from);
        let bit = if behind == 0 { free } else { behind }.trailing_zeros();
        // One-holder; acquires what the last holder wrote. A `fetch_or` of which one bit is looked at becomes
        // `lock bts`, which takes longer.
        let set = seen | 1 << bit;
        match word.compare_exchange_weak(seen, set, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => return Some(bit),
            Err(now) => seen = now,
        }
    }
}

/// The tags of one hardware queue, over storage that the caller lends.
///
/// Any thread may allocate and free at any time; nothing waits, and no tag has two holders. A caller that
/// finds no tag may be wrong by the time it knows: another thread may have freed one meanwhile.
#[derive(Debug)]
pub struct TagSet<'m> {
    reserved_words: &'m [TagWord],
    words: &'m [TagWord],
    reserved_map: Bitmap,
    map: Bitmap,
    /// Tags below this may be given out, the reserved ones not counted.
    depth: AtomicU32,
}

impl<'m> TagSet<'m> {
    /// The tags of one queue of `config`, in `storage`, of which [`TagSetConfig::words`] are used.
    ///
    /// # Errors
    /// What [`TagSetConfig::validate`] says; [`TagError::Storage`] and [`TagError::StorageInUse`] where the
    /// storage is too small or not empty.
    pub fn new(config: TagSetConfig, storage: &'m [TagWord]) -> Result<Self, TagError> {
        config.validate()?;
        let needed = TagSetConfig::words(config.queue_depth, config.reserved_tags);
        if storage.len() < needed {
            let words = storage.len();
            return Err(TagError::Storage { words, needed });
        }
        let storage = &storage[..needed];
        if storage
            .iter()
            .any(|word| word.bits.load(Ordering::Relaxed) != 0)
        {
            return Err(TagError::StorageInUse);
        }
        let reserved_map = Bitmap::shape(u32::from(config.reserved_tags));
        let map = Bitmap::shape(u32::from(config.queue_depth - config.reserved_tags));
        let (reserved_words, words) = storage.split_at(reserved_map.words());
        Ok(Self {
            reserved_words,
            words,
            reserved_map,
            map,
            depth: AtomicU32::new(map.tags),
        })
    }

    /// A tag that nobody holds, or `None` where none was found.
    #[inline]
    pub fn alloc(&self, hint: &mut TagHint) -> Option<u16> {
        let depth = self.depth.load(Ordering::Relaxed);
        let tag = self.map.set_any(self.words, depth, hint.next)?;
        hint.next = tag;
        number(self.reserved_map.tags + tag)
    }

    /// A reserved tag that nobody holds: for what must go on when all others are taken.
    pub fn alloc_reserved(&self) -> Option<u16> {
        let tags = self.reserved_map.tags;
        number(self.reserved_map.set_any(self.reserved_words, tags, 0)?)
    }

    /// Gives `tag` back; the hint's caller gets it again next, as long as it is in its cache.
    ///
    /// # Errors
    /// [`TagError::NotInUse`] when nobody holds it.
    #[inline]
    pub fn free(&self, tag: u16, hint: &mut TagHint) -> Result<(), TagError> {
        let index = u32::from(tag);
        let was_set = match index.checked_sub(self.reserved_map.tags) {
            Some(index) => {
                hint.next = index;
                self.map.clear(self.words, index)
            }
            None => self.reserved_map.clear(self.reserved_words, index),
        };
        if was_set {
            Ok(())
        } else {
            Err(TagError::NotInUse { tag })
        }
    }

    /// Tags that may be in flight, the reserved ones included.
    #[must_use]
    pub fn depth(&self) -> u16 {
        let depth = self.reserved_map.tags + self.depth.load(Ordering::Relaxed);
        number(depth).unwrap_or(u16::MAX)
    }

    /// Changes how many tags may be in flight, the reserved ones included, up to the depth it was made with.
    /// Tags above it that are held stay so until they are freed, and are not given out again.
    ///
    /// # Errors
    /// [`TagError::Depth`] when it is more, or leaves no tag beside the reserved ones.
    pub fn set_depth(&self, depth: u16) -> Result<(), TagError> {
        let reserved = self.reserved_map.tags;
        match u32::from(depth).checked_sub(reserved) {
            Some(tags) if tags > 0 && tags <= self.map.tags => {
                self.depth.store(tags, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(TagError::Depth {
                depth,
                reserved: number(reserved).unwrap_or(u16::MAX),
            }),
        }
    }

    /// Count of tags that are held, the reserved ones included. Exact only while nobody allocates or frees.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        let words = self.reserved_words.iter().chain(self.words);
        words
            .map(|word| word.bits.load(Ordering::Relaxed).count_ones())
            .sum()
    }
}

/// A tag as callers hold it. `validate` keeps all of them below [`TAGS_MAX`].
fn number(tag: u32) -> Option<u16> {
    u16::try_from(tag).ok()
}

#[cfg(test)]
mod tests;
