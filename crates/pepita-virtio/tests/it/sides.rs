//! Both sides of a queue against each other, and against a model that has lists.

use std::collections::VecDeque;

use pepita_virtio::{
    ActiveQueue, AddError, Chain, DriverQueue, Element, GuestRam, RingFeatures, Shared, Slot, Used,
};
use proptest::prelude::*;

/// Where buffers are, a piece for each that there ever is.
const DATA: u64 = 0x1_0000;
const PIECE: u64 = 0x400;
const TABLES: u64 = 0x8000;

#[derive(Debug, Clone)]
enum Op {
    /// So many elements to read, so many to write, by a table or not.
    Add(usize, usize, bool),
    Pop,
    /// Which of those that the device has, and how much of it is written.
    Complete(usize, u32),
    Take,
    /// The device stops if it has no buffer, and another one goes on.
    Resume,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => (0..4_usize, 0..4_usize, any::<bool>()).prop_map(|(r, w, t)| Op::Add(r, w, t)),
        3 => Just(Op::Pop),
        3 => (any::<usize>(), any::<u32>()).prop_map(|(i, n)| Op::Complete(i, n)),
        3 => Just(Op::Take),
        1 => Just(Op::Resume),
    ];
    prop::collection::vec(op, 0..300)
}

fn features() -> impl Strategy<Value = RingFeatures> {
    any::<[bool; 4]>().prop_map(|[indirect, event_index, packed, in_order]| RingFeatures {
        indirect,
        event_index,
        packed,
        in_order,
    })
}

/// A buffer, as the model knows it.
#[derive(Debug, Clone)]
struct Buffer {
    id: u16,
    /// Descriptors of the ring.
    descriptors: usize,
    readable: Vec<u8>,
    writable: Vec<Element>,
    /// What the device has written.
    written: Vec<u8>,
    /// The device has given it back.
    is_complete: bool,
}

struct World<'a> {
    ram: &'a GuestRam,
    driver: DriverQueue<'a>,
    device: ActiveQueue,
    tables: Vec<Shared<'a>>,
    features: RingFeatures,
    size: usize,
    serial: u64,
    available: VecDeque<Buffer>,
    taken: Vec<(Buffer, Chain)>,
    used: VecDeque<Buffer>,
}

