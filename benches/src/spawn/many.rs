//! Very many closures.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use pepita_sched::scheduler::{self, Scheduler};

use super::THREADS;
use crate::case::Contender;

/// From where they are spawned, and how they are waited for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// On a worker, in a scope, which waits.
    Scope,
    /// On a worker, detached.
    Inside,
    /// On another thread, detached.
    Outside,
    /// On another thread, each with a handle, which is waited for.
    Handles,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scope => "spawned in a scope by a worker",
            Self::Inside => "spawned by a worker",
            Self::Outside => "spawned by another thread",
            Self::Handles => "spawned by another thread, which then waits for the handle of each",
        })
    }
}

/// How often the main thread looks whether all have run.
const LOOKS: Duration = Duration::from_micros(20);

/// More than a contender has threads.
const SLOTS: usize = 64;

/// Counts without a line that threads write to in turn.
struct Count([Slot; SLOTS]);

#[repr(align(128))]
struct Slot(AtomicUsize);

static COUNT: Count = Count([const { Slot(AtomicUsize::new(0)) }; SLOTS]);
static NUMBERS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static MINE: Cell<Option<usize>> = const { Cell::new(None) };
}

impl Count {
    /// One more.
    #[inline]
    fn add(&self) {
        let mine = MINE.get().unwrap_or_else(|| {
            let mine = NUMBERS.fetch_add(1, Ordering::Relaxed);
            MINE.set(Some(mine));
            mine
        });
        let slot = &self.0[mine].0;
        // Its thread alone writes to it.
        slot.store(slot.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    fn sum(&self) -> usize {
        self.0
            .iter()
            .map(|slot| slot.0.load(Ordering::Relaxed))
            .sum()
    }
}

/// Who runs closures.
pub(super) trait Spawns: Sized {
    fn start() -> Result<Arc<Self>>;
    /// Spawns `count` and returns; they count themselves.
    fn spawn(self: &Arc<Self>, kind: Kind, count: usize) -> Result<()>;
}

impl Spawns for Scheduler {
    fn start() -> Result<Arc<Self>> {
        Ok(Arc::new(Self::with_workers(THREADS)))
    }

    fn spawn(self: &Arc<Self>, kind: Kind, count: usize) -> Result<()> {
        match kind {
            Kind::Scope => self.install(|| {
                scheduler::scope(|scope| (0..count).for_each(|_| scope.spawn(|_| COUNT.add())));
            }),
            Kind::Inside => {
                let inner = self.clone();
                self.spawn_detached(move || {
                    (0..count).for_each(|_| inner.spawn_detached(|| COUNT.add()));
                });
            }
            Kind::Outside => (0..count).for_each(|_| self.spawn_detached(|| COUNT.add())),
            Kind::Handles => {
                let handles: Vec<_> = (0..count)
                    .map(|_| Scheduler::spawn(self, || COUNT.add()))
                    .collect();
                for handle in handles {
                    handle.wait()?;
                }
            }
        }
        Ok(())
    }
}

impl Spawns for rayon::ThreadPool {
    fn start() -> Result<Arc<Self>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(THREADS);
        Ok(Arc::new(pool.build()?))
    }

    fn spawn(self: &Arc<Self>, kind: Kind, count: usize) -> Result<()> {
        match kind {
            Kind::Scope => {
                self.scope(|scope| (0..count).for_each(|_| scope.spawn(|_| COUNT.add())));
            }
            Kind::Inside => rayon::ThreadPool::spawn(self, move || {
                (0..count).for_each(|_| rayon::spawn(|| COUNT.add()));
            }),
            Kind::Outside => {
                (0..count).for_each(|_| rayon::ThreadPool::spawn(self, || COUNT.add()));
            }
            Kind::Handles => bail!("rayon has no handles"),
        }
        Ok(())
    }
}

impl Spawns for tokio::runtime::Runtime {
    fn start() -> Result<Arc<Self>> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .build()?;
        Ok(Arc::new(runtime))
    }

    fn spawn(self: &Arc<Self>, kind: Kind, count: usize) -> Result<()> {
        let Kind::Handles = kind else {
            bail!("tokio is there for its handles");
        };
        let spawn = |_| tokio::runtime::Runtime::spawn(self, async { COUNT.add() });
        let handles: Vec<_> = (0..count).map(spawn).collect();
        self.block_on(async {
            for handle in handles {
                handle.await?;
            }
            Ok(())
        })
    }
}

/// Spawns many, and waits until all have run.
pub(super) struct Many<S> {
    spawns: Arc<S>,
    kind: Kind,
    count: usize,
}

impl<S: Spawns> Many<S> {
    pub(super) fn new(kind: Kind, count: usize) -> Result<Self> {
        Ok(Self {
            spawns: S::start()?,
            kind,
            count,
        })
    }

    fn run(&self) -> Result<usize> {
        let before = COUNT.sum();
        self.spawns.spawn(self.kind, self.count)?;
        while COUNT.sum() < before + self.count {
            thread::sleep(LOOKS);
        }
        Ok(COUNT.sum() - before)
    }
}

impl<S: Spawns> Contender for Many<S> {
    fn answer(&mut self) -> Result<String> {
        Ok(format!("{} closures", self.run()?))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a bench are far below 2^53"
    )]
    fn round(&mut self) -> Result<f64> {
        let begin = Instant::now();
        self.run()?;
        Ok(begin.elapsed().as_secs_f64() * 1e9 / self.count as f64)
    }
}
