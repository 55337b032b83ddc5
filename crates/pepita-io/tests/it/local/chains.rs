//! Chains, and operations that are asked to end.

use std::fs::File;
use std::io::Write;
use std::mem;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pepita_io::ops;
use pepita_sys::error::{Errno, Result};

use super::{file_with, local_ring};
use crate::callers::{local_listener, number_of, numbered_clients};

fn errno<T>(result: Result<T>) -> std::result::Result<T, Errno> {
    result.map_err(|error| error.to_errno())
}

fn pair() -> (UnixStream, Rc<UnixStream>) {
    let (writer, reader) = UnixStream::pair().expect("a pair");
    (writer, Rc::new(reader))
}

#[test]
fn operations_of_many_kinds_run_one_after_the_other() {
    let name = "operations_of_many_kinds_run_one_after_the_other";
    let Some(ring) = local_ring(name, 16) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let file = Rc::new(File::create_new(path("a")).expect("a file"));
    let reader = Rc::new(File::open(path("a")).expect("a handle"));
    for round in 0..10_u8 {
        let (write, sync, read, mkdir, rename, back, rmdir, nop) = ring.submit_linked((
            ops::write(&file, vec![round; 5000], 0),
            ops::fdatasync(&file),
            ops::read(&reader, vec![0; 5000].into_boxed_slice(), 0),
            ops::mkdir(path("d"), 0o700).expect("a path"),
            ops::rename(path("d"), path("e")).expect("paths"),
            ops::writev(&file, vec!["more", " of it"], 5000),
            ops::unlink_at(&ops::Cwd, path("e"), ops::AtFlags::REMOVEDIR).expect("a path"),
            ops::nop(),
        ));
        ring.block_on(async {
            // In the order of the chain or not.
            assert_eq!(nop.await, Ok(()));
            assert_eq!(write.await, (Ok(5000), vec![round; 5000]));
            assert_eq!(sync.await, Ok(()));
            let (count, bytes) = read.await;
            assert_eq!((count, &*bytes), (Ok(5000), &[round; 5000][..]));
            assert_eq!((mkdir.await, rename.await), (Ok(()), Ok(())));
            assert_eq!(back.await.0, Ok(10));
            assert_eq!(rmdir.await, Ok(()));
        });
    }
}

#[test]
fn what_stands_behind_a_failure_is_cancelled_and_gives_back_what_it_owns() {
    let name = "what_stands_behind_a_failure_is_cancelled_and_gives_back_what_it_owns";
    let Some(ring) = local_ring(name, 16) else {
        return;
    };
    let file = file_with(b"0123456789");
    let (first, short, write, sync, last) = ring.submit_linked((
        ops::write(&file, "first", 0),
        // It wants more than there is.
        ops::read(&file, Vec::with_capacity(100), 0),
        ops::write(&file, vec![1, 2, 3], 0),
        ops::fsync(&file),
        ops::hard(ops::read(&file, vec![9], 0)),
    ));
    ring.block_on(async {
        assert_eq!(first.await.0, Ok(5));
        assert_eq!(short.await, (Ok(10), b"first56789".to_vec()));
        let (result, buf) = write.await;
        assert_eq!((errno(result), buf), (Err(Errno::ECANCELED), vec![1, 2, 3]));
        assert_eq!(errno(sync.await), Err(Errno::ECANCELED));
        let (result, buf) = last.await;
        assert_eq!((errno(result), buf), (Err(Errno::ECANCELED), vec![9]));
    });
    assert_eq!(Rc::strong_count(&file), 1);
}

#[test]
fn what_stands_behind_an_entry_that_the_kernel_refuses_at_once_is_not_done() {
    let name = "what_stands_behind_an_entry_that_the_kernel_refuses_at_once_is_not_done";
    let Some(ring) = local_ring(name, 16) else {
        return;
    };
    let file = file_with(b"");
    // The kernel looks at the count before it starts anything.
    let refused = || ops::writev(&file, vec!["x"; 1025], 0);
    let (a, b, c) =
        ring.submit_linked((refused(), ops::write(&file, "never", 0), ops::fsync(&file)));
    let (d, e, f) =
        ring.submit_linked((ops::fsync(&file), refused(), ops::write(&file, "never", 0)));
    let last = ring.submit(ops::nop());
    ring.block_on(async {
        assert_eq!(errno(a.await.0), Err(Errno::EINVAL));
        assert_eq!(errno(b.await.0), Err(Errno::ECANCELED));
        assert_eq!(errno(c.await), Err(Errno::ECANCELED));
        // Of a chain that is refused in the middle, nothing is done.
        assert_eq!(errno(d.await), Err(Errno::ECANCELED));
        assert_eq!(errno(e.await.0), Err(Errno::EINVAL));
        assert_eq!(errno(f.await.0), Err(Errno::ECANCELED));
        assert_eq!(last.await, Ok(()));
    });
    assert_eq!(file.metadata().expect("it is there").len(), 0);
}

