//! [`SchedulerBuilder`]: the settings of a scheduler.

use std::io;
use std::num::NonZero;
use std::thread;

use rustix::thread::{CpuSet, sched_getaffinity};

use super::Scheduler;
use super::entry::Entry;
use super::workers::{Setup, StartError, Workers};

/// Collects the settings of a [`Scheduler`]; [`start`](Self::start) checks them.
///
/// ```
/// use pepita_sched::scheduler::Scheduler;
///
/// let scheduler = Scheduler::builder().workers(2).name("render").stack_bytes(8 << 20).start()?;
/// let name = scheduler.spawn(|| std::thread::current().name().map(str::to_owned));
/// assert!(name.wait()?.is_some_and(|name| name.starts_with("render-")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `start`"]
pub struct SchedulerBuilder {
    workers: Option<usize>,
    max_workers: Option<usize>,
    name: String,
    stack_bytes: Option<usize>,
    pins: bool,
    queue_capacity: Option<usize>,
    seed: Option<u64>,
}

/// Why there is no [`Scheduler`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchedulerBuildError {
    /// Nobody would run anything.
    #[error("a scheduler needs at least one worker")]
    NoWorkers,
    /// More workers than there may be.
    #[error("a scheduler of up to {most} workers cannot have {count}")]
    TooManyWorkers {
        /// How many there are to be.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// No closure could be spawned.
    #[error("a queue with a capacity of 0 takes no closure")]
    NoCapacity,
    /// The name cannot be that of a thread.
    #[error("the name {name:?} of a scheduler contains a NUL byte")]
    Name {
        /// The name.
        name: String,
    },
    /// The CPUs that this process may use are not to be had, or a worker cannot be bound to its own.
    #[error("a worker cannot be bound to a CPU")]
    Affinity(#[source] io::Error),
    /// The system starts no thread with that stack.
    #[error("a worker thread cannot be started")]
    Thread(#[source] io::Error),
}

impl SchedulerBuilder {
    pub(super) fn new() -> Self {
        Self {
            workers: None,
            max_workers: None,
            name: "pepita".to_owned(),
            stack_bytes: None,
            pins: false,
            queue_capacity: None,
            seed: None,
        }
    }

    /// Sets how many worker threads there are; one for each CPU that this process may use when left out.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Sets how many workers there may be: so many can [`resize`](Scheduler::resize) have, and those above take the places of others in
    /// [blocking sections](super::blocking()). As many as there are when left out.
    ///
    /// Their threads are started with the others, and sleep until they are needed.
    pub fn max_workers(mut self, workers: usize) -> Self {
        self.max_workers = Some(workers);
        self
    }

    /// Sets how the threads are named: `name-0`, `name-1`, …; `pepita` when left out. Linux shows the first 15 bytes.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the size of each worker's stack in bytes; that of the standard library's threads, 2 MiB, when left out. The system
    /// rounds it up, and has a least one.
    pub fn stack_bytes(mut self, bytes: usize) -> Self {
        self.stack_bytes = Some(bytes);
        self
    }

    /// Binds each worker to one of the CPUs that the calling thread may use, in their order; if there are more workers than CPUs,
    /// some share one. Programs that tasks start inherit the CPU of their worker. On a host with several NUMA nodes each worker then
    /// looks for work with those of its own node first, and with the farthest last.
    ///
    /// That is worth it where nothing else runs: else a bound worker waits for its CPU while others are free.
    pub fn pinned(mut self) -> Self {
        self.pins = true;
        self
    }

    /// Sets how many closures that other threads than its workers spawn may wait to be begun; any number when left out.
    ///
    /// Where as many wait, who spawns another one waits too, and [`try_spawn`](Scheduler::try_spawn) gives it back. What workers
    /// spawn is not counted, since they would wait for themselves, nor are tasks, for which [`Pool`](crate::pool::Pool) has a
    /// limit, nor calls that wait for their end, as [`install`](Scheduler::install). A closure that was cancelled keeps its place
    /// until a worker comes to it.
    ///
    /// ```
    /// use pepita_sched::scheduler::Scheduler;
    ///
    /// let scheduler = Scheduler::builder().workers(1).queue_capacity(64).start()?;
    /// let squares: Vec<_> = (0..1000_u64).map(|n| scheduler.spawn(move || n * n)).collect();
    /// assert_eq!(squares.into_iter().map(|square| square.wait().unwrap()).max(), Some(998_001));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn queue_capacity(mut self, closures: usize) -> Self {
        self.queue_capacity = Some(closures);
        self
    }

    /// Has one worker, whatever [`workers`](Self::workers) says, that makes its choices by numbers which follow from `seed`: for
    /// tests, that can then be run in many orders, and again in the one that failed.
    ///
    /// Each choice is one that thieves might have made for it: the second closure of a [`join`](fn@super::join) may be run before
    /// the first, a waiting closure or a job of a scope before an older one or before a newer one, and a loop is cut somewhere and its
    /// parts are run in any order. What runs is never interrupted for something else, so mistakes that take two threads at the same
    /// time do not show.
    ///
    /// One call of [`install`](Scheduler::install) on a new scheduler does the same each time, as long as the code that it runs
    /// does. Closures that other threads spawn meanwhile are found by the worker when they come.
    ///
    /// ```
    /// use pepita_sched::scheduler::{Scheduler, join};
    /// use std::sync::Mutex;
    ///
    /// let order = |seed| {
    ///     let seen = Mutex::new(Vec::new());
    ///     let see = |name| seen.lock().unwrap().push(name);
    ///     let scheduler = Scheduler::builder().deterministic(seed).start().unwrap();
    ///     scheduler.install(|| join(|| see("first"), || see("second")));
    ///     seen.into_inner().unwrap()
    /// };
    /// assert_eq!(order(1), order(1));
    /// assert!((0..64).any(|seed| order(seed) == ["second", "first"]));
    /// ```
    pub fn deterministic(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// [`SchedulerBuildError`] for a setting that cannot be, and if the system refuses a thread or its CPU.
    pub fn start(self) -> Result<Scheduler, SchedulerBuildError> {
        let count = match self.seed {
            Some(_) => 1,
            None => self.workers.unwrap_or_else(default_workers),
        };
        if count == 0 {
            return Err(SchedulerBuildError::NoWorkers);
        }
        let most = match self.seed {
            Some(_) => 1,
            None => self.max_workers.unwrap_or(count),
        };
        if most < count {
            return Err(SchedulerBuildError::TooManyWorkers { count, most });
        }
        if self.queue_capacity == Some(0) {
            return Err(SchedulerBuildError::NoCapacity);
        }
        if self.name.contains('\0') {
            return Err(SchedulerBuildError::Name { name: self.name });
        }
        let cpus = if self.pins { cpus()? } else { Vec::new() };
        let setup = Setup {
            count,
            most,
            name: &self.name,
            stack_bytes: self.stack_bytes,
            cpus: &cpus,
            seed: self.seed,
        };
        let workers = Workers::start(&setup).map_err(|error| match error {
            StartError::Thread(error) => SchedulerBuildError::Thread(error),
            StartError::Affinity(error) => SchedulerBuildError::Affinity(error),
        })?;
        Ok(Scheduler::of(workers, self.queue_capacity.map(Entry::new)))
    }
}

/// One for each CPU that this process may use.
pub(super) fn default_workers() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// The CPUs that the calling thread may use.
fn cpus() -> Result<Vec<usize>, SchedulerBuildError> {
    let set =
        sched_getaffinity(None).map_err(|error| SchedulerBuildError::Affinity(error.into()))?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect())
}
