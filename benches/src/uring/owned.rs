//! The same work through operations that own their buffers.

use std::fs::File;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use anyhow::{Result, ensure};
use pepita_io::buf::AlignedBuf;
use pepita_io::{LocalRing, Submitted, ops};

use super::nops::{NOPS, SHARE_BATCH, clock_ns, ns_per_nop, ns_since, said};
use super::reads::{self, BLOCK, BLOCKS, Cache};
use crate::case::Contender;
use crate::stats::Random;
use crate::timing::per_second;

/// Round trips in batches.
pub(super) struct OwnedNops {
    ring: LocalRing,
    batch: u32,
    in_flight: Vec<Submitted<ops::Nop>>,
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
                count += round_trip(ring, *batch, in_flight).await;
            }
            count
        })
    }
}

/// Starts a batch, waits for all of it, and counts those that succeeded.
#[inline]
async fn round_trip(ring: &LocalRing, batch: u32, in_flight: &mut Vec<Submitted<ops::Nop>>) -> u64 {
    in_flight.extend((0..batch).map(|_| ring.submit(ops::nop())));
    count_ok(in_flight).await
}

/// Waits for all, and counts those that succeeded.
#[inline]
async fn count_ok(in_flight: &mut Vec<Submitted<ops::Nop>>) -> u64 {
    let mut count = 0;
    for nop in in_flight.drain(..) {
        count += u64::from(nop.await.is_ok());
    }
    count
}

impl Contender for OwnedNops {
    fn answer(&mut self) -> Result<String> {
        Ok(said(self.run()))
    }

    fn round(&mut self) -> Result<f64> {
        ns_per_nop(self.batch, || Ok(self.run()))
    }
}

/// What a batch costs outside of the kernel.
///
/// The start that fills the queue hands it over, so it is left out, and the others count for it. All
/// completions are there then, and waiting for them makes no system call.
pub(super) struct OwnedShare {
    nops: OwnedNops,
    /// What two looks at the clock take, in nanoseconds.
    clock_ns: f64,
}

impl OwnedShare {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            nops: OwnedNops::new(SHARE_BATCH)?,
            clock_ns: clock_ns(),
        })
    }

    /// The time of one operation in nanoseconds.
    fn run(&mut self) -> Result<f64> {
        let OwnedNops {
            ring, in_flight, ..
        } = &mut self.nops;
        let clock_ns = self.clock_ns;
        let batches = NOPS / SHARE_BATCH;
        let mut start_ns = 0.0;
        let mut end_ns = 0.0;
        ring.block_on(async {
            for _ in 0..batches {
                let begin = Instant::now();
                in_flight.extend((1..SHARE_BATCH).map(|_| ring.submit(ops::nop())));
                start_ns += ns_since(begin) - clock_ns;
                in_flight.push(ring.submit(ops::nop()));
                let begin = Instant::now();
                let count = count_ok(in_flight).await;
                end_ns += ns_since(begin) - clock_ns;
                ensure!(count == u64::from(SHARE_BATCH), "a no-op failed");
            }
            Ok(())
        })?;
        let started = f64::from(batches * (SHARE_BATCH - 1));
        Ok(start_ns / started + end_ns / f64::from(batches * SHARE_BATCH))
    }
}

impl Contender for OwnedShare {
    fn answer(&mut self) -> Result<String> {
        self.nops.answer()
    }

    /// With a ring of its own, as [`Share`](super::nops::Share)'s.
    fn round(&mut self) -> Result<f64> {
        self.nops = OwnedNops::new(SHARE_BATCH)?;
        self.run()
    }
}

type InFlight = Submitted<ops::Read<Rc<File>, AlignedBuf>>;

/// Keeps random reads in flight until all are done.
pub(super) struct OwnedReads {
    ring: LocalRing,
    file: Rc<File>,
    /// Not in flight.
    buffers: Vec<AlignedBuf>,
    cache: Cache,
    random: Random,
}

impl OwnedReads {
    pub(super) fn new(cache: Cache, depth: u32) -> Result<Self> {
        Ok(Self {
            ring: LocalRing::new(depth)?,
            file: Rc::new(reads::open(cache)?),
            buffers: (0..depth)
                .map(|_| AlignedBuf::zeroed(BLOCK, BLOCK))
                .collect(),
            cache,
            random: Random::new(1),
        })
    }

    /// Reads `count` random blocks; the count of those that hold another number than theirs.
    fn run(&mut self, count: usize) -> u64 {
        let Self {
            ring,
            file,
            buffers,
            random,
            ..
        } = self;
        let mut in_flight: Vec<Option<(u64, InFlight)>> = Vec::new();
        in_flight.resize_with(buffers.len(), || None);
        let (mut to_start, mut to_end, mut wrong) = (count, count, 0);
        ring.block_on(poll_fn(|cx| {
            for slot in &mut in_flight {
                loop {
                    let Some((block, read)) = slot else {
                        let Some(buf) = (to_start > 0).then(|| buffers.pop()).flatten() else {
                            break;
                        };
                        to_start -= 1;
                        let block = random.below(BLOCKS) as u64;
                        let read = ops::read(file, buf, block * BLOCK as u64);
                        *slot = Some((block, ring.submit(read)));
                        continue;
                    };
                    let Poll::Ready((count, buf)) = Pin::new(read).poll(cx) else {
                        break;
                    };
                    let is_right = count == Ok(BLOCK) && buf.starts_with(&block.to_le_bytes());
                    wrong += u64::from(!is_right);
                    to_end -= 1;
                    *slot = None;
                    buffers.push(buf);
                }
            }
            if to_end == 0 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }));
        wrong
    }
}

impl Contender for OwnedReads {
    fn answer(&mut self) -> Result<String> {
        let wrong = self.run(self.cache.reads());
        Ok(format!("{wrong} wrong blocks"))
    }

    fn round(&mut self) -> Result<f64> {
        let count = self.cache.reads();
        per_second(count, || {
            let wrong = self.run(count);
            ensure!(wrong == 0, "{wrong} wrong blocks");
            Ok(())
        })
    }
}
