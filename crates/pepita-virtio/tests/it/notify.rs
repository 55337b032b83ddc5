//! Who tells whom, and who wants to be told.

use pepita_virtio::{DriverQueue, Element, GuestRam, RingFeatures, Slot};

use crate::rig::{DEVICE, DRIVER, PACKED, PLAIN, Rig, in_order, split, with_events};

/// Both sides of a queue of eight.
fn with_sides(
    features: RingFeatures,
    story: impl FnOnce(&mut DriverQueue<'_>, &mut pepita_virtio::ActiveQueue),
) {
    with_memory(features, |_, driver, device| story(driver, device));
}

/// The same, with their memory.
fn with_memory(
    features: RingFeatures,
    story: impl FnOnce(&GuestRam, &mut DriverQueue<'_>, &mut pepita_virtio::ActiveQueue),
) {
    let ram = GuestRam::zeroed(1 << 16);
    let mut slots = [Slot::default(); 8];
    let ring = ram
        .shared(0, DriverQueue::bytes(8, features))
        .expect("there is memory");
    let mut driver = DriverQueue::new(ring, &mut slots, features);
    let mut device = driver
        .registers()
        .activate(&ram, features)
        .expect("all is well");
    story(&ram, &mut driver, &mut device);
}

fn add(driver: &mut DriverQueue<'_>) {
    driver
        .add(&[Element::new(0x1000, 1)], &[])
        .expect("there is room");
}

fn use_one(device: &mut pepita_virtio::ActiveQueue) {
    let mut chain = device.chain();
    assert_eq!(device.pop(&mut chain), Ok(true));
    assert_eq!(device.complete(&mut chain, 0), Ok(()));
}

const ALL: [RingFeatures; 2] = [PLAIN, PACKED];

#[test]
fn without_events_a_side_is_told_of_everything_until_it_says_no() {
    // Q54
    for features in ALL {
        with_sides(features, |driver, device| {
            for round in 0..20 {
                let wants = round % 3 != 1;
                if wants {
                    assert!(!device.enable_kicks() && !driver.enable_notifications());
                } else {
                    device.disable_kicks();
                    driver.disable_notifications();
                }
                assert!(!driver.needs_kick(), "nothing is new");
                add(driver);
                assert_eq!(driver.needs_kick(), wants);
                assert!(!device.needs_notification(), "nothing is new");
                use_one(device);
                assert_eq!(device.needs_notification(), wants);
                assert!(driver.take_used().expect("it is well").is_some());
            }
        });
    }
}

#[test]
fn with_events_a_side_is_told_once_after_it_has_asked() {
    for features in ALL.map(with_events) {
        with_sides(features, |driver, device| {
            for round in 0..20 {
                assert!(!device.enable_kicks() && !driver.enable_notifications());
                for next in 0..3 {
                    add(driver);
                    assert_eq!(driver.needs_kick(), next == 0, "{round}");
                }
                for next in 0..3 {
                    use_one(device);
                    assert_eq!(device.needs_notification(), next == 0, "{round}");
                }
                while driver.take_used().expect("it is well").is_some() {}
            }
        });
    }
}

#[test]
fn with_events_a_batch_tells_if_the_wanted_one_is_in_it() {
    for features in ALL.map(with_events) {
        with_sides(features, |driver, device| {
            assert!(!device.enable_kicks());
            (0..5).for_each(|_| add(driver));
            assert!(driver.needs_kick());
            assert!(device.enable_kicks(), "they are there");
            (0..5).for_each(|_| use_one(device));
            assert!(device.needs_notification());
            assert!(driver.enable_notifications(), "they are there");
        });
    }
}

#[test]
fn who_asks_late_is_told_that_something_is_there() {
    // Q56
    for features in [PLAIN, PACKED, with_events(PLAIN), with_events(PACKED)] {
        with_sides(features, |driver, device| {
            device.disable_kicks();
            add(driver);
            assert!(device.enable_kicks());
            use_one(device);
            assert!(!device.enable_kicks());
            driver.disable_notifications();
            assert!(driver.enable_notifications());
            assert!(driver.take_used().expect("it is well").is_some());
            assert!(!driver.enable_notifications());
        });
    }
}

#[test]
fn a_kick_without_a_buffer_finds_none() {
    // Q55
    for features in ALL {
        with_sides(features, |_, device| {
            let mut chain = device.chain();
            for _ in 0..3 {
                assert_eq!(device.pop(&mut chain), Ok(false));
            }
        });
    }
}

#[test]
fn the_flag_of_a_driver_that_has_an_event_is_ignored() {
    // Q53
    let mut rig = Rig::new(8, with_events(PLAIN));
    rig.desc(crate::rig::TABLE, 0, split(1, 0, 0));
    rig.write(DRIVER, &[1, 0]);
    rig.offer(0);
    assert_eq!(rig.pop(), Ok(true));
    assert_eq!(rig.queue.complete(&mut rig.chain, 0), Ok(()));
    assert!(rig.queue.needs_notification());
    rig.queue.disable_kicks();
    assert_eq!(rig.read16(DEVICE), 0, "with events, the flags stay 0");
}

#[test]
fn an_event_that_was_never_asked_for_is_ignored() {
    // virtio 1.3, 2.7.7.2: the device must ignore it
    let mut rig = Rig::new(8, PLAIN);
    rig.desc(crate::rig::TABLE, 0, split(1, 0, 0));
    rig.write(DRIVER + 4 + 16, &[0x77, 0x77]);
    rig.offer(0);
    assert_eq!(rig.pop(), Ok(true));
    assert_eq!(rig.queue.complete(&mut rig.chain, 0), Ok(()));
    assert!(rig.queue.needs_notification());
}

#[test]
fn an_event_that_is_stale_tells_too_often_rather_than_never() {
    // Q51, Q52: more was done than the ring has entries since anybody asked
    for features in ALL.map(with_events) {
        with_sides(features, |driver, device| {
            for _ in 0..20 {
                add(driver);
                use_one(device);
                assert!(driver.take_used().expect("it is well").is_some());
            }
            assert!(driver.needs_kick());
            assert!(device.needs_notification());
            assert!(!device.needs_notification(), "nothing is new");
        });
    }
}

#[test]
fn a_queue_that_goes_on_finds_what_came_without_a_kick() {
    // Q52: what the driver sees of the device's wish is older than the device
    for features in ALL.map(with_events) {
        with_memory(features, |ram, driver, device| {
            assert!(!device.enable_kicks());
            add(driver);
            assert!(driver.needs_kick());
            use_one(device);
            add(driver);
            assert!(!driver.needs_kick(), "the device has not asked again");
            let position = device.position().expect("no buffer is in use");
            let resumed = driver.registers().resume(ram, features, position);
            *device = resumed.expect("a position of this ring");
            assert!(device.enable_kicks(), "it is there");
            use_one(device);
            add(driver);
            assert!(!driver.needs_kick());
            assert!(device.enable_kicks());
            use_one(device);
            assert!(!device.enable_kicks());
            add(driver);
            assert!(driver.needs_kick());
        });
    }
}

#[test]
fn in_order_a_driver_hears_when_the_first_one_is_complete() {
    // Q65
    for features in ALL.map(in_order) {
        with_sides(features, |driver, device| {
            (0..3).for_each(|_| add(driver));
            let mut chains = [(); 3].map(|()| device.chain());
            for chain in &mut chains {
                assert_eq!(device.pop(chain), Ok(true));
            }
            for (at, told) in [(2, false), (1, false), (0, true)] {
                assert_eq!(device.complete(&mut chains[at], 0), Ok(()));
                assert_eq!(device.needs_notification(), told);
                assert_eq!(driver.take_used().expect("it is well").is_some(), told);
            }
        });
    }
}

#[test]
fn an_event_of_garbage_is_a_notification_too_much_or_too_few() {
    // Q63
    let mut rig = Rig::new(8, with_events(PACKED));
    for (event, told) in [
        (0x0003_0000_u32, true),
        (0xffff_ffff, true),
        (0x0002_7fff, false),
        (0x0002_ffff, false),
        (0x0001_8000, false),
        (0xfffc_0000, true),
    ] {
        rig = Rig::new(8, rig.queue.features());
        rig.write(DRIVER, &event.to_le_bytes());
        let flags = pepita_virtio::VIRTQ_DESC_F_AVAIL;
        let desc = pepita_virtio::PackedDesc {
            addr: crate::rig::DATA,
            len: 1,
            id: 0,
            flags,
        };
        rig.packed(crate::rig::TABLE, 0, desc);
        assert_eq!(rig.pop(), Ok(true));
        assert_eq!(rig.queue.complete(&mut rig.chain, 0), Ok(()));
        assert_eq!(rig.queue.needs_notification(), told, "{event:#x}");
    }
}
