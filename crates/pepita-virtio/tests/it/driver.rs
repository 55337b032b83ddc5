//! What a driver says to wrong buffers, and to a hostile device.

use pepita_virtio::{
    AddError, Area, DeviceFault, DriverQueue, Element, GuestRam, PackedDesc, RingFeatures, Slot,
    Used, VIRTQ_DESC_F_AVAIL, VIRTQ_DESC_F_USED, VIRTQ_DESC_F_WRITE,
};

use crate::rig::{PACKED, PLAIN, in_order};

/// A driver of eight descriptors, and its memory, which the test writes as a device.
fn with_driver(features: RingFeatures, story: impl FnOnce(&GuestRam, DriverQueue<'_>)) {
    let ram = GuestRam::zeroed(1 << 16);
    let mut slots = [Slot::default(); 8];
    let ring = ram
        .shared(0x100, DriverQueue::bytes(8, features))
        .expect("there is memory");
    story(&ram, DriverQueue::new(ring, &mut slots, features));
}

/// So many used elements, and the index behind them.
fn use_split(ram: &GuestRam, driver: &DriverQueue<'_>, index: u16, elements: &[(u16, u32, u32)]) {
    let used = driver.registers().address(Area::Device);
    for (slot, id, len) in elements {
        let element = u64::from(*len) << 32 | u64::from(*id);
        let at = used + 4 + 8 * u64::from(*slot);
        ram.write(at, &element.to_le_bytes())
            .expect("there is memory");
    }
    ram.write(used + 2, &index.to_le_bytes())
        .expect("there is memory");
}

fn use_packed(ram: &GuestRam, driver: &DriverQueue<'_>, at: u16, id: u16, len: u32) {
    let flags = VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED | VIRTQ_DESC_F_WRITE;
    let desc = PackedDesc {
        addr: 0,
        len,
        id,
        flags,
    };
    let ring = driver.registers().address(Area::Descriptor);
    ram.write(ring + u64::from(at) * 16, &desc.to_bytes())
        .expect("there is memory");
}

const BYTES: [Element; 3] = [
    Element::new(0x1000, 10),
    Element::new(0x2000, 20),
    Element::new(0x3000, 30),
];

#[test]
fn buffers_that_cannot_be_are_refused_and_leave_the_queue_as_it_was() {
    for features in [PLAIN, PACKED] {
        with_driver(features, |ram, mut driver| {
            let nine = [Element::new(0, 1); 9];
            let large = [Element::new(0, u32::MAX); 2];
            let table = ram.shared(0x8000, 32).expect("there is memory");
            assert_eq!(driver.add(&[], &[]), Err(AddError::Empty));
            let long = AddError::TooLong {
                elements: 9,
                size: 8,
            };
            assert_eq!(driver.add(&nine[..4], &nine[4..]), Err(long));
            assert_eq!(driver.add_indirect(&table, &nine, &[]), Err(long));
            assert_eq!(driver.add(&large, &[]), Err(AddError::TooManyBytes));
            let short = AddError::ShortTable {
                wanted: 48,
                len: 32,
            };
            assert_eq!(driver.add_indirect(&table, &BYTES, &[]), Err(short));
            assert_eq!(driver.free(), 8);
            assert!(!driver.needs_kick());
            driver.add(&nine[..6], &[]).expect("there is room");
            let full = AddError::Full { wanted: 3, free: 2 };
            assert_eq!(driver.add(&BYTES, &[]), Err(full));
            assert_eq!(full.to_string(), "3 descriptors wanted, 2 are free");
        });
        let none = RingFeatures {
            indirect: false,
            ..features
        };
        with_driver(none, |ram, mut driver| {
            let table = ram.shared(0x8000, 64).expect("there is memory");
            assert_eq!(
                driver.add_indirect(&table, &BYTES, &[]),
                Err(AddError::NotNegotiated)
            );
        });
    }
}

#[test]
fn a_device_that_claims_what_it_does_not_have_is_found_out() {
    let wrong = |index, elements: &'static [(u16, u32, u32)], want: DeviceFault| {
        with_driver(PLAIN, |ram, mut driver| {
            driver
                .add(&BYTES[..1], &BYTES[1..2])
                .expect("there is room");
            driver.add(&BYTES[2..], &[]).expect("there is room");
            use_split(ram, &driver, index, elements);
            assert_eq!(driver.take_used(), Err(want));
            assert_eq!(driver.failure(), Some(want));
            assert!(!want.clause().is_empty());
            use_split(ram, &driver, 1, &[(0, 0, 0)]);
            assert_eq!(driver.take_used(), Ok(None), "it is not asked any more");
            assert_eq!(driver.add(&BYTES, &[]), Err(AddError::Failed));
        });
    };
    for index in [3, 9, u16::MAX] {
        wrong(
            index,
            &[],
            DeviceFault::Index {
                index,
                next: 0,
                in_flight: 2,
            },
        );
    }
    wrong(1, &[(0, 1, 0)], DeviceFault::Id { id: 1 });
    wrong(1, &[(0, 8, 0)], DeviceFault::Id { id: 8 });
    wrong(1, &[(0, 0x1_0000, 0)], DeviceFault::Id { id: 0x1_0000 });
    let written = DeviceFault::Written {
        id: 0,
        written: 21,
        writable: 20,
    };
    wrong(1, &[(0, 0, 21)], written);
    assert_eq!(written.to_string(), "21 bytes written, into 20 of buffer 0");
}

