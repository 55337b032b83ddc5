#![expect(unsafe_code, reason = "pushes entries of all sizes")]
//! Entries and completions of other sizes.

use pepita_io::ring::{CqEntry, MixedCqe, Ring, RingConfig, SetupError, SqEntry};
use pepita_sys::error::Errno;
use pepita_sys::io_uring::{
    IORING_NOP_CQE32, IORING_OP_NOP, IoUringCqe, IoUringCqe32, IoUringSqe, IoUringSqe128,
};

fn sized<S: SqEntry, C: CqEntry>(test: &str) -> Option<Ring<S, C>> {
    match RingConfig::new(4).build_sized() {
        Ok(ring) => Some(ring),
        Err(error @ (SetupError::Unsupported { .. } | SetupError::Refused(_))) => {
            println!("SKIPPED: {test}: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A no-op whose completion has a second half.
fn large_nop(user_data: u64, second: [u64; 2]) -> IoUringSqe {
    let mut sqe = IoUringSqe::new(IORING_OP_NOP, -1, second[1], 0).user_data(user_data);
    sqe.op_flags = IORING_NOP_CQE32;
    sqe.off = second[0];
    sqe
}

#[test]
fn entries_of_128_bytes_do_not_run_into_each_other() {
    let name = "entries_of_128_bytes_do_not_run_into_each_other";
    let Some(mut ring) = sized::<IoUringSqe128, IoUringCqe>(name) else {
        return;
    };
    for round in 0..10 {
        for number in 0..4 {
            ring.push_nop(4 * round + number).expect("room");
        }
        ring.submit_and_wait(4).expect("a batch");
        let seen: Vec<_> = ring.completions().map(|cqe| cqe.user_data).collect();
        assert_eq!(seen, (4 * round..4 * round + 4).collect::<Vec<_>>());
    }
}

#[test]
fn completions_of_32_bytes_have_a_second_half() {
    let name = "completions_of_32_bytes_have_a_second_half";
    let Some(mut ring) = sized::<IoUringSqe, IoUringCqe32>(name) else {
        return;
    };
    for number in 0..20 {
        let second = [!number, number << 40 | 5];
        // SAFETY: a no-op leads nowhere.
        unsafe { ring.push(large_nop(number, second)) }.expect("room");
        ring.submit_and_wait(1).expect("a completion");
        let cqe = ring.pop().expect("the completion");
        assert_eq!(cqe.cqe.user_data, number);
        if cqe.cqe.errno() == Some(Errno::EINVAL) {
            println!("SKIPPED: {name}: this kernel's no-op has no second half (Linux 6.18)");
            return;
        }
        assert_eq!(cqe.big_cqe, second);
    }
}

#[test]
fn mixed_completions_are_told_apart_also_where_the_queue_wraps() {
    let name = "mixed_completions_are_told_apart_also_where_the_queue_wraps";
    let Some(mut ring) = sized::<IoUringSqe, MixedCqe>(name) else {
        return;
    };
    for number in 0..100 {
        let (entry, large) = if number % 3 == 0 {
            (IoUringSqe::nop().user_data(number), None)
        } else {
            let second = [number + 7, !number];
            (large_nop(number, second), Some(second))
        };
        // SAFETY: a no-op leads nowhere.
        unsafe { ring.push(entry) }.expect("room");
        ring.submit_and_wait(1).expect("a completion");
        let cqe = ring.pop().expect("the completion");
        assert_eq!(cqe.cqe().user_data, number);
        match cqe {
            MixedCqe::Small(_) => assert_eq!(large, None),
            MixedCqe::Large(cqe) => assert_eq!(large, Some(cqe.big_cqe)),
        }
    }
}
