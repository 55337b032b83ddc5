//! When writes are durable. virtio 1.3, 5.2.5 and 5.2.6.2

use std::sync::Arc;

use pepita_sys::blk_mq::RequestOp::{Flush, Write, WriteZeroes};
use pepita_sys::blk_mq::{Geometry, RequestFlags, RequestOp, WriteCache};
use pepita_sys::error::Errno;
use pepita_virtio::{STATUS_ACKNOWLEDGE, VirtioBlock};

use super::held::Held;
use super::{
    F_ALL, F_CONFIG_WCE, F_FLUSH, HEADER, IOERR, OK, OUT, OUTPUT, SECTORS, STATUS, WRITE_ZEROES,
    element, header, range,
};
use crate::guest::{Guest, Transport};

const NONE: RequestFlags = RequestFlags::NONE;
const FUA: RequestFlags = RequestFlags::FUA;

fn disk(write_cache: WriteCache, features: u64) -> (Guest, Arc<Held>) {
    let geometry = Geometry {
        write_cache,
        max_write_zeroes_sectors: 64,
        ..Geometry::new(SECTORS)
    };
    let device = Arc::new(Held::new(geometry));
    let disk = VirtioBlock::new(Arc::clone(&device)).expect("it can be a disk");
    (
        Guest::ready(Transport::Mmio, Box::new(disk), features),
        device,
    )
}

fn writeback(guest: &Guest) -> u8 {
    let mut byte = [0];
    guest.bus.read_config(32, &mut byte);
    byte[0]
}

fn add(guest: &mut Guest, kind: u32) {
    let data = if kind == OUT {
        vec![1; 512]
    } else {
        range(0, 1, 1)
    };
    guest.write(HEADER, &header(kind, 0));
    guest.write(OUTPUT, &data);
    let readable = [element(HEADER, 16), element(OUTPUT, data.len())];
    guest.add(0, &readable, &[element(STATUS, 1)]);
}

/// What the device is asked for by a write, and by zeroes.
fn check(guest: &mut Guest, device: &Held, want: [&[(RequestOp, RequestFlags)]; 2]) {
    for (kind, want) in [OUT, WRITE_ZEROES].into_iter().zip(want) {
        add(guest, kind);
        for want in want {
            assert_eq!(guest.take(0), None, "not before the last has ended");
            assert_eq!(device.end(Ok(())), *want);
        }
        assert_eq!(guest.wait(0).written, 1);
        assert_eq!(guest.read(STATUS), [OK]);
        assert_eq!(device.count(), 0);
    }
}

#[test]
fn a_driver_that_flushes_has_a_cache() {
    for cache in [WriteCache::WriteBack, WriteCache::WriteBackWithFua] {
        for features in [F_ALL, F_FLUSH] {
            let (mut guest, device) = disk(cache, features);
            assert_eq!(writeback(&guest), 1);
            check(
                &mut guest,
                &device,
                [&[(Write, NONE)], &[(WriteZeroes, NONE)]],
            );
        }
    }
}

#[test]
fn a_driver_that_does_not_flush_gets_writes_that_are_durable() {
    for features in [0, F_CONFIG_WCE] {
        let (mut guest, device) = disk(WriteCache::WriteBack, features);
        assert_eq!(writeback(&guest), 0);
        let want: [&[_]; 2] = [
            &[(Write, NONE), (Flush, NONE)],
            &[(WriteZeroes, NONE), (Flush, NONE)],
        ];
        check(&mut guest, &device, want);
        let (mut guest, device) = disk(WriteCache::WriteBackWithFua, features);
        let want: [&[_]; 2] = [&[(Write, FUA)], &[(WriteZeroes, NONE), (Flush, NONE)]];
        check(&mut guest, &device, want);
    }
}

#[test]
fn a_driver_may_switch_the_cache() {
    let (mut guest, device) = disk(WriteCache::WriteBack, F_ALL);
    guest.bus.write_config(32, &[0]);
    assert_eq!(writeback(&guest), 0);
    let durable: [&[_]; 2] = [
        &[(Write, NONE), (Flush, NONE)],
        &[(WriteZeroes, NONE), (Flush, NONE)],
    ];
    check(&mut guest, &device, durable);
    guest.bus.write_config(32, &[1]);
    assert_eq!(writeback(&guest), 1);
    check(
        &mut guest,
        &device,
        [&[(Write, NONE)], &[(WriteZeroes, NONE)]],
    );
    guest.bus.write_config(32, &[2]);
    guest.bus.write_config(31, &[0, 0]);
    guest.bus.write_config(0, &[9; 4]);
    assert_eq!(writeback(&guest), 1);
    guest.bus.write_config(32, &[0]);
    guest.bus.set_status(0);
    guest.bus.set_status(STATUS_ACKNOWLEDGE);
    assert_eq!(writeback(&guest), 1, "as at first");
}

#[test]
fn a_cache_is_not_switched_unless_that_was_agreed_on() {
    let (guest, _) = disk(WriteCache::WriteBack, F_FLUSH);
    guest.bus.write_config(32, &[0]);
    assert_eq!(writeback(&guest), 1);
}

#[test]
fn a_device_without_a_cache_has_none_to_switch() {
    let (mut guest, device) = disk(WriteCache::WriteThrough, F_ALL);
    assert_eq!(guest.offered() & (F_CONFIG_WCE | F_FLUSH), F_FLUSH);
    assert_eq!(writeback(&guest), 0);
    check(
        &mut guest,
        &device,
        [&[(Write, NONE)], &[(WriteZeroes, NONE)]],
    );
}

#[test]
fn a_write_whose_flush_fails_has_failed() {
    let (mut guest, device) = disk(WriteCache::WriteBack, 0);
    for results in [[Ok(()), Err(Errno::EIO)].as_slice(), &[Err(Errno::ENOSPC)]] {
        add(&mut guest, OUT);
        for result in results {
            device.end(*result);
        }
        guest.wait(0);
        assert_eq!((guest.read(STATUS), device.count()), ([IOERR], 0));
    }
}