#[test]
fn behind_a_hard_link_the_next_starts_whatever_has_come() {
    let name = "behind_a_hard_link_the_next_starts_whatever_has_come";
    let Some(ring) = local_ring(name, 16) else {
        return;
    };
    let file = file_with(b"0123456789");
    let full = File::options().write(true).open("/dev/full");
    let full = Rc::new(full.expect("the device"));
    let (short, failed, write, read) = ring.submit_linked((
        ops::hard(ops::read(&file, Vec::with_capacity(100), 0)),
        ops::hard(ops::write(&full, "lost", 0)),
        ops::write(&file, "ab", 0),
        ops::read(&file, vec![0; 2].into_boxed_slice(), 0),
    ));
    ring.block_on(async {
        assert_eq!(short.await.0, Ok(10));
        assert_eq!(errno(failed.await.0), Err(Errno::ENOSPC));
        assert_eq!(write.await.0, Ok(2));
        assert_eq!(*read.await.1, *b"ab");
    });
}

#[test]
fn a_chain_may_be_as_long_as_the_ring_and_no_longer() {
    let Some(ring) = local_ring("a_chain_may_be_as_long_as_the_ring_and_no_longer", 16) else {
        return;
    };
    let file = file_with(b"");
    let writes = |count: u64| {
        let write = |number| ops::write(&file, vec![b'a'; 10], number * 10);
        (0..count).map(write).collect::<Vec<_>>()
    };
    ring.block_on(async {
        // Something is in the queue before it.
        let nop = ring.submit(ops::nop());
        let chain = ring.submit_linked(writes(16));
        for write in chain {
            assert_eq!(write.await.0, Ok(10));
        }
        nop.await.expect("a no-op");
        for write in ring.submit_linked(writes(17)) {
            let (result, buf) = write.await;
            assert_eq!(errno(result), Err(Errno::EAGAIN));
            assert_eq!(buf, vec![b'a'; 10]);
        }
        assert!(ring.submit_linked(writes(0)).is_empty());
        for write in ring.submit_linked(writes(1)) {
            assert_eq!(write.await.0, Ok(10));
        }
    });
    assert_eq!(Rc::strong_count(&file), 1);
}

#[test]
fn a_chain_whose_first_is_dropped_ends_and_nothing_is_freed_early() {
    let name = "a_chain_whose_first_is_dropped_ends_and_nothing_is_freed_early";
    let Some(ring) = local_ring(name, 16) else {
        return;
    };
    let file = file_with(b"kept");
    for _ in 0..20 {
        let (_writer, reader) = pair();
        let (read, write, sync) = ring.submit_linked((
            ops::read(&reader, Vec::with_capacity(4096), 0),
            ops::write(&file, vec![b'x'; 4096], 0),
            ops::fsync(&file),
        ));
        ring.turn(None).expect("a turn");
        drop(sync);
        drop(read);
        assert_eq!(Rc::strong_count(&reader), 2);
        let (result, buf) = ring.block_on(write);
        assert_eq!(errno(result), Err(Errno::ECANCELED));
        assert_eq!(buf.len(), 4096);
        while Rc::strong_count(&reader) + Rc::strong_count(&file) > 2 {
            ring.turn(Some(Duration::from_secs(10))).expect("a turn");
        }
    }
    assert_eq!(file.metadata().expect("it is there").len(), 4);
}

#[test]
fn a_chain_in_flight_ends_with_its_ring_and_a_forgotten_one_is_leaked() {
    let name = "a_chain_in_flight_ends_with_its_ring_and_a_forgotten_one_is_leaked";
    for forget in [false, true] {
        let Some(ring) = local_ring(name, 16) else {
            return;
        };
        let (_writer, reader) = pair();
        let file = file_with(b"");
        let chain = ring.submit_linked((
            ops::read(&reader, Vec::with_capacity(64), 0),
            ops::write(&file, vec![7; 64], 0),
            ops::write(&file, vec![8; 64], 64),
        ));
        ring.turn(None).expect("a turn");
        let leaked = if forget {
            mem::forget(chain);
            drop(ring);
            (2, 3)
        } else {
            drop(ring);
            drop(chain);
            (1, 1)
        };
        let held = (Rc::strong_count(&reader), Rc::strong_count(&file));
        assert_eq!(held, leaked);
        assert_eq!(file.metadata().expect("it is there").len(), 0);
    }
}

