//! A queue whose driver is the test itself: it writes rings byte by byte, right or wrong.

use pepita_virtio::{
    ActiveQueue, Area, Chain, GuestRam, PackedDesc, QueueError, RingFeatures, VirtQueue, VirtqDesc,
};

pub(crate) const TABLE: u64 = 0;
pub(crate) const DRIVER: u64 = 0x8_0000;
pub(crate) const DEVICE: u64 = 0xa_0000;
/// Where buffers and tables are.
pub(crate) const DATA: u64 = 0x10_0000;
/// Where the guest's memory ends.
pub(crate) const END: u64 = 0x20_0000;

/// All features but those that change how rings are read.
pub(crate) const PLAIN: RingFeatures = RingFeatures {
    indirect: true,
    event_index: false,
    packed: false,
    in_order: false,
};
pub(crate) const PACKED: RingFeatures = RingFeatures {
    packed: true,
    ..PLAIN
};

pub(crate) fn with_events(features: RingFeatures) -> RingFeatures {
    RingFeatures {
        event_index: true,
        ..features
    }
}

pub(crate) fn in_order(features: RingFeatures) -> RingFeatures {
    RingFeatures {
        in_order: true,
        ..features
    }
}

pub(crate) fn registers(size: u16) -> VirtQueue {
    let mut queue = VirtQueue::with_size(size);
    let addresses = [TABLE, DRIVER, DEVICE];
    for (area, address) in Area::ALL.into_iter().zip(addresses) {
        queue.set_address(area, address);
    }
    queue.set_ready(true);
    queue
}

pub(crate) struct Rig {
    pub(crate) ram: GuestRam,
    pub(crate) queue: ActiveQueue,
    pub(crate) chain: Chain,
    pub(crate) available: u16,
}

impl Rig {
    pub(crate) fn new(size: u16, features: RingFeatures) -> Self {
        let ram = GuestRam::zeroed(usize::try_from(END).expect("small"));
        let queue = registers(size)
            .activate(&ram, features)
            .expect("all is well");
        let chain = queue.chain();
        Self {
            ram,
            queue,
            chain,
            available: 0,
        }
    }

    pub(crate) fn write(&self, addr: u64, bytes: &[u8]) {
        self.ram.write(addr, bytes).expect("there is memory");
    }

    pub(crate) fn read16(&self, addr: u64) -> u16 {
        let mut bytes = [0; 2];
        self.ram.read(addr, &mut bytes).expect("there is memory");
        u16::from_le_bytes(bytes)
    }

    /// Writes descriptor number `index` of the table at `table`.
    pub(crate) fn desc(&self, table: u64, index: u16, desc: VirtqDesc) {
        self.write(table + u64::from(index) * 16, &desc.to_bytes());
    }

    pub(crate) fn packed(&self, table: u64, index: u16, desc: PackedDesc) {
        self.write(table + u64::from(index) * 16, &desc.to_bytes());
    }

    /// Puts a head into the available ring, and moves its index.
    pub(crate) fn offer(&mut self, head: u16) {
        let slot = u64::from(self.available % self.queue.size());
        self.write(DRIVER + 4 + 2 * slot, &head.to_le_bytes());
        self.available = self.available.wrapping_add(1);
        self.index(self.available);
    }

    pub(crate) fn index(&self, index: u16) {
        self.write(DRIVER + 2, &index.to_le_bytes());
    }

    pub(crate) fn pop(&mut self) -> Result<bool, QueueError> {
        self.queue.pop(&mut self.chain)
    }

    /// Lengths of the segments of the buffer that was popped last.
    pub(crate) fn lens(&self) -> (Vec<usize>, Vec<usize>) {
        let lens =
            |list: &[pepita_sys::blk_mq::Segment]| list.iter().map(|one| one.len()).collect();
        (lens(self.chain.readable()), lens(self.chain.writable()))
    }
}

/// A descriptor of `len` bytes of data.
pub(crate) fn split(len: u32, flags: u16, next: u16) -> VirtqDesc {
    VirtqDesc {
        addr: DATA,
        len,
        flags,
        next,
    }
}
