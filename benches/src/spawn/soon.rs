//! How soon a closure runs that is spawned from outside while the workers sleep.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use pepita_sched::scheduler::Scheduler;

use super::THREADS;
use crate::case::Contender;

/// Spawns of a round.
const SPAWNS: usize = 100;

/// Until all workers sleep.
const REST: Duration = Duration::from_millis(1);

/// Takes closures from outside.
pub(super) trait Submit: Sized {
    fn start() -> Result<Self>;
    fn submit(&self, closure: impl FnOnce() + Send + 'static);
}

impl Submit for Scheduler {
    fn start() -> Result<Self> {
        Ok(Self::with_workers(THREADS))
    }

    fn submit(&self, closure: impl FnOnce() + Send + 'static) {
        self.spawn_detached(closure);
    }
}

impl Submit for rayon::ThreadPool {
    fn start() -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(THREADS);
        Ok(pool.build()?)
    }

    fn submit(&self, closure: impl FnOnce() + Send + 'static) {
        self.spawn(closure);
    }
}

pub(super) struct Latency<S> {
    submit: S,
    sender: SyncSender<Duration>,
    receiver: Receiver<Duration>,
}

impl<S: Submit> Latency<S> {
    pub(super) fn new() -> Result<Self> {
        let (sender, receiver) = sync_channel(1);
        Ok(Self {
            submit: S::start()?,
            sender,
            receiver,
        })
    }

    fn run(&self) -> Result<Vec<Duration>> {
        let one = |_| {
            thread::sleep(REST);
            let sender = self.sender.clone();
            let begin = Instant::now();
            self.submit.submit(move || {
                // Who asked may have given up.
                let _ = sender.send(begin.elapsed());
            });
            Ok(self.receiver.recv()?)
        };
        (0..SPAWNS).map(one).collect()
    }
}

impl<S: Submit> Contender for Latency<S> {
    fn answer(&mut self) -> Result<String> {
        Ok(format!("{} closures", self.run()?.len()))
    }

    fn round(&mut self) -> Result<f64> {
        let mut latencies = self.run()?;
        latencies.sort_unstable();
        Ok(latencies[SPAWNS / 2].as_secs_f64() * 1e6)
    }
}
