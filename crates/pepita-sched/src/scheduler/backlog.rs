#![expect(
    unsafe_code,
    reason = "places of a ring are written by one thread and read by others"
)]
//! [`Backlog`]: items of one thread that others take by the hundred.
//!
//! # Protocol
//! One thread, which has the [`Producer`], adds items to a ring: it writes the next place and stores [`end`](Backlog::end). When
//! the ring is full it moves everything to the [`Stock`] as one block. Who takes holds the lock of the stock, and reads places
//! of the ring from [`begin`](Backlog::begin) on and stores that. Others take the oldest items: from the first block, which they
//! may get as it is, or from the ring if there is none. The producer takes the newest: the ring, or else the last block. So an
//! item costs a few plain stores, the lock is taken once for a block, and who adds items for each item that it takes has no
//! more of them than if it went to the end of each first.
//!
//! # What has to hold
//! * *written*: places from `begin` to `end` hold an item: the store of `end` releases them.
//! * *one-reader*: who reads places and stores `begin` holds the lock.
//! * *read*: a place is written again after it was read: the store of `begin` releases that, and the producer acquires it.
//! * *not hidden*: after an item was added, who looks behind a fence finds the backlog not empty, or the item was taken. Items
//!   that go from the ring to the stock are counted there before they leave here.

use std::cell::Cell;
#[cfg(not(all(test, pepita_loom)))]
use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::mem::{self, MaybeUninit};
use std::sync::{Arc, PoisonError};
#[cfg(not(all(test, pepita_loom)))]
use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering},
};

#[cfg(all(test, pepita_loom))]
use loom::{
    cell::UnsafeCell,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Items of a block, and places of the ring; a power of two.
#[cfg(not(all(test, pepita_loom)))]
pub(super) const BLOCK: usize = 64;
#[cfg(all(test, pepita_loom))]
pub(super) const BLOCK: usize = 2;

/// Empty blocks that are kept for later.
const SPARE: usize = 64;

/// One place of the ring.
struct Place<T>(UnsafeCell<MaybeUninit<T>>);

impl<T> Place<T> {
    fn new() -> Self {
        Self(UnsafeCell::new(MaybeUninit::uninit()))
    }

    #[cfg(not(all(test, pepita_loom)))]
    #[inline]
    fn with<R>(&self, use_it: impl FnOnce(*mut T) -> R) -> R {
        use_it(self.0.get().cast())
    }

    #[cfg(all(test, pepita_loom))]
    fn with<R>(&self, use_it: impl FnOnce(*mut T) -> R) -> R {
        self.0.with_mut(|place| use_it(place.cast()))
    }
}

/// What only who holds the lock uses.
struct Stock<T> {
    blocks: VecDeque<Vec<T>>,
    /// Empty ones.
    spare: Vec<Vec<T>>,
}

impl<T> Stock<T> {
    fn empty_block(&mut self) -> Vec<T> {
        self.spare
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(BLOCK))
    }

    fn keep(&mut self, block: Vec<T>) {
        debug_assert!(block.is_empty(), "what is kept holds nothing");
        if self.spare.len() < SPARE && block.capacity() >= BLOCK {
            self.spare.push(block);
        }
    }
}

/// Lies alone in the lines that the CPU fetches together.
#[repr(align(128))]
struct Apart<T>(T);

/// Items that wait, as all threads see them.
pub(super) struct Backlog<T> {
    /// The first place of the ring that holds an item.
    begin: AtomicUsize,
    /// How many items are in the stock.
    stocked: AtomicUsize,
    stock: Mutex<Stock<T>>,
    /// The place after the last one that holds an item; the producer's.
    end: Apart<AtomicUsize>,
    ring: Box<[Place<T>]>,
}

// SAFETY: one-reader, read: items go from thread to thread, and no place is used by two at a time.
unsafe impl<T: Send> Sync for Backlog<T> {}

