//! Resets with requests in flight, lanes that are full, devices that hang or break.

use std::sync::Arc;

use pepita_sys::blk_mq::{Geometry, RequestFlags, RequestOp};
use pepita_sys::error::Errno;
use pepita_virtio::{STATUS_NEEDS_RESET, VIRTIO_F_RING_RESET, VirtioBlock};

use super::held::Held;
use super::{
    F_ALL, HEADER, IN, INPUT, IOERR, OK, SECTORS, STATUS, UNSAID, UNSUPP, element, header,
};
use crate::guest::{Guest, TRANSPORTS};
use crate::transport::rings;

fn on_each(make: impl Fn() -> Held, story: impl Fn(Guest, Arc<Held>)) {
    for transport in TRANSPORTS {
        for packed in [false, true] {
            let device = Arc::new(make());
            let disk = VirtioBlock::new(Arc::clone(&device)).expect("it can be a disk");
            let features = F_ALL | rings(packed) | VIRTIO_F_RING_RESET;
            story(Guest::ready(transport, Box::new(disk), features), device);
        }
    }
}

fn held() -> Held {
    Held::new(Geometry::new(SECTORS))
}

/// Adds a read of a sector; the status of each has a byte of its own.
fn add(guest: &mut Guest, sector: u64) {
    guest.write(HEADER, &header(IN, 0));
    let place = HEADER + 0x1000 + sector * 0x20;
    guest.write(place, &header(IN, sector));
    guest.write(STATUS + sector, &[UNSAID]);
    let input = element(INPUT + sector * 512, 512);
    guest.add(
        0,
        &[element(place, 16)],
        &[input, element(STATUS + sector, 1)],
    );
}

#[test]
fn requests_end_in_any_order_and_on_any_thread() {
    on_each(held, |mut guest, device| {
        for sector in 0..3 {
            add(&mut guest, sector);
        }
        let mut requests: Vec<_> = (0..3).map(|_| device.next()).collect();
        for _ in 0..3 {
            // The last one first.
            let request = requests.pop().expect("three");
            let sector = request.sector();
            let byte = sector.to_le_bytes()[0] + 1;
            let ender = std::thread::spawn(move || {
                request.sink().write(&[byte; 512]).expect("it has a sector");
                request.complete(Ok(()));
            });
            assert_eq!(guest.wait(0).written, 513);
            ender.join().expect("no panic");
            assert_eq!(guest.read(STATUS + sector), [OK]);
            assert_eq!(guest.read(INPUT + sector * 512), [byte; 512]);
        }
    });
}

#[test]
fn what_a_device_says_becomes_a_status() {
    on_each(held, |mut guest, device| {
        let cases = [
            (Err(Errno::EIO), IOERR),
            (Err(Errno::ENOSPC), IOERR),
            (Err(Errno::EOPNOTSUPP), UNSUPP),
            (Ok(()), OK),
        ];
        for (result, want) in cases {
            add(&mut guest, 0);
            assert_eq!(device.end(result), (RequestOp::Read, RequestFlags::NONE));
            let written = if want == OK { 513 } else { 0 };
            assert_eq!(guest.wait(0).written, written);
            assert_eq!(guest.read(STATUS), [want]);
        }
        add(&mut guest, 0);
        drop(device.next());
        assert_eq!((guest.wait(0).written, guest.read(STATUS)), (0, [IOERR]));
    });
}

#[test]
fn requests_wait_while_a_lane_is_full() {
    let small = || {
        let mut device = held();
        device.room = 2;
        device
    };
    on_each(small, |mut guest, device| {
        for sector in 0..40 {
            add(&mut guest, sector);
        }
        let mut seen = Vec::new();
        for _ in 0..40 {
            let request = device.next();
            assert!(device.count() <= 2);
            seen.push(request.sector());
            request.complete(Ok(()));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..40).collect::<Vec<_>>());
        for _ in 0..40 {
            assert_eq!(guest.wait(0).written, 513);
        }
    });
}

#[test]
fn a_reset_ends_what_is_in_flight_and_nobody_hears_of_it() {
    // Q10
    on_each(held, |mut guest, device| {
        for sector in 0..5 {
            add(&mut guest, sector);
        }
        let taken = device.next();
        taken.complete(Ok(()));
        assert_eq!(guest.wait(0).written, 513);
        guest.bus.interrupts();
        guest.bus.set_status(0);
        assert_eq!((guest.bus.status(), device.count()), (0, 0));
        guest.signals.take();
        for sector in 1..5 {
            assert_eq!(guest.read(STATUS + sector), [UNSAID]);
        }
        guest.init(F_ALL);
        add(&mut guest, 7);
        assert_eq!(device.next().sector(), 7);
        assert_eq!(guest.wait(0).written, 0);
    });
}

