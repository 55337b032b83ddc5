//! Packed rings.

use pepita_virtio::{MemoryError, PackedDesc, QueueError, RingFeatures};

use super::{AVAIL, INDIRECT, NEXT, TABLE, USED, WRITE, expect};
use crate::rig::{DATA, END, PACKED, Rig};

/// What comes of packed descriptors, from place 0 on.
#[track_caller]
fn check_packed(
    features: RingFeatures,
    ring: &[PackedDesc],
    want: Result<(&[usize], &[usize]), QueueError>,
) {
    let mut rig = Rig::new(8, features);
    for (desc, index) in ring.iter().zip(0..) {
        rig.packed(crate::rig::TABLE, index, *desc);
    }
    expect(&mut rig, want);
}

fn packed(len: u32, id: u16, flags: u16) -> PackedDesc {
    PackedDesc {
        addr: DATA,
        len,
        id,
        flags,
    }
}

#[test]
fn a_packed_descriptor_is_available_by_both_of_its_flags() {
    // Q60: the ring is zero at first
    for (flags, is_available) in [
        (0, false),
        (AVAIL, true),
        (USED, false),
        (AVAIL | USED, false),
    ] {
        let mut rig = Rig::new(8, PACKED);
        rig.packed(crate::rig::TABLE, 0, packed(3, 0, flags));
        assert_eq!(rig.pop(), Ok(is_available), "{flags:#x}");
    }
}

#[test]
fn a_packed_ring_goes_on_at_its_beginning_with_the_other_flags() {
    // Q60
    let mut rig = Rig::new(3, PACKED);
    for round in 0..4 {
        let turn = if round % 2 == 0 { AVAIL } else { USED };
        for at in 0..3 {
            rig.packed(crate::rig::TABLE, at, packed(3, 0, turn));
            assert_eq!(rig.pop(), Ok(true));
            assert_eq!(rig.queue.complete(&mut rig.chain, 0), Ok(()));
            let used = if round % 2 == 0 { AVAIL | USED } else { 0 };
            assert_eq!(rig.read16(u64::from(at) * 16 + 14), used);
            assert_eq!(rig.pop(), Ok(false));
        }
    }
}

#[test]
fn a_list_goes_on_over_the_rings_end() {
    let mut rig = Rig::new(3, PACKED);
    for at in 0..2 {
        rig.packed(crate::rig::TABLE, at, packed(3, 0, AVAIL));
        assert_eq!(rig.pop(), Ok(true));
        assert_eq!(rig.queue.complete(&mut rig.chain, 0), Ok(()));
    }
    rig.packed(crate::rig::TABLE, 0, packed(5, 9, USED | NEXT));
    rig.packed(crate::rig::TABLE, 1, packed(6, 2, USED | WRITE));
    rig.packed(crate::rig::TABLE, 2, packed(4, 9, AVAIL | NEXT));
    expect(&mut rig, Ok((&[4, 5], &[6])));
    assert_eq!(rig.chain.id(), 2);
    assert_eq!(rig.queue.complete(&mut rig.chain, 6), Ok(()));
    let mut word = [0; 8];
    rig.ram.read(2 * 16 + 8, &mut word).expect("it is there");
    assert_eq!(
        word,
        [6, 0, 0, 0, 2, 0, 0x82, 0x80],
        "in place of the first"
    );
}

#[test]
fn an_id_that_is_none_or_is_in_use_is_an_error() {
    // Q61
    for id in [8, 9, u16::MAX] {
        check_packed(
            PACKED,
            &[packed(3, id, AVAIL)],
            Err(QueueError::Id { id, size: 8 }),
        );
    }
    let mut rig = Rig::new(8, PACKED);
    rig.packed(crate::rig::TABLE, 0, packed(3, 4, AVAIL));
    rig.packed(crate::rig::TABLE, 1, packed(3, 4, AVAIL));
    assert_eq!(rig.pop(), Ok(true));
    rig.chain = rig.queue.chain();
    assert_eq!(rig.pop(), Err(QueueError::InUse { id: 4 }));
}

