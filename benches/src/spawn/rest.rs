//! What workers burn that have nothing to do.

use std::hint::black_box;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use pepita_sched::scheduler::Scheduler;
use rustix::time::{ClockId, clock_gettime};

use super::THREADS;
use super::soon::Submit;
use crate::case::Contender;

/// How long idle workers are watched.
const WATCHED: Duration = Duration::from_secs(5);

/// How long one worker is busy.
const BUSY: Duration = Duration::from_secs(1);

/// How long they may take to come to rest.
const SETTLING: Duration = Duration::from_millis(100);

fn cpu(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

/// CPU time of all threads of this process but the calling one.
fn others_cpu() -> Duration {
    // Process first: what this thread does in between then counts as its own.
    let process = cpu(ClockId::ProcessCPUTime);
    process.saturating_sub(cpu(ClockId::ThreadCPUTime))
}

/// A scheduler that has run closures and joins, and has nothing left to do.
pub(super) struct Idle(Scheduler);

impl Idle {
    #[expect(clippy::unnecessary_wraps, reason = "as every contender is made")]
    pub(super) fn new() -> Result<Self> {
        Ok(Self(Scheduler::with_workers(THREADS)))
    }

    fn use_it(&self) -> Result<usize> {
        let spawn = |number| self.0.spawn(move || number);
        let handles: Vec<_> = (0..1000_usize).map(spawn).collect();
        handles.into_iter().map(|handle| Ok(handle.wait()?)).sum()
    }
}

impl Contender for Idle {
    fn answer(&mut self) -> Result<String> {
        Ok(self.use_it()?.to_string())
    }

    fn round(&mut self) -> Result<f64> {
        self.use_it()?;
        thread::sleep(SETTLING);
        let before = others_cpu();
        thread::sleep(WATCHED);
        let spent = others_cpu().saturating_sub(before);
        Ok(spent.as_secs_f64() * 1e6)
    }
}

/// A scheduler one of whose workers is busy.
pub(super) struct HalfIdle<S>(S);

impl<S: Submit> HalfIdle<S> {
    pub(super) fn new() -> Result<Self> {
        Ok(Self(S::start()?))
    }

    /// Gives it something to do for `length`; says what the others spent meanwhile.
    fn run(&self, length: Duration) -> Result<Duration> {
        let (sender, receiver) = channel();
        self.0.submit(move || {
            let (process, own) = (cpu(ClockId::ProcessCPUTime), cpu(ClockId::ThreadCPUTime));
            let begin = Instant::now();
            while begin.elapsed() < length {
                for number in 0..1000 {
                    black_box(number);
                }
            }
            let own = cpu(ClockId::ThreadCPUTime) - own;
            let process = cpu(ClockId::ProcessCPUTime) - process;
            // Who asked may have given up.
            let _ = sender.send(process.saturating_sub(own));
        });
        Ok(receiver.recv()?)
    }
}

impl<S: Submit> Contender for HalfIdle<S> {
    fn answer(&mut self) -> Result<String> {
        self.run(Duration::ZERO)?;
        Ok("it was busy".to_owned())
    }

    fn round(&mut self) -> Result<f64> {
        Ok(self.run(BUSY)?.as_secs_f64() / BUSY.as_secs_f64() * 100.0)
    }
}
