//! The conformance suite: right devices pass, and each wrong one is caught by the rule that it breaks.

mod queued;
mod ram;
mod stripe;
mod threaded;

use std::fmt::Debug;
use std::time::Duration;

use pepita_sys::blk_mq::conformance::{Conformance, Report};
use pepita_sys::blk_mq::{BlockDevice, DiscardLimits, Geometry, WriteCache};

use queued::{Queued, QueuedFault};
use ram::{Ram, RamFault};
use stripe::Stripe;
use threaded::Threaded;

/// 256 KiB that can do everything.
pub(crate) const GEOMETRY: Geometry = Geometry {
    discard: Some(DiscardLimits {
        max_sectors: 256,
        granularity_sectors: 8,
    }),
    max_write_zeroes_sectors: 128,
    write_cache: WriteCache::WriteBackWithFua,
    ..Geometry::new(512)
};

#[track_caller]
fn passes<D: BlockDevice>(device: &D) -> Report {
    Conformance::new().run(device).expect("the device is right")
}

/// The rule that `device` breaks, and what is said of it.
#[track_caller]
fn breaks<D: BlockDevice>(device: &D, fault: impl Debug) -> (&'static str, String) {
    let suite = Conformance::new().patience(Duration::from_millis(50));
    let violation = suite.run(device).expect_err(&format!("{fault:?}"));
    (violation.rule, violation.what)
}

#[test]
fn right_devices_pass_whatever_their_geometry() {
    let blocks_of_4096 = Geometry {
        logical_block_size: 4096,
        physical_block_size: 4096,
        max_segments: 3,
        ..GEOMETRY
    };
    let small = Geometry {
        max_sectors: 1,
        max_segments: 1,
        discard: None,
        max_write_zeroes_sectors: 0,
        write_cache: WriteCache::WriteBack,
        ..Geometry::new(64)
    };
    let large = Geometry {
        capacity_sectors: 5000,
        ..GEOMETRY
    };
    for (geometry, left_out) in [(GEOMETRY, 0), (blocks_of_4096, 0), (small, 3), (large, 0)] {
        let reports = [
            passes(&Ram::new(geometry)),
            passes(&Queued::new(geometry)),
            passes(&Threaded::new(geometry)),
        ];
        for report in reports {
            assert_eq!(report.left_out.len(), left_out, "{report:?}");
            assert_eq!(report.checked.len() + left_out, 16);
        }
    }
}

#[test]
fn a_stripe_over_devices_with_threads_passes_like_one_device() {
    let member = Geometry {
        capacity_sectors: 192,
        ..GEOMETRY
    };
    let members = || (0..3).map(|_| Threaded::new(member)).collect();
    let report = passes(&Stripe::new(members()));
    assert_eq!(report.left_out.len(), 1, "{report:?}");
    // Stripes of stripes: parts of parts.
    let stripes = vec![Stripe::new(members()), Stripe::new(members())];
    passes(&Stripe::new(stripes));
}

#[test]
fn a_device_that_can_only_be_read_passes_too() {
    let geometry = Geometry {
        read_only: true,
        ..GEOMETRY
    };
    let report = passes(&Ram::new(geometry));
    assert_eq!(report.left_out.len(), 5, "{report:?}");
}

#[test]
fn memory_that_breaks_a_rule_is_caught_by_it() {
    for (fault, rule, says) in ram::CAUGHT {
        let device = Ram::with_fault(GEOMETRY, fault);
        let (broken, what) = breaks(&device, fault);
        assert_eq!(broken, rule, "{fault:?}: {what}");
        assert!(what.contains(says), "{fault:?}: {what}");
    }
}

#[test]
fn a_lane_that_breaks_a_rule_is_caught_by_it() {
    for (fault, rule, says) in queued::CAUGHT {
        let device = Queued::with_fault(GEOMETRY, fault);
        let (broken, what) = breaks(&device, fault);
        assert_eq!(broken, rule, "{fault:?}: {what}");
        assert!(what.contains(says), "{fault:?}: {what}");
    }
}

#[test]
fn every_fault_is_in_the_tables() {
    assert_eq!(ram::CAUGHT.len(), RamFault::COUNT);
    assert_eq!(queued::CAUGHT.len(), QueuedFault::COUNT);
}

#[test]
fn a_device_that_is_too_small_is_refused() {
    let (rule, what) = breaks(&Ram::new(Geometry::new(63)), "too small");
    assert_eq!(rule, "the geometry can be, and stays");
    assert!(what.contains("63 blocks"), "{what}");
}
