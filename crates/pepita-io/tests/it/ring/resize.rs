//! Other sizes for the queues of a ring in use.

use std::time::Duration;

use pepita_io::ring::{QueueFull, RingConfig};
use pepita_sys::error::Errno;

use super::register::has;
use super::{ring_for, user_data};

#[test]
fn what_was_pushed_and_what_has_completed_survives_other_sizes() {
    let name = "what_was_pushed_and_what_has_completed_survives_other_sizes";
    let Some(mut ring) = ring_for(name, &RingConfig::new(4)) else {
        return;
    };
    // Completions 0 to 2 are there, of which 0 is taken by an iterator that gives nothing back; entries 3
    // to 6 are pushed.
    for number in 0..3 {
        ring.push_nop(number).expect("room");
    }
    ring.submit_and_wait(3).expect("three completions");
    let mut completions = ring.completions();
    assert_eq!(completions.next().map(|cqe| cqe.user_data), Some(0));
    std::mem::forget(completions);
    for number in 3..7 {
        ring.push_nop(number).expect("room");
    }
    let Some(()) = has(name, "6.13", ring.resize(16, 64)) else {
        return;
    };
    assert_eq!((ring.sq_capacity(), ring.cq_capacity()), (16, 64));
    assert_eq!(ring.sq_room(), 12);
    for number in 7..19 {
        ring.push_nop(number).expect("room that is new");
    }
    assert_eq!(ring.push_nop(19), Err(QueueFull));
    ring.resize(16, 32).expect("all fits");
    assert_eq!(ring.submit_and_wait(18), Ok(16));
    assert_eq!(user_data(&mut ring), (1..19).collect::<Vec<_>>());
    ring.resize(1, 2).expect("nothing is there");
    ring.push_nop(20).expect("room");
    assert_eq!(ring.push_nop(21), Err(QueueFull));
    ring.submit_and_wait(1).expect("a completion");
    assert_eq!(user_data(&mut ring), [20]);
}

#[test]
fn what_does_not_fit_leaves_the_ring_as_it_is() {
    let name = "what_does_not_fit_leaves_the_ring_as_it_is";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    let Some(()) = has(name, "6.13", ring.resize(8, 16)) else {
        return;
    };
    for number in 0..5 {
        ring.push_nop(number).expect("room");
    }
    for (sq_entries, cq_entries, want) in [
        (4, 16, Errno::EOVERFLOW),
        (0, 16, Errno::EINVAL),
        (32_769, 65_536, Errno::EINVAL),
        (8, 4, Errno::EINVAL),
    ] {
        let refused = ring.resize(sq_entries, cq_entries);
        assert_eq!(refused.map_err(|error| error.to_errno()), Err(want));
        assert_eq!((ring.sq_capacity(), ring.cq_capacity()), (8, 16));
    }
    assert_eq!(ring.submit_and_wait(5), Ok(5));
    let refused = ring.resize(1, 4);
    assert_eq!(
        refused.map_err(|error| error.to_errno()),
        Err(Errno::EOVERFLOW)
    );
    assert_eq!(user_data(&mut ring), [0, 1, 2, 3, 4]);
}

#[test]
fn a_ring_with_a_polling_thread_keeps_its_size() {
    let name = "a_ring_with_a_polling_thread_keeps_its_size";
    let config = RingConfig::new(4).sq_poll(Duration::from_millis(1));
    let Some(mut ring) = ring_for(name, &config) else {
        return;
    };
    let refused = ring.resize(8, 16);
    assert_eq!(
        refused.map_err(|error| error.to_errno()),
        Err(Errno::EINVAL)
    );
    ring.push_nop(1).expect("room");
    ring.submit_and_wait(1).expect("a completion");
    assert_eq!(user_data(&mut ring), [1]);
}
