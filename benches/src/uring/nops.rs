//! Operations that do nothing: what is left is the way there and back.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::rings::Rings;
use crate::case::Contender;

/// Operations of a round.
const NOPS: u32 = 200_000;

/// Round trips in batches.
pub(super) struct Nops<R> {
    ring: R,
    batch: u32,
}

impl<R: Rings> Nops<R> {
    pub(super) fn new(batch: u32) -> Result<Self> {
        Ok(Self {
            ring: R::with(batch)?,
            batch,
        })
    }

    /// The sum of the completions' `user_data`, and of those that succeeded.
    fn run(&mut self) -> Result<u64> {
        let mut sum = 0_u64;
        let mut next = 0_u64;
        for _ in 0..NOPS / self.batch {
            let end = next + u64::from(self.batch);
            self.ring.push_nops(next..end);
            self.ring.submit_and_wait(self.batch)?;
            self.ring
                .reap(|user_data, result| sum += user_data + u64::from(result == 0));
            next = end;
        }
        Ok(sum)
    }
}

impl<R: Rings> Contender for Nops<R> {
    fn answer(&mut self) -> Result<String> {
        Ok(format!("the numbers add up to {}", self.run()?))
    }

    fn round(&mut self) -> Result<f64> {
        let begin = Instant::now();
        self.run()?;
        let nops = NOPS / self.batch * self.batch;
        Ok(begin.elapsed().as_secs_f64() * 1e9 / f64::from(nops))
    }
}

/// What a batch costs outside of the kernel.
pub(super) struct Share<R> {
    ring: R,
    /// What two looks at the clock take, in nanoseconds.
    clock_ns: f64,
}

/// The batch of [`Share`].
const SHARE_BATCH: u32 = 32;

impl<R: Rings> Share<R> {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            ring: R::with(SHARE_BATCH)?,
            clock_ns: clock_ns(),
        })
    }

    /// The same sum, and the time of one operation in nanoseconds.
    fn run(&mut self) -> Result<(u64, f64)> {
        let mut sum = 0_u64;
        let mut next = 0_u64;
        let mut share_ns = 0.0;
        let batches = NOPS / SHARE_BATCH;
        for _ in 0..batches {
            let end = next + u64::from(SHARE_BATCH);
            let begin = Instant::now();
            self.ring.push_nops(next..end);
            share_ns += ns_since(begin) - self.clock_ns;
            self.ring.submit_and_wait(SHARE_BATCH)?;
            let begin = Instant::now();
            self.ring
                .reap(|user_data, result| sum += user_data + u64::from(result == 0));
            share_ns += ns_since(begin) - self.clock_ns;
            next = end;
        }
        Ok((sum, share_ns / f64::from(batches * SHARE_BATCH)))
    }
}

fn ns_since(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e9
}

/// The least that two looks at the clock take.
fn clock_ns() -> f64 {
    (0..1000)
        .map(|_| ns_since(Instant::now()))
        .fold(f64::INFINITY, f64::min)
}

impl<R: Rings> Contender for Share<R> {
    fn answer(&mut self) -> Result<String> {
        Ok(format!("the numbers add up to {}", self.run()?.0))
    }

    fn round(&mut self) -> Result<f64> {
        let (_, share_ns) = self.run()?;
        ensure!(share_ns > 0.0, "the clock is too coarse");
        Ok(share_ns)
    }
}
