//! [`Buffers`]: a device that takes what a driver adds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use pepita_virtio::{
    ActiveQueue, Area, Chain, DriverQueue, Element, GuestRam, RingFeatures, Slot, VirtQueue,
};
use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestAddress, GuestMemoryMmap};

use crate::case::Contender;

/// Descriptors of the ring.
pub(super) const SIZE: u16 = 1024;

/// Where elements are.
const DATA: u64 = 0x10_0000;

/// Bytes of an element.
const LEN: u32 = 512;

/// The guest's memory, as both of `vm-memory` and ours.
pub(super) fn memory() -> Result<(Arc<GuestMemoryMmap>, GuestRam)> {
    let range = [(GuestAddress(0), 0x20_0000)];
    let memory = GuestMemoryMmap::<()>::from_ranges(&range).map_err(|error| anyhow!("{error}"))?;
    let memory = Arc::new(memory);
    let ram = GuestRam::new(Arc::clone(&memory))?;
    Ok((memory, ram))
}

/// A driver that lives as long as the process, on the guest's memory.
pub(super) fn driver(ram: &GuestRam, features: RingFeatures) -> Result<DriverQueue<'static>> {
    let ram: &'static GuestRam = Box::leak(Box::new(ram.clone()));
    let slots = vec![Slot::default(); SIZE.into()].leak();
    let ring = ram.shared(0, DriverQueue::bytes(SIZE, features))?;
    Ok(DriverQueue::new(ring, slots, features))
}

/// The elements of a buffer: the first half is read, the rest written.
pub(super) fn elements(len: u16) -> Vec<Element> {
    (0..u64::from(len))
        .map(|at| Element::new(DATA + at * 4096, LEN))
        .collect()
}

/// The device's side of a queue.
pub(super) trait Device: Sized {
    const FEATURES: RingFeatures;

    fn with(registers: &VirtQueue, memory: Arc<GuestMemoryMmap>, ram: &GuestRam) -> Result<Self>;

    /// Takes and completes all buffers; gives the bytes of their elements.
    fn run(&mut self) -> u64;
}

const EVENTS: RingFeatures = RingFeatures {
    indirect: true,
    event_index: true,
    packed: false,
    in_order: false,
};

/// Ours.
struct Ours {
    queue: ActiveQueue,
    chain: Chain,
}

impl Ours {
    fn with(registers: &VirtQueue, ram: &GuestRam, features: RingFeatures) -> Result<Self> {
        let queue = registers.activate(ram, features)?;
        let chain = queue.chain();
        Ok(Self { queue, chain })
    }

    fn run(&mut self) -> u64 {
        let Self { queue, chain } = self;
        let mut bytes = 0;
        while queue.pop(chain).expect("the driver does nothing wrong") {
            let lists = [chain.readable(), chain.writable()];
            bytes += lists
                .iter()
                .flat_map(|list| list.iter())
                .map(|one| one.len() as u64)
                .sum::<u64>();
            queue.complete(chain, 0).expect("it is in use");
        }
        bytes
    }
}

pub(super) struct Split(Ours);

impl Device for Split {
    const FEATURES: RingFeatures = EVENTS;

    fn with(registers: &VirtQueue, _: Arc<GuestMemoryMmap>, ram: &GuestRam) -> Result<Self> {
        Ours::with(registers, ram, Self::FEATURES).map(Self)
    }

    fn run(&mut self) -> u64 {
        self.0.run()
    }
}

pub(super) struct Packed(Ours);

impl Device for Packed {
    const FEATURES: RingFeatures = RingFeatures {
        packed: true,
        ..EVENTS
    };

    fn with(registers: &VirtQueue, _: Arc<GuestMemoryMmap>, ram: &GuestRam) -> Result<Self> {
        Ours::with(registers, ram, Self::FEATURES).map(Self)
    }

    fn run(&mut self) -> u64 {
        self.0.run()
    }
}

/// rust-vmm's.
pub(super) struct Peer {
    queue: Queue,
    memory: Arc<GuestMemoryMmap>,
}

impl Device for Peer {
    const FEATURES: RingFeatures = EVENTS;

    fn with(registers: &VirtQueue, memory: Arc<GuestMemoryMmap>, _: &GuestRam) -> Result<Self> {
        let mut queue = Queue::new(SIZE)?;
        let at = |area| u32::try_from(registers.address(area)).map(Some);
        queue.set_desc_table_address(at(Area::Descriptor)?, None);
        queue.set_avail_ring_address(at(Area::Driver)?, None);
        queue.set_used_ring_address(at(Area::Device)?, None);
        queue.set_event_idx(true);
        queue.set_ready(true);
        ensure!(queue.is_valid(&*memory), "the peer takes the queue");
        Ok(Self { queue, memory })
    }

    fn run(&mut self) -> u64 {
        let memory: &GuestMemoryMmap = &self.memory;
        let mut bytes = 0;
        while let Some(chain) = self.queue.pop_descriptor_chain(memory) {
            let head = chain.head_index();
            bytes += chain.map(|desc| u64::from(desc.len())).sum::<u64>();
            let added = self.queue.add_used(memory, head, 0);
            added.expect("it is in use");
        }
        bytes
    }
}

/// Fills the ring, and lets the device empty it.
pub(super) struct Buffers<D> {
    driver: DriverQueue<'static>,
    device: D,
    elements: Vec<Element>,
    fills: usize,
}

impl<D: Device> Buffers<D> {
    pub(super) fn new(len: u16, fills: usize) -> Result<Self> {
        let (memory, ram) = memory()?;
        let driver = driver(&ram, D::FEATURES)?;
        let device = D::with(&driver.registers(), memory, &ram)?;
        Ok(Self {
            driver,
            device,
            elements: elements(len),
            fills,
        })
    }

    /// The time of the device alone, buffers, and their bytes.
    fn fill(&mut self) -> Result<(Duration, u64, u64)> {
        let (readable, writable) = self.elements.split_at(self.elements.len() / 2);
        let mut buffers = 0;
        while usize::from(self.driver.free()) >= self.elements.len() {
            self.driver.add(readable, writable)?;
            buffers += 1;
        }
        let start = Instant::now();
        let bytes = self.device.run();
        let time = start.elapsed();
        let mut back = 0;
        while self.driver.take_used()?.is_some() {
            back += 1;
        }
        ensure!(back == buffers, "{back} of {buffers} buffers came back");
        Ok((time, buffers, bytes))
    }
}

impl<D: Device> Contender for Buffers<D> {
    fn answer(&mut self) -> Result<String> {
        let (_, buffers, bytes) = self.fill()?;
        Ok(format!("{buffers} buffers, {bytes} bytes"))
    }

    fn round(&mut self) -> Result<f64> {
        let (mut time, mut buffers) = (Duration::ZERO, 0);
        for _ in 0..self.fills {
            let (took, some, _) = self.fill()?;
            time += took;
            buffers += some;
        }
        let buffers = u32::try_from(buffers)?;
        Ok(time.as_secs_f64() * 1e9 / f64::from(buffers))
    }
}
