//! Chains, operations that go on, and cancellation, from any thread.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::sync::Arc;
use std::task::Waker;
use std::thread;

use pepita_io::{LocalRing, RingHandle, SentMulti, ops};
use pepita_sys::error::{Errno, Result};

use super::{file_with, pair, pass, pending_read, poll_with, ring_thread};
use crate::callers::{local_listener, number_of, numbered_clients};

fn errno<T>(result: Result<T>) -> std::result::Result<T, Errno> {
    result.map_err(|error| error.to_errno())
}

fn listener() -> (Arc<TcpListener>, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    (Arc::new(listener), address)
}

/// Chains of several kinds, whole transfers, datagrams: what one future does.
async fn chains(io: RingHandle) {
    let file = Arc::new(tempfile::tempfile().expect("a temporary file"));
    let (write, sync, read, late) = io.submit_linked((
        ops::write(&file, vec![7; 100], 0),
        ops::fdatasync(&file),
        ops::hard(ops::read(&file, Vec::with_capacity(1000), 0)),
        ops::write(&file, "late", 100),
    ));
    assert_eq!(late.await.0, Ok(4));
    assert_eq!(read.await, (Ok(100), vec![7; 100]));
    sync.await.expect("an fdatasync");
    assert_eq!(write.await.0, Ok(100));
    let reads: Vec<_> = (0..4)
        .map(|number| ops::read(&file, vec![0; 50].into_boxed_slice(), number * 50))
        .collect();
    let mut outcomes = Vec::new();
    for read in io.submit_linked(reads) {
        outcomes.push(errno(read.await.0));
    }
    // The third is short, so the fourth is not done.
    assert_eq!(outcomes, [Ok(50), Ok(50), Ok(4), Err(Errno::ECANCELED)]);

    let (result, _) = io.write_all(&file, vec![1; 1 << 20], 0).await;
    assert_eq!(result, Ok(()));
    let room = vec![0; 1 << 20].into_boxed_slice();
    let (result, bytes) = io.read_exact(&file, room, 0).await;
    assert_eq!((result, *bytes == [1; 1 << 20]), (Ok(()), true));
    let recv = ops::recvmsg(&file, vec![vec![0; 8]]);
    let (result, bufs) = io.submit(recv).await;
    assert_eq!(errno(result).err(), Some(Errno::ENOTSOCK));
    assert_eq!(bufs, [[0; 8]]);
}

/// Takes connections by one operation.
async fn accepts(io: RingHandle) {
    let (listener, address) = listener();
    let mut connections = io.submit_multi(ops::accept(&listener));
    for _ in 0..20 {
        let client = TcpStream::connect(address).expect("a connection");
        let server = connections.next().await.expect("goes on");
        let server = TcpStream::from(server.expect("a connection"));
        assert_eq!(server.peer_addr().ok(), client.local_addr().ok());
    }
    connections.cancel();
    let last = connections.next().await.expect("why it ends");
    assert_eq!(errno(last).err(), Some(Errno::ECANCELED));
    assert!(connections.next().await.is_none());
    assert!(connections.next().await.is_none());
}

#[test]
fn chains_and_operations_that_go_on_run_under_our_executor() {
    let name = "chains_and_operations_that_go_on_run_under_our_executor";
    let Some(ring) = ring_thread(name, 8, 8) else {
        return;
    };
    let local = LocalRing::new(8).expect("a second ring");
    local.block_on(chains(ring.handle()));
    local.block_on(accepts(ring.handle()));
    ring.stop().expect("nothing is in flight");
}

#[test]
fn chains_and_operations_that_go_on_run_under_tokio() {
    let name = "chains_and_operations_that_go_on_run_under_tokio";
    // Room for what they all complete at once: without it, the kernel ends operations that go on.
    let Some(ring) = ring_thread(name, 256, 256) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("a runtime");
    let tasks: Vec<_> = (0..16)
        .flat_map(|_| {
            let (a, b) = (ring.handle(), ring.handle());
            [runtime.spawn(chains(a)), runtime.spawn(accepts(b))]
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).expect("a task");
    }
    ring.stop().expect("nothing is in flight");
}