#[test]
fn a_device_that_gives_a_buffer_back_twice_is_found_out() {
    with_driver(PLAIN, |ram, mut driver| {
        let id = driver.add(&BYTES[..1], &[]).expect("there is room");
        driver.add(&BYTES[..1], &[]).expect("there is room");
        use_split(ram, &driver, 2, &[(0, id.into(), 0), (1, id.into(), 0)]);
        assert_eq!(driver.take_used(), Ok(Some(Used { id, written: 0 })));
        assert_eq!(driver.take_used(), Err(DeviceFault::Id { id: id.into() }));
    });
    with_driver(PACKED, |ram, mut driver| {
        let id = driver.add(&BYTES[..1], &[]).expect("there is room");
        driver.add(&BYTES[..1], &[]).expect("there is room");
        use_packed(ram, &driver, 0, id, 0);
        use_packed(ram, &driver, 1, id, 0);
        assert_eq!(driver.take_used(), Ok(Some(Used { id, written: 0 })));
        assert_eq!(driver.take_used(), Err(DeviceFault::Id { id: id.into() }));
    });
}

#[test]
fn a_packed_device_is_held_to_the_same() {
    with_driver(PACKED, |ram, mut driver| {
        use_packed(ram, &driver, 0, 0, 5);
        assert_eq!(driver.take_used(), Ok(None), "it has nothing to give back");
    });
    for (id, len, want) in [
        (7, 0, DeviceFault::Id { id: 7 }),
        (8, 0, DeviceFault::Id { id: 8 }),
        (u16::MAX, 0, DeviceFault::Id { id: 0xffff }),
        (
            0,
            21,
            DeviceFault::Written {
                id: 0,
                written: 21,
                writable: 20,
            },
        ),
    ] {
        with_driver(PACKED, |ram, mut driver| {
            driver
                .add(&BYTES[..1], &BYTES[1..2])
                .expect("there is room");
            use_packed(ram, &driver, 0, id, len);
            assert_eq!(driver.take_used(), Err(want));
            assert_eq!(driver.take_used(), Ok(None));
        });
    }
}

#[test]
fn the_length_of_a_packed_buffer_that_was_not_written_means_nothing() {
    // virtio 1.3, 2.8.4
    with_driver(PACKED, |ram, mut driver| {
        let id = driver.add(&BYTES[..1], &[]).expect("there is room");
        let flags = VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED;
        let desc = PackedDesc {
            addr: 0,
            len: 99,
            id,
            flags,
        };
        let ring = driver.registers().address(Area::Descriptor);
        ram.write(ring, &desc.to_bytes()).expect("there is memory");
        assert_eq!(driver.take_used(), Ok(Some(Used { id, written: 0 })));
    });
}

#[test]
fn in_order_one_entry_gives_back_all_buffers_up_to_it() {
    // Q65; virtio 1.3, 2.7.9 and 2.8.8
    let story = |packed: bool| {
        let features = in_order(if packed { PACKED } else { PLAIN });
        with_driver(features, |ram, mut driver| {
            let ids = [(); 3].map(|()| {
                driver
                    .add(&BYTES[..1], &BYTES[1..2])
                    .expect("there is room")
            });
            if packed {
                use_packed(ram, &driver, 0, ids[1], 7);
            } else {
                use_split(ram, &driver, 2, &[(0, ids[1].into(), 7)]);
            }
            assert_eq!(
                driver.take_used(),
                Ok(Some(Used {
                    id: ids[0],
                    written: 20
                }))
            );
            assert_eq!(
                driver.take_used(),
                Ok(Some(Used {
                    id: ids[1],
                    written: 7
                }))
            );
            assert_eq!(driver.take_used(), Ok(None));
            assert_eq!(driver.free(), 6);
            // The next entry stands where the batch's first buffer behind it would.
            if packed {
                use_packed(ram, &driver, 4, ids[2], 0);
            } else {
                use_split(ram, &driver, 3, &[(2, ids[2].into(), 0)]);
            }
            assert_eq!(
                driver.take_used(),
                Ok(Some(Used {
                    id: ids[2],
                    written: 0
                }))
            );
            assert_eq!(driver.free(), 8);
        });
    };
    story(false);
    story(true);
}

#[test]
fn in_order_an_entry_for_more_buffers_than_the_index_says_is_found_out() {
    with_driver(in_order(PLAIN), |ram, mut driver| {
        let ids = [(); 3].map(|()| driver.add(&BYTES[..1], &[]).expect("there is room"));
        use_split(ram, &driver, 1, &[(0, ids[2].into(), 0)]);
        assert_eq!(
            driver.take_used(),
            Ok(Some(Used {
                id: ids[0],
                written: 0
            }))
        );
        let fault = DeviceFault::Index {
            index: 1,
            next: 1,
            in_flight: 2,
        };
        assert_eq!(driver.take_used(), Err(fault));
    });
}

#[test]
fn a_new_queue_finds_memory_of_any_contents_and_leaves_it_zero() {
    for features in [PLAIN, PACKED] {
        let ram = GuestRam::zeroed(1 << 12);
        ram.write(0, &[0xff; 1 << 12]).expect("there is memory");
        let mut slots = [Slot::default(); 8];
        let bytes = DriverQueue::bytes(8, features);
        let ring = ram.shared(0, bytes).expect("there is memory");
        let mut driver = DriverQueue::new(ring, &mut slots, features);
        assert_eq!(driver.take_used(), Ok(None));
        let mut after = vec![1; bytes];
        ram.read(0, &mut after).expect("there is memory");
        assert!(after.iter().all(|byte| *byte == 0));
    }
}
