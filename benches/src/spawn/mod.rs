//! Closures that are spawned: what each costs, how soon it runs, and what a scheduler without work costs.
//!
//! chili has no spawn; forte 1.0.0-beta.2 needs Rust 1.96.

mod many;
mod rest;
mod soon;

use pepita_sched::scheduler::Scheduler;
use rayon::ThreadPool;

use crate::case::{Bar, Case, Home, Role, Settings, Suite, Unit};
use many::{Kind, Many};
use rest::{HalfIdle, Idle};
use soon::{Latency, Submit};

/// `cargo xtask bench spawn`.
pub const SUITE: Suite = Suite {
    name: "spawn",
    about: "closures: what a spawn costs, how soon one runs, what idle workers burn",
    cases,
};

/// In every contender.
const THREADS: usize = 2;

/// Closures of a round.
const CLOSURES: usize = 1_000_000;

/// With a handle each, of which all are kept until the end.
const HANDLES: usize = 100_000;

/// Rounds of the cases that watch for seconds, and compare with nobody.
const WATCHES: usize = 3;

fn cases(settings: &Settings) -> Vec<Case> {
    let count = settings.size.unwrap_or(CLOSURES);
    let handles = settings.size.unwrap_or(HANDLES);
    vec![
        spawns("scope-inside", Kind::Scope, count).bar(Bar::Below(40.0)),
        spawns("inside", Kind::Inside, count).bar(Bar::Below(40.0)),
        spawns("outside", Kind::Outside, count).bar(Bar::Below(120.0)),
        with_handles(handles),
        latency(),
        Case::new(
            "idle",
            Unit::Time("µs"),
            "CPU time of the workers over 5 s without a closure, after some",
        )
        .rounds(WATCHES)
        .contender(Role::Ours, Home::Own, "pepita", Idle::new)
        .bar(Bar::Below(1000.0)),
        Case::new(
            "half-idle",
            Unit::Time("% of a core"),
            "CPU time of the other worker while one of two is busy for 1 s",
        )
        .contender(Role::Ours, Home::Own, "pepita", HalfIdle::<Scheduler>::new)
        .contender(
            Role::Reference,
            Home::Own,
            "rayon",
            HalfIdle::<ThreadPool>::new,
        )
        .bar(Bar::Below(2.0)),
    ]
}

fn spawns(name: &str, kind: Kind, count: usize) -> Case {
    let work =
        format!("{count} closures that do nothing but count themselves, {kind}, {THREADS} threads");
    Case::new(name, Unit::Time("ns/closure"), work)
        .contender(Role::Ours, Home::Own, "pepita", move || {
            Many::<Scheduler>::new(kind, count)
        })
        .contender(Role::Peer, Home::Own, "rayon", move || {
            Many::<ThreadPool>::new(kind, count)
        })
}

fn with_handles(count: usize) -> Case {
    let kind = Kind::Handles;
    let work = format!("{count} closures, {kind}, {THREADS} threads");
    Case::new("handles", Unit::Time("ns/closure"), work)
        .contender(Role::Ours, Home::Own, "pepita", move || {
            Many::<Scheduler>::new(kind, count)
        })
        .contender(Role::Peer, Home::Own, "tokio", move || {
            Many::<tokio::runtime::Runtime>::new(kind, count)
        })
}

fn latency() -> Case {
    fn of<S: Submit + 'static>(case: Case, role: Role, name: &str) -> Case {
        case.contender(role, Home::Own, name, Latency::<S>::new)
    }
    let case = Case::new(
        "latency",
        Unit::Time("µs"),
        "from a spawn outside to its run on a worker that sleeps, the median of 100",
    );
    let case = of::<Scheduler>(case, Role::Ours, "pepita");
    of::<ThreadPool>(case, Role::Peer, "rayon").bar(Bar::Ratio(1.0))
}
