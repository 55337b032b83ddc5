//! Disks that are held to a rate.

use std::num::NonZeroU64;
use std::sync::Arc;

use pepita_io::RamDevice;
use pepita_virtio::{Rate, RateLimits, VirtioBlock};

use super::{F_ALL, HEADER, IN, INPUT, OK, SECTORS, STATUS, UNSAID, element, header};
use crate::guest::{Guest, Transport};

fn rate(per_second: u64, burst: u64) -> Rate {
    let per_second = NonZeroU64::new(per_second).expect("more than 0");
    Rate { per_second, burst }
}

fn guest(limits: RateLimits) -> Guest {
    let disk = VirtioBlock::new(Arc::new(RamDevice::new(SECTORS))).expect("it can be a disk");
    Guest::ready(Transport::Mmio, Box::new(disk.limited(limits)), F_ALL)
}

fn add(guest: &mut Guest, number: u64) {
    guest.write(HEADER, &header(IN, 0));
    guest.write(STATUS + number, &[UNSAID]);
    let status = element(STATUS + number, 1);
    guest.add(0, &[element(HEADER, 16)], &[element(INPUT, 512), status]);
}

#[test]
fn a_disk_that_is_fast_enough_answers_everything() {
    let operations = Some(rate(100_000, 1));
    let mut guest = guest(RateLimits {
        operations,
        bytes: None,
    });
    for round in 0..100 {
        for number in 0..4 {
            add(&mut guest, number);
        }
        for number in 0..4 {
            guest.wait(0);
            assert_eq!(guest.read(STATUS + number), [OK], "{round}");
        }
    }
}

#[test]
fn what_goes_beyond_the_limit_stays_in_the_queue_until_a_reset() {
    // The first read is paid for in 512 seconds.
    let bytes = Some(rate(1, 0));
    let mut guest = guest(RateLimits {
        bytes,
        operations: None,
    });
    for number in 0..8 {
        add(&mut guest, number);
    }
    guest.wait(0);
    guest.bus.set_status(0);
    assert_eq!(guest.read(STATUS), [OK]);
    assert_eq!(guest.read(STATUS + 1), [UNSAID; 7]);
}