#[test]
fn an_operation_that_is_cancelled_gives_its_buffer_back() {
    let name = "an_operation_that_is_cancelled_gives_its_buffer_back";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let (mut writer, reader) = pair();
    ring.block_on(async {
        // Before it was handed over, and after.
        for turns in 0..3 {
            let recv = ring.submit(ops::recv(&reader, vec![1, 2, 3]));
            for _ in 0..turns {
                ring.turn(None).expect("a turn");
            }
            recv.cancel();
            recv.cancel();
            let (result, buf) = recv.await;
            assert_eq!((errno(result), buf), (Err(Errno::ECANCELED), vec![1, 2, 3]));
        }
        // Among those that wait for the same, one ends.
        let mut recvs: Vec<_> = (0..5)
            .map(|number| ring.submit(ops::recv(&reader, vec![number])))
            .collect();
        let third = recvs.remove(2);
        third.cancel();
        assert_eq!(third.await.1, [2]);
        // Whichever takes which.
        writer.write_all(b"xxxx").expect("bytes");
        for recv in recvs {
            assert_eq!(recv.await, (Ok(1), b"x".to_vec()));
        }
        let limited = ring.submit_for(ops::recv(&reader, vec![1, 2, 3]), Duration::from_secs(3600));
        limited.cancel();
        let (result, buf) = limited.await;
        assert_eq!((errno(result), buf), (Err(Errno::ECANCELED), vec![1, 2, 3]));
    });
    assert_eq!(Rc::strong_count(&reader), 1);
}

#[test]
fn a_cancellation_that_comes_too_late_changes_nothing() {
    let name = "a_cancellation_that_comes_too_late_changes_nothing";
    let Some(ring) = local_ring(name, 4) else {
        return;
    };
    let (mut writer, reader) = pair();
    writer.write_all(b"bytes").expect("bytes");
    ring.block_on(async {
        let mut recv = ring.submit(ops::recv(&reader, Vec::with_capacity(8)));
        ring.submit(ops::nop()).await.expect("a no-op");
        recv.cancel();
        assert_eq!((&mut recv).await, (Ok(5), b"bytes".to_vec()));
        // Its slot is another operation's by now.
        let next = ring.submit(ops::recv(&reader, Vec::with_capacity(8)));
        recv.cancel();
        drop(recv);
        writer.write_all(b"more").expect("bytes");
        assert_eq!(next.await, (Ok(4), b"more".to_vec()));
        // What was never started has ended.
        let file = file_with(b"");
        let chain = (0..5)
            .map(|_| ops::write(&file, "x", 0))
            .collect::<Vec<_>>();
        for write in ring.submit_linked(chain) {
            write.cancel();
            assert_eq!(errno(write.await.0), Err(Errno::EAGAIN));
        }
    });
}

#[test]
fn an_operation_that_goes_on_is_cancelled_without_losing_what_has_come() {
    let name = "an_operation_that_goes_on_is_cancelled_without_losing_what_has_come";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let (listener, path) = local_listener();
    let mut accepts = ring.submit_multi(ops::accept(&listener));
    ring.turn(None).expect("a turn");
    let clients = numbered_clients::<3>(&path);
    ring.turn(None).expect("a turn");
    accepts.cancel();
    ring.block_on(async {
        for number in 0..clients.len() {
            let server = accepts.next().await.expect("goes on");
            assert_eq!(number_of(server.expect("a connection")), number);
        }
        let last = accepts.next().await.expect("why it ends");
        assert_eq!(errno(last).err(), Some(Errno::ECANCELED));
        assert!(accepts.next().await.is_none());
        accepts.cancel();
    });
    drop(accepts);
    assert_eq!(Arc::strong_count(&listener), 1);
}

