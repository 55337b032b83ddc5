//! Chains of the table.

use pepita_virtio::{BUFFER_BYTES_MAX, MemoryError, QueueError, VirtqDesc};

use super::{INDIRECT, NEXT, TABLE, WRITE, check, check_table, expect, is_silent};
use crate::rig::{END, PLAIN, Rig, in_order, split};

#[test]
fn loops_are_errors() {
    // Q30, Q31
    let looped = |nexts: &[u16]| {
        nexts
            .iter()
            .map(|next| split(1, NEXT, *next))
            .collect::<Vec<_>>()
    };
    for nexts in [
        &[0_u16] as &[u16],
        &[1, 0],
        &[1, 1],
        &[1, 2, 1],
        &[1, 2, 3, 4, 5, 6, 7, 0],
        &[7, 0, 1, 2, 3, 4, 5, 6],
        &[1, 2, 3, 4, 5, 6, 7, 7],
    ] {
        let mut table = looped(nexts);
        table.resize(8, split(1, NEXT, 0));
        let mut rig = Rig::new(8, PLAIN);
        for (desc, index) in table.iter().zip(0..) {
            rig.desc(crate::rig::TABLE, index, *desc);
        }
        rig.offer(0);
        let error = rig.pop().expect_err("a loop");
        let named = [
            QueueError::Loop { head: 0 },
            QueueError::TooLong { size: 8 },
        ];
        assert!(named.contains(&error), "{nexts:?}: {error}");
        is_silent(&mut rig, error);
    }
}

#[test]
fn a_loop_in_a_long_table_is_found_within_a_few_rounds_of_it() {
    let mut rig = Rig::new(32_768, PLAIN);
    rig.desc(crate::rig::TABLE, 0, split(1, NEXT, 1));
    rig.desc(crate::rig::TABLE, 1, split(1, NEXT, 2));
    rig.desc(crate::rig::TABLE, 2, split(1, NEXT, 0));
    rig.offer(0);
    assert_eq!(rig.pop(), Err(QueueError::Loop { head: 0 }));
}

#[test]
fn a_next_outside_of_the_table_is_an_error() {
    // Q32
    for next in [8, 9, u16::MAX] {
        let error = QueueError::Next { next, entries: 8 };
        check(PLAIN, &[split(1, NEXT, next)], Err(error));
        let entries = 2;
        let error = QueueError::Next { next, entries };
        check_table(
            PLAIN,
            TABLE,
            32,
            &[split(1, NEXT, 1), split(1, NEXT, next)],
            Err(error),
        );
    }
}

#[test]
fn a_next_without_its_flag_says_nothing() {
    check(PLAIN, &[split(1, 0, u16::MAX)], Ok((&[1], &[])));
}

#[test]
fn a_chain_is_as_long_as_the_queue_at_most() {
    // Q33
    let chain = |len: u16| {
        let next = |at| if at < len { NEXT } else { 0 };
        (1..=len)
            .map(|at| split(1, next(at), at))
            .collect::<Vec<_>>()
    };
    check(PLAIN, &chain(8), Ok((&[1; 8], &[])));
    check_table(PLAIN, TABLE, 128, &chain(8), Ok((&[1; 8], &[])));
    check_table(
        PLAIN,
        TABLE,
        144,
        &chain(9),
        Err(QueueError::TooLong { size: 8 }),
    );
    // Two of the ring, and a table of six or seven.
    for (len, want) in [
        (6, Ok((&[1; 8][..], &[][..]))),
        (7, Err(QueueError::TooLong { size: 8 })),
    ] {
        let mut rig = Rig::new(8, PLAIN);
        for (desc, index) in chain(len).iter().zip(0..) {
            rig.desc(TABLE, index, *desc);
        }
        rig.desc(crate::rig::TABLE, 0, split(1, NEXT, 1));
        rig.desc(crate::rig::TABLE, 1, split(1, NEXT, 2));
        let tail = VirtqDesc {
            addr: TABLE,
            len: u32::from(len) * 16,
            flags: INDIRECT,
            next: 0,
        };
        rig.desc(crate::rig::TABLE, 2, tail);
        rig.offer(0);
        expect(&mut rig, want);
    }
}

#[test]
fn a_chain_of_more_than_two_to_the_32_bytes_is_an_error() {
    // Q34: even where each element is in the guest's memory
    use vm_memory::{GuestAddress, GuestMemoryMmap};
    let ranges = [(GuestAddress(0), 1 << 20), (GuestAddress(1 << 20), 1 << 31)];
    let memory =
        GuestMemoryMmap::<()>::from_ranges(&ranges).expect("address space, which nobody touches");
    let ram = pepita_virtio::GuestRam::new(memory.into()).expect("it is ours");
    for (last, fits) in [(0, true), (1, false)] {
        let mut queue = crate::rig::registers(8)
            .activate(&ram, PLAIN)
            .expect("all is well");
        let half = 1 << 31;
        for (len, at) in [half, half, last].into_iter().zip(0_u64..) {
            let flags = if at < 2 { NEXT } else { 0 };
            let next = u16::try_from(at + 1).expect("small");
            let desc = VirtqDesc {
                addr: 1 << 20,
                len,
                flags,
                next,
            };
            ram.write(crate::rig::TABLE + at * 16, &desc.to_bytes())
                .expect("there is memory");
        }
        ram.write(crate::rig::DRIVER + 2, &[1])
            .expect("there is memory");
        let mut chain = queue.chain();
        let want = if fits {
            Ok(true)
        } else {
            Err(QueueError::TooManyBytes)
        };
        assert_eq!(queue.pop(&mut chain), want);
        if fits {
            assert_eq!(chain.readable_len(), BUFFER_BYTES_MAX);
        }
    }
}

