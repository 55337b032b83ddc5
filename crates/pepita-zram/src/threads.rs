//! A number for each thread, by which threads keep out of each other's cache lines.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Parts of what threads have apart.
pub(crate) const SHARDS: usize = 16;

thread_local! {
    static NUMBER: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

/// The number of this thread. While a thread ends, it is another's.
pub(crate) fn number() -> usize {
    NUMBER.try_with(|number| *number).unwrap_or(0)
}

/// The part of this thread.
pub(crate) fn shard() -> usize {
    number() % SHARDS
}
