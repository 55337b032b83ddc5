#![expect(unsafe_code, reason = "pushes entries that lead to memory")]
//! The bare ring.
//!
//! # Invariants
//! * test-keeps: what a test's entries lead to lives until the test has seen their last completion.

mod model;
mod refused;
mod setup;
mod sizes;

use std::os::fd::AsRawFd;
use std::time::Duration;

use pepita_io::ring::{QueueFull, Ring, RingConfig, Wait};
use pepita_sys::error::Errno;
use pepita_sys::io_uring::{IoUringCqe, IoUringSqe};

/// A ring with `entries` and room for twice as many completions, or `None` after saying why `test` is
/// skipped.
pub(crate) fn ring_for(test: &str, config: &RingConfig) -> Option<Ring> {
    match config.build() {
        Ok(ring) => Some(ring),
        Err(error) => {
            println!("SKIPPED: {test}: {error}");
            None
        }
    }
}

/// Pushes an entry.
fn push(ring: &mut Ring, sqe: IoUringSqe) {
    // SAFETY: test-keeps.
    unsafe { ring.push(sqe) }.expect("room in the queue");
}

/// Does one operation, and returns its completion.
fn complete(ring: &mut Ring, sqe: IoUringSqe) -> IoUringCqe {
    push(ring, sqe);
    ring.submit_and_wait(1).expect("a completion");
    ring.pop().expect("the completion")
}

fn user_data(ring: &mut Ring) -> Vec<u64> {
    ring.completions().map(|cqe| cqe.user_data).collect()
}

#[test]
fn every_entry_of_every_batch_completes_once_and_in_order() {
    let name = "every_entry_of_every_batch_completes_once_and_in_order";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    let mut next = 0;
    // 8 is the queue's size; the batches make both queues wrap at every offset.
    for round in 0..100_u64 {
        let batch = 1 + round % 8;
        let want: Vec<_> = (next..next + batch).collect();
        for &number in &want {
            ring.push_nop(number).expect("room for a batch");
        }
        let submitted = ring
            .submit_and_wait(batch.try_into().expect("a small batch"))
            .expect("a batch");
        assert_eq!(u64::from(submitted), batch);
        assert_eq!(user_data(&mut ring), want);
        next += batch;
    }
    assert!(ring.pop().is_none());
}

#[test]
fn a_full_queue_refuses_an_entry_and_keeps_the_others() {
    let name = "a_full_queue_refuses_an_entry_and_keeps_the_others";
    let Some(mut ring) = ring_for(name, &RingConfig::new(4)) else {
        return;
    };
    for number in 0..4 {
        assert_eq!(ring.sq_room(), 4 - u32::try_from(number).expect("small"));
        ring.push_nop(number).expect("room");
    }
    assert_eq!(ring.push_nop(4), Err(QueueFull));
    ring.submit_and_wait(4).expect("four completions");
    assert_eq!(user_data(&mut ring), [0, 1, 2, 3]);
    ring.push_nop(4).expect("room again");
}

#[test]
fn completions_beyond_the_queue_wait_in_the_kernel_and_come_in_order() {
    let name = "completions_beyond_the_queue_wait_in_the_kernel_and_come_in_order";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8).cq_entries(8)) else {
        return;
    };
    for number in 0..40 {
        ring.push_nop(number).expect("room");
        ring.submit().expect("a submission");
    }
    let mut seen = Vec::new();
    while seen.len() < 40 {
        ring.submit().expect("what waited");
        let now = user_data(&mut ring);
        assert!(
            !now.is_empty(),
            "only {} of 40 completions came",
            seen.len()
        );
        seen.extend(now);
    }
    assert_eq!(seen, (0..40).collect::<Vec<_>>());
    assert_eq!(ring.dropped_completions(), 0);
}

#[test]
fn a_forgotten_iterator_repeats_no_completion() {
    let Some(mut ring) = ring_for(
        "a_forgotten_iterator_repeats_no_completion",
        &RingConfig::new(8),
    ) else {
        return;
    };
    for number in 0..4 {
        ring.push_nop(number).expect("room");
    }
    ring.submit_and_wait(4).expect("four completions");
    let mut completions = ring.completions();
    assert_eq!(completions.next().map(|cqe| cqe.user_data), Some(0));
    assert_eq!(completions.next().map(|cqe| cqe.user_data), Some(1));
    std::mem::forget(completions);
    assert_eq!(user_data(&mut ring), [2, 3]);
}

#[test]
fn what_is_written_through_a_ring_is_read_back() {
    let name = "what_is_written_through_a_ring_is_read_back";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    let file = tempfile::tempfile().expect("a temporary file");
    let fd = file.as_raw_fd();
    let written: Vec<u8> = (0..=255).collect();
    let cqe = complete(&mut ring, IoUringSqe::write(fd, written.as_ptr(), 256, 512));
    assert_eq!(cqe.result(), Ok(256));
    let mut read = vec![0_u8; 256];
    let cqe = complete(&mut ring, IoUringSqe::read(fd, read.as_mut_ptr(), 256, 512));
    assert_eq!(cqe.result(), Ok(256));
    assert_eq!(read, written);
}

#[test]
fn a_wrong_entry_fails_alone_and_the_batch_goes_on() {
    let name = "a_wrong_entry_fails_alone_and_the_batch_goes_on";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    push(&mut ring, IoUringSqe::new(255, -1, 0, 0).user_data(1));
    ring.push_nop(2).expect("room");
    assert_eq!(ring.submit_and_wait(2).expect("both"), 2);
    let done: Vec<_> = ring
        .completions()
        .map(|cqe| (cqe.user_data, cqe.errno()))
        .collect();
    assert_eq!(done, [(1, Some(Errno::EINVAL)), (2, None)]);
}

#[test]
fn a_wait_ends_when_its_time_is_up() {
    let Some(mut ring) = ring_for("a_wait_ends_when_its_time_is_up", &RingConfig::new(8)) else {
        return;
    };
    let wait = Wait::new().timeout(Duration::from_millis(1));
    let error = ring
        .submit_and_wait_for(1, &wait)
        .expect_err("nothing completes");
    assert_eq!(error.to_errno(), Errno::ETIME);
    ring.push_nop(1).expect("room");
    assert_eq!(ring.submit_and_wait_for(1, &wait).expect("the nop"), 1);
    assert_eq!(user_data(&mut ring), [1]);
}

#[test]
fn a_least_wait_is_content_with_one_completion_after_it() {
    let name = "a_least_wait_is_content_with_one_completion_after_it";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    let wait = Wait::new().min_wait(Duration::from_millis(1));
    ring.push_nop(1).expect("room");
    match ring.submit_and_wait_for(2, &wait) {
        Ok(submitted) => {
            assert_eq!(submitted, 1);
            assert_eq!(user_data(&mut ring), [1]);
        }
        Err(error) if error.to_errno() == Errno::EOPNOTSUPP => {
            println!("SKIPPED: {name}: this kernel has no least wait (Linux 6.12)");
        }
        Err(error) => panic!("{error}"),
    }
}
