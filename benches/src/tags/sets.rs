//! [`Tags`]: what the cases ask of a set of tags.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use crossbeam_queue::ArrayQueue;
use pepita_sys::blk_mq::{TagHint, TagSet, TagSetConfig, TagWord};

/// Small numbers, each held by one thread at a time.
pub(super) trait Tags: Sync + Sized {
    /// What a thread keeps for its next call.
    type Hint;

    /// `depth` tags, all of them free.
    fn with(depth: u16) -> Result<Self>;

    /// For thread number `thread`.
    fn hint(&self, thread: u32) -> Self::Hint;

    fn alloc(&self, hint: &mut Self::Hint) -> Option<u32>;

    fn free(&self, tag: u32, hint: &mut Self::Hint);
}

/// Ours, over words that live as long as the process.
pub(super) struct Bitmap(TagSet<'static>);

impl Tags for Bitmap {
    type Hint = TagHint;

    fn with(depth: u16) -> Result<Self> {
        let config = TagSetConfig::new(1, depth);
        let words = TagSetConfig::words(depth, 0);
        let words: Vec<TagWord> = (0..words).map(|_| TagWord::new()).collect();
        Ok(Self(TagSet::new(config, words.leak())?))
    }

    fn hint(&self, thread: u32) -> TagHint {
        TagHint::new(thread)
    }

    fn alloc(&self, hint: &mut TagHint) -> Option<u32> {
        self.0.alloc(hint).map(u32::from)
    }

    fn free(&self, tag: u32, hint: &mut TagHint) {
        let freed = u16::try_from(tag).map(|tag| self.0.free(tag, hint));
        assert!(matches!(freed, Ok(Ok(()))), "tag {tag} is held");
    }
}

/// The usual free list: a stack of the free tags behind a lock.
pub(super) struct LockedList(Mutex<Vec<u32>>);

impl Tags for LockedList {
    type Hint = ();

    fn with(depth: u16) -> Result<Self> {
        Ok(Self(Mutex::new((0..u32::from(depth)).rev().collect())))
    }

    fn hint(&self, _: u32) {}

    fn alloc(&self, (): &mut ()) -> Option<u32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn free(&self, tag: u32, (): &mut ()) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(tag);
    }
}

/// The usual free list without locks: a bounded queue of the free tags.
pub(super) struct Queue(ArrayQueue<u32>);

impl Tags for Queue {
    type Hint = ();

    fn with(depth: u16) -> Result<Self> {
        let free = ArrayQueue::new(usize::from(depth));
        for tag in 0..u32::from(depth) {
            assert!(free.push(tag).is_ok(), "it has room for all");
        }
        Ok(Self(free))
    }

    fn hint(&self, _: u32) {}

    fn alloc(&self, (): &mut ()) -> Option<u32> {
        self.0.pop()
    }

    fn free(&self, tag: u32, (): &mut ()) {
        assert!(self.0.push(tag).is_ok(), "it has room for all");
    }
}