#[test]
fn a_chain_counts_each_of_its_operations() {
    let name = "a_chain_counts_each_of_its_operations";
    let Some(ring) = ring_thread(name, 8, 3) else {
        return;
    };
    let io = ring.handle();
    let (_writer, reader) = pair();
    let waiting = pending_read(&io, &reader);
    let file = file_with(b"");
    let write = |text| ops::write(&file, text, 0);
    let (a, b, c) = io.submit_linked((write("a"), write("b"), write("c")));
    for write in [a, b, c] {
        assert_eq!(errno(write.wait().0), Err(Errno::EAGAIN));
    }
    let (a, b) = io.submit_linked((write("a"), write("b")));
    assert_eq!((a.wait().0, b.wait().0), (Ok(1), Ok(1)));
    waiting.cancel();
    assert_eq!(errno(waiting.wait().0), Err(Errno::ECANCELED));
    let (a, b, c) = io.submit_linked((write("a"), write("b"), write("c")));
    for write in [a, b, c] {
        assert_eq!(write.wait().0, Ok(1));
    }
    assert_eq!(Arc::strong_count(&file), 1);
}

#[test]
fn a_chain_is_cancelled_from_its_first_on_and_gives_its_buffers_back() {
    let name = "a_chain_is_cancelled_from_its_first_on_and_gives_its_buffers_back";
    let Some(ring) = ring_thread(name, 8, 64) else {
        return;
    };
    let io = ring.handle();
    let (_writer, reader) = pair();
    let file = file_with(b"");
    for round in 0..20 {
        let (read, write, last) = io.submit_linked((
            ops::read(&reader, vec![1, 2, 3], 0),
            ops::write(&file, vec![4, 5, 6], 0),
            ops::write(&file, "dropped", 0),
        ));
        if round % 2 == 0 {
            pass(&io);
        }
        drop(last);
        read.cancel();
        let (result, buf) = read.wait();
        assert_eq!((errno(result), buf), (Err(Errno::ECANCELED), vec![1, 2, 3]));
        let (result, buf) = write.wait();
        assert_eq!((errno(result), buf), (Err(Errno::ECANCELED), vec![4, 5, 6]));
    }
    while Arc::strong_count(&file) > 1 {
        pass(&io);
    }
}

#[test]
fn an_operation_that_goes_on_ends_when_nobody_waits_and_closes_what_came() {
    let name = "an_operation_that_goes_on_ends_when_nobody_waits_and_closes_what_came";
    let Some(ring) = ring_thread(name, 8, 2) else {
        return;
    };
    let io = ring.handle();
    let (listener, address) = listener();
    for round in 0..20 {
        let connections = io.submit_multi(ops::accept(&listener));
        if round % 2 == 0 {
            pass(&io);
        }
        let client = TcpStream::connect(address).expect("a connection");
        if round % 4 == 0 {
            pass(&io);
        }
        drop(connections);
        // It counts until the kernel is done with it.
        while Arc::strong_count(&listener) > 1 {
            thread::yield_now();
            let nop = io.submit(ops::nop()).wait();
            assert!(matches!(errno(nop), Ok(()) | Err(Errno::EAGAIN)));
        }
        let (a, b) = io.submit_linked((ops::nop(), ops::nop()));
        assert_eq!((a.wait(), b.wait()), (Ok(()), Ok(())));
        // Whoever came is refused, or waits for another to accept.
        listener.set_nonblocking(true).expect("a listener");
        drop(listener.accept());
        listener.set_nonblocking(false).expect("a listener");
        let mut client = client;
        assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    }
}

