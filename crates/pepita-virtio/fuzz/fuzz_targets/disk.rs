//! Requests of a hostile driver to a disk: any bytes, in any pieces.
#![no_main]

use std::sync::Arc;
use std::thread;

use libfuzzer_sys::fuzz_target;
use pepita_io::RamDevice;
use pepita_virtio::{
    Area, DriverQueue, Element, GuestRam, Mmio, RingFeatures, Slot, VIRTIO_F_VERSION_1, VirtioBlock,
};

/// The guest's memory: the ring, then what is read, then what is written.
const BYTES: usize = 0x8000;
const READABLE: u64 = 0x1000;
const WRITABLE: u64 = 0x4000;
const SIZE: u16 = 16;

fn set(mmio: &Mmio, register: u64, word: u64) {
    mmio.write(register, &word.to_le_bytes()[..4]);
}

/// virtio 1.3, 3.1.1
fn begin(mmio: &Mmio, queue: &DriverQueue<'_>, features: u64) {
    for status in [1, 3] {
        set(mmio, 0x070, status);
    }
    for word in [0, 1] {
        set(mmio, 0x024, word);
        set(mmio, 0x020, features >> (32 * word));
    }
    set(mmio, 0x070, 11);
    set(mmio, 0x038, SIZE.into());
    for (area, register) in Area::ALL.into_iter().zip([0x080, 0x090, 0x0a0]) {
        set(mmio, register, queue.registers().address(area));
    }
    set(mmio, 0x044, 1);
    set(mmio, 0x070, 15);
}

/// Pieces one behind the other, as long as bytes say.
fn pieces(base: u64, lens: &[u8]) -> Vec<Element> {
    let mut at = base;
    let piece = |len: &u8| {
        // Sectors, parts of headers, and what lies between.
        let len = match len % 8 {
            0 => 512,
            1 => 16,
            2 => 1,
            _ => u32::from(*len),
        };
        at += u64::from(len);
        Element::new(at - u64::from(len), len)
    };
    lens.iter().map(piece).collect()
}

fuzz_target!(|data: &[u8]| {
    let Some(([flags], mut data)) = data.split_first_chunk() else {
        return;
    };
    let features = RingFeatures {
        event_index: flags & 1 != 0,
        packed: flags & 2 != 0,
        ..RingFeatures::default()
    };
    let ram = GuestRam::zeroed(BYTES);
    let mut slots = [Slot::default(); SIZE as usize];
    let ring = ram.shared(0, DriverQueue::bytes(SIZE, features));
    let mut queue = DriverQueue::new(ring.expect("inside"), &mut slots, features);
    let disk = VirtioBlock::with_queues(Arc::new(RamDevice::new(32)), 1, SIZE);
    let disk = Box::new(disk.expect("it can be"));
    let mmio = Mmio::new(disk, ram.clone(), |_signal| {});
    // All of the disk's own features, or none.
    let own = if flags & 4 == 0 {
        0x7e66 & !(1 << 12 | 1 << 11 | 1 << 5)
    } else {
        0
    };
    begin(&mmio, &queue, features.to_bits() | VIRTIO_F_VERSION_1 | own);
    while let Some(([shape, bytes], rest)) = data.split_first_chunk() {
        let (readable, writable) = (usize::from(shape & 7), usize::from(shape >> 3 & 7));
        let all = readable + writable;
        if all == 0 || rest.len() < all {
            break;
        }
        let (lens, rest) = rest.split_at(all);
        let (content, rest) = rest.split_at(rest.len().min(usize::from(*bytes)));
        data = rest;
        let readable = pieces(READABLE, &lens[..readable]);
        let writable = pieces(WRITABLE, &lens[readable.len()..]);
        ram.write(READABLE, content).expect("inside");
        ram.write(WRITABLE, &[0xee; 0x2000]).expect("inside");
        let mut before = vec![0; BYTES - 0x1000];
        ram.read(READABLE, &mut before).expect("inside");
        let id = queue.add(&readable, &writable).expect("there is room");
        if queue.needs_kick() {
            set(&mmio, 0x050, 0);
        }
        let used = loop {
            match queue.take_used().expect("the disk does nothing wrong") {
                Some(used) => break used,
                None => thread::yield_now(),
            }
        };
        assert_eq!(used.id, id);
        let len = writable.iter().map(|one| u64::from(one.len)).sum::<u64>();
        assert!(used.written <= len);
        if let Some(status) = len.checked_sub(1) {
            let mut byte = [0];
            ram.read(WRITABLE + status, &mut byte).expect("inside");
            assert!(byte[0] <= 2, "a status: {byte:?}");
        }
        // Nothing but what may be written was.
        let mut after = vec![0; before.len()];
        ram.read(READABLE, &mut after).expect("inside");
        let start = usize::try_from(WRITABLE - READABLE).expect("small");
        let end = start + usize::try_from(len).expect("small");
        assert!(before[..start] == after[..start] && before[end..] == after[end..]);
        let mut status = [0; 4];
        mmio.read(0x070, &mut status);
        assert_eq!(status, [15, 0, 0, 0], "the disk goes on");
    }
});
