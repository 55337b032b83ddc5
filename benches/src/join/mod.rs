//! Joins: two closures, the second of which may run elsewhere.
//!
//! forte 1.0.0-beta.2 is not among the peers: it needs Rust 1.96.

mod pools;
mod work;

use crate::case::{Bar, Case, Home, Role, Settings, Suite, Unit};
use pools::{Chili, Joins, Ours, Pool, Rayon, Sequential};
use work::Load;

/// `cargo xtask bench join`.
pub const SUITE: Suite = Suite {
    name: "join",
    about: "joins: Fibonacci numbers and small trees, on one and on two threads",
    cases,
};

/// The number that is computed, when the command line does not say.
const FIBONACCI: usize = 32;

/// Nanoseconds of work a node, roughly, and what gives that: units of work beside the visit of the node. How often the tree is
/// gone through in a round, so that a round takes some milliseconds.
const TREES: [(u32, u32, usize); 3] = [(2, 0, 1000), (20, 18, 200), (100, 98, 50)];

/// 0.9 and 0.8 of a peer's time.
const FIBONACCI_BAR: f64 = 1.112;
const TREE_BAR: f64 = 1.25;

/// At most 5 % slower.
const NOT_SLOWER: f64 = 0.95;

fn cases(settings: &Settings) -> Vec<Case> {
    let n = settings.size.unwrap_or(FIBONACCI);
    let n = u32::try_from(n).unwrap_or(u32::MAX);
    let fibonacci = Load::Fibonacci { n };
    let mut cases = vec![
        against_chili("fib-one", 1, fibonacci).bar(Bar::Ratio(FIBONACCI_BAR)),
        against_chili("fib-two", 2, fibonacci).bar(Bar::Ratio(FIBONACCI_BAR)),
    ];
    for (nanoseconds, units, times) in TREES {
        let load = Load::Tree { units, times };
        let case = against_chili(&format!("tree-{nanoseconds}"), 2, load);
        cases.push(if nanoseconds == 2 {
            case.bar(Bar::Ratio(TREE_BAR))
        } else {
            case
        });
        let case = ours(&format!("tree-{nanoseconds}-sequential"), 2, load);
        let case = contender::<Sequential>(case, Role::Peer, 1, load);
        cases.push(if nanoseconds >= 100 {
            case.bar(Bar::Ratio(NOT_SLOWER))
        } else {
            case
        });
    }
    cases
}

fn contender<P: Pool + 'static>(case: Case, role: Role, threads: usize, load: Load) -> Case {
    // Each keeps threads; chili's beat while a scope lives.
    case.contender(role, Home::Own, P::NAME, move || {
        Joins::<P>::new(threads, load)
    })
}

fn ours(name: &str, threads: usize, load: Load) -> Case {
    let plural = if threads == 1 { "" } else { "s" };
    let work = format!("{load}, on {threads} thread{plural}");
    contender::<Ours>(
        Case::new(name, Unit::Time("ns/join"), work),
        Role::Ours,
        threads,
        load,
    )
}

fn against_chili(name: &str, threads: usize, load: Load) -> Case {
    let case = ours(name, threads, load);
    let case = contender::<Chili>(case, Role::Peer, threads, load);
    let case = contender::<Rayon>(case, Role::Peer, threads, load);
    contender::<Sequential>(case, Role::Reference, 1, load)
}
