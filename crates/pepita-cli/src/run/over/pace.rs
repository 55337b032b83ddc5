//! [`Held`]: jobs that ended before their turn to be shown.

use std::collections::{BTreeMap, VecDeque};

use super::Job;

/// What outputs may take in memory while they wait.
const COST_MAX: usize = 256 << 20;
/// What a job counts even if it printed nothing.
const COST_OF_JOB: usize = 4 << 10;
/// What a job counts whose output holds a file open.
const COST_OF_FILE: usize = 2 << 20;

/// Puts jobs back into the order in which they were submitted.
///
/// When the jobs that wait for a slow one take too much, it is [full](Self::is_full), and no
/// further job is submitted until the slow one is done.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The jobs to be shown, in order.
    order: VecDeque<u64>,
    jobs: BTreeMap<u64, Job>,
    cost: usize,
}

impl Held {
    /// Notes that this job is the next to be shown.
    pub(super) fn expect(&mut self, key: u64) {
        self.order.push_back(key);
    }

    /// Keeps a job that ended.
    pub(super) fn put(&mut self, job: Job) {
        self.cost += cost(&job);
        self.jobs.insert(job.done.key, job);
    }

    /// The next job in order, if it has ended.
    pub(super) fn next(&mut self) -> Option<Job> {
        let job = self.jobs.remove(self.order.front()?)?;
        self.order.pop_front();
        self.cost -= cost(&job);
        Some(job)
    }

    /// Whether so much waits that nothing should be added.
    pub(super) fn is_full(&self) -> bool {
        self.cost >= COST_MAX
    }

    /// What is left, in order.
    pub(super) fn into_rest(self) -> impl Iterator<Item = Job> {
        self.jobs.into_values()
    }
}

fn cost(job: &Job) -> usize {
    let outputs = &job.done.outputs;
    [&outputs.stdout, &outputs.stderr]
        .iter()
        .map(|stream| {
            let is_in_file = stream.len() > stream.memory_len() as u64;
            stream.memory_len() + if is_in_file { COST_OF_FILE } else { 0 }
        })
        .sum::<usize>()
        + COST_OF_JOB
}
