//! How queues are set up, stopped and reset, on each transport. virtio 1.3, 2.6.1, 4.1.4.3 and 4.2.2

use pepita_virtio::{
    Area, Element, RingFeatures, STATUS_DRIVER_OK as DRIVER_OK, STATUS_NEEDS_RESET as NEEDS_RESET,
    VIRTIO_F_RING_RESET, VirtQueue,
};

use super::probe::{Call, FEATURE, SIZES};
use super::{on_each, on_each_ready, rings};
use crate::guest::DATA;

#[test]
fn queues_that_are_not_there_have_no_size_and_take_nothing() {
    // Q11
    on_each(|guest, told| {
        assert_eq!(
            [0, 1, 2].map(|queue| guest.bus.queue_size_max(queue)),
            [8, 4, 0]
        );
        for queue in [2, 0x100, u16::MAX] {
            assert_eq!(guest.bus.queue_size_max(queue), 0);
            guest.bus.set_queue_size(queue, 4);
            guest.bus.enable_queue(queue);
            assert!(!guest.bus.is_enabled(queue));
            guest.bus.reset_queue(queue);
        }
        guest.negotiate(FEATURE);
        let ready = guest.bus.status() | DRIVER_OK;
        guest.bus.set_status(ready);
        assert_eq!(guest.bus.status(), ready);
        assert!(
            !told
                .take()
                .iter()
                .any(|call| matches!(call, Call::Start(..)))
        );
    });
}

#[test]
fn a_notification_for_no_queue_or_one_that_is_not_enabled_is_ignored() {
    // Q7, Q13
    on_each(|guest, told| {
        let features = guest.negotiate(FEATURE | rings(false));
        guest.new_queue(1, 4, RingFeatures::from_bits(features));
        guest.bus.notify(1);
        guest.bus.set_status(guest.bus.status() | DRIVER_OK);
        told.take();
        for queue in [0, 2, 3, 0x400, u16::MAX] {
            guest.bus.notify(queue);
        }
        assert_eq!(told.take(), []);
        guest.bus.notify(1);
        assert_eq!(told.take(), [Call::Kick(1)]);
    });
}

#[test]
fn queues_that_cannot_be_are_found_when_the_driver_says_that_it_is_ready() {
    type Change = fn(&mut VirtQueue);
    let changes: [(&str, Change); 4] = [
        ("outside", |queue| queue.set_address(Area::Device, 1 << 40)),
        ("unaligned", |queue| queue.set_address(Area::Descriptor, 8)),
        ("overlapping", |queue| {
            queue.set_address(Area::Driver, queue.address(Area::Descriptor));
        }),
        ("too large", |queue| queue.set_size(16)),
    ];
    for (what, change) in changes {
        on_each(|guest, told| {
            let features = guest.negotiate(FEATURE | rings(false));
            let queue = guest.new_queue(0, SIZES[0], RingFeatures::from_bits(features));
            let mut registers = VirtQueue::with_size(64);
            registers.set_size(SIZES[0]);
            for area in Area::ALL {
                registers.set_address(area, queue.registers().address(area));
            }
            change(&mut registers);
            guest.bus.set_queue(1, &registers);
            guest.bus.enable_queue(1);
            guest.bus.set_status(guest.bus.status() | DRIVER_OK);
            assert!(guest.bus.status() & NEEDS_RESET != 0, "{what}");
            assert!(guest.bus.interrupts().1, "{what}");
            let calls = told.take();
            let touched = |call: &Call| matches!(call, Call::Start(..) | Call::Kick(_));
            assert!(!calls.iter().any(touched), "{what}");
        });
    }
}

