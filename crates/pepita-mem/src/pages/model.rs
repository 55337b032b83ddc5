//! Threads that share frames, in every order that the memory model allows (loom).

use std::vec::Vec;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::range::PfnRange;

/// Frames for two CPUs, and a cell for each.
struct Memory {
    pages: SharedPages<'static, 1, 2>,
    /// Who holds a frame owns its cell: loom fails where two do, or where one does not see the other's
    /// end.
    owned: Vec<UnsafeCell<()>>,
    whole: FrameUsage,
}

impl Memory {
    /// Frames from number 0 on.
    fn new(frames: usize) -> Arc<Self> {
        let range = PfnRange::new(Pfn::new(0), frames as u64);
        let states = Vec::leak((0..frames).map(|_| FrameState::new()).collect());
        let words = Vec::leak(std::vec![0; BuddyAllocator::words_for(range)]);
        let mut zone = BuddyAllocator::new(range, states, words).expect("books of this size");
        zone.add(range).expect("none was added yet");
        let whole = zone.usage();
        Arc::new(Self {
            pages: SharedPages::new(ZonedAllocator::new([zone]).expect("one zone")),
            owned: (0..frames).map(|_| UnsafeCell::new(())).collect(),
            whole,
        })
    }

    /// Uses the frames of a block as its only holder may.
    fn touch(&self, pfn: Pfn, order: Order) {
        for pfn in PfnRange::new(pfn, order.frames()).iter() {
            let cell = usize::try_from(pfn.as_u64()).expect("a few frames");
            self.owned[cell].with_mut(|_| ());
        }
    }

    /// A frame, used.
    fn take(&self, cpu: usize) -> Option<Pfn> {
        let pfn = self.pages.alloc_page(cpu).ok()?;
        self.touch(pfn, Order::ZERO);
        Some(pfn)
    }

    fn give(&self, pfn: Pfn, cpu: usize) {
        self.touch(pfn, Order::ZERO);
        self.pages.free_page(pfn, cpu).expect("it is held");
    }

    fn take_and_give(&self, cpu: usize) {
        if let Some(pfn) = self.take(cpu) {
            self.give(pfn, cpu);
        }
    }

    /// No frame is lost, and their blocks have merged again.
    fn check_whole(&self) {
        self.pages.drain_caches();
        assert_eq!(self.pages.usage(), self.whole);
    }
}

/// `one` and `other` at the same time, on `frames` frames.
fn check(frames: usize, one: fn(&Memory), other: fn(&Memory)) {
    loom::model(move || {
        let memory = Memory::new(frames);
        let thread = thread::spawn({
            let memory = Arc::clone(&memory);
            move || other(&memory)
        });
        one(&memory);
        thread.join().expect("no panic");
        memory.check_whole();
    });
}

/// The same, after `before`, with what it made.
fn check_after<T: Copy + 'static>(
    frames: usize,
    before: fn(&Memory) -> T,
    one: fn(&Memory, T),
    other: fn(&Memory, T),
) {
    loom::model(move || {
        let memory = Memory::new(frames);
        let made = before(&memory);
        let thread = thread::spawn({
            let memory = Arc::clone(&memory);
            move || other(&memory, made)
        });
        one(&memory, made);
        thread.join().expect("no panic");
        memory.check_whole();
    });
}

#[test]
fn loom_threads_with_a_cache_each_get_different_frames() {
    check(
        3,
        |memory| memory.take_and_give(0),
        |memory| memory.take_and_give(1),
    );
}

#[test]
fn loom_threads_at_one_cache_get_different_frames() {
    check(
        4,
        |memory| memory.take_and_give(0),
        |memory| memory.take_and_give(0),
    );
}

#[test]
fn loom_the_last_frame_goes_to_one_thread_at_a_time() {
    check(
        1,
        |memory| memory.take_and_give(0),
        |memory| memory.take_and_give(1),
    );
}

#[test]
fn loom_what_one_thread_held_another_gives_back() {
    let before = |memory: &Memory| memory.take(0).expect("all are free");
    let one = |memory: &Memory, _| memory.take_and_give(0);
    let other = |memory: &Memory, pfn| memory.give(pfn, 0);
    check_after(2, before, one, other);
}

#[test]
fn loom_a_full_cache_overflows_while_the_other_is_in_use() {
    let before = |memory: &Memory| [(); 3].map(|()| memory.take(0).expect("all are free"));
    let one = |memory: &Memory, held: [Pfn; 3]| {
        memory.give(held[0], 0);
        memory.give(held[1], 0);
    };
    let other = |memory: &Memory, held: [Pfn; 3]| memory.give(held[2], 0);
    check_after(4, before, one, other);
}

#[test]
fn loom_a_drain_takes_no_frame_from_who_holds_it() {
    check(
        3,
        |memory| memory.take_and_give(0),
        |memory| memory.pages.drain_caches(),
    );
}

#[test]
fn loom_a_block_is_made_of_what_the_caches_held() {
    let before = |memory: &Memory| memory.take_and_give(0);
    let one = |memory: &Memory, ()| memory.take_and_give(0);
    let other = |memory: &Memory, ()| {
        let order = Order::new(1);
        if let Ok(pfn) = memory.pages.alloc_pages(order, AllocFlags::NONE) {
            memory.touch(pfn, order);
            memory.pages.free_pages(pfn, order).expect("it is held");
        }
    };
    check_after(2, before, one, other);
}

#[test]
fn loom_three_threads_share_two_caches() {
    let mut model = loom::model::Builder::new();
    // Every order would take minutes.
    model.preemption_bound = Some(3);
    model.check(|| {
        let memory = Memory::new(3);
        let threads = [0, 1].map(|cpu| {
            let memory = Arc::clone(&memory);
            thread::spawn(move || memory.take_and_give(cpu))
        });
        memory.take_and_give(0);
        for thread in threads {
            thread.join().expect("no panic");
        }
        memory.check_whole();
    });
}

#[test]
fn loom_of_two_threads_that_free_one_frame_one_succeeds() {
    loom::model(|| {
        let memory = Memory::new(2);
        let pfn = memory.take(0).expect("all are free");
        let other = thread::spawn({
            let memory = Arc::clone(&memory);
            move || memory.pages.free_page(pfn, 1).is_ok()
        });
        let here = memory.pages.free_page(pfn, 0);
        let there = other.join().expect("no panic");
        assert_ne!(here.is_ok(), there);
        memory.check_whole();
    });
}
