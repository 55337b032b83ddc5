//! Receives into several buffers of a pool at once.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::Write;
use std::mem;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use pepita_io::ring::Buffers;
use pepita_io::{LocalPool, LocalRing, RecvBundle, Submitted};
use pepita_sys::error::Errno;

use super::local_ring;

/// Buffers of the pool.
const COUNT: usize = 4;
/// Bytes of each.
const LEN: usize = 16;

/// A ring and a pool, or `None` after saying why `test` is skipped.
fn ring_with_pool(test: &str) -> Option<(LocalRing, LocalPool)> {
    let ring = local_ring(test, 16)?;
    let pool = match ring.buffer_pool(4, 16) {
        Ok(pool) => pool,
        Err(error) => {
            println!("SKIPPED: {test}: no provided buffers here: {error}");
            return None;
        }
    };
    let (mut theirs, ours) = pair();
    theirs.write_all(b"?").expect("a byte");
    match ring.block_on(pool.recv_bundle(&ours)) {
        Err(error) if error.to_errno() == Errno::EOPNOTSUPP => {
            println!("SKIPPED: {test}: {error}");
            return None;
        }
        bundle => assert_eq!(joined(&bundle.expect("it is known").expect("a byte")), b"?"),
    }
    Some((ring, pool))
}

fn pair() -> (UnixStream, Rc<UnixStream>) {
    let (theirs, ours) = UnixStream::pair().expect("a pair");
    (theirs, Rc::new(ours))
}

fn joined(bundle: &Buffers) -> Vec<u8> {
    bundle.slices().flatten().copied().collect()
}

/// Bytes that differ from their neighbours and from those of other seeds.
fn numbered(seed: u8, len: usize) -> Vec<u8> {
    let numbers = 0..u32::try_from(len).expect("few");
    numbers
        .map(|number| seed.wrapping_mul(31).wrapping_add(number.to_le_bytes()[0]))
        .collect()
}

/// Turns until the pool has all its buffers again.
fn until_all_are_back(ring: &LocalRing, pool: &LocalPool) {
    for _ in 0..1000 {
        if pool.available() == COUNT {
            return;
        }
        ring.turn(Some(Duration::from_millis(10))).expect("a turn");
    }
    panic!("{} of {COUNT} buffers came back", pool.available());
}

#[test]
fn a_bundle_holds_what_came_in_order_and_gives_each_buffer_back() {
    let name = "a_bundle_holds_what_came_in_order_and_gives_each_buffer_back";
    let Some((ring, pool)) = ring_with_pool(name) else {
        return;
    };
    let (mut theirs, ours) = pair();
    let mut most = 0;
    // Whole buffers, a part of the last one, the whole pool; the runs wrap around the ring at every place.
    for (round, len) in (0..60_u8).zip([1, 16, 17, 32, 47, 48, 63, 64, 33].into_iter().cycle()) {
        let sent = numbered(round, len);
        theirs.write_all(&sent).expect("bytes");
        let mut received: Vec<u8> = Vec::new();
        while received.len() < len {
            let bundle = ring.block_on(pool.recv_bundle(&ours));
            let bundle = bundle.expect("bytes").expect("it is open");
            let total = bundle.total_len();
            assert_eq!(joined(&bundle).len(), total);
            let slices: Vec<Vec<u8>> = bundle.slices().map(<[u8]>::to_vec).collect();
            let (last, whole) = slices.split_last().expect("a buffer at least");
            assert!(whole.iter().all(|slice| slice.len() == LEN) && last.len() <= LEN);
            assert_eq!(pool.available(), COUNT - slices.len());
            most = most.max(slices.len());
            received.extend(slices.iter().flatten());
            // Each goes back by itself.
            for (gone, (buffer, slice)) in bundle.zip(&slices).enumerate() {
                assert_eq!(&*buffer, slice.as_slice());
                assert_eq!(pool.available(), COUNT - slices.len() + gone);
            }
            assert_eq!(pool.available(), COUNT);
        }
        assert_eq!(received, sent, "round {round}");
    }
    assert!(most >= 3, "a bundle had {most} buffers at most");
    drop(theirs);
    let end = ring.block_on(pool.recv_bundle(&ours)).expect("no error");
    assert!(end.is_none());
    assert_eq!(pool.available(), COUNT);
}