#[test]
fn an_element_outside_of_the_guests_memory_is_an_error() {
    // Q35, Q36
    for flags in [0, WRITE] {
        for (addr, len) in [
            (END, 1),
            (END - 1, 2),
            (1 << 40, 16),
            (u64::MAX, 1),
            (u64::MAX - 7, 16),
            (0, u32::MAX),
        ] {
            let element = VirtqDesc {
                addr,
                len,
                flags,
                next: 0,
            };
            let mut rig = Rig::new(8, PLAIN);
            rig.desc(crate::rig::TABLE, 0, element);
            rig.offer(0);
            let error = rig.pop().expect_err("there is nothing");
            assert!(
                matches!(error, QueueError::Element(MemoryError::Unmapped { .. })),
                "{error}"
            );
            is_silent(&mut rig, error);
        }
    }
}

#[test]
fn an_element_across_regions_is_several_segments() {
    // Q36
    use vm_memory::{GuestAddress, GuestMemoryMmap};
    let ranges = [(0, 0x10_1000), (0x10_1000, 0x1000), (0x10_3000, 0x1000)];
    let ranges = ranges.map(|(start, len)| (GuestAddress(start), len));
    let memory = GuestMemoryMmap::<()>::from_ranges(&ranges).expect("there is memory");
    let ram = pepita_virtio::GuestRam::new(memory.into()).expect("it is ours");
    for (addr, len, want) in [
        (0x10_0ff0, 0x20, Some(vec![0x10, 0x10])),
        (0x10_0fff, 0x1001, Some(vec![1, 0x1000])),
        (0x10_0fff, 0x1002, None),
        (0x10_2000, 1, None),
        (0x10_2fff, 2, None),
        (0x10_3000, 0x1000, Some(vec![0x1000])),
    ] {
        let mut queue = crate::rig::registers(8)
            .activate(&ram, PLAIN)
            .expect("all is well");
        let desc = VirtqDesc {
            addr,
            len,
            flags: WRITE,
            next: 0,
        };
        ram.write(crate::rig::TABLE, &desc.to_bytes())
            .expect("there is memory");
        ram.write(crate::rig::DRIVER + 2, &[1])
            .expect("there is memory");
        let mut chain = queue.chain();
        let popped = queue.pop(&mut chain);
        let lens: Vec<usize> = chain.writable().iter().map(|one| one.len()).collect();
        assert_eq!(popped.ok().map(|_| lens), want, "{addr:#x} {len:#x}");
    }
}

#[test]
fn elements_without_a_byte_are_left_out() {
    // Q37: wherever they point
    let nowhere = VirtqDesc {
        addr: u64::MAX,
        len: 0,
        flags: NEXT,
        next: 1,
    };
    check(PLAIN, &[nowhere, split(4, 0, 0)], Ok((&[4], &[])));
    check(
        PLAIN,
        &[
            split(4, NEXT, 1),
            split(0, WRITE | NEXT, 2),
            split(5, WRITE, 0),
        ],
        Ok((&[4], &[5])),
    );
    check(
        PLAIN,
        &[split(0, NEXT, 1), split(0, WRITE, 0)],
        Ok((&[], &[])),
    );
}

#[test]
fn an_element_to_be_read_after_one_to_be_written_is_an_error() {
    // Q38
    let table = [split(1, WRITE | NEXT, 1), split(1, 0, 0)];
    check(PLAIN, &table, Err(QueueError::ReadAfterWrite));
    check_table(PLAIN, TABLE, 32, &table, Err(QueueError::ReadAfterWrite));
}

#[test]
fn flags_that_mean_nothing_are_ignored() {
    // Q39
    check(PLAIN, &[split(1, 0xfff8, 0)], Ok((&[1], &[])));
    check(PLAIN, &[split(1, 0xfff8 | WRITE, 0)], Ok((&[], &[1])));
}

#[test]
fn in_order_descriptors_follow_each_other() {
    // virtio 1.3, 2.7.5.2 and 2.7.5.3.1
    let features = in_order(PLAIN);
    check(
        features,
        &[split(1, NEXT, 1), split(1, 0, 0)],
        Ok((&[1, 1], &[])),
    );
    let error = QueueError::OutOfOrder { index: 0, next: 2 };
    check(
        features,
        &[split(1, NEXT, 2), split(1, 0, 0), split(1, 0, 0)],
        Err(error),
    );
    let table = [split(1, NEXT, 2), split(1, 0, 0), split(1, 0, 0)];
    check_table(features, TABLE, 48, &table, Err(error));
}
