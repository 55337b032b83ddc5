//! Requests that are wrong: each is answered, and the disk goes on.

use std::sync::Arc;

use pepita_io::RamDevice;
use pepita_sys::blk_mq::{BlockDevice, Geometry};

use super::{
    DISCARD, Disk, F_ALL, GET_ID, HEADER, IN, INPUT, IOERR, OK, OUT, OUTPUT, SECTORS, STATUS,
    UNSAID, UNSUPP, WRITE_ZEROES, element, header, on_each, pattern, range,
};
use crate::guest::Transport;

/// After whatever was asked, the disk works, and has what it had.
fn goes_on(disk: &mut Disk) {
    let data = pattern(1024, 77);
    assert_eq!(disk.write(100, &data), OK);
    assert_eq!(disk.read(100, 1024), data);
    assert_eq!(disk.read(0, 1024), [0; 1024], "nothing else was written");
    assert_eq!(disk.guest.bus.status(), 15);
}

/// A request as a table has it: kind, sector, data to the device, bytes for data from it; the status.
fn check(cases: &[(u32, u64, &[u8], usize, u8)]) {
    on_each(|mut disk| {
        for (kind, sector, output, input, want) in cases {
            let answer = disk.ask(*kind, *sector, output, *input);
            let len = output.len();
            assert_eq!(
                answer.status, *want,
                "{kind}, {sector}, {len} and {input} bytes"
            );
            // Nothing is said of data that was not written.
            assert_eq!(answer.written, u64::from(*input == 0));
        }
        goes_on(&mut disk);
    });
}

#[test]
fn data_that_is_not_whole_sectors_is_an_error() {
    check(&[
        (IN, 0, &[], 1, IOERR),
        (IN, 0, &[], 511, IOERR),
        (IN, 0, &[], 513, IOERR),
        (OUT, 0, &[1; 1], 0, IOERR),
        (OUT, 0, &[1; 511], 0, IOERR),
        (OUT, 0, &[1; 1023], 0, IOERR),
    ]);
}

#[test]
fn ranges_that_are_not_on_the_disk_are_errors() {
    check(&[
        (IN, SECTORS, &[], 512, IOERR),
        (IN, SECTORS - 1, &[], 1024, IOERR),
        (OUT, SECTORS, &[1; 512], 0, IOERR),
        (OUT, u64::MAX, &[1; 512], 0, IOERR),
        (OUT, 1 << 55, &[1; 512], 0, IOERR),
        (OUT, u64::MAX / 512 + 1, &[1; 512], 0, IOERR),
        (IN, u64::MAX - 1, &[], 1024, IOERR),
        (DISCARD, 0, &range(SECTORS, 8, 0), 0, IOERR),
        (WRITE_ZEROES, 0, &range(u64::MAX, 8, 0), 0, IOERR),
        (WRITE_ZEROES, 0, &range(0, u32::MAX, 0), 0, IOERR),
    ]);
}

#[test]
fn kinds_that_nobody_knows_are_not_supported() {
    // Also those of zones, and the erasure that nobody can undo. virtio 1.3, 5.2.6.2
    let kinds = [
        2,
        3,
        5,
        7,
        10,
        14,
        15,
        16,
        18,
        20,
        22,
        24,
        26,
        0x8000_0000,
        u32::MAX,
    ];
    let data = [1; 512];
    let cases = kinds.map(|kind| (kind, 0, data.as_slice(), 0, UNSUPP));
    check(&cases);
}

#[test]
fn ranges_with_flags_that_nobody_knows_are_not_supported() {
    check(&[
        (DISCARD, 0, &range(0, 8, 1), 0, UNSUPP),
        (DISCARD, 0, &range(0, 8, 2), 0, UNSUPP),
        (WRITE_ZEROES, 0, &range(0, 8, 2), 0, UNSUPP),
        (WRITE_ZEROES, 0, &range(0, 8, 3), 0, UNSUPP),
        (WRITE_ZEROES, 0, &range(0, 8, u32::MAX), 0, UNSUPP),
    ]);
}

#[test]
fn a_request_for_ranges_has_exactly_one() {
    let two = [range(0, 8, 0), range(8, 8, 0)].concat();
    let one = &two[..16];
    for kind in [DISCARD, WRITE_ZEROES] {
        check(&[
            (kind, 0, &[], 0, IOERR),
            (kind, 0, &one[..15], 0, IOERR),
            (kind, 0, &two[..17], 0, IOERR),
            (kind, 0, &two, 0, IOERR),
        ]);
    }
}

