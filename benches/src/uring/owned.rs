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

use super::nops::{NOPS, SHARE_BATCH, enter_ns};
use super::reads::{self, BLOCK, BLOCKS, Cache};
use crate::case::Contender;
use crate::stats::Random;
use crate::timing::per_second;

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
