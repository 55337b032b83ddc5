//! What a pool without work costs.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use pepita_sched::pool::Pool;
use pepita_sched::task::Task;
use rustix::time::{ClockId, clock_gettime};

use super::WORKERS;
use super::command::TRUE;
use crate::case::Contender;

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(5);

/// How long it may take to come to rest.
const SETTLING: Duration = Duration::from_millis(100);

/// A pool that has run processes and functions, and has nothing left to do.
#[derive(Debug)]
pub(super) struct IdlePool {
    pool: Pool,
}

impl IdlePool {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            pool: Pool::builder().cpu_workers(WORKERS).build()?,
        })
    }

    /// Gives it something to do, and waits until it has done it.
    fn use_it(&self) -> Result<usize> {
        let mut done = 0;
        for _ in 0..10 {
            for task in [Task::binary(TRUE), Task::function(|_| ())] {
                ensure!(self.pool.submit(task.build()?)?.wait()?.is_success());
                done += 1;
            }
        }
        Ok(done)
    }
}

impl Contender for IdlePool {
    fn answer(&mut self) -> Result<String> {
        Ok(format!("{} tasks", self.use_it()?))
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

/// CPU time of all threads of this process but the calling one.
fn others_cpu() -> Duration {
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    // Process first: what this thread does in between then counts as its own.
    let process = read(ClockId::ProcessCPUTime);
    process.saturating_sub(read(ClockId::ThreadCPUTime))
}
