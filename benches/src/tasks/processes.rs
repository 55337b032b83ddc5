//! Processes started from inside a program: a [`Pool`], and threads with `std::process`.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use anyhow::{Result, ensure};
use memmap2::{Advice, MmapMut};
use pepita_sched::pool::Pool;
use pepita_sched::task::{ExecutionResult, Task};

use super::WORKERS;
use super::command::{ECHO, TRUE, sorted};
use crate::case::Contender;
use crate::host::memory_gib;
use crate::timing::wall_ms;

/// Ours: one pool for all rounds, outputs captured, results gathered by a callback.
#[derive(Debug)]
pub(super) struct PoolProcesses {
    pool: Pool,
    count: usize,
    /// Resident memory of this process that its children do not need.
    _ballast: Option<MmapMut>,
}

impl PoolProcesses {
    pub(super) fn new(count: usize) -> Result<Self> {
        Ok(Self {
            pool: Pool::builder().cpu_workers(WORKERS).build()?,
            count,
            _ballast: None,
        })
    }

    /// In a process that holds `gib` of touched memory, in small pages: so the page tables, which a
    /// fork copies, are as large as they can be.
    pub(super) fn beside(gib: usize, count: usize) -> Result<Self> {
        #[expect(clippy::cast_precision_loss, reason = "a few GiB")]
        let needed = gib as f64 + 1.0;
        let available = memory_gib("MemAvailable");
        ensure!(
            available >= needed,
            "{available} GiB of memory are available, and {needed} are needed"
        );
        let mut ballast = MmapMut::map_anon(gib << 30)?;
        ballast.advise(Advice::NoHugePage)?;
        for page in ballast.chunks_mut(4096) {
            page[0] = 1;
        }
        Ok(Self {
            _ballast: Some(ballast),
            ..Self::new(count)?
        })
    }

    fn run(&self, program: &'static str) -> Result<Vec<ExecutionResult>> {
        // Gathered where they come, as the two threads beside it do: an iterator over outcomes wakes
        // the thread that takes them for each one.
        let outcomes = Arc::new(Mutex::new(Vec::with_capacity(self.count)));
        let (all_there, wait) = mpsc::channel();
        for number in 0..self.count {
            let (outcomes, all_there, count) = (outcomes.clone(), all_there.clone(), self.count);
            let gather = move |outcome| {
                let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                outcomes.push(outcome);
                if outcomes.len() == count {
                    // The other end waits below.
                    let _ = all_there.send(());
                }
            };
            drop(self.pool.submit_then(numbered(program, number), gather)?);
        }
        wait.recv()?;
        let mut results = Vec::with_capacity(self.count);
        for outcome in outcomes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            let result = outcome?;
            ensure!(result.is_success(), "{:?}", result.exit);
            results.push(result);
        }
        Ok(results)
    }
}

impl Contender for PoolProcesses {
    fn answer(&mut self) -> Result<String> {
        let results = self.run(ECHO)?;
        let outputs: String = results.iter().map(ExecutionResult::stdout_string).collect();
        Ok(sorted(&outputs))
    }

    fn round(&mut self) -> Result<f64> {
        wall_ms(|| self.run(TRUE).map(drop))
    }
}

/// Ours by [`Pool::map`]: one thread takes the outcomes in order, and is woken for each.
#[derive(Debug)]
pub(super) struct MappedProcesses(PoolProcesses);

impl MappedProcesses {
    pub(super) fn new(count: usize) -> Result<Self> {
        PoolProcesses::new(count).map(Self)
    }

    fn run(&self, program: &'static str) -> Result<String> {
        let tasks = (0..self.0.count).map(|number| numbered(program, number));
        let mut outputs = String::new();
        for outcome in self.0.pool.map(tasks) {
            let result = outcome?;
            ensure!(result.is_success(), "{:?}", result.exit);
            outputs += &result.stdout_string();
        }
        Ok(outputs)
    }
}

impl Contender for MappedProcesses {
    fn answer(&mut self) -> Result<String> {
        Ok(sorted(&self.run(ECHO)?))
    }

    fn round(&mut self) -> Result<f64> {
        wall_ms(|| self.run(TRUE).map(drop))
    }
}

/// A program with its number as the argument.
fn numbered(program: &'static str, number: usize) -> Task {
    let task = Task::binary(program).arg(number.to_string()).build();
    task.unwrap_or_else(|error| unreachable!("a fixed path and a number: {error}"))
}

/// `std`: threads that take the next number and call [`Command::output`].
#[derive(Debug)]
pub(super) struct StdProcesses {
    pub(super) count: usize,
}

impl StdProcesses {
    fn run(&self, program: &'static str) -> Result<Vec<Option<std::process::Output>>> {
        let next = AtomicUsize::new(0);
        let results = Mutex::new(vec![None; self.count]);
        let work = || -> Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= self.count {
                    return Ok(());
                }
                let output = Command::new(program).arg(number.to_string()).output()?;
                ensure!(output.status.success(), "{}", output.status);
                let mut results = results.lock().unwrap_or_else(|error| error.into_inner());
                results[number] = Some(output);
            }
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;
        Ok(results
            .into_inner()
            .unwrap_or_else(|error| error.into_inner()))
    }
}

impl Contender for StdProcesses {
    fn answer(&mut self) -> Result<String> {
        let outputs = self.run(ECHO)?;
        let text: String = outputs
            .iter()
            .flatten()
            .map(|output| String::from_utf8_lossy(&output.stdout))
            .collect();
        Ok(sorted(&text))
    }

    fn round(&mut self) -> Result<f64> {
        wall_ms(|| self.run(TRUE).map(drop))
    }
}
