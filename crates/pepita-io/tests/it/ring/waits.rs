#![expect(unsafe_code, reason = "sends this thread a signal")]
//! Registered waits.

use std::time::{Duration, Instant};

use pepita_io::ring::{Ring, RingConfig, SetupError, Wait};
use pepita_sys::error::Errno;

use super::user_data;

fn ring_with_slots(test: &str, count: u32) -> Option<Ring> {
    match RingConfig::new(8).wait_slots(count).build() {
        Ok(ring) => Some(ring),
        Err(error @ (SetupError::Unsupported { .. } | SetupError::Refused(_))) => {
            println!("SKIPPED: {test}: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn timed_out(ring: &mut Ring, index: u32) -> bool {
    let waited = ring.submit_and_wait_registered(1, index);
    match waited.map_err(|error| error.to_errno()) {
        Ok(_) => false,
        Err(errno) => errno == Errno::ETIME,
    }
}

#[test]
fn each_slot_waits_as_it_was_set() {
    let name = "each_slot_waits_as_it_was_set";
    // More than a page of them, signal sets included.
    let Some(mut ring) = ring_with_slots(name, 100) else {
        return;
    };
    for (index, millis) in [(0, 1), (63, 30), (99, 1)] {
        let wait = Wait::new().timeout(Duration::from_millis(millis));
        ring.set_wait(index, &wait).expect("a slot");
    }
    for (index, millis) in [(0, 1), (63, 30), (99, 1)] {
        let start = Instant::now();
        assert!(timed_out(&mut ring, index));
        assert!(start.elapsed() >= Duration::from_millis(millis));
    }
    // Slots are set anew, and a slot that was never set waits for the completion.
    ring.set_wait(63, &Wait::new()).expect("a slot");
    for index in [63, 5] {
        ring.push_nop(u64::from(index)).expect("room");
        assert_eq!(ring.submit_and_wait_registered(1, index), Ok(1));
        assert_eq!(user_data(&mut ring), [u64::from(index)]);
    }
}

#[test]
fn a_slot_that_is_not_there_is_an_error_and_submits_nothing() {
    let name = "a_slot_that_is_not_there_is_an_error_and_submits_nothing";
    let Some(mut with) = ring_with_slots(name, 2) else {
        return;
    };
    let mut without = RingConfig::new(8).build().expect("a ring");
    for (ring, index) in [(&mut with, 2), (&mut without, 0)] {
        let set = ring.set_wait(index, &Wait::new());
        assert_eq!(set.map_err(|error| error.to_errno()), Err(Errno::EINVAL));
        ring.push_nop(1).expect("room");
        let waited = ring.submit_and_wait_registered(1, index);
        assert_eq!(waited.map_err(|error| error.to_errno()), Err(Errno::EINVAL));
        assert_eq!(ring.submit_and_wait(1), Ok(1));
    }
}

#[test]
fn a_registered_least_wait_is_content_with_one_completion() {
    let name = "a_registered_least_wait_is_content_with_one_completion";
    let Some(mut ring) = ring_with_slots(name, 1) else {
        return;
    };
    let wait = Wait::new().min_wait(Duration::from_millis(1));
    ring.set_wait(0, &wait).expect("a slot");
    ring.push_nop(1).expect("room");
    assert_eq!(ring.submit_and_wait_registered(2, 0), Ok(1));
    assert_eq!(user_data(&mut ring), [1]);
}

/// Only has to be there, so that the signal interrupts.
extern "C" fn ignore(_: libc::c_int) {}

#[test]
fn a_slots_signals_are_blocked_while_it_waits() {
    let name = "a_slots_signals_are_blocked_while_it_waits";
    let Some(mut ring) = ring_with_slots(name, 2) else {
        return;
    };
    let handler: extern "C" fn(libc::c_int) = ignore;
    // SAFETY: the handler does nothing.
    unsafe { libc::signal(libc::SIGUSR2, handler as libc::sighandler_t) };
    let only = 1_u64 << (libc::SIGUSR2 - 1);
    // Blocked outside the waits; pending from here on.
    // SAFETY: the set lives as long as the call, and has the 8 bytes that it reads.
    let blocked = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_BLOCK,
            &raw const only,
            std::ptr::null_mut::<u64>(),
            8,
        )
    };
    assert_eq!(blocked, 0);
    // SAFETY: to this thread, which blocks it.
    assert_eq!(unsafe { libc::raise(libc::SIGUSR2) }, 0);

    let wait = Wait::new().timeout(Duration::from_millis(1));
    ring.set_wait(0, &wait.signals(only)).expect("a slot");
    ring.set_wait(1, &wait.signals(0)).expect("a slot");
    assert!(timed_out(&mut ring, 0), "the signal is blocked");
    let interrupted = ring.submit_and_wait_registered(1, 1);
    assert_eq!(
        interrupted.map_err(|error| error.to_errno()),
        Err(Errno::EINTR)
    );
    assert!(timed_out(&mut ring, 1), "the signal was taken");
}
