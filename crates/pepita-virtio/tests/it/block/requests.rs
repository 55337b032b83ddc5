//! Requests that are right, in whatever pieces.

use std::sync::Arc;

use pepita_io::RamDevice;
use pepita_sys::blk_mq::{BlockDevice, Geometry, WriteCache};
use pepita_virtio::{Element, VirtioBlock};

use super::{
    DISCARD, Disk, F_ALL, FLUSH, GET_ID, HEADER, IN, INPUT, IOERR, OK, OUT, OUTPUT, SECTORS,
    STATUS, UNSUPP, WRITE_ZEROES, element, header, on_each, pattern, range,
};
use crate::guest::{DATA, Guest, Transport};
use crate::transport::rings;

#[test]
fn what_is_written_is_read_again() {
    on_each(|mut disk| {
        assert_eq!(disk.guest.bus.device_id(), 2);
        let data = pattern(0x8000, 1);
        assert_eq!(disk.read(7, 0x1000), [0; 0x1000]);
        let answer = disk.ask(OUT, 7, &data, 0);
        assert_eq!((answer.status, answer.written), (OK, 1));
        assert_eq!(disk.read(7, 0x8000), data);
        assert_eq!(disk.read(8, 512), data[512..1024]);
        assert_eq!(disk.write(SECTORS - 1, &data[..512]), OK);
        assert_eq!(disk.read(SECTORS - 1, 512), data[..512]);
    });
}

#[test]
fn a_flush_has_no_range_and_whatever_it_says_of_one_is_ignored() {
    on_each(|mut disk| {
        for sector in [0, 1, u64::MAX] {
            let answer = disk.ask(FLUSH, sector, &[], 0);
            assert_eq!((answer.status, answer.written), (OK, 1));
        }
        assert_eq!(disk.ask(FLUSH, 0, &[1; 512], 0).status, OK);
    });
}

#[test]
fn zeroes_are_written_and_discarded_sectors_given_back() {
    on_each(|mut disk| {
        assert_eq!(disk.write(0, &pattern(0x1000, 9)), OK);
        for (flags, sector) in [(0, 1), (1, 3)] {
            let answer = disk.ask(WRITE_ZEROES, 77, &range(sector, 2, flags), 0);
            assert_eq!((answer.status, answer.written), (OK, 1));
        }
        let data = disk.read(0, 0x1000);
        assert_eq!(data[..512], pattern(512, 9));
        assert_eq!(data[512..5 * 512], [0; 4 * 512]);
        assert_eq!(data[5 * 512..], pattern(0x1000, 9)[5 * 512..]);
        assert_eq!(disk.ask(DISCARD, 0, &range(0, 8, 0), 0).status, OK);
        assert_eq!(disk.ask(IN, 0, &[], 0x1000).status, OK);
    });
}

#[test]
fn the_device_tells_its_name() {
    on_each(|mut disk| {
        let answer = disk.ask(GET_ID, 0, &[], 20);
        assert_eq!((answer.status, answer.written), (OK, 21));
        let id = RamDevice::new(8).id();
        assert_eq!(answer.data, id.bytes());
    });
}

