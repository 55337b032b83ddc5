//! Each operation, on the running kernel.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pepita_io::LocalRing;
use pepita_io::buf::AlignedBuf;
use pepita_io::ops::{
    self, AddressFamily, FallocateFlags, Operation, POSITION, SocketType, StatxFlags,
};
use pepita_sys::error::Errno;

use super::{file_with, local_ring};

/// Does one operation.
fn run<O: Operation>(ring: &LocalRing, operation: O) -> O::Output {
    ring.block_on(ring.submit(operation))
}

#[test]
fn a_connection_is_made_used_and_ended() {
    let Some(ring) = local_ring("a_connection_is_made_used_and_ended", 8) else {
        return;
    };
    let listener = Rc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener"));
    let address = listener.local_addr().expect("its address");
    ring.block_on(async {
        let socket = ops::socket(AddressFamily::INET, SocketType::STREAM, None);
        let client = Rc::new(ring.submit(socket).await.expect("a socket"));
        let (accepted, connected) = (
            ring.submit(ops::accept(&listener)),
            ring.submit(ops::connect(&client, &address)),
        );
        connected.await.expect("a connection");
        let server = Rc::new(accepted.await.expect("a connection"));

        let (sent, _) = ring.submit(ops::send(&client, "ping")).await;
        assert_eq!(sent, Ok(4));
        let (received, buf) = ring
            .submit(ops::recv(&server, Vec::with_capacity(16)))
            .await;
        assert_eq!((received, &buf[..]), (Ok(4), &b"ping"[..]));

        ring.submit(ops::shutdown(&client, Shutdown::Write))
            .await
            .expect("a shutdown");
        let (received, buf) = ring.submit(ops::recv(&server, buf)).await;
        assert_eq!((received, buf.len()), (Ok(0), 0));
    });
}

#[test]
fn a_closed_connection_is_an_error_and_no_signal() {
    let name = "a_closed_connection_is_an_error_and_no_signal";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    drop(theirs);
    let (result, buf) = run(&ring, ops::send(&Rc::new(ours), "lost"));
    let error = result.expect_err("nobody is there");
    assert_eq!((error.to_errno(), buf), (Errno::EPIPE, "lost"));
}

#[test]
fn large_sends_go_out_whole_with_and_without_copying() {
    let name = "large_sends_go_out_whole_with_and_without_copying";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address: SocketAddr = listener.local_addr().expect("its address");
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("all bytes");
        bytes
    });
    let stream = Rc::new(TcpStream::connect(address).expect("a connection"));
    let half: Arc<[u8]> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    ring.block_on(async {
        let (sent, _) = ring.submit(ops::send_all(&stream, Arc::clone(&half))).await;
        assert_eq!(sent, Ok(half.len()));
        let mut sent = 0;
        while sent < half.len() {
            let rest = pepita_io::buf::Part::new(half.to_vec(), sent..half.len());
            let (count, _) = ring.submit(ops::send_zero_copy(&stream, rest)).await;
            sent += count.expect("a send");
        }
    });
    drop(stream);
    assert_eq!(
        reader.join().expect("the reader"),
        [&half[..], &half[..]].concat()
    );
}

#[test]
fn many_connections_come_of_one_operation() {
    let Some(ring) = local_ring("many_connections_come_of_one_operation", 8) else {
        return;
    };
    let listener = Rc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener"));
    let address = listener.local_addr().expect("its address");
    let mut accepts = ring.submit_multi(ops::accept(&listener));
    for _ in 0..20 {
        let client = TcpStream::connect(address).expect("a connection");
        let server = ring
            .block_on(accepts.next())
            .expect("goes on")
            .expect("a connection");
        let server = TcpStream::from(server);
        assert_eq!(server.peer_addr().ok(), client.local_addr().ok());
    }
    drop(accepts);
    ring.block_on(ring.submit(ops::nop())).expect("a no-op");
}

#[test]
fn connections_that_nobody_fetches_are_closed() {
    let Some(ring) = local_ring("connections_that_nobody_fetches_are_closed", 8) else {
        return;
    };
    let listener = Rc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener"));
    let address = listener.local_addr().expect("its address");
    let accepts = ring.submit_multi(ops::accept(&listener));
    ring.turn(None).expect("a turn");
    let mut clients: Vec<_> = (0..5)
        .map(|_| TcpStream::connect(address).expect("a connection"))
        .collect();
    ring.turn(None).expect("a turn");
    drop(accepts);
    drop(ring);
    for client in &mut clients {
        assert_eq!(client.read(&mut [0]).expect("an end"), 0);
    }
}

