//! Who runs loops.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use pepita_sched::scheduler::{self, Scheduler};
use rayon::prelude::*;

use super::work::{Input, Load};
use crate::case::Contender;

const THREADS: usize = 2;

/// A loop over indices, and what comes out of it.
pub(super) trait Pool: Sized + Sync {
    const NAME: &'static str;

    fn start() -> Result<Self>;
    /// Calls `run` where loops are shared.
    fn within<R: Send>(&self, run: impl FnOnce() -> R + Send) -> R;
    /// The sum of what `map` gives for `0..count`.
    fn sum(count: usize, map: impl Fn(usize) -> u64 + Sync + Send) -> u64;
    fn sort(numbers: &mut [u64]);
}

pub(super) struct Ours(Scheduler);

impl Pool for Ours {
    const NAME: &'static str = "pepita";

    fn start() -> Result<Self> {
        Ok(Self(Scheduler::with_workers(THREADS)))
    }

    fn within<R: Send>(&self, run: impl FnOnce() -> R + Send) -> R {
        self.0.install(run)
    }

    fn sum(count: usize, map: impl Fn(usize) -> u64 + Sync + Send) -> u64 {
        scheduler::map_reduce(0..count, map, u64::wrapping_add).unwrap_or(0)
    }

    fn sort(numbers: &mut [u64]) {
        scheduler::sort_unstable(numbers);
    }
}

pub(super) struct Rayon(rayon::ThreadPool);

impl Pool for Rayon {
    const NAME: &'static str = "rayon";

    fn start() -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(THREADS);
        Ok(Self(pool.build()?))
    }

    fn within<R: Send>(&self, run: impl FnOnce() -> R + Send) -> R {
        self.0.install(run)
    }

    fn sum(count: usize, map: impl Fn(usize) -> u64 + Sync + Send) -> u64 {
        (0..count)
            .into_par_iter()
            .map(map)
            .reduce(|| 0, u64::wrapping_add)
    }

    fn sort(numbers: &mut [u64]) {
        numbers.par_sort_unstable();
    }
}

/// One after the other.
pub(super) struct Sequential;

impl Pool for Sequential {
    const NAME: &'static str = "sequential";

    fn start() -> Result<Self> {
        Ok(Self)
    }

    fn within<R: Send>(&self, run: impl FnOnce() -> R + Send) -> R {
        run()
    }

    fn sum(count: usize, map: impl Fn(usize) -> u64 + Sync + Send) -> u64 {
        (0..count).map(map).fold(0, u64::wrapping_add)
    }

    fn sort(numbers: &mut [u64]) {
        numbers.sort_unstable();
    }
}

/// A pool under a load.
pub(super) struct Loops<P> {
    pool: P,
    input: Input,
}

impl<P: Pool> Loops<P> {
    pub(super) fn new(load: Load) -> Result<Self> {
        Ok(Self {
            pool: P::start()?,
            input: Input::new(load),
        })
    }

    /// What it comes to, and how many microseconds each time took.
    fn run(&mut self) -> (u64, f64) {
        let mut sorted = self.input.to_be_sorted();
        let input = &self.input;
        let begin = Instant::now();
        let result = self.pool.within(|| input.run::<P>(&mut sorted));
        let took = begin.elapsed().as_secs_f64() * 1e6;
        assert!(sorted.is_sorted());
        (result, took / f64::from(input.times()))
    }
}

impl<P: Pool> Contender for Loops<P> {
    fn answer(&mut self) -> Result<String> {
        Ok(self.run().0.to_string())
    }

    fn round(&mut self) -> Result<f64> {
        let (result, took) = self.run();
        black_box(result);
        Ok(took)
    }
}
