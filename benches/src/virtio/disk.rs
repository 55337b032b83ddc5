//! [`Requests`]: a disk of memory, served by its thread, and a driver that keeps it busy.

use std::sync::Arc;

use anyhow::{Result, ensure};
use pepita_io::RamDevice;
use pepita_virtio::{
    Area, DriverQueue, Element, GuestRam, Mmio, RingFeatures, VIRTIO_F_VERSION_1, VirtioBlock,
};
use rustix::time::{ClockId, clock_gettime};

use super::queues::{SIZE, driver, memory};
use crate::case::Contender;

/// Sectors of the disk: 1 MiB, all of it written, so that copies are what they are within a cache.
const SECTORS: u64 = 1 << 11;

/// Requests in flight.
const DEPTH: usize = 128;

/// Bytes of a request.
const BYTES: u32 = 4096;
const BLOCKS: u64 = SECTORS / 8;

/// Where data is, and the headers and statuses.
const DATA: u64 = 0x10_0000;
const HEADERS: u64 = 0x1c_0000;
const STATUSES: u64 = 0x1d_0000;

/// What is asked for. virtio 1.3, 5.2.6
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Read = 0,
    Write = 1,
}

/// A driver, and the disk behind it.
pub(super) struct Requests {
    mmio: Mmio,
    ram: GuestRam,
    queue: DriverQueue<'static>,
    kind: Kind,
    /// Which place each buffer has, by its number.
    places: Vec<u64>,
    free: Vec<u64>,
    block: u64,
    requests: usize,
}

impl Requests {
    pub(super) fn new(kind: Kind, packed: bool, requests: usize) -> Result<Self> {
        let (_, ram) = memory()?;
        let features = RingFeatures {
            indirect: false,
            event_index: true,
            packed,
            in_order: false,
        };
        let queue = driver(&ram, features)?;
        let disk = VirtioBlock::with_queues(Arc::new(RamDevice::new(SECTORS)), 1, SIZE)?;
        let mmio = Mmio::new(Box::new(disk), ram.clone(), |_signal| {});
        let this = Self {
            mmio,
            ram,
            queue,
            kind,
            places: vec![0; SIZE.into()],
            free: (0..DEPTH as u64).collect(),
            block: 0,
            requests,
        };
        this.begin(features.to_bits() | VIRTIO_F_VERSION_1)?;
        let mut this = this;
        let kind = std::mem::replace(&mut this.kind, Kind::Write);
        for _ in 0..BLOCKS {
            this.add()?;
            this.wait_for_room()?;
        }
        this.finish()?;
        this.kind = kind;
        Ok(this)
    }

    fn set(&self, register: u64, word: u64) {
        self.mmio.write(register, &word.to_le_bytes()[..4]);
    }

    /// virtio 1.3, 3.1.1 and 4.2.3.1
    fn begin(&self, features: u64) -> Result<()> {
        for status in [1, 3] {
            self.set(0x070, status);
        }
        for word in [0, 1] {
            self.set(0x024, word);
            self.set(0x020, features >> (32 * word));
        }
        self.set(0x070, 11);
        self.set(0x038, SIZE.into());
        for (area, register) in Area::ALL.into_iter().zip([0x080, 0x090, 0x0a0]) {
            self.set(register, self.queue.registers().address(area));
        }
        self.set(0x044, 1);
        self.set(0x070, 15);
        let mut status = [0; 4];
        self.mmio.read(0x070, &mut status);
        ensure!(status == [15, 0, 0, 0], "the disk has begun: {status:?}");
        Ok(())
    }

    /// The next request: blocks in an order without a pattern, each as often as any other.
    fn add(&mut self) -> Result<()> {
        let place = self.free.pop().expect("there is room");
        self.block = (self.block * 5 + 12_345) % BLOCKS;
        let mut header = [0; 16];
        header[0] = self.kind as u8;
        header[8..].copy_from_slice(&(self.block * 8).to_le_bytes());
        let at = HEADERS + place * 16;
        self.ram.write(at, &header)?;
        let header = Element::new(at, 16);
        let data = Element::new(DATA + place * u64::from(BYTES), BYTES);
        let status = Element::new(STATUSES + place, 1);
        let id = match self.kind {
            Kind::Read => self.queue.add(&[header], &[data, status])?,
            Kind::Write => self.queue.add(&[header, data], &[status])?,
        };
        self.places[usize::from(id)] = place;
        Ok(())
    }

    fn kick(&mut self) {
        if self.queue.needs_kick() {
            self.set(0x050, 0);
        }
    }

    /// Takes what is done; whether something was.
    fn take(&mut self) -> Result<bool> {
        let before = self.free.len();
        while let Some(used) = self.queue.take_used()? {
            self.free.push(self.places[usize::from(used.id)]);
        }
        Ok(self.free.len() > before)
    }

    fn wait_for_room(&mut self) -> Result<()> {
        if self.free.is_empty() {
            self.kick();
            while !self.take()? {
                std::hint::spin_loop();
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.kick();
        while self.free.len() < DEPTH {
            if !self.take()? {
                std::hint::spin_loop();
            }
        }
        let mut statuses = [0xff; DEPTH];
        self.ram.read(STATUSES, &mut statuses)?;
        ensure!(statuses.iter().all(|status| *status == 0), "all went well");
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        for _ in 0..self.requests {
            self.add()?;
            // The driver tells of a few at a time.
            if self.free.len().is_multiple_of(16) {
                self.kick();
            }
            self.wait_for_room()?;
        }
        self.finish()
    }
}

/// Seconds of the processor that all threads but this one have had.
fn others() -> f64 {
    let [all, own] = [ClockId::ProcessCPUTime, ClockId::ThreadCPUTime].map(|clock| {
        let time = clock_gettime(clock);
        time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
    });
    all - own
}

impl Contender for Requests {
    fn answer(&mut self) -> Result<String> {
        self.run()?;
        Ok(format!("{} requests", self.requests))
    }

    fn round(&mut self) -> Result<f64> {
        let before = others();
        self.run()?;
        let requests = u32::try_from(self.requests)?;
        Ok(f64::from(requests) / (others() - before))
    }
}