#[test]
fn a_request_may_be_cut_anywhere() {
    // virtio 1.3, 2.7.4.1
    on_each(|mut disk| {
        let data = pattern(1024, 3);
        let mut bytes = header(OUT, 5).to_vec();
        bytes.extend(&data);
        let base = OUTPUT + 3;
        for cuts in [
            &[] as &[usize],
            &[16],
            &[1],
            &[15, 17],
            &[4, 8, 16, 512, 529],
            &[1000, 1039],
        ] {
            let ends = cuts.iter().copied().chain([bytes.len()]);
            let starts = [0].into_iter().chain(cuts.iter().copied());
            disk.guest.write(base, &bytes);
            let readable: Vec<Element> = starts
                .zip(ends)
                .map(|(start, end)| element(base + start as u64, end - start))
                .collect();
            let answer = disk.ask_with(&readable, &[element(STATUS, 1)], INPUT, 0);
            assert_eq!(answer.status, OK, "{cuts:?}");
            assert_eq!(disk.read(5, 1024), data, "{cuts:?}");
            assert_eq!(disk.write(5, &[0; 1024]), OK);
        }
        assert_eq!(disk.write(5, &data), OK);
        disk.guest.write(HEADER, &header(IN, 5));
        for cuts in [&[] as &[u64], &[1], &[1024], &[511, 512, 1023]] {
            // The status is behind the data, wherever that is.
            let base = STATUS - 1024;
            let ends = cuts.iter().copied().chain([1025]);
            let starts = [0].into_iter().chain(cuts.iter().copied());
            let writable: Vec<Element> = starts
                .zip(ends)
                .map(|(start, end)| {
                    Element::new(base + start, u32::try_from(end - start).expect("small"))
                })
                .collect();
            let header = element(INPUT, 16);
            disk.guest.write(INPUT, &super::header(IN, 5));
            let answer = disk.ask_with(&[header], &writable, base, 1024);
            assert_eq!((answer.status, answer.written), (OK, 1025), "{cuts:?}");
            assert_eq!(answer.data, data, "{cuts:?}");
        }
    });
}

#[test]
fn many_requests_are_in_flight_at_once() {
    on_each(|mut disk| {
        for round in 0..20_u8 {
            let guest = &mut disk.guest;
            for number in 0..60_u64 {
                let base = DATA + number * 0x1000;
                guest.write(base, &header(OUT, number));
                guest.write(base + 0x100, &[0xee]);
                guest.write(base + 0x200, &pattern(512, round ^ number.to_le_bytes()[0]));
                let readable = [element(base, 16), element(base + 0x200, 512)];
                let driver = &mut guest.queues[0];
                driver
                    .add(&readable, &[element(base + 0x100, 1)])
                    .expect("there is room");
            }
            if guest.queues[0].needs_kick() {
                guest.bus.notify(0);
            }
            for _ in 0..60 {
                assert_eq!(guest.wait(0).written, 1);
            }
            for number in 0..60_u64 {
                assert_eq!(guest.read(DATA + number * 0x1000 + 0x100), [OK]);
            }
            for number in 0..60 {
                let want = pattern(512, round ^ number);
                assert_eq!(disk.read(number.into(), 512), want);
            }
            disk.guest.bus.interrupts();
        }
    });
}

#[test]
fn each_queue_serves_the_same_disk() {
    for packed in [false, true] {
        let device = Arc::new(RamDevice::new(SECTORS));
        let disk = VirtioBlock::with_queues(device, 3, 16).expect("the device is a disk");
        let guest = Guest::ready(Transport::Pci, Box::new(disk), F_ALL | rings(packed));
        assert_eq!(guest.queues.len(), 3);
        let mut queues = [0; 2];
        guest.bus.read_config(34, &mut queues);
        assert_eq!(u16::from_le_bytes(queues), 3);
        let mut disk = Disk { guest };
        for number in 0..3 {
            disk.guest.queues.rotate_left(1);
            let queue = (number + 1) % 3;
            disk.guest.write(HEADER, &header(OUT, number.into()));
            disk.guest.write(OUTPUT, &pattern(512, 5));
            let readable = [element(HEADER, 16), element(OUTPUT, 512)];
            let driver = &mut disk.guest.queues[0];
            driver
                .add(&readable, &[element(STATUS, 1)])
                .expect("there is room");
            assert!(driver.needs_kick());
            disk.guest.bus.notify(queue);
            assert_eq!(disk.guest.wait(0).written, 1);
            assert_eq!(disk.guest.read(STATUS), [OK]);
        }
    }
}

