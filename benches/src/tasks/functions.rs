//! Functions as tasks, their results collected in order.

use std::sync::mpsc;

use anyhow::{Result, bail, ensure};
use pepita_sched::pool::Pool;
use pepita_sched::task::Task;

use super::WORKERS;
use crate::case::Contender;
use crate::timing::per_second;

/// What each task computes: eight bytes that depend on its number.
fn compute(number: usize) -> Vec<u8> {
    number.wrapping_mul(0x9e37_79b9).to_le_bytes().to_vec()
}

/// One number for all results and their order.
fn digest(results: &[Vec<u8>]) -> String {
    let fold = |sum: u64, byte: &u8| sum.wrapping_mul(31).wrapping_add(u64::from(*byte));
    let sum = results.iter().flatten().fold(0, fold);
    format!("{} results, digest {sum:016x}", results.len())
}

/// Ours: a task each, with its id, times, exit and captured output.
#[derive(Debug)]
pub(super) struct PoolFunctions {
    pool: Pool,
    count: usize,
}

impl PoolFunctions {
    pub(super) fn new(count: usize) -> Result<Self> {
        Ok(Self {
            pool: Pool::builder().cpu_workers(WORKERS).build()?,
            count,
        })
    }

    fn run(&self) -> Result<Vec<Vec<u8>>> {
        let task = |number| {
            let task = Task::function(move |_| compute(number)).build();
            task.unwrap_or_else(|error| unreachable!("a function needs nothing else: {error}"))
        };
        let mut results = Vec::with_capacity(self.count);
        for outcome in self.pool.map((0..self.count).map(task)) {
            let result = outcome?;
            ensure!(result.is_success(), "{:?}", result.exit);
            results.push(result.stdout.bytes);
        }
        Ok(results)
    }
}

impl Contender for PoolFunctions {
    fn answer(&mut self) -> Result<String> {
        self.run().map(|results| digest(&results))
    }

    fn round(&mut self) -> Result<f64> {
        per_second(self.count, || self.run().map(drop))
    }
}

/// A pool of threads that runs closures and knows nothing of results.
pub(super) trait Threads {
    /// Starts the pool.
    fn start() -> Result<Self>
    where
        Self: Sized;

    /// Queues a closure.
    fn spawn(&self, job: impl FnOnce() + Send + 'static);
}

impl Threads for rayon::ThreadPool {
    fn start() -> Result<Self> {
        Ok(rayon::ThreadPoolBuilder::new()
            .num_threads(WORKERS)
            .build()?)
    }

    fn spawn(&self, job: impl FnOnce() + Send + 'static) {
        rayon::ThreadPool::spawn(self, job);
    }
}

impl Threads for threadpool::ThreadPool {
    fn start() -> Result<Self> {
        Ok(Self::new(WORKERS))
    }

    fn spawn(&self, job: impl FnOnce() + Send + 'static) {
        self.execute(job);
    }
}

/// A peer: bare closures that send their result through a channel.
#[derive(Debug)]
pub(super) struct PeerFunctions<T> {
    pool: T,
    count: usize,
}

impl<T: Threads> PeerFunctions<T> {
    pub(super) fn new(count: usize) -> Result<Self> {
        Ok(Self {
            pool: T::start()?,
            count,
        })
    }

    fn run(&self) -> Result<Vec<Vec<u8>>> {
        let (sender, receiver) = mpsc::channel();
        for number in 0..self.count {
            let sender = sender.clone();
            self.pool
                .spawn(move || drop(sender.send((number, compute(number)))));
        }
        drop(sender);
        let mut results = vec![None; self.count];
        for (number, result) in receiver {
            results[number] = Some(result);
        }
        match results.into_iter().collect() {
            Some(results) => Ok(results),
            None => bail!("a result is missing"),
        }
    }
}

impl<T: Threads> Contender for PeerFunctions<T> {
    fn answer(&mut self) -> Result<String> {
        self.run().map(|results| digest(&results))
    }

    fn round(&mut self) -> Result<f64> {
        per_second(self.count, || self.run().map(drop))
    }
}
