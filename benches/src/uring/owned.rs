//! The same work through operations that own their buffers.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;

use anyhow::Result;
use pepita_io::{LocalRing, Submitted, ops};

use super::nops::{NOPS, SHARE_BATCH, enter_ns};
use crate::case::Contender;

/// Round trips in batches.
pub(super) struct OwnedNops {
    ring: LocalRing,
    batch: u32,
    in_flight: Vec<Option<Submitted<ops::Nop>>>,
}

impl OwnedNops {
    pub(super) fn new(batch: u32) -> Result<Self> {
        Ok(Self {
            ring: LocalRing::new(batch)?,
            batch,
            in_flight: Vec::with_capacity(batch as usize),
        })
    }

    /// The count of those that succeeded.
    fn run(&mut self) -> u64 {
        let Self {
            ring,
            batch,
            in_flight,
        } = self;
        ring.block_on(async {
            let mut count = 0;
            for _ in 0..NOPS / *batch {
                in_flight.extend((0..*batch).map(|_| Some(ring.submit(ops::nop()))));
                count += all(in_flight).await;
            }
            count
        })
    }
}

/// Waits for all, and counts those that succeeded.
async fn all(in_flight: &mut Vec<Option<Submitted<ops::Nop>>>) -> u64 {
    let mut count = 0;
    poll_fn(|cx| {
        let mut is_done = true;
        for slot in in_flight.iter_mut() {
            if let Some(future) = slot {
                match Pin::new(future).poll(cx) {
                    Poll::Ready(result) => {
                        count += u64::from(result.is_ok());
                        *slot = None;
                    }
                    Poll::Pending => is_done = false,
                }
            }
        }
        if is_done {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    in_flight.clear();
    count
}

impl Contender for OwnedNops {
    fn answer(&mut self) -> Result<String> {
        let count = self.run();
        Ok(format!("{count} no-ops succeeded"))
    }

    fn round(&mut self) -> Result<f64> {
        let begin = Instant::now();
        self.run();
        let nops = NOPS / self.batch * self.batch;
        Ok(begin.elapsed().as_secs_f64() * 1e9 / f64::from(nops))
    }
}

/// What a batch costs outside of the kernel: all of it, less the system call of a bare ring's batch.
pub(super) struct OwnedShare {
    nops: OwnedNops,
    bare: super::rings::Ours,
}

impl OwnedShare {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            nops: OwnedNops::new(SHARE_BATCH)?,
            bare: super::rings::Rings::with(SHARE_BATCH)?,
        })
    }
}

impl Contender for OwnedShare {
    fn answer(&mut self) -> Result<String> {
        self.nops.answer()
    }

    fn round(&mut self) -> Result<f64> {
        let enter_ns = enter_ns(&mut self.bare)?;
        Ok(self.nops.round()? - enter_ns)
    }
}
