//! Making rings.

use std::time::Duration;

use pepita_io::ring::{RingConfig, SetupError};
use pepita_sys::error::{Errno, KernelError};
use pepita_sys::io_uring::{IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_SINGLE_ISSUER};

use super::ring_for;

#[track_caller]
fn check(config: &RingConfig, want: &str) {
    let error = config.build().expect_err("no such ring");
    assert_eq!(error.to_string(), want);
    assert_eq!(KernelError::from(error).to_errno(), Errno::EINVAL);
}

#[test]
fn a_wrong_size_is_named_with_what_is_possible() {
    check(
        &RingConfig::new(0),
        "a submission queue of 0 entries is not in 1..=32768",
    );
    check(
        &RingConfig::new(32_769),
        "a submission queue of 32769 entries is not in 1..=32768",
    );
    check(
        &RingConfig::new(64).cq_entries(63),
        "a completion queue of 63 entries is not in 64..=65536",
    );
    check(
        &RingConfig::new(64).cq_entries(65_537),
        "a completion queue of 65537 entries is not in 64..=65536",
    );
}

#[test]
fn a_cpu_for_a_thread_that_is_not_there_is_a_conflict() {
    check(
        &RingConfig::new(8).sq_poll_cpu(0),
        "a CPU for the polling thread does not go with a ring without such a thread",
    );
}

#[test]
fn sizes_are_rounded_up_to_powers_of_two() {
    let name = "sizes_are_rounded_up_to_powers_of_two";
    for (sq, cq, want) in [(1, 1, (1, 1)), (5, 9, (8, 16)), (33, 100, (64, 128))] {
        let Some(ring) = ring_for(name, &RingConfig::new(sq).cq_entries(cq)) else {
            return;
        };
        assert_eq!((ring.sq_capacity(), ring.cq_capacity()), want);
    }
}

#[test]
fn a_ring_has_one_issuer_and_completes_when_asked() {
    let name = "a_ring_has_one_issuer_and_completes_when_asked";
    let Some(ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    let want = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    assert_eq!(ring.setup_flags() & want, want);
}

#[test]
fn rings_that_come_and_go_leave_no_place_taken() {
    let name = "rings_that_come_and_go_leave_no_place_taken";
    for _ in 0..100 {
        let Some(ring) = ring_for(name, &RingConfig::new(8)) else {
            return;
        };
        assert!(ring.is_registered());
    }
}

#[test]
fn a_seventeenth_ring_of_a_thread_works_by_its_descriptor() {
    let name = "a_seventeenth_ring_of_a_thread_works_by_its_descriptor";
    let rings: Option<Vec<_>> = (0..17)
        .map(|_| ring_for(name, &RingConfig::new(8)))
        .collect();
    let Some(mut rings) = rings else {
        return;
    };
    for ring in &mut rings {
        ring.push_nop(1).expect("room");
        ring.submit_and_wait(1).expect("a completion");
        assert!(ring.pop().is_some());
    }
    let by_index = rings.iter().filter(|ring| ring.is_registered()).count();
    assert_eq!(by_index, 16);
}

#[test]
fn a_polling_thread_takes_entries_by_itself() {
    let name = "a_polling_thread_takes_entries_by_itself";
    let config = RingConfig::new(4).sq_poll(Duration::from_millis(1));
    let Some(mut ring) = ring_for(name, &config) else {
        return;
    };
    // More than the queue holds, with waits long enough for the thread to fall asleep in between.
    for round in 0..50_u64 {
        for number in 0..4 {
            ring.push_nop(4 * round + number).expect("room");
        }
        ring.submit().expect("a submission");
        ring.wait_for_room().expect("room");
        let mut seen = 0;
        while seen < 4 {
            ring.submit_and_wait(1).expect("a completion");
            for cqe in ring.completions() {
                assert_eq!(cqe.user_data, 4 * round + seen);
                seen += 1;
            }
        }
    }
}

#[test]
fn rings_share_their_workers() {
    let Some(first) = ring_for("rings_share_their_workers", &RingConfig::new(8)) else {
        return;
    };
    let second = RingConfig::new(8).share_workers(&first).build();
    assert!(second.is_ok(), "{second:?}");
}

#[test]
fn what_a_kernel_lacks_is_named_with_the_first_kernel_that_has_it() {
    let config = RingConfig::new(8).hybrid_io_poll();
    match config.build() {
        Ok(_) => {}
        Err(SetupError::Unsupported { what, since }) => {
            assert_eq!((what, since), ("polling that sleeps first", "6.13"));
        }
        Err(error) => println!(
            "SKIPPED: what_a_kernel_lacks_is_named_with_the_first_kernel_that_has_it: {error}"
        ),
    }
}
