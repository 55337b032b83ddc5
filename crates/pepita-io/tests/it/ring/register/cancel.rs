use std::os::fd::AsRawFd;

use pepita_io::ring::register::Cancel;
use pepita_io::ring::{Ring, RingConfig};
use pepita_sys::error::Errno;
use pepita_sys::io_uring::{IORING_OP_POLL_ADD, IoUringSqe};

use super::super::{push, ring_for};
use super::has;

/// A ring with polls on two pipes, of user data 1, 2 and 3; the third is on the second pipe.
struct Polls {
    ring: Ring,
    pipes: [(std::io::PipeReader, std::io::PipeWriter); 2],
}

impl Polls {
    fn new(test: &str) -> Option<Self> {
        let mut ring = ring_for(test, &RingConfig::new(8))?;
        let pipes = [(); 2].map(|()| std::io::pipe().expect("a pipe"));
        for (user_data, pipe) in [(1, 0), (2, 1), (3, 1)] {
            let fd = pipes[pipe].0.as_raw_fd();
            let poll = IoUringSqe::poll_add(fd, 1, 0).user_data(user_data);
            push(&mut ring, poll);
        }
        ring.submit().expect("a submission");
        Some(Self { ring, pipes })
    }

    /// The user data of what was cancelled since.
    fn cancelled(&mut self) -> Vec<u64> {
        self.ring.submit().expect("what there is");
        let mut seen: Vec<_> = self
            .ring
            .completions()
            .map(|cqe| {
                assert_eq!(cqe.errno(), Some(Errno::ECANCELED));
                cqe.user_data
            })
            .collect();
        seen.sort_unstable();
        seen
    }
}

#[test]
fn what_matches_is_cancelled_before_the_call_returns() {
    let name = "what_matches_is_cancelled_before_the_call_returns";
    let Some(mut polls) = Polls::new(name) else {
        return;
    };
    polls
        .ring
        .cancel_sync(Cancel::user_data(2))
        .expect("it is there");
    assert_eq!(polls.cancelled(), [2]);
    let gone = polls.ring.cancel_sync(Cancel::user_data(2));
    assert_eq!(gone.map_err(|error| error.to_errno()), Err(Errno::ENOENT));
    let fd = polls.pipes[1].0.as_raw_fd();
    polls.ring.cancel_sync(Cancel::fd(fd)).expect("it is there");
    assert_eq!(polls.cancelled(), [3]);
    let fd = polls.pipes[0].0.as_raw_fd();
    polls.ring.cancel_sync(Cancel::fd(fd)).expect("it is there");
    assert_eq!(polls.cancelled(), [1]);
}

#[test]
fn all_that_match_are_cancelled_when_asked_for() {
    let name = "all_that_match_are_cancelled_when_asked_for";
    let Some(mut polls) = Polls::new(name) else {
        return;
    };
    let fd = polls.pipes[1].0.as_raw_fd();
    assert_eq!(polls.ring.cancel_sync(Cancel::fd(fd).all()), Ok(2));
    assert_eq!(polls.cancelled(), [2, 3]);
    assert_eq!(polls.ring.cancel_sync(Cancel::fd(fd).all()), Ok(0));
    assert_eq!(polls.cancelled(), [0_u64; 0]);
    let Some(mut polls) = Polls::new(name) else {
        return;
    };
    assert_eq!(polls.ring.cancel_sync(Cancel::any()), Ok(3));
    assert_eq!(polls.cancelled(), [1, 2, 3]);
}

#[test]
fn an_operation_is_found_by_its_code() {
    let name = "an_operation_is_found_by_its_code";
    let Some(mut polls) = Polls::new(name) else {
        return;
    };
    let cancel = Cancel::op(IORING_OP_POLL_ADD).all();
    let Some(count) = has(name, "6.6", polls.ring.cancel_sync(cancel)) else {
        return;
    };
    assert_eq!(count, 3);
    assert_eq!(polls.cancelled(), [1, 2, 3]);
}

#[test]
fn an_operation_on_a_registered_file_is_found_by_its_slot() {
    let name = "an_operation_on_a_registered_file_is_found_by_its_slot";
    let Some(mut polls) = Polls::new(name) else {
        return;
    };
    let fd = polls.pipes[0].0.as_raw_fd();
    polls.ring.register_files(&[-1, fd], &[]).expect("a table");
    let poll = IoUringSqe::poll_add(1, 1, 0).fixed_file().user_data(4);
    push(&mut polls.ring, poll);
    polls.ring.submit().expect("a submission");
    let found = polls.ring.cancel_sync(Cancel::fixed_file(1));
    found.expect("it is there");
    let seen = polls.cancelled();
    // The file is the same: the kernel may find the poll on the descriptor first.
    assert!(seen == [4] || seen == [1], "{seen:?}");
}
