#![expect(
    unsafe_code,
    reason = "lends buffers to the kernel and takes them back"
)]
//! Provided buffers: the bare ring, and the pool.

use std::io::Write;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;

use pepita_io::ring::{Buffer, BufferPool, BufferRing, BufferUse, Ring, RingConfig};
use pepita_sys::error::Errno;
use pepita_sys::io_uring::{
    IORING_CQE_F_BUF_MORE, IORING_FEAT_RECVSEND_BUNDLE, IORING_RECV_MULTISHOT,
    IORING_RECVSEND_BUNDLE, IoUringCqe, IoUringSqe,
};

use super::register::has;
use super::{push, ring_for};

/// Bytes of a pool's buffers.
const LEN: u32 = 64;

struct Rig {
    ring: Ring,
    pool: BufferPool,
    ours: UnixStream,
    theirs: UnixStream,
}

impl Rig {
    /// A ring, a pool of `count` buffers, and two connected sockets; `None` after saying why `test` is skipped.
    fn new(test: &str, count: u16, buffer_use: BufferUse) -> Option<Self> {
        let mut ring = ring_for(test, &RingConfig::new(8).cq_entries(128))?;
        let since = match buffer_use {
            BufferUse::Once => "6.4",
            BufferUse::Incremental { min_left: 2.. } => "7.1 and later 6.18",
            BufferUse::Incremental { .. } => "6.12",
        };
        let pool = BufferPool::new(&mut ring, 7, count, LEN, buffer_use);
        let pool = has(test, since, pool)?;
        let (ours, theirs) = UnixStream::pair().expect("two sockets");
        Some(Self {
            ring,
            pool,
            ours,
            theirs,
        })
    }

    fn recv(&self, ioprio: u16) -> IoUringSqe {
        IoUringSqe::recv(self.ours.as_raw_fd(), null_mut(), 0, 0)
            .buffer_select(self.pool.group())
            .ioprio(ioprio)
    }

    /// The next completion, waiting for it.
    fn next(&mut self) -> IoUringCqe {
        loop {
            if let Some(cqe) = self.ring.pop() {
                return cqe;
            }
            self.ring.submit_and_wait(1).expect("a completion");
        }
    }

    /// The buffers of `cqe`, which the test gives once.
    fn take(&self, cqe: IoUringCqe) -> Vec<Buffer> {
        // SAFETY: the ring's own completion, of a receive from this pool that picks and completes in one go.
        let buffers = unsafe { self.pool.take(&self.ring, cqe) };
        buffers.expect("what the kernel says can be").collect()
    }

    /// Sends `bytes`, and returns what arrives in the next completion.
    fn pass(&mut self, bytes: &[u8]) -> (IoUringCqe, Vec<Buffer>) {
        self.theirs.write_all(bytes).expect("it is connected");
        let cqe = self.next();
        (cqe, self.take(cqe))
    }

    /// Frees the pool.
    fn close(mut self) {
        // SAFETY: each test that calls this has seen the last completion of each receive.
        unsafe { self.pool.close(&mut self.ring) }.expect("the group is there");
    }
}

fn bytes(buffers: &[Buffer]) -> Vec<u8> {
    buffers.iter().flat_map(|buffer| buffer.to_vec()).collect()
}

#[test]
fn a_multishot_receive_goes_round_the_pool_many_times() {
    let name = "a_multishot_receive_goes_round_the_pool_many_times";
    let Some(mut rig) = Rig::new(name, 4, BufferUse::Once) else {
        return;
    };
    let recv = rig.recv(IORING_RECV_MULTISHOT);
    push(&mut rig.ring, recv);
    let mut seen = [0; 4];
    for round in 0..100_u8 {
        let (cqe, buffers) = rig.pass(&vec![round; usize::from(round % 64) + 1]);
        assert!(cqe.has_more());
        assert_eq!(bytes(&buffers), vec![round; usize::from(round % 64) + 1]);
        assert_eq!(rig.pool.available(), 3);
        seen[usize::from(buffers[0].bid())] += 1;
        drop(buffers);
        assert_eq!(rig.pool.available(), 4);
    }
    assert_eq!(seen, [25; 4]);
    rig.theirs.shutdown(Shutdown::Write).expect("it is open");
    let end = rig.next();
    assert_eq!((end.res, end.has_more()), (0, false));
    assert!(rig.take(end).is_empty());
    assert_eq!(rig.pool.available(), 4);
    rig.close();
}

