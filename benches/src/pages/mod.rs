//! Page frames, against `buddy_system_allocator`.

mod books;
mod drain;
mod heap;
mod pairs;
mod threads;

use crate::case::{Bar, Case, Home, Role, Settings, Suite, Unit};
use books::{Buddy, PeerFrames};
use drain::Drain;
use heap::Heap;
use pairs::Pairs;
use threads::{CachedPages, PeerPages};

/// `cargo xtask bench pages`.
pub const SUITE: Suite = Suite {
    name: "pages",
    about: "page frames: fragmented, up to a million, and from two threads",
    cases,
};

/// Pairs of the fragmented case.
const PAIRS: usize = 5000;

/// Frames of the smallest allocator that the cost of a free is measured on.
const FEW: usize = 1_000;

fn cases(settings: &Settings) -> Vec<Case> {
    let pairs = settings.size.unwrap_or(PAIRS);
    let fragmented = |name| {
        let work =
            format!("{pairs} pairs of frames: all allocated, one of each freed, then the other");
        Case::new(name, Unit::Time("ms"), work).contender(
            Role::Ours,
            Home::Shared,
            "BuddyAllocator",
            move || Pairs::<Buddy>::new(pairs),
        )
    };
    let heap = fragmented("fragmented-heap")
        .bar(Bar::Ratio(100.0))
        .contender(
            Role::Peer,
            Home::Shared,
            "buddy_system_allocator Heap",
            move || Pairs::<Heap>::new(pairs),
        );
    let frames = fragmented("fragmented-frames")
        .bar(Bar::Ratio(1.0))
        .contender(
            Role::Peer,
            Home::Shared,
            "buddy_system_allocator FrameAllocator",
            move || Pairs::<PeerFrames>::new(pairs),
        );
    let mut cases = vec![heap, frames];
    cases.extend([10_000, 100_000, 1_000_000].map(free_cost));
    cases.push(two_threads());
    cases
}

/// The cost of a free does not grow with the frames: ours with many, beside ours with few.
fn free_cost(frames: usize) -> Case {
    let work = format!("{frames} single frames freed in random order, the time of one");
    Case::new(format!("free-{frames}"), Unit::Time("ns"), work)
        .bar(Bar::Ratio(0.8))
        .contender(
            Role::Ours,
            Home::Shared,
            format!("{frames} frames"),
            move || Drain::<Buddy>::new(frames),
        )
        .contender(Role::Peer, Home::Shared, format!("{FEW} frames"), || {
            Drain::<Buddy>::new(FEW)
        })
        .contender(
            Role::Reference,
            Home::Shared,
            format!("FrameAllocator, {frames} frames"),
            move || Drain::<PeerFrames>::new(frames),
        )
}

fn two_threads() -> Case {
    let work = "two threads allocate 8 single frames and free them, over and over";
    Case::new("two-threads", Unit::Rate("frames/s"), work)
        .bar(Bar::Ratio(1.0))
        .contender(
            Role::Ours,
            Home::Shared,
            "SharedPages, 2 caches",
            CachedPages::new,
        )
        .contender(
            Role::Peer,
            Home::Shared,
            "LockedFrameAllocator",
            PeerPages::new,
        )
}