#[test]
fn what_is_written_after_the_driver_is_ready_does_not_reach_a_queue() {
    // Q8
    on_each(|guest, told| {
        let features = RingFeatures::from_bits(guest.negotiate(FEATURE | rings(false)));
        let mut queue = guest.new_queue(0, 8, features);
        guest.bus.set_status(guest.bus.status() | DRIVER_OK);
        told.take();
        let mut other = VirtQueue::with_size(64);
        for area in Area::ALL {
            other.set_address(area, 0xdead_0000);
        }
        for index in [0, 1] {
            guest.bus.set_queue(index, &other);
            guest.bus.enable_queue(index);
        }
        assert!(guest.bus.is_enabled(0) && !guest.bus.is_enabled(1));
        assert!(
            !told
                .take()
                .iter()
                .any(|call| matches!(call, Call::Start(..)))
        );
        queue
            .add(&[], &[Element::new(DATA, 8)])
            .expect("there is room");
        guest.bus.notify(0);
        let used = queue.take_used().expect("the device does nothing wrong");
        assert_eq!(used.map(|used| used.written), Some(8));
    });
}

#[test]
fn a_queue_is_reset_alone_and_begins_anew_perhaps_as_another() {
    on_each_ready(|mut guest, told| {
        guest.bus.reset_queue(0);
        assert_eq!(told.take(), [Call::Stop(0)]);
        assert!(!guest.bus.is_enabled(0) && guest.bus.is_enabled(1));
        guest.bus.notify(0);
        assert_eq!(told.take(), []);
        guest.add(1, &[], &[Element::new(DATA, 8)]);
        assert!(guest.take(1).is_some(), "the other one goes on");
        told.take();

        let features = RingFeatures::from_bits(rings(false));
        guest.queues[0] = guest.new_queue(0, 2, features);
        assert_eq!(told.take()[0], Call::Start(0, 2));
        guest.add(0, &[], &[Element::new(DATA, 8)]);
        assert!(guest.take(0).is_some());
        guest.bus.set_queue_size(0, 8);
        guest.bus.reset_queue(0);
        assert_eq!(
            guest.bus.queue_size_max(0),
            8,
            "the largest is offered again"
        );
    });
}

#[test]
fn a_queue_that_was_reset_is_checked_like_any_other() {
    on_each_ready(|guest, told| {
        guest.bus.reset_queue(1);
        let mut registers = VirtQueue::with_size(4);
        registers.set_address(Area::Driver, 1 << 50);
        guest.bus.set_queue(1, &registers);
        guest.bus.enable_queue(1);
        assert!(guest.bus.status() & NEEDS_RESET != 0);
        assert!(
            !told
                .take()
                .iter()
                .any(|call| matches!(call, Call::Start(..)))
        );
    });
}

#[test]
fn a_queue_that_is_not_let_go_of_makes_the_device_need_a_reset() {
    // Q10
    on_each_ready(|guest, told| {
        told.state().is_busy = true;
        guest.bus.reset_queue(0);
        assert!(guest.bus.status() & NEEDS_RESET != 0);
        assert!(guest.bus.interrupts().1);
    });
}

#[test]
fn queues_are_not_reset_alone_unless_that_was_agreed_on() {
    on_each(|mut guest, told| {
        guest.init(FEATURE | rings(false));
        assert_eq!(guest.offered() & VIRTIO_F_RING_RESET, VIRTIO_F_RING_RESET);
        told.take();
        guest.bus.reset_queue(0);
        assert_eq!(told.take(), []);
        assert!(guest.bus.is_enabled(0));
    });
}

#[test]
fn both_kinds_of_rings_work_on_each_transport() {
    for packed in [false, true] {
        on_each(|mut guest, _| {
            guest.init(FEATURE | rings(packed));
            for round in 1..50 {
                let writable = [Element::new(DATA, round), Element::new(DATA + 64, 1)];
                guest.add(0, &[Element::new(DATA, 1)], &writable);
                let used = guest.take(0).expect("it is done");
                assert_eq!(used.written, u64::from(round) + 1);
                assert!(guest.bus.interrupts().0 || round > 1);
            }
        });
    }
}