#[test]
fn a_pool_without_buffers_ends_the_receive_and_recovers() {
    let name = "a_pool_without_buffers_ends_the_receive_and_recovers";
    let Some(mut rig) = Rig::new(name, 2, BufferUse::Once) else {
        return;
    };
    let recv = rig.recv(IORING_RECV_MULTISHOT);
    push(&mut rig.ring, recv);
    for _ in 0..3 {
        let (_, one) = rig.pass(b"one");
        let (_, two) = rig.pass(b"two");
        assert_eq!(rig.pool.available(), 0);
        let (none, three) = rig.pass(b"three");
        assert_eq!(none.errno(), Some(Errno::ENOBUFS));
        assert!(!none.has_more() && three.is_empty());
        assert_eq!((bytes(&one), bytes(&two)), (b"one".into(), b"two".into()));
        drop((one, two));
        assert_eq!(rig.pool.available(), 2);
        push(&mut rig.ring, recv);
        let cqe = rig.next();
        assert_eq!(bytes(&rig.take(cqe)), b"three");
    }
    rig.theirs.shutdown(Shutdown::Write).expect("it is open");
    assert_eq!(rig.next().res, 0);
    rig.close();
}

#[test]
fn a_bundle_brings_its_bytes_in_order_through_several_buffers() {
    let name = "a_bundle_brings_its_bytes_in_order_through_several_buffers";
    let Some(mut rig) = Rig::new(name, 8, BufferUse::Once) else {
        return;
    };
    if rig.ring.features() & IORING_FEAT_RECVSEND_BUNDLE == 0 {
        println!("SKIPPED: {name}: this kernel has no bundles (Linux 6.10)");
        return;
    }
    // Of 8 buffers, 3 and a part at a time: the run wraps at every place.
    for round in 0..20_u8 {
        let sent: Vec<u8> = (0..3 * LEN + 5)
            .map(|index| round.wrapping_mul(7).wrapping_add(index.to_le_bytes()[0]))
            .collect();
        rig.theirs.write_all(&sent).expect("it is connected");
        let (mut received, mut most) = (Vec::new(), 0);
        while received.len() < sent.len() {
            // Kernels that do not know how much a Unix socket has go by the length.
            let mut recv = rig.recv(IORING_RECVSEND_BUNDLE);
            recv.len = 4 * LEN;
            push(&mut rig.ring, recv);
            let cqe = rig.next();
            let buffers = rig.take(cqe);
            assert_eq!(rig.pool.available(), 8 - buffers.len());
            received.extend(bytes(&buffers));
            most = most.max(buffers.len());
        }
        assert_eq!(received, sent);
        assert!(most >= 3, "a bundle had {most} buffers at most");
    }
    assert_eq!(rig.pool.available(), 8);
    rig.close();
}

#[test]
fn an_incremental_buffer_is_filled_by_several_completions() {
    let name = "an_incremental_buffer_is_filled_by_several_completions";
    let Some(mut rig) = Rig::new(name, 2, BufferUse::Incremental { min_left: 1 }) else {
        return;
    };
    let recv = rig.recv(IORING_RECV_MULTISHOT);
    push(&mut rig.ring, recv);
    for round in 0..20_u8 {
        let mut held = Vec::new();
        for part in 0..4 {
            let (cqe, buffers) = rig.pass(&[10 * round + part; 16]);
            assert_eq!(cqe.flags & IORING_CQE_F_BUF_MORE != 0, part < 3);
            assert_eq!(buffers.len(), 1);
            held.extend(buffers);
        }
        assert!(held.iter().all(|piece| piece.bid() == held[0].bid()));
        for (part, piece) in (0..4).zip(&held) {
            assert_eq!(**piece, [10 * round + part; 16], "nobody wrote over it");
        }
        assert_eq!(rig.pool.available(), 1);
        held.truncate(1);
        assert_eq!(rig.pool.available(), 1, "one piece is held");
        held.clear();
        assert_eq!(rig.pool.available(), 2);
    }
    rig.theirs.shutdown(Shutdown::Write).expect("it is open");
    let end = rig.next();
    assert_eq!(end.res, 0);
    assert!(rig.take(end).is_empty());
    assert_eq!(rig.pool.available(), 2);
    rig.close();
}

