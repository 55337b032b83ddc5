//! Operations that do nothing: what is left is the way there and back.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::rings::Rings;
use crate::case::Contender;

/// Operations of a round.
pub(super) const NOPS: u32 = 200_000;

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

    /// The count of those that succeeded and came in order.
    fn run(&mut self) -> Result<u64> {
        let mut count = 0_u64;
        let mut next = 0_u64;
        for _ in 0..NOPS / self.batch {
            let end = next + u64::from(self.batch);
            self.ring.push_nops(next..end);
            self.ring.submit_and_wait(self.batch)?;
            let mut wanted = next;
            self.ring.reap(|user_data, result| {
                count += u64::from(result == 0 && user_data == wanted);
                wanted += 1;
            });
            next = end;
        }
        Ok(count)
    }
}

impl<R: Rings> Contender for Nops<R> {
    fn answer(&mut self) -> Result<String> {
        self.run().map(said)
    }

    fn round(&mut self) -> Result<f64> {
        ns_per_nop(self.batch, || self.run())
    }
}

/// The answer of who did no-ops: how many succeeded.
pub(super) fn said(count: u64) -> String {
    format!("{count} no-ops succeeded")
}

/// What one takes of the no-ops that `run` does by batches, in nanoseconds.
pub(super) fn ns_per_nop(batch: u32, run: impl FnOnce() -> Result<u64>) -> Result<f64> {
    let begin = Instant::now();
    run()?;
    Ok(ns_since(begin) / f64::from(NOPS / batch * batch))
}

/// What a batch costs outside of the kernel.
pub(super) struct Share<R> {
    ring: R,
    /// What two looks at the clock take, in nanoseconds.
    clock_ns: f64,
}

/// The batch of [`Share`].
pub(super) const SHARE_BATCH: u32 = 32;

impl<R: Rings> Share<R> {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            ring: R::with(SHARE_BATCH)?,
            clock_ns: clock_ns(),
        })
    }

    /// The same count, and the time of one operation in nanoseconds.
    fn run(&mut self) -> Result<(u64, f64)> {
        let mut count = 0_u64;
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
            let mut wanted = next;
            self.ring.reap(|user_data, result| {
                count += u64::from(result == 0 && user_data == wanted);
                wanted += 1;
            });
            share_ns += ns_since(begin) - self.clock_ns;
            next = end;
        }
        Ok((count, share_ns / f64::from(batches * SHARE_BATCH)))
    }
}

pub(super) fn ns_since(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e9
}

/// The least that two looks at the clock take.
pub(super) fn clock_ns() -> f64 {
    (0..1000)
        .map(|_| ns_since(Instant::now()))
        .fold(f64::INFINITY, f64::min)
}

impl<R: Rings> Contender for Share<R> {
    fn answer(&mut self) -> Result<String> {
        let (count, _) = self.run()?;
        Ok(said(count))
    }

    /// With a ring of its own: where the kernel puts what a ring is made of can cost a third more, for as long
    /// as the ring lives. So the median is one over places.
    fn round(&mut self) -> Result<f64> {
        self.ring = R::with(SHARE_BATCH)?;
        let (_, share_ns) = self.run()?;
        ensure!(share_ns > 0.0, "the clock is too coarse");
        Ok(share_ns)
    }
}
