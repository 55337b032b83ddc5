//! The allocators against a naive set, and many threads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::addr::Pfn;
use crate::range::PfnRange;

/// Storage for an allocator of `range`.
struct Store {
    range: PfnRange,
    states: Vec<FrameState>,
    words: Vec<u64>,
}

impl Store {
    fn new(start: u64, frames: u64) -> Self {
        let range = PfnRange::new(Pfn::new(start), frames);
        Self {
            range,
            states: (0..frames).map(|_| FrameState::new()).collect(),
            words: vec![0; BuddyAllocator::words_for(range)],
        }
    }

    /// An allocator that has every frame.
    fn full(&mut self) -> BuddyAllocator<'_> {
        let mut pages = BuddyAllocator::new(self.range, &mut self.states, &mut self.words).unwrap();
        pages.add(self.range).unwrap();
        pages
    }
}

/// What should be: the free frames, and the allocations by their first frame.
#[derive(Default)]
struct Oracle {
    free: BTreeSet<u64>,
    added: BTreeSet<u64>,
    allocated: BTreeMap<u64, u64>,
}

impl Oracle {
    fn is_free(&self, start: u64, frames: u64) -> bool {
        (start..start + frames).all(|pfn| self.free.contains(&pfn))
    }

    /// Whether `frames` frames from a multiple of `align`, all below `end`, are free.
    fn has_run(&self, frames: u64, align: u64, end: u64) -> bool {
        let mut starts = self.free.iter().filter(|pfn| pfn.is_multiple_of(align));
        starts.any(|start| start + frames <= end && self.is_free(*start, frames))
    }

    fn take(&mut self, start: u64, frames: u64) {
        assert!(
            self.is_free(start, frames),
            "{start:#x} + {frames} overlaps"
        );
        self.free
            .retain(|pfn| !(start..start + frames).contains(pfn));
        self.allocated.insert(start, frames);
    }

    /// What freeing `frames` frames at `pfn` must say; does it if that is right.
    fn give(&mut self, pfn: u64, given: u64) -> Result<(), FreeError> {
        let at = Pfn::new(pfn);
        match self.allocated.get(&pfn) {
            Some(allocated) if *allocated == given => {
                self.allocated.remove(&pfn);
                self.free.extend(pfn..pfn + given);
                Ok(())
            }
            Some(allocated) => Err(FreeError::WrongSize {
                pfn: at,
                given,
                allocated: *allocated,
            }),
            None if !self.added.contains(&pfn) => Err(FreeError::Foreign { pfn: at }),
            None if self.free.contains(&pfn) => Err(FreeError::AlreadyFree { pfn: at }),
            None => Err(FreeError::NotTheStart { pfn: at }),
        }
    }

    /// The free blocks of each order, when all that can merge has merged.
    fn blocks(&self) -> [u32; Order::COUNT] {
        let mut left = self.free.clone();
        let mut blocks = [0; Order::COUNT];
        for order in Order::all().rev() {
            for start in self
                .free
                .iter()
                .filter(|pfn| pfn.is_multiple_of(order.frames()))
            {
                let frames = *start..start + order.frames();
                if frames.clone().all(|pfn| left.contains(&pfn)) {
                    left.retain(|pfn| !frames.contains(pfn));
                    blocks[order.get() as usize] += 1;
                }
            }
        }
        blocks
    }