/// The right to add without the lock.
pub(super) struct Producer<T> {
    backlog: Arc<Backlog<T>>,
    end: Cell<usize>,
    /// Where the ring began when it was looked at last.
    begin: Cell<usize>,
    /// How many items the producer has taken.
    taken: Cell<usize>,
}

impl<T> Producer<T> {
    pub(super) fn new() -> Self {
        let stock = Stock {
            blocks: VecDeque::new(),
            spare: Vec::new(),
        };
        let backlog = Backlog {
            begin: AtomicUsize::new(0),
            stocked: AtomicUsize::new(0),
            stock: Mutex::new(stock),
            end: Apart(AtomicUsize::new(0)),
            ring: (0..BLOCK).map(|_| Place::new()).collect(),
        };
        Self {
            backlog: Arc::new(backlog),
            end: Cell::new(0),
            begin: Cell::new(0),
            taken: Cell::new(0),
        }
    }

    pub(super) fn backlog(&self) -> &Arc<Backlog<T>> {
        &self.backlog
    }

    #[inline]
    pub(super) fn push(&self, item: T) {
        let end = self.end.get();
        if end.wrapping_sub(self.begin.get()) == BLOCK {
            self.make_room();
        }
        // SAFETY: read: the place is before `begin`, which was acquired; this is the one producer.
        self.backlog.ring[end % BLOCK].with(|place| unsafe { place.write(item) });
        let end = end.wrapping_add(1);
        self.end.set(end);
        self.backlog.end.0.store(end, Ordering::Release);
    }

    /// How many items there would be if nobody else had added or taken any; wraps.
    pub(super) fn height(&self) -> usize {
        self.end.get().wrapping_sub(self.taken.get())
    }

    /// Takes the newest items, not more than a block, into `loot`, which is empty.
    pub(super) fn take_newest(&self, loot: &mut Vec<T>) {
        debug_assert!(loot.is_empty(), "loot is used up before more is taken");
        let backlog = &*self.backlog;
        if backlog.is_empty() {
            return;
        }
        let mut stock = backlog.lock();
        let count = backlog.in_ring();
        if count > 0 {
            // SAFETY: one-reader: `stock` is the lock; written: they were counted behind it.
            unsafe { backlog.empty_ring(loot, count) };
        } else if let Some(block) = stock.blocks.pop_back() {
            backlog.hand_out(&mut stock, block, loot);
        }
        self.taken.set(self.taken.get().wrapping_add(loot.len()));
    }

    #[cold]
    fn make_room(&self) {
        let backlog = &*self.backlog;
        let begin = backlog.begin.load(Ordering::Acquire);
        if begin == self.begin.get() {
            let mut stock = backlog.lock();
            let count = backlog.in_ring();
            if count > 0 {
                let mut block = stock.empty_block();
                backlog.count(|stocked| stocked + count);
                // SAFETY: one-reader: `stock` is the lock; written: they were counted behind it.
                unsafe { backlog.empty_ring(&mut block, count) };
                stock.blocks.push_back(block);
            }
            self.begin.set(self.end.get());
        } else {
            self.begin.set(begin);
        }
    }
}

impl<T> Backlog<T> {
    fn lock(&self) -> MutexGuard<'_, Stock<T>> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the count of the stock; the caller holds the lock.
    fn count(&self, change: impl FnOnce(usize) -> usize) {
        let stocked = self.stocked.load(Ordering::Relaxed);
        self.stocked.store(change(stocked), Ordering::Relaxed);
    }

    /// How many items are in the ring.
    fn in_ring(&self) -> usize {
        // The end comes later than the begin, and so it is not before it.
        let begin = self.begin.load(Ordering::Acquire);
        let end = self.end.0.load(Ordering::Acquire);
        end.wrapping_sub(begin)
    }

