//! Indirect tables.

use pepita_virtio::{MemoryError, QueueError, RingFeatures, VirtqDesc};

use super::{INDIRECT, NEXT, TABLE, WRITE, check, check_table, expect};
use crate::rig::{END, PLAIN, Rig, split};

#[test]
fn tables_that_were_not_negotiated_are_errors() {
    // Q40
    let features = RingFeatures {
        indirect: false,
        ..PLAIN
    };
    check_table(
        features,
        TABLE,
        16,
        &[split(1, 0, 0)],
        Err(QueueError::IndirectNotNegotiated),
    );
}

#[test]
fn a_table_in_the_middle_of_a_chain_is_an_error() {
    // Q41
    let head = VirtqDesc {
        addr: TABLE,
        len: 16,
        flags: INDIRECT | NEXT,
        next: 1,
    };
    check(
        PLAIN,
        &[head, split(1, 0, 0)],
        Err(QueueError::IndirectInChain),
    );
}

#[test]
fn a_table_in_a_table_is_an_error() {
    // Q42
    let inner = VirtqDesc {
        addr: TABLE,
        len: 16,
        flags: INDIRECT,
        next: 0,
    };
    check_table(PLAIN, TABLE, 16, &[inner], Err(QueueError::NestedIndirect));
    check_table(
        PLAIN,
        TABLE,
        32,
        &[split(1, NEXT, 1), inner],
        Err(QueueError::NestedIndirect),
    );
}

#[test]
fn a_table_is_a_number_of_descriptors() {
    // Q43
    for len in [0, 1, 15, 17, 65_536 * 16, u32::MAX] {
        check_table(
            PLAIN,
            TABLE,
            len,
            &[split(1, 0, 0)],
            Err(QueueError::TableLen { len }),
        );
    }
    // More room than the chain needs, or than the queue has descriptors, is no fault.
    check_table(PLAIN, TABLE, 16 * 9, &[split(1, 0, 0)], Ok((&[1], &[])));
}

#[test]
fn a_table_stands_at_any_byte() {
    // Q44
    for offset in 0..16 {
        let table = [split(3, NEXT, 1), split(4, WRITE, 0)];
        check_table(PLAIN, TABLE + offset, 32, &table, Ok((&[3], &[4])));
    }
}

#[test]
fn a_table_outside_of_the_guests_memory_is_an_error() {
    // Q45
    for addr in [END, END - 16, 1 << 50, u64::MAX - 15] {
        let source = MemoryError::Unmapped { addr, len: 32 };
        let mut rig = Rig::new(8, PLAIN);
        let head = VirtqDesc {
            addr,
            len: 32,
            flags: INDIRECT,
            next: 0,
        };
        rig.desc(crate::rig::TABLE, 0, head);
        rig.offer(0);
        expect(&mut rig, Err(QueueError::Table(source)));
    }
}

#[test]
fn a_table_whose_descriptor_is_to_be_written_is_read() {
    // Q46
    let mut rig = Rig::new(8, PLAIN);
    rig.desc(TABLE, 0, split(3, 0, 0));
    let head = VirtqDesc {
        addr: TABLE,
        len: 16,
        flags: INDIRECT | WRITE,
        next: 0,
    };
    rig.desc(crate::rig::TABLE, 0, head);
    rig.offer(0);
    expect(&mut rig, Ok((&[3], &[])));
}

#[test]
fn descriptors_may_end_with_a_table() {
    // Q47
    let mut rig = Rig::new(8, PLAIN);
    rig.desc(TABLE, 0, split(3, NEXT, 1));
    rig.desc(TABLE, 1, split(4, WRITE, 0));
    rig.desc(crate::rig::TABLE, 0, split(2, NEXT, 6));
    let tail = VirtqDesc {
        addr: TABLE,
        len: 32,
        flags: INDIRECT,
        next: 0,
    };
    rig.desc(crate::rig::TABLE, 6, tail);
    rig.offer(0);
    expect(&mut rig, Ok((&[2, 3], &[4])));
}