#[test]
fn a_list_that_is_available_in_part_is_an_error() {
    // Q62, Q64
    for flags in [0, USED, AVAIL | USED] {
        let ring = [packed(3, 0, AVAIL | NEXT), packed(3, 0, flags)];
        check_packed(PACKED, &ring, Err(QueueError::PartialList { index: 1 }));
    }
    // At the end, with the flags of the round before.
    let mut ring = [packed(1, 0, AVAIL | NEXT); 8];
    check_packed(PACKED, &ring, Err(QueueError::TooLong { size: 8 }));
    ring[7].flags = AVAIL;
    check_packed(PACKED, &ring, Ok((&[1; 8], &[])));
}

#[test]
fn packed_elements_obey_the_same_rules() {
    let after = [packed(1, 0, AVAIL | NEXT | WRITE), packed(1, 0, AVAIL)];
    check_packed(PACKED, &after, Err(QueueError::ReadAfterWrite));
    let outside = PackedDesc {
        addr: END - 1,
        len: 2,
        id: 0,
        flags: AVAIL,
    };
    let source = MemoryError::Unmapped { addr: END, len: 1 };
    check_packed(PACKED, &[outside], Err(QueueError::Element(source)));
    let empty = [packed(0, 0, AVAIL | NEXT), packed(0, 0, AVAIL | WRITE)];
    check_packed(PACKED, &empty, Ok((&[], &[])));
}

fn check_packed_table(
    features: RingFeatures,
    flags: u16,
    bytes: u32,
    table: &[PackedDesc],
    want: Result<(&[usize], &[usize]), QueueError>,
) {
    let mut rig = Rig::new(8, features);
    for (desc, index) in table.iter().zip(0..) {
        rig.packed(TABLE, index, *desc);
    }
    let head = PackedDesc {
        addr: TABLE,
        len: bytes,
        id: 1,
        flags: flags | INDIRECT | AVAIL,
    };
    rig.packed(crate::rig::TABLE, 0, head);
    rig.packed(crate::rig::TABLE, 1, packed(1, 0, AVAIL));
    expect(&mut rig, want);
}

#[test]
fn a_packed_table_is_all_of_its_descriptors_whatever_their_flags() {
    // Q40 to Q46 of packed rings; virtio 1.3, 2.8.7
    let table = [
        packed(1, 99, NEXT | AVAIL),
        packed(2, 99, INDIRECT),
        packed(3, 99, WRITE | USED),
    ];
    check_packed_table(PACKED, 0, 48, &table, Ok((&[1, 2], &[3])));
    check_packed_table(PACKED, WRITE, 48, &table, Ok((&[1, 2], &[3])));
    check_packed_table(PACKED, NEXT, 48, &table, Err(QueueError::IndirectInChain));
    let none = RingFeatures {
        indirect: false,
        ..PACKED
    };
    check_packed_table(none, 0, 48, &table, Err(QueueError::IndirectNotNegotiated));
    check_packed_table(PACKED, 0, 40, &table, Err(QueueError::TableLen { len: 40 }));
    check_packed_table(PACKED, 0, 0, &table, Err(QueueError::TableLen { len: 0 }));
    check_packed_table(
        PACKED,
        0,
        9 * 16,
        &table,
        Err(QueueError::TooLong { size: 8 }),
    );
}

#[test]
fn a_table_at_the_end_of_a_packed_list_is_an_error() {
    let tail = PackedDesc {
        addr: TABLE,
        len: 16,
        id: 0,
        flags: AVAIL | INDIRECT,
    };
    let ring = [packed(1, 0, AVAIL | NEXT), tail];
    check_packed(PACKED, &ring, Err(QueueError::IndirectInChain));
    let none = RingFeatures {
        indirect: false,
        ..PACKED
    };
    check_packed(none, &ring, Err(QueueError::IndirectNotNegotiated));
}
