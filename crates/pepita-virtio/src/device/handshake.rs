//! Both sides at work at the same time, in the orders that the memory model allows: nobody sleeps while there is
//! something to do, and no buffer is seen in part.

use loom::sync::{Arc, Notify};
use loom::thread;

use super::{ActiveQueue, Position};
use crate::driver::offsets;
use crate::memory::{GuestRam, Kept};
use crate::{DriverQueue, Element, RingFeatures, Shared, Slot, Used};

/// Buffers of a story, more than the queue has room for at a time being no part of it.
const BUFFERS: u64 = 2;
const SIZE: u16 = 2;

fn sides(features: RingFeatures) -> (DriverQueue<'static>, ActiveQueue) {
    let ring = Shared::model(DriverQueue::bytes(SIZE, features).next_multiple_of(8));
    let slots = Box::leak(vec![Slot::default(); SIZE.into()].into_boxed_slice());
    let ram = GuestRam::zeroed(4096);
    let [table, driver, device, end] = offsets(SIZE, features.packed);
    let areas = [(table, driver), (driver, device), (device, end)];
    let areas = areas.map(|(from, to)| Kept::of(ring.part(from, to - from), &ram));
    let start = if features.packed {
        Position::START.0
    } else {
        0
    };
    let device = ActiveQueue::new(&ram, areas, SIZE, features, start);
    (DriverQueue::new(ring, slots, features), device)
}

/// A side that misses a wake-up waits for ever, which loom reports as a deadlock. Orders with more than three
/// switches that no side asked for are left out, which bounds the time.
fn in_every_order(story: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(story);
}

fn add(driver: &mut DriverQueue<'_>, number: u64) {
    let len = u32::try_from(number).expect("small") + 7;
    driver
        .add(&[], &[Element::new(8, len)])
        .expect("there is room");
}

/// The driver adds buffers and kicks when that is wanted; the device sleeps when it sees none.
fn no_kick_is_lost(features: RingFeatures) {
    in_every_order(move || {
        let (mut driver, mut device) = sides(features);
        let bell = Arc::new(Notify::new());
        let kick = Arc::clone(&bell);
        let adder = thread::spawn(move || {
            for number in 0..BUFFERS {
                add(&mut driver, number);
                if driver.needs_kick() {
                    kick.notify();
                }
            }
        });
        let mut chain = device.chain();
        let mut taken = 0;
        while taken < BUFFERS {
            if device.pop(&mut chain).expect("nobody does wrong") {
                assert_eq!(chain.writable_len(), taken + 7);
                device.complete(&mut chain, 0).expect("it is in use");
                taken += 1;
            } else if !device.enable_kicks() {
                bell.wait();
            }
        }
        adder.join().expect("no panic");
    });
}

/// The device completes buffers and notifies when that is wanted; the driver sleeps when it sees none.
fn no_notification_is_lost(features: RingFeatures) {
    in_every_order(move || {
        let (mut driver, mut device) = sides(features);
        for number in 0..BUFFERS {
            add(&mut driver, number);
        }
        let bell = Arc::new(Notify::new());
        let interrupt = Arc::clone(&bell);
        let user = thread::spawn(move || {
            let mut chain = device.chain();
            for number in 0..7 {
                if !device.pop(&mut chain).expect("nobody does wrong") {
                    break;
                }
                device
                    .complete(&mut chain, number + 3)
                    .expect("it is in use");
                if device.needs_notification() {
                    interrupt.notify();
                }
            }
        });
        let mut taken = 0;
        while taken < BUFFERS {
            match driver.take_used().expect("nobody does wrong") {
                Some(Used { written, .. }) => {
                    assert_eq!(written, taken + 3);
                    taken += 1;
                }
                None if driver.enable_notifications() => {}
                None => bell.wait(),
            }
        }
        user.join().expect("no panic");
    });
}

const SPLIT: RingFeatures = RingFeatures {
    indirect: false,
    event_index: false,
    packed: false,
    in_order: false,
};
const SPLIT_EVENTS: RingFeatures = RingFeatures {
    event_index: true,
    ..SPLIT
};
const PACKED: RingFeatures = RingFeatures {
    packed: true,
    ..SPLIT
};
const PACKED_EVENTS: RingFeatures = RingFeatures {
    packed: true,
    ..SPLIT_EVENTS
};

#[test]
fn loom_a_device_that_sleeps_is_kicked() {
    no_kick_is_lost(SPLIT);
    no_kick_is_lost(PACKED);
}

#[test]
fn loom_a_device_that_sleeps_is_kicked_at_its_event() {
    no_kick_is_lost(SPLIT_EVENTS);
    no_kick_is_lost(PACKED_EVENTS);
}

#[test]
fn loom_a_driver_that_sleeps_is_notified() {
    no_notification_is_lost(SPLIT);
    no_notification_is_lost(PACKED);
}

#[test]
fn loom_a_driver_that_sleeps_is_notified_at_its_event() {
    no_notification_is_lost(SPLIT_EVENTS);
    no_notification_is_lost(PACKED_EVENTS);
}