#[test]
fn the_configuration_says_what_the_device_takes() {
    let geometry = Geometry {
        logical_block_size: 1024,
        physical_block_size: 4096,
        max_sectors: 256,
        max_segments: 40,
        write_cache: WriteCache::WriteBack,
        ..RamDevice::new(SECTORS).geometry()
    };
    let device = RamDevice::with_geometry(geometry).expect("it can be");
    let disk = Disk::new(Transport::Mmio, &Arc::new(device), F_ALL);
    let field = |at: u64| {
        let mut bytes = [0; 4];
        disk.guest.bus.read_config(at, &mut bytes);
        u32::from_le_bytes(bytes)
    };
    assert_eq!((field(0), field(4)), (4096, 0));
    let (size_max, seg_max) = (field(8), field(12));
    assert!(seg_max <= 40 && size_max >= 4096);
    assert!(size_max * seg_max <= 256 * 512, "no request is too long");
    assert_eq!(field(20), 1024);
    assert_eq!(field(24) & 0xff, 2, "four logical blocks a physical one");
    assert_eq!(field(32), 1 | 1 << 16, "a cache, and one queue");
    let discard = geometry.discard.expect("there is one");
    assert_eq!([field(36), field(40)], [discard.max_sectors, 1]);
    assert_eq!(field(44), discard.granularity_sectors);
    assert_eq!(
        [field(48), field(52)],
        [geometry.max_write_zeroes_sectors, 1]
    );
    assert_eq!(field(56), 1, "zeroes may be given back");
}

#[test]
fn what_a_device_cannot_is_neither_offered_nor_done() {
    let geometry = Geometry {
        read_only: true,
        ..Geometry::new(SECTORS)
    };
    let device = RamDevice::with_geometry(geometry).expect("it can be");
    let mut disk = Disk::new(Transport::Pci, &Arc::new(device), F_ALL);
    let offered = disk.guest.offered();
    assert_eq!(offered & super::F_RO, super::F_RO);
    assert_eq!(
        offered & (1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17),
        0
    );
    assert_eq!(disk.write(0, &[1; 512]), IOERR);
    assert_eq!(disk.read(0, 512), [0; 512]);
    assert_eq!(disk.ask(DISCARD, 0, &range(0, 8, 0), 0).status, UNSUPP);
    assert_eq!(disk.ask(WRITE_ZEROES, 0, &range(0, 8, 0), 0).status, UNSUPP);
}

#[test]
fn only_devices_that_can_be_disks_are() {
    let device = || Arc::new(RamDevice::new(SECTORS));
    for (queues, size) in [(0, 16), (1025, 16), (1, 0), (1, 2), (1, 24), (1, 0x8001)] {
        assert!(
            VirtioBlock::with_queues(device(), queues, size).is_err(),
            "{queues} {size}"
        );
    }
    let disk = VirtioBlock::new(device()).expect("it can be");
    assert_eq!(disk.capacity(), SECTORS);
}

#[test]
fn the_host_reads_and_writes_what_a_guest_does() {
    on_each_with_host(|mut disk, host| {
        let data = pattern(300 << 9, 6);
        host.write(10, &data).expect("it is on the disk");
        host.flush().expect("it is durable");
        assert_eq!(disk.read(11, 1024), data[512..1536]);
        assert_eq!(disk.write(309, &[9; 512]), OK);
        let mut back = vec![0; data.len()];
        host.read(10, &mut back).expect("it is on the disk");
        assert_eq!(back[..299 << 9], data[..299 << 9]);
        assert_eq!(back[299 << 9..], [9; 512]);
        host.read(SECTORS, &mut []).expect("nothing is read");
        let wrong = [
            (0, 511),
            (SECTORS, 512),
            (SECTORS - 1, 1024),
            (u64::MAX, 1 << 17),
        ];
        for (sector, len) in wrong {
            assert!(host.read(sector, &mut vec![0; len]).is_err(), "{sector}");
            assert!(host.write(sector, &vec![0; len]).is_err(), "{sector}");
        }
    });
}

/// A disk of a guest, and another one of the same device, for the host.
fn on_each_with_host(story: impl Fn(Disk, VirtioBlock<RamDevice>)) {
    for packed in [false, true] {
        let device = Arc::new(RamDevice::new(SECTORS));
        let host = VirtioBlock::new(Arc::clone(&device)).expect("it can be");
        let guest = Disk::new(Transport::Mmio, &device, F_ALL | rings(packed));
        story(guest, host);
    }
}