impl World<'_> {
    fn run(&mut self, op: &Op) {
        match op {
            Op::Add(readable, writable, table) => self.add(*readable, *writable, *table),
            Op::Pop => self.pop(),
            Op::Complete(which, written) => self.complete(*which, *written),
            Op::Take => self.take(),
            Op::Resume => self.resume(),
        }
    }

    fn free(&self) -> usize {
        let taken = self.taken.iter().map(|(buffer, _)| buffer);
        let all = self.available.iter().chain(taken).chain(&self.used);
        self.size - all.map(|buffer| buffer.descriptors).sum::<usize>()
    }

    fn add(&mut self, readable: usize, writable: usize, by_table: bool) {
        self.serial += 1;
        let base = DATA + self.serial % 64 * PIECE;
        let elements: Vec<Element> = (0..readable + writable)
            .map(|at| {
                Element::new(
                    base + at as u64 * 96,
                    u32::try_from(at * 31 % 90).expect("small"),
                )
            })
            .collect();
        let (to_read, to_write) = elements.split_at(readable);
        let mut bytes = Vec::new();
        for element in to_read {
            let data = vec![self.serial.to_le_bytes()[0]; element.len as usize];
            self.ram
                .write(element.addr, &data)
                .expect("there is memory");
            bytes.extend(data);
        }
        let count = elements.len();
        let by_table = by_table && self.features.indirect;
        let descriptors = if by_table { 1 } else { count };
        let table = self.tables[usize::try_from(self.serial % 64).expect("small")];
        let added = if by_table {
            self.driver.add_indirect(&table, to_read, to_write)
        } else {
            self.driver.add(to_read, to_write)
        };
        let free = self.free();
        if count == 0 {
            assert_eq!(added, Err(AddError::Empty));
        } else if count > self.size {
            let size = self.driver.size();
            assert_eq!(
                added,
                Err(AddError::TooLong {
                    elements: count,
                    size
                })
            );
        } else if descriptors > free {
            let free = u16::try_from(free).expect("small");
            assert_eq!(
                added,
                Err(AddError::Full {
                    wanted: descriptors,
                    free
                })
            );
        } else {
            self.available.push_back(Buffer {
                id: added.expect("there is room"),
                descriptors,
                readable: bytes,
                writable: to_write.to_vec(),
                written: Vec::new(),
                is_complete: false,
            });
        }
    }

    fn pop(&mut self) {
        let mut chain = self.device.chain();
        let popped = self
            .device
            .pop(&mut chain)
            .expect("the driver does nothing wrong");
        let Some(buffer) = self.available.pop_front() else {
            assert!(!popped);
            return;
        };
        assert!(popped);
        let mut readable = vec![0; buffer.readable.len()];
        chain
            .read(0, &mut readable)
            .expect("as many as were offered");
        assert_eq!(readable, buffer.readable);
        assert_eq!(
            (chain.id(), chain.readable_len()),
            (buffer.id, readable.len() as u64)
        );
        let writable: u64 = buffer
            .writable
            .iter()
            .map(|element| u64::from(element.len))
            .sum();
        assert_eq!(chain.writable_len(), writable);
        self.taken.push((buffer, chain));
    }

    fn complete(&mut self, which: usize, written: u32) {
        let waiting: Vec<usize> = (0..self.taken.len())
            .filter(|at| !self.taken[*at].0.is_complete)
            .collect();
        if waiting.is_empty() {
            return;
        }
        let (buffer, chain) = &mut self.taken[waiting[which % waiting.len()]];
        let writable = u32::try_from(chain.writable_len()).expect("small");
        let written = written % (writable + 1);
        buffer.written = vec![!self.serial.to_le_bytes()[0]; written as usize];
        chain
            .write(0, &buffer.written)
            .expect("as many as may be written");
        assert_eq!(self.device.complete(chain, written), Ok(()));
        buffer.is_complete = true;
        if self.features.in_order {
            while self
                .taken
                .first()
                .is_some_and(|(buffer, _)| buffer.is_complete)
            {
                self.used.push_back(self.taken.remove(0).0);
            }
        } else {
            let at = self
                .taken
                .iter()
                .position(|(buffer, _)| buffer.is_complete)
                .expect("just now");
            self.used.push_back(self.taken.remove(at).0);
        }
    }

    /// A buffer is in use if the driver cannot have it back.
    fn resume(&mut self) {
        let position = self.device.position();
        assert_eq!(position.is_some(), self.taken.is_empty());
        if let Some(position) = position {
            let registers = self.driver.registers();
            let resumed = registers.resume(self.ram, self.features, position);
            self.device = resumed.expect("a position of this ring");
        }
    }

    fn take(&mut self) {
        let used = self
            .driver
            .take_used()
            .expect("the device does nothing wrong");
        let Some(buffer) = self.used.pop_front() else {
            assert_eq!(used, None);
            return;
        };
        let written = buffer.written.len() as u64;
        assert_eq!(
            used,
            Some(Used {
                id: buffer.id,
                written
            })
        );
        let mut rest = &buffer.written[..];
        for element in &buffer.writable {
            let (here, behind) = rest.split_at(rest.len().min(element.len as usize));
            let mut bytes = vec![0; here.len()];
            self.ram
                .read(element.addr, &mut bytes)
                .expect("there is memory");
            assert_eq!(bytes, here);
            rest = behind;
        }
    }
}

fn play(exponent: u32, odd: u16, features: RingFeatures, ops: &[Op]) {
    let size = if features.packed { odd } else { 1 << exponent };
    let ram = GuestRam::zeroed(0x2_0000 + 0x8000);
    let mut slots = vec![Slot::default(); usize::from(size)];
    let ring = ram
        .shared(0, DriverQueue::bytes(size, features))
        .expect("there is memory");
    let tables = (0..64).map(|at| ram.shared(TABLES + at * 128, 128).expect("there is memory"));
    let tables = tables.collect();
    let driver = DriverQueue::new(ring, &mut slots, features);
    let device = driver
        .registers()
        .activate(&ram, features)
        .expect("all is well");
    let mut world = World {
        ram: &ram,
        driver,
        device,
        tables,
        features,
        size: usize::from(size),
        serial: 0,
        available: VecDeque::new(),
        taken: Vec::new(),
        used: VecDeque::new(),
    };
    for op in ops {
        world.run(op);
        assert_eq!(usize::from(world.driver.free()), world.free());
    }
}

proptest! {
    #[test]
    fn what_the_driver_adds_the_device_takes_and_gives_back(
        exponent in 0..5_u32,
        odd in 1..17_u16,
        features in features(),
        ops in ops(),
    ) {
        play(exponent, odd, features, &ops);
    }
}

#[test]
fn positions_wrap_at_the_ends_of_ring_and_index() {
    // Q22, Q60
    let round = [
        Op::Add(1, 1, false),
        Op::Pop,
        Op::Complete(0, 7),
        Op::Take,
        Op::Resume,
    ];
    let ops: Vec<Op> = round.iter().cycle().take(5 * 70_000).cloned().collect();
    for packed in [false, true] {
        let features = RingFeatures {
            packed,
            event_index: true,
            ..RingFeatures::default()
        };
        play(3, 7, features, &ops);
    }
}