#[test]
fn an_incremental_buffer_with_too_small_a_rest_comes_back() {
    let name = "an_incremental_buffer_with_too_small_a_rest_comes_back";
    let Some(mut rig) = Rig::new(name, 2, BufferUse::Incremental { min_left: 20 }) else {
        return;
    };
    let recv = rig.recv(IORING_RECV_MULTISHOT);
    push(&mut rig.ring, recv);
    for round in 0..10_u8 {
        let (first, one) = rig.pass(&[round; 44]);
        assert!(
            first.flags & IORING_CQE_F_BUF_MORE != 0,
            "20 bytes are left"
        );
        let (second, two) = rig.pass(&[round + 100; 1]);
        assert_eq!(second.flags & IORING_CQE_F_BUF_MORE, 0, "19 bytes are left");
        assert_eq!(one[0].bid(), two[0].bid());
        assert_eq!((&*one[0], &*two[0]), (&[round; 44][..], &[round + 100][..]));
        assert_eq!(rig.pool.available(), 1);
        drop((one, two));
        assert_eq!(rig.pool.available(), 2);
    }
    rig.theirs.shutdown(Shutdown::Write).expect("it is open");
    let end = rig.next();
    assert!(rig.take(end).is_empty());
    rig.close();
}

#[test]
fn an_incremental_pool_goes_on_after_an_end_of_file() {
    let name = "an_incremental_pool_goes_on_after_an_end_of_file";
    let Some(mut rig) = Rig::new(name, 1, BufferUse::Incremental { min_left: 1 }) else {
        return;
    };
    // A completion without bytes may name a buffer that the kernel has not moved past.
    for round in 0..5_u8 {
        let recv = rig.recv(0);
        push(&mut rig.ring, recv);
        let (_, buffers) = rig.pass(&[round; 10]);
        assert_eq!(bytes(&buffers), [round; 10]);
        rig.theirs.shutdown(Shutdown::Write).expect("it is open");
        push(&mut rig.ring, recv);
        let end = rig.next();
        assert_eq!(end.res, 0);
        assert!(rig.take(end).is_empty());
        (rig.ours, rig.theirs) = UnixStream::pair().expect("two sockets");
        assert_eq!(bytes(&buffers), [round; 10]);
    }
    rig.close();
}

/// Cancels the operation with user data 1 until it has ended, and returns its last completion.
fn cancel(rig: &mut Rig) -> IoUringCqe {
    let mut ended = None;
    while ended.is_none() {
        push(&mut rig.ring, IoUringSqe::cancel(1, 0).user_data(2));
        loop {
            let cqe = rig.next();
            if cqe.user_data == 2 {
                break;
            }
            ended = Some(cqe);
        }
    }
    ended.expect("the loop's end")
}

#[test]
fn the_buffer_of_a_cancelled_receive_comes_back() {
    let name = "the_buffer_of_a_cancelled_receive_comes_back";
    let Some(mut rig) = Rig::new(name, 1, BufferUse::Once) else {
        return;
    };
    if rig.ring.buffer_ring_head(7).is_err() {
        println!("SKIPPED: {name}: this kernel does not tell how far it is (Linux 6.8)");
        return;
    }
    for round in 0..5_u8 {
        // In a worker, the kernel picks a buffer before there is data.
        let recv = rig.recv(0).force_async().user_data(1);
        push(&mut rig.ring, recv);
        rig.ring.submit().expect("a submission");
        let cancelled = cancel(&mut rig);
        assert!(cancelled.errno().is_some(), "{cancelled:?}");
        assert!(rig.take(cancelled).is_empty());
        assert_eq!(rig.pool.available(), 1);

        let recv = rig.recv(0);
        push(&mut rig.ring, recv);
        let (_, buffers) = rig.pass(&[round]);
        assert_eq!(bytes(&buffers), [round]);
    }
    rig.close();
}

#[test]
fn what_was_received_outlives_the_pools_end_and_the_ring() {
    let name = "what_was_received_outlives_the_pools_end_and_the_ring";
    let Some(mut rig) = Rig::new(name, 2, BufferUse::Once) else {
        return;
    };
    let recv = rig.recv(0);
    push(&mut rig.ring, recv);
    let (_, buffers) = rig.pass(b"kept");
    let Rig { mut ring, pool, .. } = rig;
    // SAFETY: the receive has completed.
    unsafe { pool.close(&mut ring) }.expect("the group is there");
    // SAFETY: as above.
    let again = unsafe { pool.close(&mut ring) };
    assert_eq!(again.map_err(|error| error.to_errno()), Err(Errno::ENOENT));
    drop(pool);
    drop(ring);
    assert_eq!(bytes(&buffers), b"kept");
}