#[test]
fn a_waker_of_an_operation_that_goes_on_hears_of_each_item() {
    let name = "a_waker_of_an_operation_that_goes_on_hears_of_each_item";
    let Some(ring) = ring_thread(name, 8, 8) else {
        return;
    };
    let io = ring.handle();
    let (listener, path) = local_listener();
    let mut connections = io.submit_multi(ops::accept(&listener));
    {
        let mut next = pin!(connections.next());
        assert!(poll_with(&mut next, Waker::noop()).is_pending());
        // Dropping it loses nothing.
    }
    let clients = numbered_clients::<5>(&path);
    for number in 0..clients.len() {
        let server = connections.wait_next().expect("goes on");
        assert_eq!(number_of(server.expect("a connection")), number);
    }
    // At the ring's end it ends too.
    let waiting = thread::spawn(move || connections.wait_next().is_none_or(|last| last.is_err()));
    pass(&io);
    ring.stop().expect("all has ended");
    assert!(waiting.join().expect("the thread"));
    assert_eq!(Arc::strong_count(&listener), 1);
}

#[test]
fn what_is_handed_over_after_the_ring_s_end_is_an_error_and_no_hang() {
    let name = "what_is_handed_over_after_the_ring_s_end_is_an_error_and_no_hang";
    let Some(ring) = ring_thread(name, 8, 8) else {
        return;
    };
    let io = ring.handle();
    ring.stop().expect("nothing is in flight");
    let file = file_with(b"content");
    let (listener, _) = listener();
    let read = || ops::read(&file, vec![1, 2, 3], 0);
    let sent = io.submit(read());
    sent.cancel();
    let (result, buf) = sent.wait();
    assert_eq!((errno(result), buf), (Err(Errno::ESHUTDOWN), vec![1, 2, 3]));
    let (a, b) = io.submit_linked((read(), read()));
    for sent in io
        .submit_linked(vec![read(), read()])
        .into_iter()
        .chain([a, b])
    {
        let (result, buf) = sent.wait();
        assert_eq!((errno(result), buf), (Err(Errno::ESHUTDOWN), vec![1, 2, 3]));
    }
    let mut connections = io.submit_multi(ops::accept(&listener));
    connections.cancel();
    let first = connections.wait_next().expect("why there is none");
    assert_eq!(errno(first).err(), Some(Errno::ESHUTDOWN));
    assert!(connections.wait_next().is_none());
    drop(connections);
    let local = LocalRing::new(8).expect("another ring");
    let (result, text) = local.block_on(io.write_all(&file, "text", 0));
    assert_eq!((errno(result), text), (Err(Errno::ESHUTDOWN), "text"));
    assert_eq!(Arc::strong_count(&file) + Arc::strong_count(&listener), 2);
}

#[test]
fn threads_that_hand_over_chains_and_streams_while_the_ring_ends_all_get_an_answer() {
    let name = "threads_that_hand_over_chains_and_streams_while_the_ring_ends_all_get_an_answer";
    let (listener, _) = listener();
    for _ in 0..30 {
        let Some(ring) = ring_thread(name, 8, 4096) else {
            return;
        };
        thread::scope(|scope| {
            for _ in 0..3 {
                let (io, listener) = (ring.handle(), &listener);
                scope.spawn(move || {
                    loop {
                        let mut connections = io.submit_multi(ops::accept(listener));
                        let (a, b) = io.submit_linked((ops::nop(), ops::nop()));
                        let last = b.wait();
                        connections.cancel();
                        while let Some(item) = connections.wait_next() {
                            let errno = errno(item).err();
                            assert!(
                                [Some(Errno::ECANCELED), Some(Errno::ESHUTDOWN)].contains(&errno)
                            );
                        }
                        drop(a);
                        match errno(last) {
                            Ok(()) | Err(Errno::ECANCELED) => {}
                            Err(Errno::ESHUTDOWN) => return,
                            Err(errno) => panic!("{errno}"),
                        }
                    }
                });
            }
            pass(&ring.handle());
            ring.stop().expect("all has ended");
        });
        assert_eq!(Arc::strong_count(&listener), 1);
    }
}

#[test]
fn streams_and_their_futures_go_to_other_threads() {
    fn goes<T: Send>(_: T) {}
    fn is_shared<T: Sync>() {}
    is_shared::<SentMulti<ops::Accept<Arc<TcpListener>>>>();
    let _ = |io: RingHandle| {
        goes(chains(io.clone()));
        goes(accepts(io));
    };
}