#[test]
fn a_bundle_that_is_fetched_late_is_whole_though_its_places_are_taken_again() {
    let name = "a_bundle_that_is_fetched_late_is_whole_though_its_places_are_taken_again";
    let Some((ring, pool)) = ring_with_pool(name) else {
        return;
    };
    let (mut theirs, ours) = pair();
    let (mut their_other, other) = pair();
    let sent = numbered(1, 2 * LEN - 3);
    for round in 0..10 {
        theirs.write_all(&sent).expect("bytes");
        let late = pool.recv_bundle(&ours);
        ring.turn(None).expect("a turn");
        // Its completion is there, and the other connection goes round with the buffers that are left.
        for _ in 0..2 * COUNT + round {
            their_other.write_all(b"other").expect("bytes");
            let buffer = ring.block_on(pool.recv(&other)).expect("bytes");
            assert_eq!(&*buffer.expect("it is open"), b"other");
        }
        let bundle = ring.block_on(late).expect("bytes").expect("it is open");
        assert_eq!(joined(&bundle), sent);
        drop(bundle);
        assert_eq!(pool.available(), COUNT);
    }
}

#[test]
fn a_bundle_whose_future_is_dropped_gives_its_buffers_back() {
    let name = "a_bundle_whose_future_is_dropped_gives_its_buffers_back";
    let Some((ring, pool)) = ring_with_pool(name) else {
        return;
    };
    let (mut theirs, ours) = pair();
    // Nothing has come.
    let waiting = pool.recv_bundle(&ours);
    ring.turn(None).expect("a turn");
    drop(waiting);
    while Rc::strong_count(&ours) > 1 {
        ring.turn(Some(Duration::from_secs(10))).expect("a turn");
    }
    assert_eq!(pool.available(), COUNT);
    // It has come, and nobody has looked.
    theirs.write_all(&numbered(2, 3 * LEN)).expect("bytes");
    let late = pool.recv_bundle(&ours);
    ring.turn(None).expect("a turn");
    drop(late);
    until_all_are_back(&ring, &pool);
    // It comes while the cancellation is on its way; what was received for nobody is gone.
    let raced = pool.recv_bundle(&ours);
    ring.turn(None).expect("a turn");
    theirs.write_all(&numbered(3, 3 * LEN)).expect("bytes");
    drop(raced);
    while Rc::strong_count(&ours) > 1 {
        ring.turn(Some(Duration::from_secs(10))).expect("a turn");
    }
    until_all_are_back(&ring, &pool);
    // Each buffer is in the ring once: what comes next is whole.
    let (mut theirs, ours) = pair();
    for round in 0..10 {
        let sent = numbered(round, COUNT * LEN);
        theirs.write_all(&sent).expect("bytes");
        let (mut received, mut held) = (Vec::new(), Vec::new());
        while received.len() < sent.len() {
            let bundle = ring.block_on(pool.recv_bundle(&ours)).expect("bytes");
            let bundle = bundle.expect("it is open");
            received.extend(joined(&bundle));
            held.push(bundle);
        }
        let held: Vec<u8> = held.iter().flat_map(joined).collect();
        assert_eq!((&received, &held), (&sent, &sent));
    }
}

