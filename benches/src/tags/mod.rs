//! Tags, against free lists.

mod sets;
mod turns;

use crate::case::{Bar, Case, Home, Role, Settings, Suite, Unit};
use sets::{Bitmap, LockedList, Queue};
use turns::{Load, Turns};

/// `cargo xtask bench tags`.
pub const SUITE: Suite = Suite {
    name: "tags",
    about: "tags of requests: from one and two threads, free and nearly all out",
    cases,
};

/// How many times each thread takes and frees its tags, when the command line does not say.
const TURNS: usize = 50_000;

/// Threads, depth, whether it is full.
const LOADS: [(u16, u16, bool); 6] = [
    (2, 64, false),
    (2, 64, true),
    (2, 1024, false),
    (2, 1024, true),
    (1, 64, false),
    (1, 1024, true),
];

fn cases(settings: &Settings) -> Vec<Case> {
    let turns = settings.size.unwrap_or(TURNS);
    let loads = LOADS.map(|(threads, depth, is_full)| Load {
        threads,
        depth,
        is_full,
        turns,
    });
    let locked = loads.map(against_a_lock);
    locked
        .into_iter()
        .chain(loads.map(against_a_queue))
        .collect()
}

fn case(prefix: &str, load: Load) -> Case {
    let threads = if load.threads == 1 { "one" } else { "two" };
    let full = if load.is_full { "-full" } else { "" };
    let name = format!("{prefix}-{threads}-{}{full}", load.depth);
    Case::new(name, Unit::Rate("tags/s"), load.to_string()).contender(
        Role::Ours,
        Home::Shared,
        "TagSet",
        move || Turns::<Bitmap>::new(load),
    )
}

fn against_a_lock(load: Load) -> Case {
    let case = case("lock", load).contender(
        Role::Peer,
        Home::Shared,
        "Mutex of a free list",
        move || Turns::<LockedList>::new(load),
    );
    if load.threads == 1 {
        return case;
    }
    case.bar(Bar::Ratio(1.5))
}

/// Without a bar: a queue does not know a tag that nobody holds, and cannot give out fewer for a while.
fn against_a_queue(load: Load) -> Case {
    case("queue", load).contender(
        Role::Peer,
        Home::Shared,
        "crossbeam ArrayQueue",
        move || Turns::<Queue>::new(load),
    )
}