    /// Moves `count` items out of the ring.
    ///
    /// # Safety
    /// * The caller holds the lock, or the backlog is its alone.
    /// * [`in_ring`](Self::in_ring) has said since then that there are so many.
    unsafe fn empty_ring(&self, into: &mut Vec<T>, count: usize) {
        let begin = self.begin.load(Ordering::Relaxed);
        let end = begin.wrapping_add(count);
        let mut at = begin;
        while at != end {
            // SAFETY: written, one-reader, by the caller's word.
            into.push(self.ring[at % BLOCK].with(|place| unsafe { place.read() }));
            at = at.wrapping_add(1);
        }
        self.begin.store(end, Ordering::Release);
    }

    /// Adds items, from any thread.
    pub(super) fn add(&self, items: impl Iterator<Item = T>) {
        let mut stock = self.lock();
        let mut count = 0;
        for item in items {
            if stock.blocks.back().is_none_or(|last| last.len() >= BLOCK) {
                let block = stock.empty_block();
                stock.blocks.push_back(block);
            }
            if let Some(last) = stock.blocks.back_mut() {
                last.push(item);
                count += 1;
            }
        }
        self.count(|stocked| stocked + count);
    }

    /// Takes up to `limit` of the oldest items, and not more than a block, into `loot`, which is empty.
    pub(super) fn take(&self, loot: &mut Vec<T>, limit: usize) {
        debug_assert!(loot.is_empty(), "loot is shared out before more is taken");
        if self.is_empty() {
            return;
        }
        let mut stock = self.lock();
        let Some(mut block) = stock.blocks.pop_front() else {
            let count = limit.min(self.in_ring());
            // SAFETY: one-reader: `stock` is the lock; written: they were counted behind it.
            unsafe { self.empty_ring(loot, count) };
            return;
        };
        if block.len() <= limit {
            self.hand_out(&mut stock, block, loot);
        } else {
            self.count(|stocked| stocked - limit);
            loot.extend(block.drain(..limit));
            stock.blocks.push_front(block);
        }
    }

    /// Makes a block of the stock the loot.
    fn hand_out(&self, stock: &mut Stock<T>, block: Vec<T>, loot: &mut Vec<T>) {
        self.count(|stocked| stocked - block.len());
        stock.keep(mem::replace(loot, block));
    }

    /// How many items wait; only a hint.
    pub(super) fn len(&self) -> usize {
        self.stocked.load(Ordering::Relaxed) + self.in_ring()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.in_ring() == 0 && self.stocked.load(Ordering::Relaxed) == 0
    }
}

impl<T> Drop for Backlog<T> {
    fn drop(&mut self) {
        let mut left = Vec::new();
        // SAFETY: one-reader: the backlog is ours alone; written: they are counted now.
        unsafe { self.empty_ring(&mut left, self.in_ring()) };
    }
}

