//! What needs the lab's kernel: a disk that is nobody's, and the driver of ublk.
#![cfg(feature = "std")]

mod polled;
mod ublk;

use std::num::NonZeroUsize;

use pepita_io::{Engine, FileDeviceError, FileOptions};
use pepita_sys::blk_mq::BlockDevice;
use pepita_sys::blk_mq::conformance::Conformance;

/// The lab's scratch disk.
const DISK: &str = "/dev/vda";

/// Whether the test runs; says why not.
fn in_lab(test: &str) -> bool {
    let is_lab = std::env::var_os("PEPITA_LAB").is_some();
    if !is_lab {
        println!("SKIPPED: {test}: only in the lab");
    }
    is_lab
}

/// Whether the long counts are asked for.
fn is_full() -> bool {
    std::env::var("PEPITA_TEST_SET").as_deref() == Ok("full")
}

#[test]
fn a_disk_keeps_the_contract_by_every_engine() {
    if !in_lab("a_disk_keeps_the_contract_by_every_engine") {
        return;
    }
    let threads = Engine::Threads(NonZeroUsize::MIN.saturating_add(1));
    let [uring, threads] = [Engine::Uring, threads].map(|engine| FileOptions::new().engine(engine));
    let mut all = vec![uring.clone().direct(), threads.clone()];
    // An emulated disk takes half a minute for each.
    if is_full() {
        all.extend([uring, threads.direct()]);
    }
    for options in all {
        let device = options.open(DISK).expect("the scratch disk");
        assert_eq!(device.geometry().capacity_sectors, 8 << 20, "4 GiB");
        assert!(device.geometry().discard.is_some(), "{device:?}");
        // One writer at a time.
        let second = options.open(DISK).map(|_| ());
        assert!(
            matches!(second, Err(FileDeviceError::Open { .. })),
            "{second:?}"
        );
        let report = Conformance::new()
            .run(&device)
            .expect("it keeps every rule");
        assert_eq!(report.left_out, [], "{options:?}");
    }
}