#[test]
fn an_operation_with_a_limit_is_cancelled_after_it() {
    let name = "an_operation_with_a_limit_is_cancelled_after_it";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let (mut writer, reader) = UnixStream::pair().expect("a pair");
    let reader = Rc::new(reader);
    let limit = Duration::from_millis(5);
    let recv = ops::recv(&reader, vec![1, 2, 3]);
    let (result, buf) = ring.block_on(ring.submit_for(recv, limit));
    assert_eq!(
        result.map_err(|error| error.to_errno()),
        Err(Errno::ECANCELED)
    );
    assert_eq!(buf, [1, 2, 3]);
    writer.write_all(b"in time").expect("bytes");
    let recv = ops::recv(&reader, Vec::with_capacity(16));
    let (result, buf) = ring.block_on(ring.submit_for(recv, Duration::from_secs(60)));
    assert_eq!((result, buf), (Ok(7), b"in time".to_vec()));
}

#[test]
fn a_linked_operation_waits_for_the_first_and_fails_with_it() {
    let name = "a_linked_operation_waits_for_the_first_and_fails_with_it";
    let Some(ring) = local_ring(name, 4) else {
        return;
    };
    let file = Rc::new(tempfile::tempfile().expect("a temporary file"));
    for round in 0..10_u8 {
        let (write, read) = ring.submit_linked((
            ops::write(&file, vec![round; 100], 0),
            ops::read(&file, Vec::with_capacity(100), 0),
        ));
        assert_eq!(ring.block_on(write).0, Ok(100));
        assert_eq!(ring.block_on(read), (Ok(100), vec![round; 100]));
    }
    let null = Rc::new(std::fs::File::open("/dev/null").expect("a file"));
    let (write, read) = ring.submit_linked((
        ops::write(&null, "refused", 0),
        ops::read(&file, Vec::new(), 0),
    ));
    let errno = |result: pepita_sys::error::Result<usize>| result.map_err(|e| e.to_errno());
    assert_eq!(errno(ring.block_on(write).0), Err(Errno::EBADF));
    assert_eq!(errno(ring.block_on(read).0), Err(Errno::ECANCELED));
}

#[test]
fn bytes_go_from_a_file_through_a_pipe() {
    let Some(ring) = local_ring("bytes_go_from_a_file_through_a_pipe", 8) else {
        return;
    };
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let file = file_with(b"0123456789");
    let splice = ops::splice(&file, 3, &Rc::new(writer), POSITION, 5);
    assert_eq!(run(&ring, splice), Ok(5));
    let (count, bytes) = run(
        &ring,
        ops::read(&Rc::new(reader), Vec::with_capacity(16), POSITION),
    );
    assert_eq!((count, bytes), (Ok(5), b"34567".to_vec()));
}

#[test]
fn a_file_is_grown_looked_at_and_closed() {
    let Some(ring) = local_ring("a_file_is_grown_looked_at_and_closed", 8) else {
        return;
    };
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let handle = Rc::new(file.reopen().expect("a handle"));
    let grow = ops::fallocate(&handle, FallocateFlags::empty(), 0, 8192);
    run(&ring, grow).expect("room for it");
    let stat = ops::stat(file.path(), StatxFlags::SIZE).expect("a path");
    assert_eq!(run(&ring, stat).expect("it is there").stx_size, 8192);
    let handle = Rc::into_inner(handle).expect("the only handle");
    run(&ring, ops::close(handle.into())).expect("a close");
    let missing = ops::stat("/nowhere/at/all", StatxFlags::SIZE).expect("a path");
    let error = run(&ring, missing).expect_err("nothing is there");
    assert_eq!(error.to_errno(), Errno::ENOENT);
}

#[test]
fn a_futex_is_waited_for_and_woken() {
    let name = "a_futex_is_waited_for_and_woken";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let futex = Arc::new(AtomicU32::new(1));
    let error = match run(&ring, ops::futex_wait(&futex, 2)) {
        Err(error) if error.to_errno() == Errno::EINVAL => {
            println!("SKIPPED: {name}: this kernel's ring knows no futex (Linux 6.7)");
            return;
        }
        result => result.expect_err("another value"),
    };
    assert_eq!(error.to_errno(), Errno::EAGAIN);
    let wait = ring.submit(ops::futex_wait(&futex, 1));
    ring.turn(None).expect("a turn");
    futex.store(2, Ordering::Relaxed);
    assert_eq!(run(&ring, ops::futex_wake(&futex, 1)), Ok(1));
    ring.block_on(wait).expect("woken");
    for (count, woken) in [(0, 0), (2, 2), (1 << 31, 3), (u32::MAX, 3)] {
        let waits: Vec<_> = (0..3)
            .map(|_| ring.submit(ops::futex_wait(&futex, 2)))
            .collect();
        ring.turn(None).expect("a turn");
        let wake = run(&ring, ops::futex_wake(&futex, count));
        assert_eq!(wake, Ok(woken), "of 3, up to {count}");
        drop(waits);
    }
}

