//! [`BadBuffers`]: what a wrong buffer costs.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use pepita_virtio::{ActiveQueue, GuestRam, RingFeatures, VIRTQ_DESC_F_NEXT, VirtQueue, VirtqDesc};

use super::queues::{SIZE, driver, elements, memory};
use crate::case::Contender;

/// Queues of a round: each takes one wrong buffer.
const QUEUES: u32 = 200;

/// Descriptors of a buffer.
const LEN: u16 = 16;

/// What is wrong.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bad {
    /// The last element is not in the guest's memory.
    OutOfReach,
    /// The last descriptor leads back to the first.
    Loop,
}

impl Bad {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::OutOfReach => "bad-address",
            Self::Loop => "bad-loop",
        }
    }
}

/// Pops buffers, and completes those that are right.
pub(super) struct BadBuffers {
    registers: VirtQueue,
    ram: GuestRam,
    buffers: u32,
    is_bad: bool,
}

const FEATURES: RingFeatures = RingFeatures {
    indirect: false,
    event_index: false,
    packed: false,
    in_order: false,
};

impl BadBuffers {
    pub(super) fn one(bad: Bad) -> Result<Self> {
        let this = Self::with(1)?;
        let mut last = VirtqDesc {
            addr: 0,
            len: 1,
            flags: VIRTQ_DESC_F_NEXT,
            next: 0,
        };
        if let Bad::OutOfReach = bad {
            last.addr = u64::MAX;
        }
        this.ram.write(u64::from(LEN - 1) * 16, &last.to_bytes())?;
        Ok(Self {
            is_bad: true,
            ..this
        })
    }

    pub(super) fn ten() -> Result<Self> {
        Self::with(10)
    }

    /// Right buffers, of which only the last one is bad later on.
    fn with(buffers: u32) -> Result<Self> {
        let (_, ram) = memory()?;
        let mut driver = driver(&ram, FEATURES)?;
        ensure!(driver.size() == SIZE, "room for all");
        for _ in 0..buffers {
            driver.add(&elements(LEN), &[])?;
        }
        Ok(Self {
            registers: driver.registers(),
            ram,
            buffers,
            is_bad: false,
        })
    }

    fn queue(&self) -> Result<ActiveQueue> {
        Ok(self.registers.activate(&self.ram, FEATURES)?)
    }

    /// The time of one queue, and whether it has failed.
    fn run(&self) -> Result<(Duration, bool)> {
        let mut queue = self.queue()?;
        let mut chain = queue.chain();
        let start = Instant::now();
        for _ in 0..self.buffers {
            if queue.pop(&mut chain).is_ok_and(|popped| popped) {
                queue.complete(&mut chain, 0)?;
            }
        }
        Ok((start.elapsed(), queue.failure().is_some()))
    }
}

impl Contender for BadBuffers {
    fn answer(&mut self) -> Result<String> {
        let (_, has_failed) = self.run()?;
        let as_it_should = if has_failed == self.is_bad {
            "as it should"
        } else {
            "as it should not"
        };
        Ok(as_it_should.to_owned())
    }

    fn round(&mut self) -> Result<f64> {
        let mut time = Duration::ZERO;
        for _ in 0..QUEUES {
            time += self.run()?.0;
        }
        Ok(time.as_secs_f64() * 1e9 / f64::from(QUEUES))
    }
}