#[test]
fn a_bundle_that_is_forgotten_keeps_its_buffers_and_harms_no_other() {
    let name = "a_bundle_that_is_forgotten_keeps_its_buffers_and_harms_no_other";
    let Some((ring, pool)) = ring_with_pool(name) else {
        return;
    };
    let (mut theirs, ours) = pair();
    mem::forget(pool.recv_bundle(&ours));
    ring.turn(None).expect("a turn");
    theirs.write_all(&numbered(4, 2 * LEN)).expect("bytes");
    ring.block_on(ring.submit(pepita_io::ops::nop()))
        .expect("a no-op");
    ring.turn(None).expect("a turn");
    // Of its buffers nobody hears, so they are never lent again.
    let (mut their_other, other) = pair();
    for round in 0..20 {
        let sent = numbered(round, 2 * LEN);
        their_other.write_all(&sent).expect("bytes");
        let mut received = Vec::new();
        while received.len() < sent.len() {
            let bundle = ring.block_on(pool.recv_bundle(&other)).expect("bytes");
            received.extend(joined(&bundle.expect("it is open")));
        }
        assert_eq!(received, sent);
    }
    drop((pool, ring));
    assert_eq!(
        Rc::strong_count(&ours),
        2,
        "what is forgotten is never freed"
    );
}

#[test]
fn a_bundle_outlives_its_pool_and_its_ring() {
    let name = "a_bundle_outlives_its_pool_and_its_ring";
    let Some((ring, pool)) = ring_with_pool(name) else {
        return;
    };
    let (mut theirs, ours) = pair();
    let sent = numbered(5, 2 * LEN - 1);
    theirs.write_all(&sent).expect("bytes");
    let bundle = ring.block_on(pool.recv_bundle(&ours));
    let bundle = bundle.expect("bytes").expect("it is open");
    let held = joined(&bundle);
    assert!(sent.starts_with(&held));
    // One waits for bytes, one has them and was not fetched.
    let (_their_silent, silent) = pair();
    let waiting = pool.recv_bundle(&silent);
    theirs.write_all(b"not fetched").expect("bytes");
    let mut late = Box::pin(pool.recv_bundle(&ours));
    ring.turn(None).expect("a turn");
    drop((pool, ring));
    // The futures keep what is left of the ring.
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    if let Poll::Ready(fetched) = late.as_mut().poll(&mut cx) {
        let fetched = joined(&fetched.expect("bytes").expect("it is open"));
        assert!(b"not fetched".starts_with(&fetched) || sent.ends_with(&fetched));
    }
    drop((waiting, late));
    theirs
        .write_all(&[0xff; 4 * LEN])
        .expect("the other end is open");
    assert_eq!(joined(&bundle), held);
    let buffers: Vec<_> = bundle.collect();
    assert_eq!(
        buffers
            .iter()
            .flat_map(|buffer| buffer.to_vec())
            .collect::<Vec<_>>(),
        held
    );
}

#[test]
fn a_bundle_that_is_cancelled_takes_no_buffer() {
    let name = "a_bundle_that_is_cancelled_takes_no_buffer";
    let Some((ring, pool)) = ring_with_pool(name) else {
        return;
    };
    let (mut theirs, ours) = pair();
    for round in 0..10 {
        let cancelled = pool.recv_bundle(&ours);
        ring.turn(None).expect("a turn");
        cancelled.cancel();
        let error = ring.block_on(cancelled).expect_err("it is cancelled");
        assert_eq!(
            (error.to_errno(), pool.available()),
            (Errno::ECANCELED, COUNT)
        );
        let sent = numbered(round, LEN);
        theirs.write_all(&sent).expect("bytes");
        let bundle = ring.block_on(pool.recv_bundle(&ours)).expect("bytes");
        assert_eq!(joined(&bundle.expect("it is open")), sent);
    }
}

#[test]
fn a_bundle_without_buffers_is_an_error_and_the_bytes_wait() {
    let name = "a_bundle_without_buffers_is_an_error_and_the_bytes_wait";
    let Some((ring, pool)) = ring_with_pool(name) else {
        return;
    };
    let (mut theirs, ours) = pair();
    for round in 0..10 {
        let sent = numbered(round, (COUNT + 1) * LEN);
        theirs.write_all(&sent).expect("bytes");
        let mut held = Vec::new();
        let error = loop {
            match ring.block_on(pool.recv_bundle(&ours)) {
                Ok(bundle) => held.push(bundle.expect("it is open")),
                Err(error) => break error.to_errno(),
            }
        };
        assert_eq!((error, pool.available()), (Errno::ENOBUFS, 0));
        let mut received: Vec<u8> = held.iter().flat_map(joined).collect();
        assert_eq!(received, sent[..COUNT * LEN]);
        held.clear();
        let rest = ring.block_on(pool.recv_bundle(&ours)).expect("bytes");
        received.extend(joined(&rest.expect("it is open")));
        assert_eq!(received, sent);
    }
}