#[cfg(all(test, not(pepita_loom)))]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    fn all(backlog: &Backlog<usize>, limit: usize) -> Vec<usize> {
        let (mut had, mut loot) = (Vec::new(), Vec::new());
        loop {
            backlog.take(&mut loot, limit);
            if loot.is_empty() {
                had.sort_unstable();
                return had;
            }
            assert!(loot.len() <= limit.min(BLOCK));
            had.append(&mut loot);
        }
    }

    #[test]
    fn what_was_added_is_had_once_whatever_the_limit() {
        for count in [0, 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5] {
            for limit in [1, 3, BLOCK, usize::MAX] {
                let producer = Producer::new();
                let backlog = producer.backlog();
                (0..count).for_each(|item| producer.push(item));
                backlog.add(count..count + 3);
                assert_eq!(backlog.len(), count + 3);
                assert!(all(backlog, limit).into_iter().eq(0..count + 3));
                assert!(backlog.is_empty());
            }
        }
    }

    #[test]
    fn what_nobody_took_is_dropped_with_the_backlog() {
        let item = Arc::new(());
        let producer = Producer::new();
        (0..BLOCK * 2 + 3).for_each(|_| producer.push(item.clone()));
        producer.backlog().add([item.clone()].into_iter());
        assert_eq!(Arc::strong_count(&item), BLOCK * 2 + 5);
        drop(producer);
        assert_eq!(Arc::strong_count(&item), 1);
    }

    #[test]
    fn the_producer_takes_the_newest_and_others_the_oldest() {
        const ITEMS: usize = 3 * BLOCK + 5;
        let producer = Producer::new();
        (0..ITEMS).for_each(|item| producer.push(item));
        let (mut newest, mut oldest) = (Vec::new(), Vec::new());
        let mut ends = 0..ITEMS;
        for limit in [1, 3, BLOCK, usize::MAX] {
            producer.take_newest(&mut newest);
            producer.backlog().take(&mut oldest, limit);
            let (first, last) = (ends.start + oldest.len(), ends.end - newest.len());
            assert!(oldest.drain(..).eq(ends.start..first));
            assert!(newest.drain(..).eq(last..ends.end));
            ends = first..last;
        }
        assert!(ends.is_empty() && producer.backlog().is_empty());
    }

    #[test]
    fn many_thieves_have_each_item_once() {
        const ITEMS: usize = 20_000;
        let producer = Producer::new();
        let backlog = producer.backlog().clone();
        let is_complete = AtomicBool::new(false);
        let mut had = thread::scope(|scope| {
            let thief = |limit| {
                let (backlog, is_complete) = (&backlog, &is_complete);
                move || {
                    let (mut had, mut loot) = (Vec::new(), Vec::new());
                    loop {
                        // First this: what is found missing afterwards will not come.
                        let was_complete = is_complete.load(Ordering::Acquire);
                        backlog.take(&mut loot, limit);
                        if loot.is_empty() && was_complete {
                            return had;
                        }
                        had.append(&mut loot);
                    }
                }
            };
            let thieves = [1, 7, BLOCK, usize::MAX].map(|limit| scope.spawn(thief(limit)));
            let (mut mine, mut loot) = (Vec::new(), Vec::new());
            for item in 0..ITEMS {
                producer.push(item);
                if item % 300 == 0 {
                    producer.take_newest(&mut loot);
                    mine.append(&mut loot);
                }
            }
            is_complete.store(true, Ordering::Release);
            mine.extend(thieves.into_iter().flat_map(|thief| thief.join().unwrap()));
            mine
        });
        had.sort_unstable();
        assert!(had.into_iter().eq(0..ITEMS));
    }
}

#[cfg(all(test, pepita_loom))]
mod models {
    use loom::thread;

    use super::*;

    fn check(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(preemptions);
        model.check(run);
    }

    /// Two thieves take while the ring fills up, goes to the stock, begins anew and is taken back: each item is had once, by who sees it whole;
    /// else loom fails, also where a place is read while its owner writes it again, as in crossbeam's deque once.
    #[test]
    fn loom_each_item_of_a_backlog_is_had_once() {
        check(2, || {
            let producer = Producer::new();
            let thief = |limit| {
                let backlog = producer.backlog().clone();
                thread::spawn(move || {
                    let mut loot = Vec::new();
                    backlog.take(&mut loot, limit);
                    loot
                })
            };
            let thieves = [thief(1), thief(2)];
            (0..3).for_each(|item| producer.push(Box::new(item)));
            let mut had: Vec<Box<u32>> = Vec::new();
            producer.take_newest(&mut had);
            producer.push(Box::new(3));
            for thief in thieves {
                had.append(&mut thief.join().unwrap());
            }
            let mut rest = Vec::new();
            while !producer.backlog().is_empty() {
                producer.backlog().take(&mut rest, usize::MAX);
                had.append(&mut rest);
            }
            had.sort_unstable();
            assert!(had.into_iter().map(|item| *item).eq(0..4));
        });
    }

    /// Who looks while items are on their way from the ring to the stock finds some.
    #[test]
    fn loom_items_on_their_way_to_the_stock_are_seen() {
        check(3, || {
            let producer = Producer::new();
            (0..2).for_each(|item| producer.push(item));
            let worker = thread::spawn({
                let backlog = producer.backlog().clone();
                move || !backlog.is_empty()
            });
            producer.push(2);
            assert!(worker.join().unwrap());
        });
    }
}