    fn usage(&self) -> FrameUsage {
        FrameUsage {
            managed: self.added.len() as u64,
            free: self.free.len() as u64,
            cached: 0,
            free_blocks: self.blocks(),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Block {
        order: u32,
        bits: u32,
    },
    Range {
        frames: u64,
        align: u32,
        bits: u32,
    },
    /// Frees the allocation of this rank rightly, by block if it is one and `by_block` says so.
    Free {
        rank: usize,
        by_block: bool,
    },
    /// Frees whatever is there, which is mostly wrong.
    Wrong {
        offset: u64,
        frames: u64,
        by_block: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Frames 0x300..0xd00 lie about 2^20, 2^21, 2^22 and 2^23 bytes.
    let bits = prop_oneof![3 => Just(64), 1 => 20..24_u32];
    let order = prop_oneof![4 => 0..4_u32, 1 => 0..=10_u32];
    let frames = prop_oneof![4 => 1..40_u64, 1 => 1..1500_u64];
    let step = prop_oneof![
        3 => (order, bits.clone()).prop_map(|(order, bits)| Step::Block { order, bits }),
        2 => (frames.clone(), 0..=10_u32, bits)
            .prop_map(|(frames, align, bits)| Step::Range { frames, align, bits }),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(rank, by_block)| Step::Free { rank, by_block }),
        2 => (0..0xb00_u64, frames, any::<bool>())
            .prop_map(|(offset, frames, by_block)| Step::Wrong { offset, frames, by_block }),
    ];
    proptest::collection::vec(step, 1..120)
}

fn free(
    pages: &mut BuddyAllocator<'_>,
    oracle: &mut Oracle,
    (pfn, frames): (u64, u64),
    by_block: bool,
) {
    let order = Order::for_frames(frames).filter(|order| by_block && order.frames() == frames);
    let done = match order {
        Some(order) => pages.free_pages(Pfn::new(pfn), order),
        None => pages.free_range(PfnRange::new(Pfn::new(pfn), frames)),
    };
    // A range that happens to be one block's size but is made of several cannot be freed as a block.
    let is_block = pfn.is_multiple_of(frames);
    if by_block && order.is_some() && !is_block && oracle.allocated.get(&pfn) == Some(&frames) {
        assert!(matches!(done, Err(FreeError::WrongSize { .. })), "{done:?}");
    } else {
        assert_eq!(done, oracle.give(pfn, frames));
    }
}

fn apply(pages: &mut BuddyAllocator<'_>, oracle: &mut Oracle, step: &Step) {
    match *step {
        Step::Block { order, bits } => {
            let (order, flags) = (Order::new(order), AllocFlags::NONE.with_address_bits(bits));
            let can = oracle.has_run(order.frames(), order.frames(), flags.end_frame());
            let got = pages.alloc_pages(order, flags);
            assert_eq!(got.is_ok(), can, "{step:?}: {got:?}");
            if let Ok(pfn) = got {
                assert!(pfn.as_u64().is_multiple_of(order.frames()));
                assert!(pfn.as_u64() + order.frames() <= flags.end_frame());
                oracle.take(pfn.as_u64(), order.frames());
            }
        }
        Step::Range {
            frames,
            align,
            bits,
        } => {
            let (align, flags) = (Order::new(align), AllocFlags::NONE.with_address_bits(bits));
            let can = oracle.has_run(frames, align.frames(), flags.end_frame());
            let got = pages.alloc_range(frames, align, flags);
            assert_eq!(got.is_ok(), can, "{step:?}: {got:?}");
            if let Ok(range) = got {
                assert_eq!(range.frames(), frames);
                assert!(range.start().as_u64().is_multiple_of(align.frames()));
                assert!(range.end() <= flags.end_frame());
                oracle.take(range.start().as_u64(), frames);
            }
        }
        Step::Free { rank, by_block } => {
            let count = oracle.allocated.len();
            let held = oracle.allocated.iter().nth(rank % count.max(1));
            if let Some((pfn, frames)) = held.map(|(pfn, frames)| (*pfn, *frames)) {
                free(pages, oracle, (pfn, frames), by_block);
            }
        }
        Step::Wrong {
            offset,
            frames,
            by_block,
        } => free(pages, oracle, (0x280 + offset, frames), by_block),
    }
}

proptest! {
    /// No overlap, no loss, exact limits; every wrong free is named; reports are right after every step;
    /// and all is one again in the end.
    #[test]
    fn a_buddy_allocator_does_what_a_naive_set_does(steps in steps(), hole in 0x380..0xc00_u64) {
        let mut store = Store::new(0x300, 0xa00);
        let mut pages = BuddyAllocator::new(store.range, &mut store.states, &mut store.words).unwrap();
        let mut oracle = Oracle::default();
        for (start, end) in [(0x300, hole), (hole + 3, 0xd00)] {
            pages.add(PfnRange::new(Pfn::new(start), end - start)).unwrap();
            oracle.free.extend(start..end);
            oracle.added.extend(start..end);
        }
        let pristine = pages.usage();
        prop_assert_eq!(pristine, oracle.usage());
        for step in &steps {
            apply(&mut pages, &mut oracle, step);
            prop_assert_eq!(pages.free_count(), oracle.free.len() as u64);
        }
        prop_assert_eq!(pages.usage(), oracle.usage());
        for allocation in oracle.allocated.clone() {
            free(&mut pages, &mut oracle, allocation, false);
        }
        prop_assert_eq!(pages.usage(), pristine);
    }
}

#[test]
fn what_is_lent_must_fit() {
    let range = PfnRange::new(Pfn::new(5), 100);
    let needed = BuddyAllocator::words_for(range);
    let new = |range, states: usize, words: usize| {
        let mut states: Vec<_> = (0..states).map(|_| FrameState::new()).collect();
        let mut words = vec![0; words];
        BuddyAllocator::new(range, &mut states, &mut words).map(drop)
    };
    assert_eq!(new(range, 100, needed), Ok(()));
    assert_eq!(
        new(range, 99, needed),
        Err(SetupError::States {
            lent: 99,
            needed: 100
        })
    );
    assert_eq!(
        new(range, 100, needed - 1),
        Err(SetupError::Words {
            lent: needed - 1,
            needed
        })
    );
    for frames in [0, BuddyAllocator::FRAMES_MAX + 1] {
        let range = PfnRange::new(Pfn::new(5), frames);
        let max = BuddyAllocator::FRAMES_MAX;
        assert_eq!(new(range, 0, 0), Err(SetupError::Frames { frames, max }));
    }
}

#[test]
fn the_books_of_a_frame_take_less_than_a_byte_and_a_half() {
    let frames = 1 << 20;
    let words = BuddyAllocator::words_for(PfnRange::new(Pfn::new(0), frames));
    let bytes = words * 8 + size_of::<FrameState>() * (1 << 20);
    assert!(
        bytes * 10 < (1 << 20) * 13,
        "{bytes} bytes for {frames} frames"
    );
}

#[test]
fn frames_are_added_once_and_inside() {
    let mut store = Store::new(0x10, 64);
    let mut pages = BuddyAllocator::new(store.range, &mut store.states, &mut store.words).unwrap();
    let range = |start, frames| PfnRange::new(Pfn::new(start), frames);
    pages.add(range(0x20, 8)).unwrap();
    let present = AddError::Present {
        pfn: Pfn::new(0x20),
    };
    assert_eq!(pages.add(range(0x18, 16)), Err(present));
    let managed = pages.range();
    for outside in [range(0xf, 2), range(0x4f, 2)] {
        assert_eq!(
            pages.add(outside),
            Err(AddError::Outside {
                range: outside,
                managed
            })
        );
    }
    assert_eq!(
        (pages.add(range(0x20, 0)), pages.usage().managed),
        (Ok(()), 8)
    );
}

#[test]
fn a_range_may_be_longer_than_the_largest_block() {
    let mut store = Store::new(0x400, 8192);
    let mut pages = store.full();
    let range = pages
        .alloc_range(5000, Order::MAX, AllocFlags::NONE)
        .unwrap();
    assert_eq!(pages.free_count(), 8192 - 5000);
    let short = PfnRange::new(range.start(), 4999);
    let error = FreeError::WrongSize {
        pfn: range.start(),
        given: 4999,
        allocated: 5000,
    };
    assert_eq!(pages.free_range(short), Err(error));
    let inner = Pfn::new(range.start().as_u64() + 1024);
    assert_eq!(
        pages.free_pages(inner, Order::MAX),
        Err(FreeError::NotTheStart { pfn: inner })
    );
    pages.free_range(range).unwrap();
    assert_eq!(pages.usage().free_blocks[10], 8);
    assert_eq!(
        pages.alloc_range(0, Order::ZERO, AllocFlags::NONE),
        Err(AllocError::Nothing)
    );
    let error = pages
        .alloc_range(8193, Order::ZERO, AllocFlags::DMA32)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "no 8193 free frames in a row below 2^32 bytes, 8192 are free in all"
    );
    assert_eq!(error.errno().raw(), 12);
}

#[test]
fn fragmentation_says_how_much_is_of_no_use() {
    let mut store = Store::new(0, 1024);
    let mut pages = store.full();
    let frames: Vec<Pfn> = (0..1024)
        .map(|_| pages.alloc_pages(Order::ZERO, AllocFlags::NONE).unwrap())
        .collect();
    assert_eq!(pages.usage().unusable_permille(Order::ZERO), 1000);
    for pfn in frames
        .iter()
        .filter(|pfn| pfn.as_u64() % 2 == 0 || pfn.as_u64() < 512)
    {
        pages.free_pages(*pfn, Order::ZERO).unwrap();
    }
    let usage = pages.usage();
    assert_eq!((usage.free, usage.allocated()), (768, 256));
    assert_eq!(usage.largest_free(), Some(Order::new(9)));
    let unusable = [0, 1, 9, 10].map(|order| usage.unusable_permille(Order::new(order)));
    assert_eq!(unusable, [0, 333, 333, 1000]);
}

#[test]
fn zones_are_used_from_the_top_and_must_be_in_order() {
    let (mut low, mut high) = (Store::new(0, 64), Store::new(0x1000, 64));
    let mut pages = ZonedAllocator::new([low.full(), high.full()]).unwrap();
    let mut got = Vec::new();
    while let Ok(pfn) = pages.alloc_pages(Order::new(4), AllocFlags::NONE) {
        got.push(pfn.as_u64());
    }
    assert_eq!(got, [0x1000, 0x1010, 0x1020, 0x1030, 0, 0x10, 0x20, 0x30]);
    let error = pages.alloc_pages(Order::ZERO, AllocFlags::DMA).unwrap_err();
    assert_eq!(
        error,
        AllocError::Exhausted {
            frames: 1,
            address_bits: 24,
            free: 0
        }
    );
    for pfn in got {
        pages.free_pages(Pfn::new(pfn), Order::new(4)).unwrap();
    }
    let between = Pfn::new(0x800);
    assert_eq!(
        pages.free_pages(between, Order::ZERO),
        Err(FreeError::Foreign { pfn: between })
    );
    assert!(
        pages
            .alloc_range(65, Order::ZERO, AllocFlags::NONE)
            .is_err()
    );
    let range = pages.alloc_range(64, Order::ZERO, AllocFlags::DMA).unwrap();
    assert_eq!(range.start(), Pfn::new(0));
    pages.free_range(range).unwrap();
    assert_eq!((pages.free_count(), pages.usage().managed), (128, 128));

    let (mut low, mut high) = (Store::new(0, 65), Store::new(64, 64));
    let zone = high.range;
    let error = ZonedAllocator::new([low.full(), high.full()]).unwrap_err();
    assert_eq!(error, SetupError::ZoneOrder { zone });
}

#[test]
fn a_double_free_is_found_in_a_cache_too() {
    let mut store = Store::new(0x40, 256);
    let pages: SharedPages<'_, 1, 2> =
        SharedPages::new(ZonedAllocator::new([store.full()]).unwrap());
    let pfn = pages.alloc_page(0).unwrap();
    let usage = pages.usage();
    assert_eq!((usage.allocated(), usage.cached), (1, 63));
    pages.free_page(pfn, 1).unwrap();
    for cpu in 0..3 {
        assert_eq!(
            pages.free_page(pfn, cpu),
            Err(FreeError::AlreadyFree { pfn })
        );
        assert_eq!(
            pages.free_pages(pfn, Order::ZERO),
            Err(FreeError::AlreadyFree { pfn })
        );
    }
    let absent = Pfn::new(0x3f);
    assert_eq!(
        pages.free_page(absent, 0),
        Err(FreeError::Foreign { pfn: absent })
    );
    let block = pages.alloc_pages(Order::new(2), AllocFlags::NONE).unwrap();
    let error = FreeError::WrongSize {
        pfn: block,
        given: 1,
        allocated: 4,
    };
    assert_eq!(pages.free_page(block, 0), Err(error));
    pages.free_pages(block, Order::new(2)).unwrap();
    pages.drain_caches();
    assert_eq!(
        pages.usage().free_blocks[7..9],
        [1, 0],
        "two times 64 at the ends, 128 amid"
    );
    assert_eq!(pages.usage().free, 256);
}

#[test]
fn caches_are_emptied_before_an_allocation_fails() {
    let mut store = Store::new(0, 160);
    let pages: SharedPages<'_, 1, 4> =
        SharedPages::new(ZonedAllocator::new([store.full()]).unwrap());
    for cpu in 0..2 {
        let pfn = pages.alloc_page(cpu).unwrap();
        pages.free_page(pfn, cpu).unwrap();
    }
    assert_eq!((pages.usage().cached, pages.free_count()), (128, 160));
    let range = pages
        .alloc_range(160, Order::ZERO, AllocFlags::NONE)
        .unwrap();
    assert_eq!((pages.usage().cached, pages.free_count()), (0, 0));
    assert!(pages.alloc_page(0).is_err());
    pages.free_range(range).unwrap();
    let all: BTreeSet<Pfn> = (0..160).map(|cpu| pages.alloc_page(cpu).unwrap()).collect();
    assert_eq!(all.len(), 160, "every frame once, from whatever cache");
}

#[test]
fn threads_never_hold_the_same_frame_and_lose_none() {
    let mut store = Store::new(0x123, 2000);
    let pages: SharedPages<'_, 1, 2> =
        SharedPages::new(ZonedAllocator::new([store.full()]).unwrap());
    let pristine = pages.usage();
    let held = Mutex::new(BTreeSet::new());
    let work = |thread: u64| {
        let cpu = usize::try_from(thread).unwrap();
        let (mut mine, mut random) = (Vec::new(), thread + 1);
        for _ in 0..5000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let order = if random >> 62 == 0 {
                Order::new(2)
            } else {
                Order::ZERO
            };
            if (random >> 40) % 3 > 0 || mine.is_empty() {
                let got = match order {
                    Order::ZERO => pages.alloc_page(cpu),
                    order => pages.alloc_pages(order, AllocFlags::NONE),
                };
                let Ok(pfn) = got else { continue };
                let mut held = held.lock().unwrap();
                for pfn in PfnRange::new(pfn, order.frames()).iter() {
                    assert!(held.insert(pfn), "{pfn} is held twice");
                }
                mine.push((pfn, order));
            } else {
                let at = usize::try_from(random >> 33).unwrap() % mine.len();
                let (pfn, order) = mine.swap_remove(at);
                for pfn in PfnRange::new(pfn, order.frames()).iter() {
                    held.lock().unwrap().remove(&pfn);
                }
                match order {
                    Order::ZERO => pages.free_page(pfn, cpu).unwrap(),
                    order => pages.free_pages(pfn, order).unwrap(),
                }
            }
        }
        mine
    };
    let left = thread::scope(|scope| {
        let work = &work;
        let threads = [0, 1, 2, 3].map(|thread| scope.spawn(move || work(thread)));
        threads.map(|thread| thread.join().unwrap())
    });
    for (pfn, order) in left.into_iter().flatten() {
        pages.free_pages(pfn, order).unwrap();
    }
    pages.drain_caches();
    assert_eq!(pages.usage(), pristine);
}

#[test]
fn of_many_threads_that_free_one_frame_one_succeeds() {
    let mut store = Store::new(0, 64);
    let pages: SharedPages<'_, 1, 2> =
        SharedPages::new(ZonedAllocator::new([store.full()]).unwrap());
    for _ in 0..200 {
        let pfn = pages.alloc_page(0).unwrap();
        let freed = Mutex::new(0);
        thread::scope(|scope| {
            for cpu in 0..3 {
                let (pages, freed) = (&pages, &freed);
                scope.spawn(move || {
                    if pages.free_page(pfn, cpu).is_ok() {
                        *freed.lock().unwrap() += 1;
                    }
                });
            }
        });
        assert_eq!(freed.into_inner().unwrap(), 1);
        assert_eq!(pages.free_count(), 64);
    }
}