#[test]
fn a_name_has_twenty_bytes() {
    check(&[
        (GET_ID, 0, &[], 0, IOERR),
        (GET_ID, 0, &[], 19, IOERR),
        (GET_ID, 0, &[], 21, IOERR),
        (GET_ID, 0, &[], 512, IOERR),
    ]);
}

#[test]
fn a_header_that_is_not_whole_is_an_error() {
    on_each(|mut disk| {
        disk.guest.write(HEADER, &header(OUT, 0));
        for len in [0, 1, 15] {
            let answer = disk.ask_with(&[element(HEADER, len)], &[element(STATUS, 1)], INPUT, 0);
            assert_eq!((answer.status, answer.written), (IOERR, 1), "{len}");
        }
        let answer = disk.ask_with(&[], &[element(STATUS, 1)], INPUT, 0);
        assert_eq!(answer.status, IOERR, "there is none");
        goes_on(&mut disk);
    });
}

#[test]
fn a_request_without_a_byte_for_its_status_comes_back_as_it_was() {
    on_each(|mut disk| {
        disk.guest.write(HEADER, &header(OUT, 0));
        disk.guest.write(OUTPUT, &[1; 512]);
        let readable = [
            element(HEADER, 16),
            element(OUTPUT, 512),
            element(STATUS, 1),
        ];
        for writable in [&[] as &[_], &[element(STATUS, 0)]] {
            let answer = disk.ask_with(&readable, writable, INPUT, 0);
            assert_eq!((answer.status, answer.written), (UNSAID, 0));
        }
        goes_on(&mut disk);
    });
}

#[test]
fn a_status_that_lies_in_the_data_is_written_last() {
    on_each(|mut disk| {
        assert_eq!(disk.write(0, &[0x77; 512]), OK);
        disk.guest.write(HEADER, &header(IN, 0));
        let base = STATUS - 100;
        let writable = [element(base, 512), element(STATUS, 1)];
        let answer = disk.ask_with(&[element(HEADER, 16)], &writable, base, 512);
        let mut want = vec![0x77; 512];
        want[100] = OK;
        assert_eq!((answer.status, answer.data), (OK, want));
        assert_eq!(disk.write(0, &[0; 512]), OK);
        goes_on(&mut disk);
    });
}

#[test]
fn requests_of_more_than_the_device_takes_are_errors() {
    let geometry = Geometry {
        max_sectors: 16,
        max_segments: 4,
        discard: None,
        max_write_zeroes_sectors: 32,
        ..RamDevice::new(SECTORS).geometry()
    };
    let device = RamDevice::with_geometry(geometry).expect("it can be");
    let mut disk = Disk::new(Transport::Mmio, &Arc::new(device), F_ALL);
    assert_eq!(disk.ask(IN, 0, &[], 17 * 512).status, IOERR);
    assert_eq!(disk.ask(WRITE_ZEROES, 0, &range(0, 33, 0), 0).status, IOERR);
    assert_eq!(disk.ask(DISCARD, 0, &range(0, 8, 0), 0).status, UNSUPP);
    disk.guest.write(HEADER, &header(IN, 0));
    let mut writable = [element(INPUT, 512); 6];
    writable[5] = element(STATUS, 1);
    let answer = disk.ask_with(&[element(HEADER, 16)], &writable, INPUT, 0);
    assert_eq!(answer.status, IOERR, "five segments");
    let answer = disk.ask_with(&[element(HEADER, 16)], &writable[1..], INPUT, 0);
    assert_eq!(answer.status, OK, "four");
    goes_on(&mut disk);
}

#[test]
fn blocks_that_are_not_whole_are_errors() {
    let geometry = Geometry {
        logical_block_size: 4096,
        physical_block_size: 4096,
        ..RamDevice::new(SECTORS).geometry()
    };
    let device = RamDevice::with_geometry(geometry).expect("it can be");
    let mut disk = Disk::new(Transport::Pci, &Arc::new(device), F_ALL);
    assert_eq!(disk.ask(IN, 0, &[], 512).status, IOERR);
    assert_eq!(disk.ask(IN, 4, &[], 4096).status, IOERR);
    assert_eq!(disk.ask(IN, 8, &[], 4096).status, OK);
}
