//! Loops, reductions and sorting by two workers.

mod pools;
mod work;

use crate::case::{Bar, Case, Home, Role, Settings, Suite, Unit};
use pools::{Loops, Ours, Pool, Rayon, Sequential};
use work::Load;

/// `cargo xtask bench loops`.
pub const SUITE: Suite = Suite {
    name: "loops",
    about: "parallel loops, reductions and sorting, coarse and fine",
    cases,
};

/// As good as the peer, within what a round can tell.
const LEVEL: f64 = 0.97;

/// Twice as fast on two workers, nearly.
const NEARLY_TWICE: f64 = 1.9;

/// At most 5 % slower.
const NOT_SLOWER: f64 = 0.95;

/// Name, what is done, and the bar against the sequential loop, unless memory bounds it.
const COARSE: [(&str, Load, Option<f64>); 5] = [
    ("sum", Load::Sum, None),
    ("dot", Load::Dot, None),
    ("sort", Load::Sort, Some(NEARLY_TWICE)),
    ("n-body", Load::Bodies, Some(NEARLY_TWICE)),
    ("words", Load::Words, Some(NEARLY_TWICE)),
];

const FINE: [(&str, Load); 5] = [
    (
        "even-1000",
        Load::Even {
            elements: 1000,
            times: 2000,
        },
    ),
    (
        "even-10000",
        Load::Even {
            elements: 10_000,
            times: 200,
        },
    ),
    (
        "even-100000",
        Load::Even {
            elements: 100_000,
            times: 20,
        },
    ),
    (
        "uneven-10000",
        Load::Uneven {
            elements: 10_000,
            times: 50,
        },
    ),
    (
        "nested-100",
        Load::Nested {
            elements: 100,
            times: 200,
        },
    ),
];

fn cases(_: &Settings) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, load, twice) in COARSE {
        cases.push(against_rayon(name, load).bar(Bar::Ratio(LEVEL)));
        let case = against_sequential(name, load);
        cases.push(match twice {
            Some(bar) => case.bar(Bar::Ratio(bar)),
            None => case,
        });
    }
    for (name, load) in FINE {
        cases.push(against_rayon(name, load).bar(Bar::Ratio(1.0)));
        cases.push(against_sequential(name, load).bar(Bar::Ratio(NOT_SLOWER)));
    }
    cases
}

fn contender<P: Pool + 'static>(case: Case, role: Role, load: Load) -> Case {
    case.contender(role, Home::Own, P::NAME, move || Loops::<P>::new(load))
}

fn ours(name: &str, load: Load) -> Case {
    let case = Case::new(name, Unit::Time("µs"), format!("{load}, on 2 threads"));
    contender::<Ours>(case, Role::Ours, load)
}

fn against_rayon(name: &str, load: Load) -> Case {
    contender::<Rayon>(ours(name, load), Role::Peer, load)
}

fn against_sequential(name: &str, load: Load) -> Case {
    let case = ours(&format!("{name}-sequential"), load);
    contender::<Sequential>(case, Role::Peer, load)
}
