//! The rings themselves: indices, heads, used elements.

use pepita_virtio::{PackedDesc, QueueError, VirtqDesc};

use super::{AVAIL, WRITE, expect};
use crate::rig::{DATA, DEVICE, END, PACKED, PLAIN, Rig, split};

#[test]
fn an_index_that_jumps_beyond_the_ring_or_goes_back_is_an_error() {
    // Q20, Q21
    for (first, then) in [
        (0, 9),
        (0, 0x8000),
        (0, u16::MAX),
        (3, 2),
        (3, 12),
        (3, 0xffff),
    ] {
        let mut rig = Rig::new(8, PLAIN);
        for head in 0..8 {
            rig.desc(crate::rig::TABLE, head, split(16, 0, 0));
        }
        for head in 0..first {
            rig.offer(head);
            assert_eq!(rig.pop(), Ok(true));
            assert_eq!(rig.queue.complete(&mut rig.chain, 0), Ok(()));
        }
        rig.index(then);
        let error = QueueError::AvailIndex {
            index: then,
            next: first,
            size: 8,
        };
        assert_eq!(rig.pop(), Err(error), "{first} {then}");
        assert_eq!(rig.queue.failure(), Some(error));
    }
}

#[test]
fn a_head_outside_of_the_table_is_an_error() {
    // Q23
    for head in [8, 9, u16::MAX] {
        let mut rig = Rig::new(8, PLAIN);
        rig.offer(head);
        expect(&mut rig, Err(QueueError::Head { head, size: 8 }));
    }
}

#[test]
fn a_head_that_the_device_has_already_is_an_error() {
    // Q24
    let mut rig = Rig::new(8, PLAIN);
    rig.desc(crate::rig::TABLE, 5, split(16, 0, 0));
    rig.offer(5);
    rig.offer(5);
    assert_eq!(rig.pop(), Ok(true));
    rig.chain = rig.queue.chain();
    expect(&mut rig, Err(QueueError::InUse { id: 5 }));
}

#[test]
fn a_head_may_come_again_once_it_is_complete() {
    let mut rig = Rig::new(8, PLAIN);
    rig.desc(crate::rig::TABLE, 5, split(16, 0, 0));
    for _ in 0..20 {
        rig.offer(5);
        assert_eq!(rig.pop(), Ok(true));
        assert_eq!(rig.queue.complete(&mut rig.chain, 0), Ok(()));
    }
}

#[test]
fn an_index_is_read_once_for_all_buffers_that_it_shows() {
    // Q25: who takes it back after it was read changes nothing that was decided by it
    let mut rig = Rig::new(8, PLAIN);
    for head in 0..2 {
        rig.desc(crate::rig::TABLE, head, split(16, 0, 0));
        rig.offer(head);
    }
    assert_eq!(rig.pop(), Ok(true));
    rig.index(0);
    rig.chain = rig.queue.chain();
    assert_eq!(rig.pop(), Ok(true));
    rig.chain = rig.queue.chain();
    assert_eq!(
        rig.pop(),
        Err(QueueError::AvailIndex {
            index: 0,
            next: 2,
            size: 8
        })
    );
}

#[test]
fn a_descriptor_that_is_rewritten_after_it_was_read_is_as_it_was() {
    // Q48
    let mut rig = Rig::new(8, PLAIN);
    rig.desc(crate::rig::TABLE, 0, split(3, WRITE, 0));
    rig.offer(0);
    assert_eq!(rig.pop(), Ok(true));
    let nowhere = VirtqDesc {
        addr: END,
        len: 99,
        flags: 0,
        next: 0,
    };
    rig.desc(crate::rig::TABLE, 0, nowhere);
    assert_eq!(rig.chain.write(0, b"abc"), Ok(()));
    assert!(rig.chain.write(1, b"abc").is_err());
    let mut back = [0; 3];
    rig.ram.read(DATA, &mut back).expect("it is there");
    assert_eq!(&back, b"abc");
    assert_eq!(rig.queue.complete(&mut rig.chain, 3), Ok(()));
}

#[test]
fn more_bytes_than_may_be_written_are_not_reported() {
    // Q50
    for features in [PLAIN, PACKED] {
        let mut rig = Rig::new(8, features);
        let desc = PackedDesc {
            addr: DATA,
            len: 3,
            id: 0,
            flags: WRITE | AVAIL,
        };
        if features.packed {
            rig.packed(crate::rig::TABLE, 0, desc);
        } else {
            rig.desc(crate::rig::TABLE, 0, split(3, WRITE, 0));
        }
        rig.offer(0);
        assert_eq!(rig.pop(), Ok(true));
        let error = QueueError::Written {
            written: 4,
            writable: 3,
        };
        assert_eq!(rig.queue.complete(&mut rig.chain, 4), Err(error));
        assert!(!error.is_guests() && rig.queue.failure().is_none());
        assert_eq!(rig.queue.complete(&mut rig.chain, 3), Ok(()));
        assert_eq!(
            rig.queue.complete(&mut rig.chain, 3),
            Err(QueueError::Foreign)
        );
    }
}

#[test]
fn a_used_element_is_whole_before_the_index_moves() {
    // Q50: id and length, as the bytes say
    let mut rig = Rig::new(8, PLAIN);
    rig.desc(crate::rig::TABLE, 6, split(300, WRITE, 0));
    rig.offer(6);
    assert_eq!(rig.pop(), Ok(true));
    assert_eq!(rig.queue.complete(&mut rig.chain, 258), Ok(()));
    let mut used = [0; 14];
    rig.ram.read(DEVICE, &mut used).expect("it is there");
    assert_eq!(used, [0, 0, 1, 0, 6, 0, 0, 0, 2, 1, 0, 0, 0, 0]);
}

#[test]
fn rings_that_are_buffers_as_well_are_the_drivers_own_trouble() {
    // Q6: the device writes the used ring over itself
    let mut rig = Rig::new(8, PLAIN);
    let desc = VirtqDesc {
        addr: DEVICE,
        len: 64,
        flags: WRITE,
        next: 0,
    };
    rig.desc(crate::rig::TABLE, 0, desc);
    rig.offer(0);
    assert_eq!(rig.pop(), Ok(true));
    assert_eq!(rig.chain.write(0, &[0xff; 64]), Ok(()));
    assert_eq!(rig.queue.complete(&mut rig.chain, 64), Ok(()));
    assert_eq!(rig.read16(DEVICE + 2), 1);
    assert_eq!(rig.pop(), Ok(false));
}