#[test]
fn buffers_are_given_back_also_after_the_ring_has_gone() {
    let name = "buffers_are_given_back_also_after_the_ring_has_gone";
    let Some(mut rig) = Rig::new(name, 2, BufferUse::Once) else {
        return;
    };
    let recv = rig.recv(0);
    push(&mut rig.ring, recv);
    let (_, buffers) = rig.pass(b"kept");
    let Rig { ring, pool, .. } = rig;
    drop(ring);
    assert_eq!((bytes(&buffers), pool.available()), (b"kept".into(), 1));
    drop(buffers);
    assert_eq!(pool.available(), 2);
}

#[test]
fn a_pool_that_is_dropped_leaves_its_memory_to_what_is_in_flight() {
    let name = "a_pool_that_is_dropped_leaves_its_memory_to_what_is_in_flight";
    let Some(mut rig) = Rig::new(name, 2, BufferUse::Once) else {
        return;
    };
    let recv = rig.recv(0);
    push(&mut rig.ring, recv);
    rig.ring.submit().expect("a submission");
    let Rig {
        mut ring,
        pool,
        mut theirs,
        ours: _ours,
    } = rig;
    drop(pool);
    // Into memory that is gone, the kernel would not receive.
    theirs.write_all(b"late").expect("it is connected");
    ring.submit_and_wait(1).expect("a completion");
    assert_eq!(ring.pop().map(|cqe| cqe.res), Some(4));
}

/// Lends `buffer` to the kernel as `bid`.
fn lend(buffers: &mut BufferRing, bid: u16, buffer: &mut [u8]) {
    let len = u32::try_from(buffer.len()).expect("a small buffer");
    // SAFETY: test-keeps, and fewer are lent than there are entries.
    unsafe { buffers.add(bid, buffer.as_mut_ptr(), len) };
    buffers.publish();
}

#[test]
fn the_bare_ring_lends_buffers_and_tells_how_far_the_kernel_is() {
    let name = "the_bare_ring_lends_buffers_and_tells_how_far_the_kernel_is";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    let registered = ring.register_buffer_ring(300, 4, BufferUse::Once);
    let Some(mut buffers) = has(name, "6.4", registered) else {
        return;
    };
    assert_eq!((buffers.group(), buffers.capacity()), (300, 4));
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let mut memory = [[0_u8; 8]; 2];
    // More than 4, so that the entry with the tail is written while it counts.
    for round in 0..10_u16 {
        let [one, _] = &mut memory;
        lend(&mut buffers, 40 + round, one);
        assert_eq!(buffers.tail(), round + 1);
        writer
            .write_all(&[round.to_le_bytes()[0]; 5])
            .expect("room");
        let read = IoUringSqe::read(reader.as_raw_fd(), null_mut(), 8, u64::MAX);
        let cqe = super::complete(&mut ring, read.buffer_select(300));
        assert_eq!((cqe.res, cqe.buffer_id()), (5, Some(40 + round)));
        assert_eq!(memory[0][..5], [round.to_le_bytes()[0]; 5]);
        if let Ok(head) = ring.buffer_ring_head(300) {
            assert_eq!(head, round + 1);
        }
    }
    let errno = |result: pepita_sys::error::Result<BufferRing>| {
        result.map_err(|error| error.to_errno()).expect_err("none")
    };
    let same = ring.register_buffer_ring(300, 4, BufferUse::Once);
    assert_eq!(errno(same), Errno::EEXIST);
    for entries in [0, 3, 32_769] {
        let wrong = ring.register_buffer_ring(1, entries, BufferUse::Once);
        assert_eq!(errno(wrong), Errno::EINVAL);
    }
    ring.unregister_buffer_ring(buffers).expect("the group");
    let read = IoUringSqe::read(reader.as_raw_fd(), null_mut(), 8, u64::MAX);
    let cqe = super::complete(&mut ring, read.buffer_select(300));
    assert_eq!(cqe.errno(), Some(Errno::ENOBUFS));
}
