//! A device whose driver is the fuzzer: it writes registers and rings, and what it writes between two buffers.

use pepita_virtio::{ActiveQueue, Area, Chain, GuestRam, RingFeatures, VirtQueue};

/// The guest's memory: small, so that addresses of few bits lead into it.
const BYTES: usize = 0x4000;

/// What must hold of a buffer that came out of a queue: its memory is the guest's, and writable at its whole length.
fn use_chain(chain: &Chain) -> u32 {
    assert!(chain.is_taken());
    let len = |list: &[pepita_sys::blk_mq::Segment]| {
        assert!(list.iter().all(|one| !one.is_empty() && one.len() <= BYTES));
        list.iter().map(|one| one.len() as u64).sum::<u64>()
    };
    assert_eq!(len(chain.readable()), chain.readable_len());
    assert_eq!(len(chain.writable()), chain.writable_len());
    let mut bytes = vec![0; usize::try_from(chain.readable_len().min(1 << 16)).expect("small")];
    chain.read(0, &mut bytes).expect("as many as there are");
    let writable = usize::try_from(chain.writable_len()).expect("small");
    if let Some(last) = writable.checked_sub(1) {
        chain.write(last, &[0xA5]).expect("inside");
    }
    assert!(chain.write(writable, &[1]).is_err());
    u32::try_from(writable).unwrap_or(u32::MAX)
}

/// Registers, then a picture of the memory, then writes between the device's turns.
pub fn run(data: &[u8], packed: bool) {
    let Some(([flags, size, driver, device], data)) = data.split_first_chunk() else {
        return;
    };
    let features = RingFeatures {
        indirect: flags & 1 != 0,
        event_index: flags & 2 != 0,
        in_order: flags & 4 != 0,
        packed,
    };
    let ram = GuestRam::zeroed(BYTES);
    let mut registers = VirtQueue::with_size(256);
    let size = if packed {
        u16::from(*size)
    } else {
        1 << (size % 10)
    };
    registers.set_size(size);
    registers.set_address(Area::Driver, u64::from(*driver) << 6);
    registers.set_address(Area::Device, u64::from(*device) << 6);
    registers.set_ready(flags & 8 == 0);
    let Ok(mut queue) = registers.activate(&ram, features) else {
        return;
    };
    let (picture, writes) = data.split_at(data.len().min(BYTES / 2));
    ram.write(0, picture).expect("it fits");
    let mut writes = writes.as_chunks::<4>().0.iter();
    let mut held: Vec<Chain> = Vec::new();
    for turn in 0..64 {
        if !take(&mut queue, &mut held) {
            break;
        }
        if turn % 5 == 0
            && let Some(position) = queue.position()
        {
            let resumed = registers.resume(&ram, features, position);
            queue = resumed.expect("where it stood");
        }
        if let Some([low, high, one, other]) = writes.next() {
            let addr = u64::from(u16::from_le_bytes([*low, *high])) % (BYTES as u64 - 1);
            ram.write(addr, &[*one, *other]).expect("inside");
        }
        if turn % 3 != 0
            && let Some(mut chain) = held.pop()
        {
            let written = use_chain(&chain);
            queue.complete(&mut chain, written).expect("it is in use");
            assert!(!chain.is_taken());
            let _ = queue.needs_notification();
        }
    }
    assert!(held.len() <= usize::from(queue.size()));
}

/// One turn of the device; whether there may be another.
fn take(queue: &mut ActiveQueue, held: &mut Vec<Chain>) -> bool {
    let mut chain = queue.chain();
    match queue.pop(&mut chain) {
        Ok(true) => {
            use_chain(&chain);
            held.push(chain);
            true
        }
        Ok(false) => {
            assert!(queue.failure().is_none());
            queue.disable_kicks();
            let _ = queue.enable_kicks();
            true
        }
        Err(error) => {
            assert!(error.is_guests() && !error.clause().is_empty());
            assert_eq!(queue.failure(), Some(error));
            assert!(!chain.is_taken());
            assert_eq!(queue.pop(&mut chain), Ok(false), "silent from now on");
            assert!(!queue.needs_notification() && !queue.enable_kicks());
            false
        }
    }
}