#[test]
fn a_queue_that_is_reset_alone_drops_what_is_in_flight() {
    on_each(held, |mut guest, device| {
        add(&mut guest, 0);
        add(&mut guest, 1);
        let late = device.next();
        let other = device.next();
        // Both are with somebody: the lane has none to end, and the device is not done with the memory.
        guest.bus.reset_queue(0);
        assert!(guest.bus.status() & STATUS_NEEDS_RESET != 0);
        drop((late, other));
        guest.init(F_ALL | VIRTIO_F_RING_RESET);
        add(&mut guest, 2);
        guest.bus.reset_queue(0);
        assert_eq!(device.count(), 0);
        assert_eq!(guest.bus.status(), 15);
    });
}

#[test]
fn memory_that_a_hung_device_has_is_kept_and_the_status_says_so() {
    // Q10
    let hanging = || {
        let mut device = held();
        device.hangs = true;
        device
    };
    on_each(hanging, |mut guest, device| {
        add(&mut guest, 0);
        let request = device.next();
        add(&mut guest, 1);
        let other = device.next();
        guest.bus.set_status(0);
        assert_eq!(guest.bus.status(), STATUS_NEEDS_RESET);
        // It is still the guest's memory, whatever it is to the guest.
        let mut sink = request.sink();
        sink.write(&[9; 512]).expect("it has a sector");
        request.complete(Ok(()));
        guest.bus.set_status(0);
        assert_eq!(guest.bus.status(), STATUS_NEEDS_RESET, "there is another");
        drop(other);
        guest.bus.set_status(0);
        assert_eq!(guest.bus.status(), 0);
        guest.init(F_ALL);
        assert_eq!(guest.read(STATUS), [UNSAID]);
    });
}

#[test]
fn a_device_that_opens_no_lane_makes_the_driver_reset() {
    let broken = || {
        let mut device = held();
        device.is_broken = true;
        device
    };
    for transport in TRANSPORTS {
        let disk = VirtioBlock::new(Arc::new(broken())).expect("it can be a disk");
        let guest = Guest::new(transport, Box::new(disk));
        let features = guest.negotiate(F_ALL);
        guest.new_queue(0, 16, pepita_virtio::RingFeatures::from_bits(features));
        guest.bus.set_status(15);
        guest.signals.wait();
        assert_eq!(guest.bus.status(), 15 | STATUS_NEEDS_RESET);
        guest.bus.set_status(0);
        assert_eq!(guest.bus.status(), 0);
    }
}

#[test]
fn a_driver_that_breaks_a_ring_hears_of_it_and_the_rest_is_silent() {
    on_each(held, |mut guest, device| {
        add(&mut guest, 0);
        let request = device.next();
        guest.bus.interrupts();
        guest.signals.take();
        guest.add(0, &[element(u64::MAX, 16)], &[]);
        guest.signals.wait();
        assert_eq!(guest.bus.status(), 15 | STATUS_NEEDS_RESET);
        request.complete(Ok(()));
        guest.init(F_ALL);
        add(&mut guest, 1);
        device.next().complete(Ok(()));
        assert_eq!(guest.wait(0).written, 513);
    });
}

#[test]
fn a_host_may_bind_notifications_to_the_threads_of_queues() {
    use crate::guest::Host;
    on_each(held, |mut guest, device| {
        let descriptor = match guest.bus.host() {
            Host::Mmio(mmio) => mmio.kick_descriptor(0),
            Host::Pci(pci) => pci.kick_descriptor(0),
        };
        let descriptor = descriptor.expect("it has one");
        let place = HEADER + 0x1000;
        guest.write(place, &header(IN, 3));
        let driver = &mut guest.queues[0];
        let writable = [element(INPUT, 512), element(STATUS, 1)];
        driver
            .add(&[element(place, 16)], &writable)
            .expect("there is room");
        // As the kernel does when the guest writes to where the eventfd is bound.
        let path = format!("/proc/self/fd/{descriptor}");
        let name = std::fs::read_link(path).expect("it is open");
        assert!(name.to_string_lossy().contains("eventfd"));
        assert!(!guest.bus.host().kick(0));
        assert_eq!(device.next().sector(), 3);
    });
}
