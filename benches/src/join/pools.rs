//! Who joins.

use std::hint::black_box;
use std::num::NonZero;
use std::time::Instant;

use anyhow::Result;
use pepita_sched::scheduler::{self, Scheduler};

use super::work::{Load, Node};
use crate::case::Contender;

/// Two closures at the same time.
pub(super) trait Pool: Sized {
    const NAME: &'static str;

    fn start(threads: usize) -> Result<Self>;
    fn fibonacci(&mut self, n: u32) -> u64;
    /// The sum of the whole tree, so many times.
    fn sum(&mut self, tree: &Node, units: u32, times: usize) -> u64;
}

/// The two recursions over a `join` that takes two closures.
macro_rules! recursions {
    ($join:path) => {
        pub(super) fn fibonacci(n: u32) -> u64 {
            if n < 2 {
                return u64::from(n);
            }
            let (a, b) = $join(|| fibonacci(n - 1), || fibonacci(n - 2));
            a + b
        }

        fn sum(node: &Node, units: u32) -> u64 {
            let value = node.visit(units);
            let side =
                |node: &Option<Box<Node>>| node.as_deref().map_or(0, |node| sum(node, units));
            let (left, right) = $join(|| side(&node.left), || side(&node.right));
            value + left + right
        }

        pub(super) fn sums(tree: &Node, units: u32, times: usize) -> u64 {
            (0..times).map(|_| sum(black_box(tree), units)).sum()
        }
    };
}

pub(super) struct Ours(Scheduler);

impl Pool for Ours {
    const NAME: &'static str = "pepita join";

    fn start(threads: usize) -> Result<Self> {
        Ok(Self(Scheduler::with_workers(threads)))
    }

    fn fibonacci(&mut self, n: u32) -> u64 {
        self.0.install(|| ours::fibonacci(n))
    }

    fn sum(&mut self, tree: &Node, units: u32, times: usize) -> u64 {
        self.0.install(|| ours::sums(tree, units, times))
    }
}

mod ours {
    use super::{Node, black_box, scheduler};
    recursions!(scheduler::join);
}

pub(super) struct Rayon(rayon::ThreadPool);

impl Pool for Rayon {
    const NAME: &'static str = "rayon join";

    fn start(threads: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        Ok(Self(pool.build()?))
    }

    fn fibonacci(&mut self, n: u32) -> u64 {
        self.0.install(|| theirs::fibonacci(n))
    }

    fn sum(&mut self, tree: &Node, units: u32, times: usize) -> u64 {
        self.0.install(|| theirs::sums(tree, units, times))
    }
}

mod theirs {
    use super::{Node, black_box};
    recursions!(rayon::join);
}

/// Its threads are the caller's and those of the pool. The scope is as old as the pool, so none has to be made in a round.
pub(super) struct Chili(chili::Scope<'static>);

impl Pool for Chili {
    const NAME: &'static str = "chili join";

    fn start(threads: usize) -> Result<Self> {
        let pool = chili::ThreadPool::with_config(chili::Config {
            thread_count: NonZero::new(threads),
            ..chili::Config::default()
        });
        Ok(Self(Box::leak(Box::new(pool)).scope()))
    }

    fn fibonacci(&mut self, n: u32) -> u64 {
        fibonacci_by_chili(&mut self.0, n)
    }

    fn sum(&mut self, tree: &Node, units: u32, times: usize) -> u64 {
        let sums = (0..times).map(|_| sum_by_chili(&mut self.0, black_box(tree), units));
        sums.sum()
    }
}

fn fibonacci_by_chili(scope: &mut chili::Scope<'_>, n: u32) -> u64 {
    if n < 2 {
        return u64::from(n);
    }
    let (a, b) = scope.join(
        |scope| fibonacci_by_chili(scope, n - 1),
        |scope| fibonacci_by_chili(scope, n - 2),
    );
    a + b
}

fn sum_by_chili(scope: &mut chili::Scope<'_>, node: &Node, units: u32) -> u64 {
    let value = node.visit(units);
    let side = |scope: &mut chili::Scope<'_>, node: &Option<Box<Node>>| {
        let node = node.as_deref();
        node.map_or(0, |node| sum_by_chili(scope, node, units))
    };
    let (left, right) = scope.join(
        |scope| side(scope, &node.left),
        |scope| side(scope, &node.right),
    );
    value + left + right
}

/// One after the other.
pub(super) struct Sequential;

impl Pool for Sequential {
    const NAME: &'static str = "sequential";

    fn start(_: usize) -> Result<Self> {
        Ok(Self)
    }

    fn fibonacci(&mut self, n: u32) -> u64 {
        alone::fibonacci(n)
    }

    fn sum(&mut self, tree: &Node, units: u32, times: usize) -> u64 {
        alone::sums(tree, units, times)
    }
}

mod alone {
    use super::{Node, black_box};

    fn both<A, B>(a: impl FnOnce() -> A, b: impl FnOnce() -> B) -> (A, B) {
        (a(), b())
    }

    recursions!(both);
}

/// A pool under a load.
pub(super) struct Joins<P> {
    pool: P,
    load: Load,
    tree: Node,
}

impl<P: Pool> Joins<P> {
    pub(super) fn new(threads: usize, load: Load) -> Result<Self> {
        Ok(Self {
            pool: P::start(threads)?,
            load,
            tree: Node::tree(),
        })
    }

    fn run(&mut self) -> u64 {
        match self.load {
            Load::Fibonacci { n } => self.pool.fibonacci(black_box(n)),
            Load::Tree { units, times } => self.pool.sum(&self.tree, black_box(units), times),
        }
    }
}

impl<P: Pool> Contender for Joins<P> {
    fn answer(&mut self) -> Result<String> {
        Ok(self.run().to_string())
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a bench are far below 2^53"
    )]
    fn round(&mut self) -> Result<f64> {
        let begin = Instant::now();
        black_box(self.run());
        Ok(begin.elapsed().as_secs_f64() * 1e9 / self.load.joins() as f64)
    }
}