#[test]
fn a_child_is_waited_for() {
    let name = "a_child_is_waited_for";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    for (script, code, signal) in [("exit 7", Some(7), None), ("kill -9 $$", None, Some(9))] {
        #[expect(clippy::zombie_processes, reason = "the operation reaps it")]
        let child = Command::new("sh")
            .args(["-c", script])
            .spawn()
            .expect("a child");
        let pid = rustix::process::Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
        let status = match run(&ring, ops::wait_child(&Rc::new(pidfd.expect("a pidfd")))) {
            Err(error) if error.to_errno() == Errno::EINVAL => {
                println!("SKIPPED: {name}: this kernel's ring knows no waitid (Linux 6.7)");
                return;
            }
            status => status.expect("an end"),
        };
        assert_eq!((status.code(), status.signal()), (code, signal));
    }
}

#[test]
fn connections_receive_into_buffers_of_one_pool() {
    let name = "connections_receive_into_buffers_of_one_pool";
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
    let (mut theirs, ours) = UnixStream::pair().expect("a pair");
    let ours = Rc::new(ours);
    let mut bytes = pool.recv_many(&ours);
    ring.block_on(async {
        for round in 0..50_u8 {
            theirs.write_all(&[round; 10]).expect("bytes");
            let buffer = bytes.next().await.expect("goes on").expect("bytes");
            assert_eq!(&*buffer, [round; 10]);
            // A buffer goes out as it came.
            let (sent, _) = ring.submit(ops::send_all(&ours, buffer)).await;
            assert_eq!(sent, Ok(10));
            let mut back = [0; 10];
            theirs.read_exact(&mut back).expect("the echo");
            assert_eq!(back, [round; 10]);
        }
        assert_eq!(pool.available(), 4);

        theirs.write_all(&[7; 4 * 64 + 1]).expect("bytes");
        let mut held = Vec::new();
        let error = loop {
            match bytes.next().await.expect("goes on") {
                Ok(buffer) => held.push(buffer),
                Err(error) => break error,
            }
        };
        assert_eq!((error.to_errno(), held.len()), (Errno::ENOBUFS, 4));
        assert!(bytes.next().await.is_none());
        held.clear();
        let mut again = pool.recv_many(&ours);
        assert_eq!(&*again.next().await.expect("goes on").expect("bytes"), [7]);
        drop(theirs);
        assert!(again.next().await.is_none());
    });
    drop(ring);
}

#[test]
fn a_buffer_outlives_its_ring() {
    let name = "a_buffer_outlives_its_ring";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let Ok(pool) = ring.buffer_pool(2, 64) else {
        println!("SKIPPED: {name}: no provided buffers here");
        return;
    };
    let (mut theirs, ours) = UnixStream::pair().expect("a pair");
    let mut bytes = pool.recv_many(&Rc::new(ours));
    theirs.write_all(b"kept").expect("bytes");
    let buffer = ring
        .block_on(bytes.next())
        .expect("goes on")
        .expect("bytes");
    theirs.write_all(b"not fetched").expect("bytes");
    ring.turn(None).expect("a turn");
    drop((bytes, pool, ring));
    assert_eq!(&*buffer, b"kept");
}

#[test]
fn an_aligned_buffer_is_read_into_past_the_page_cache() {
    let name = "an_aligned_buffer_is_read_into_past_the_page_cache";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
    let data: Vec<u8> = (0..8192_u32).map(|n| n.to_le_bytes()[1]).collect();
    std::fs::write(file.path(), &data).expect("its content");
    let open = ops::open(file.path(), pepita_sys::syscall::O_DIRECT, 0).expect("a path");
    let direct = match run(&ring, open) {
        Ok(direct) => Rc::new(direct),
        Err(error) => {
            println!("SKIPPED: {name}: this file system has no O_DIRECT: {error}");
            return;
        }
    };
    let buf = AlignedBuf::zeroed(8192, 4096);
    let (count, buf) = run(&ring, ops::read(&direct, buf, 0));
    assert_eq!((count, &buf[..]), (Ok(8192), &data[..]));
    assert_eq!(AlignedBuf::zeroed(0, 4096).len(), 0);
}

#[test]
fn a_close_that_is_cancelled_closes_no_number_twice() {
    let name = "a_close_that_is_cancelled_closes_no_number_twice";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let null = Rc::new(std::fs::File::open("/dev/null").expect("a file"));
    let file = std::fs::File::open("/dev/null").expect("a file");
    let number = std::os::fd::AsRawFd::as_raw_fd(&file);
    // The close comes after a write that fails, so the kernel does not do it.
    let (write, close) =
        ring.submit_linked((ops::write(&null, "refused", 0), ops::close(file.into())));
    assert!(ring.block_on(write).0.is_err());
    let error = ring.block_on(close).expect_err("cancelled");
    assert_eq!(error.to_errno(), Errno::ECANCELED);
    // Whether it was closed cannot be told from the number alone, so it is left open.
    let link = std::fs::read_link(format!("/proc/self/fd/{number}"));
    assert_eq!(link.expect("it is open"), std::path::Path::new("/dev/null"));
}
