//! [`Watchdog`]: a contender that hangs fails its case, not the whole run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// How long a turn may take. The slowest, 4,000 processes by GNU parallel, takes 15 s.
const LIMIT: Duration = Duration::from_secs(180);

/// How often it looks; rare, so that it does not disturb what is timed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Kills the children of this process when a turn takes too long, so that the turn ends with an error.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
    began: Instant,
}

#[derive(Debug, Default)]
struct Shared {
    /// When the turn must end, in milliseconds after the watchdog began; 0 between turns.
    deadline_ms: AtomicU64,
    has_bitten: AtomicBool,
    is_over: AtomicBool,
}

impl Watchdog {
    /// Begins to watch.
    pub(crate) fn new() -> Self {
        let shared = Arc::new(Shared::default());
        let began = Instant::now();
        let watched = shared.clone();
        thread::spawn(move || {
            while !watched.is_over.load(Ordering::Relaxed) {
                thread::park_timeout(LOOK_EVERY);
                let deadline_ms = watched.deadline_ms.load(Ordering::Relaxed);
                if deadline_ms != 0 && millis(began.elapsed()) > deadline_ms {
                    watched.has_bitten.store(true, Ordering::Relaxed);
                    kill_children();
                }
            }
        });
        Self { shared, began }
    }

    /// Lets `turn` run for [`LIMIT`] at the most.
    pub(crate) fn limit<T>(&self, turn: impl FnOnce() -> Result<T>) -> Result<T> {
        let deadline_ms = millis(self.began.elapsed() + LIMIT);
        self.shared
            .deadline_ms
            .store(deadline_ms, Ordering::Relaxed);
        let done = turn();
        self.shared.deadline_ms.store(0, Ordering::Relaxed);
        if done.is_err() && self.shared.has_bitten.load(Ordering::Relaxed) {
            return done.with_context(|| format!("killed, for it did not end in {LIMIT:?}"));
        }
        done
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Kills what any thread of this process has started and not waited for.
fn kill_children() {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return;
    };
    for thread in threads.flatten() {
        let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let pids = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        for pid in pids.filter_map(Pid::from_raw) {
            // One that has ended meanwhile is gone, which is as well.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_killed_and_a_turn_in_time_is_left_alone() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        assert_eq!(Watchdog::new().limit(|| Ok(7)).unwrap(), 7);
        assert!(child.try_wait().unwrap().is_none());
        kill_children();
        assert!(!child.wait().unwrap().success());
    }
}