#[test]
fn a_connection_that_floods_holds_one_buffer_of_the_pool() {
    let name = "a_connection_that_floods_holds_one_buffer_of_the_pool";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let pool = match ring.buffer_pool(4, 64) {
        Ok(pool) => pool,
        Err(error) => {
            println!("SKIPPED: {name}: no provided buffers here: {error}");
            return;
        }
    };
    let (mut floods, flooded) = pair();
    let (mut quiet, served) = pair();
    floods.write_all(&[7; 64 * 100]).expect("bytes");
    ring.block_on(async {
        let first = pool.recv(&flooded);
        let waiting = pool.recv(&served);
        let held = first.await.expect("bytes").expect("a buffer");
        assert_eq!((&*held, pool.available()), (&[7; 64][..], 3));
        quiet.write_all(b"in between").expect("bytes");
        let buffer = waiting.await.expect("bytes").expect("a buffer");
        assert_eq!(&*buffer, b"in between");
        drop((held, buffer));
        assert_eq!(pool.available(), 4);

        // One that nobody waits for gives its buffer back.
        drop(pool.recv(&flooded));
        while Rc::strong_count(&flooded) > 1 {
            ring.turn(Some(Duration::from_secs(10))).expect("a turn");
        }
        assert_eq!(pool.available(), 4);
        let recv = pool.recv(&served);
        recv.cancel();
        assert_eq!(errno(recv.await).err(), Some(Errno::ECANCELED));
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(pool.recv(&flooded).await.expect("bytes").expect("a buffer"));
        }
        let none = pool.recv(&flooded).await;
        assert_eq!(errno(none).err(), Some(Errno::ENOBUFS));
        drop((held, quiet));
        assert!(pool.recv(&served).await.expect("an end").is_none());
    });
    // In flight at the ring's end.
    let (_silent, waiting) = pair();
    let recv = pool.recv(&waiting);
    ring.turn(None).expect("a turn");
    drop((ring, pool));
    drop(recv);
    assert_eq!(Rc::strong_count(&waiting), 1);
}

#[test]
fn what_a_handle_starts_after_the_rings_end_is_an_error_and_no_hang() {
    let name = "what_a_handle_starts_after_the_rings_end_is_an_error_and_no_hang";
    let (Some(ring), Some(other)) = (local_ring(name, 8), local_ring(name, 8)) else {
        return;
    };
    let io = ring.handle();
    let pool = ring.buffer_pool(2, 64).ok();
    drop(ring);
    let file = file_with(b"content");
    let (_writer, reader) = pair();
    let read = || ops::read(&file, vec![1, 2, 3], 0);
    let ended = |(result, buf): (Result<usize>, Vec<u8>)| {
        assert_eq!((errno(result), buf), (Err(Errno::ESHUTDOWN), vec![1, 2, 3]));
    };
    other.block_on(async {
        let submitted = io.submit(read());
        submitted.cancel();
        ended(submitted.await);
        ended(io.submit_for(read(), Duration::from_secs(1)).await);
        let (a, b) = io.submit_linked((read(), read()));
        ended(a.await);
        ended(b.await);
        let (result, buf) = io.read_exact(&file, vec![0; 2], 0).await;
        assert_eq!((errno(result), buf), (Err(Errno::ESHUTDOWN), vec![0; 2]));
        let listener = Rc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener"));
        let mut accepts = io.submit_multi(ops::accept(&listener));
        let first = accepts.next().await.expect("why there is none");
        assert_eq!(errno(first).err(), Some(Errno::ESHUTDOWN));
        assert!(accepts.next().await.is_none());
        if let Some(pool) = pool {
            let none = pool.recv(&reader).await;
            assert_eq!(errno(none).err(), Some(Errno::ESHUTDOWN));
            let first = pool.recv_many(&reader).next().await.expect("why");
            assert_eq!(errno(first).err(), Some(Errno::ESHUTDOWN));
        }
    });
    drop(io.submit(read()));
    assert_eq!(Rc::strong_count(&file) + Rc::strong_count(&reader), 2);
}

#[test]
fn the_descriptor_is_the_rings() {
    let Some(ring) = local_ring("the_descriptor_is_the_rings", 8) else {
        return;
    };
    let link = |number| std::fs::read_link(format!("/proc/self/fd/{number}"));
    let number = ring.as_raw_fd();
    assert_eq!(ring.as_fd().as_raw_fd(), number);
    let is_ring = |number| link(number).is_ok_and(|link| link.ends_with("anon_inode:[io_uring]"));
    assert!(is_ring(number));
    // An operation that the thread itself has ended makes it readable.
    let pollfd = rustix::event::PollFd::new(&ring, rustix::event::PollFlags::IN);
    let mut pollfds = [pollfd];
    let now = rustix::event::Timespec::default();
    assert_eq!(rustix::event::poll(&mut pollfds, Some(&now)), Ok(0));
    let nop = ring.submit(ops::nop());
    ring.turn(None).expect("a turn");
    ring.block_on(nop).expect("a no-op");

    let bare = pepita_io::ring::RingConfig::new(8).build().expect("a ring");
    assert!(is_ring(bare.as_fd().as_raw_fd()) && is_ring(bare.as_raw_fd()));
}