/// A connection with a receive in flight, which is fetched now and then.
struct Stream {
    theirs: TcpStream,
    ours: Rc<TcpStream>,
    next: Submitted<RecvBundle<Rc<TcpStream>>>,
    /// Sent, and not received.
    expected: VecDeque<u8>,
}

impl Stream {
    fn new(pool: &LocalPool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let theirs = TcpStream::connect(address).expect("it listens");
        theirs.set_nodelay(true).expect("an option");
        let ours = Rc::new(listener.accept().expect("a connection").0);
        Self {
            theirs,
            next: pool.recv_bundle(&ours),
            ours,
            expected: VecDeque::new(),
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.theirs.write_all(bytes).expect("it is connected");
        self.expected.extend(bytes);
    }

    /// The next bundle if there is one, compared with what was sent.
    fn fetch(&mut self, ring: &LocalRing, pool: &LocalPool) -> Option<Buffers> {
        let next = Pin::new(&mut self.next);
        let fetched = poll_now(ring, next);
        if fetched.is_ready() {
            self.next = pool.recv_bundle(&self.ours);
        }
        match fetched {
            Poll::Ready(Ok(bundle)) => {
                let bundle = bundle.expect("it is open");
                let got = joined(&bundle);
                let want: Vec<u8> = self.expected.drain(..got.len()).collect();
                assert_eq!(got, want);
                Some(bundle)
            }
            Poll::Ready(Err(error)) => {
                assert_eq!(error.to_errno(), Errno::ENOBUFS);
                None
            }
            Poll::Pending => None,
        }
    }
}

/// Polls once.
fn poll_now<F: Future>(ring: &LocalRing, future: Pin<&mut F>) -> Poll<F::Output> {
    let mut future = future;
    ring.block_on(poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))))
}

#[test]
fn bundles_of_several_connections_are_whole_in_whatever_order_they_are_fetched_and_dropped() {
    let name =
        "bundles_of_several_connections_are_whole_in_whatever_order_they_are_fetched_and_dropped";
    let Some((ring, _)) = ring_with_pool(name) else {
        return;
    };
    let pool = ring.buffer_pool(16, 16).expect("another pool");
    let mut streams: Vec<_> = (0..4).map(|_| Stream::new(&pool)).collect();
    let (mut held, mut seed, mut most) = (Vec::new(), 12_345_u32, 0);
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % below
    };
    for round in 0..2000_u32 {
        let stream = &mut streams[random(4)];
        match random(4) {
            0 => stream.send(&numbered(round.to_le_bytes()[0], 1 + random(60))),
            1 => ring.turn(None).expect("a turn"),
            2 => held.extend(stream.fetch(&ring, &pool)),
            _ if held.is_empty() => {}
            _ => {
                let bundle: Buffers = held.swap_remove(random(held.len()));
                most = most.max(bundle.slices().count());
            }
        }
    }
    held.clear();
    for stream in &mut streams {
        while !stream.expected.is_empty() {
            drop(stream.fetch(&ring, &pool));
            ring.turn(Some(Duration::from_millis(1))).expect("a turn");
        }
    }
    assert!(most >= 2, "a bundle had {most} buffers at most");
    drop(streams);
    for _ in 0..1000 {
        if pool.available() == 16 {
            return;
        }
        ring.turn(Some(Duration::from_millis(10))).expect("a turn");
    }
    panic!("{} of 16 buffers came back", pool.available());
}
