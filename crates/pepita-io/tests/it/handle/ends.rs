//! Whatever ends early: a future, the ring, its thread. No memory is freed that the kernel may touch, nobody
//! waits for ever, and buffers come back.
//!
//! A read keeps a handle of its file as long as its buffer, so the handles tell when the buffer is freed;
//! under AddressSanitizer, a buffer that is freed too early ends the test.

use std::cell::RefCell;
use std::io::Write;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::thread;
use std::time::Duration;

use pepita_io::{RingHandle, RingThread, ops};
use pepita_sys::error::Errno;
use pepita_sys::syscall::{O_NONBLOCK, O_RDONLY};

use super::{file_with, pair, pass, pending_read, poll_with, ring_thread};
use crate::filter::refuse;

/// Runs `act` once, where it is woken.
struct OnWake<F>(Mutex<Option<F>>);

impl<F: FnOnce() + Send + 'static> OnWake<F> {
    fn waker(act: F) -> Waker {
        Waker::from(Arc::new(Self(Mutex::new(Some(act)))))
    }
}

impl<F: FnOnce() + Send + 'static> Wake for OnWake<F> {
    fn wake(self: Arc<Self>) {
        let act = self
            .0
            .lock()
            .expect("a lock that nobody panics with")
            .take();
        if let Some(act) = act {
            act();
        }
    }
}

/// Has `act` run on the thread of `ring`, and waits for what it gives.
fn on_the_rings_thread<T: Send + 'static>(
    ring: &RingThread,
    act: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (mut writer, reader) = pair();
    let mut read = pending_read(&ring.handle(), &reader);
    let (sender, receiver) = channel();
    let waker = OnWake::waker(move || sender.send(act()).expect("the test waits"));
    assert!(poll_with(&mut read, &waker).is_pending());
    writer.write_all(b"x").expect("a byte");
    receiver.recv().expect("what comes of it")
}

#[test]
fn a_dropped_future_keeps_its_buffer_and_file_until_the_kernel_is_done() {
    let name = "a_dropped_future_keeps_its_buffer_and_file_until_the_kernel_is_done";
    let Some(ring) = ring_thread(name, 8, 64) else {
        return;
    };
    let io = ring.handle();
    let (mut writer, reader) = pair();
    for _ in 0..200 {
        // Some were not even started.
        drop(pending_read(&io, &reader));
        let read = pending_read(&io, &reader);
        pass(&io);
        drop(read);
    }
    while Arc::strong_count(&reader) > 1 {
        pass(&io);
    }
    // None of them takes what comes later.
    writer.write_all(b"kept").expect("bytes");
    assert_eq!(pending_read(&io, &reader).wait(), (Ok(4), b"kept".to_vec()));
}

#[test]
fn nothing_is_freed_before_the_rings_thread_has_seen_the_end() {
    let name = "nothing_is_freed_before_the_rings_thread_has_seen_the_end";
    let Some(ring) = ring_thread(name, 8, 8) else {
        return;
    };
    let io = ring.handle();
    let (mut writer, reader) = pair();
    let in_the_kernel = pending_read(&io, &reader);
    let forgotten = pending_read(&io, &reader);
    pass(&io);
    let (release, released) = channel::<()>();
    let (holding, held) = channel();
    let (mut other_writer, other) = pair();
    let mut hold = pending_read(&io, &other);
    let waker = OnWake::waker(move || {
        holding.send(()).expect("the test waits");
        released.recv().expect("the test goes on");
    });
    assert!(poll_with(&mut hold, &waker).is_pending());
    other_writer.write_all(b"x").expect("a byte");
    held.recv().expect("the ring's thread");
    let in_the_queue = pending_read(&io, &reader);
    drop(in_the_kernel);
    drop(in_the_queue);
    mem::forget(forgotten);
    writer.write_all(b"some bytes").expect("bytes");
    assert_eq!(Arc::strong_count(&reader), 4);
    release.send(()).expect("the ring's thread");
    while Arc::strong_count(&reader) > 2 {
        pass(&io);
    }
    drop(ring);
    assert_eq!(Arc::strong_count(&reader), 2, "what is forgotten is leaked");
}

#[test]
fn a_future_that_is_dropped_after_the_end_puts_away_what_came_of_it() {
    let name = "a_future_that_is_dropped_after_the_end_puts_away_what_came_of_it";
    let Some(ring) = ring_thread(name, 8, 8) else {
        return;
    };
    let io = ring.handle();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).expect("a pipe");
    let open = || ops::open(&path, O_RDONLY | O_NONBLOCK, 0).expect("a path");
    // Dropped at once, and after the end.
    drop(io.submit(open()));
    let opened = io.submit(open());
    pass(&io);
    pass(&io);
    drop(opened);
    // A pipe without a reader refuses a writer that does not wait.
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
    let writer = rustix::fs::open(&path, flags, rustix::fs::Mode::empty());
    assert_eq!(writer.err(), Some(rustix::io::Errno::NXIO));
}

#[test]
fn a_forgotten_future_leaks_its_buffer() {
    let Some(ring) = ring_thread("a_forgotten_future_leaks_its_buffer", 8, 8) else {
        return;
    };
    let (mut writer, reader) = pair();
    mem::forget(pending_read(&ring.handle(), &reader));
    pass(&ring.handle());
    writer.write_all(b"late").expect("bytes");
    drop(ring);
    assert_eq!(Arc::strong_count(&reader), 2);
}

#[test]
fn the_end_of_the_thread_cancels_what_is_in_flight_and_gives_the_buffers_back() {
    let name = "the_end_of_the_thread_cancels_what_is_in_flight_and_gives_the_buffers_back";
    let Some(ring) = ring_thread(name, 8, 8) else {
        return;
    };
    let io = ring.handle();
    let (_writer, reader) = pair();
    let started = pending_read(&io, &reader);
    pass(&io);
    let abandoned = pending_read(&io, &reader);
    drop(abandoned);
    let waiting = thread::spawn(move || started.wait());
    ring.stop().expect("all has ended");
    let (result, buf) = waiting.join().expect("the thread");
    assert_eq!(
        result.map_err(|error| error.to_errno()),
        Err(Errno::ECANCELED)
    );
    assert_eq!(buf.capacity(), 4096);
    assert_eq!(Arc::strong_count(&reader), 1);
}

#[test]
fn the_end_of_the_thread_waits_for_disk_reads_in_flight() {
    let name = "the_end_of_the_thread_waits_for_disk_reads_in_flight";
    let file = file_with(&vec![7; 1 << 20]);
    for _ in 0..20 {
        let Some(ring) = ring_thread(name, 64, 64) else {
            return;
        };
        let io = ring.handle();
        let reads: Vec<_> = (0..64)
            .map(|number| io.submit(ops::read(&file, Vec::with_capacity(16384), number * 16384)))
            .collect();
        let (kept, dropped): (Vec<_>, Vec<_>) = reads
            .into_iter()
            .enumerate()
            .partition(|(nth, _)| nth % 2 == 0);
        drop(dropped);
        drop(ring);
        for (_, read) in kept {
            match read.wait() {
                (Ok(count), buf) => assert_eq!(buf, vec![7; count]),
                (Err(error), _) => assert!(
                    [Errno::ECANCELED, Errno::ESHUTDOWN].contains(&error.to_errno()),
                    "{error}"
                ),
            }
        }
        assert_eq!(Arc::strong_count(&file), 1);
    }
}

#[test]
fn a_handle_that_outlives_the_thread_gets_an_error_and_its_buffer() {
    let name = "a_handle_that_outlives_the_thread_gets_an_error_and_its_buffer";
    let Some(ring) = ring_thread(name, 8, 8) else {
        return;
    };
    let io = ring.handle();
    drop(ring);
    let (_writer, reader) = pair();
    let (result, buf) = io.submit(ops::read(&reader, vec![1, 2, 3], 0)).wait();
    assert_eq!(
        result.map_err(|error| error.to_errno()),
        Err(Errno::ESHUTDOWN)
    );
    assert_eq!(buf, [1, 2, 3]);
    drop(pending_read(&io, &reader));
    assert_eq!(Arc::strong_count(&reader), 1);
}

#[test]
fn threads_that_submit_while_the_ring_ends_all_get_an_answer() {
    let name = "threads_that_submit_while_the_ring_ends_all_get_an_answer";
    let (mut writer, reader) = pair();
    writer.write_all(b"x").expect("a byte");
    for _ in 0..50 {
        let Some(ring) = ring_thread(name, 8, 4096) else {
            return;
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                let (io, reader) = (ring.handle(), &reader);
                scope.spawn(move || {
                    loop {
                        match io.submit(ops::poll(reader, 1)).wait() {
                            Ok(events) => assert_eq!(events, 1),
                            Err(error) => match error.to_errno() {
                                Errno::ECANCELED => {}
                                Errno::ESHUTDOWN => return,
                                _ => panic!("{error}"),
                            },
                        }
                    }
                });
            }
            pass(&ring.handle());
            ring.stop().expect("all has ended");
        });
        assert_eq!(Arc::strong_count(&reader), 1);
    }
}

/// A file whose destructor tells of itself, then panics.
struct Grumbling(UnixStream, Sender<()>);

impl AsFd for Grumbling {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Grumbling {
    fn drop(&mut self) {
        self.1.send(()).expect("the test waits");
        panic!("a destructor that panics, as the test wants it to");
    }
}

#[test]
fn the_thread_outlives_the_panics_of_wakers_and_destructors() {
    let name = "the_thread_outlives_the_panics_of_wakers_and_destructors";
    let Some(ring) = ring_thread(name, 8, 8) else {
        return;
    };
    let io = ring.handle();
    let (mut writer, reader) = pair();
    let mut read = pending_read(&io, &reader);
    let (sender, woken) = channel();
    let waker = OnWake::waker(move || {
        sender.send(()).expect("the test waits");
        panic!("a waker that panics, as the test wants it to");
    });
    assert!(poll_with(&mut read, &waker).is_pending());
    writer.write_all(b"x").expect("a byte");
    woken.recv().expect("the waker");
    assert_eq!(read.wait(), (Ok(1), b"x".to_vec()));

    let (sender, dropped) = channel();
    let (_writer, reader) = UnixStream::pair().expect("a pair");
    let file = Arc::new(Grumbling(reader, sender));
    let read = io.submit(ops::read(&file, Vec::with_capacity(8), 0));
    pass(&io);
    drop(file);
    drop(read);
    dropped.recv().expect("the destructor");
    pass(&io);
    ring.stop().expect("the thread has not panicked");
}

#[test]
fn a_panic_at_the_end_frees_nothing_that_is_in_flight() {
    let name = "a_panic_at_the_end_frees_nothing_that_is_in_flight";
    let Some(ring) = ring_thread(name, 8, 16) else {
        return;
    };
    let io = ring.handle();
    let (sender, dropped) = channel();
    let (_writer, reader) = UnixStream::pair().expect("a pair");
    let file = Arc::new(Grumbling(reader, sender));
    let (_other, quiet) = pair();
    let reads: Vec<_> = (0..4)
        .map(|_| {
            let read = io.submit(ops::read(&file, Vec::with_capacity(4096), 0));
            (read, pending_read(&io, &quiet))
        })
        .collect();
    pass(&io);
    drop(file);
    drop(reads);
    ring.stop().expect("the thread has not panicked");
    dropped.recv().expect("the destructor");
    assert_eq!(Arc::strong_count(&quiet), 1);
}

#[test]
fn waiting_on_the_rings_own_thread_is_a_panic_and_no_deadlock() {
    let name = "waiting_on_the_rings_own_thread_is_a_panic_and_no_deadlock";
    let Some(ring) = ring_thread(name, 8, 8) else {
        return;
    };
    let io = ring.handle();
    let panic = on_the_rings_thread(&ring, move || {
        let waiting = io.submit(ops::nop());
        panic::catch_unwind(AssertUnwindSafe(|| waiting.wait()))
            .expect_err("it would wait for itself")
    });
    let text = panic.downcast_ref::<&str>().expect("a message");
    assert_eq!(*text, "the ring's thread waits for itself");
    pass(&ring.handle());
}

#[test]
fn the_thread_may_drop_its_own_ring() {
    let Some(ring) = ring_thread("the_thread_may_drop_its_own_ring", 8, 8) else {
        return;
    };
    let io = ring.handle();
    let (mut writer, reader) = pair();
    let mut read = pending_read(&io, &reader);
    let (sender, receiver) = channel();
    let waker = OnWake::waker(move || sender.send(ring.stop()).expect("the test waits"));
    assert!(poll_with(&mut read, &waker).is_pending());
    writer.write_all(b"x").expect("a byte");
    assert_eq!(receiver.recv(), Ok(Ok(())));
    let error = io.submit(ops::nop()).wait().expect_err("the end");
    assert_eq!(error.to_errno(), Errno::ESHUTDOWN);
}

#[test]
fn a_ring_that_lets_nobody_in_frees_nothing_and_lets_nobody_wait_for_ever() {
    let name = "a_ring_that_lets_nobody_in_frees_nothing_and_lets_nobody_wait_for_ever";
    let Some(ring) = ring_thread(name, 8, 8) else {
        return;
    };
    let io = ring.handle();
    let (_writer, reader) = pair();
    let (read, dropped) = (pending_read(&io, &reader), pending_read(&io, &reader));
    pass(&io);
    if !on_the_rings_thread(&ring, || refuse(libc::SYS_io_uring_enter, Errno::EPERM)) {
        println!("SKIPPED: {name}: no seccomp here");
        return;
    }
    let lost = thread::spawn(move || read.wait());
    let panic = lost.join().expect_err("the ring is lost");
    let text = panic.downcast_ref::<&str>().expect("a message");
    assert_eq!(*text, "the ring was lost with the operation in flight");
    drop(dropped);
    let error = io.submit(ops::nop()).wait().expect_err("the end");
    assert_eq!(error.to_errno(), Errno::ESHUTDOWN);
    assert!(panic::catch_unwind(AssertUnwindSafe(|| ring.stop())).is_err());
    // Both operations are leaked with what they own.
    assert_eq!(Arc::strong_count(&reader), 3);
}

#[test]
fn a_destructor_at_a_threads_end_waits_too() {
    let name = "a_destructor_at_a_threads_end_waits_too";
    let Some(ring) = ring_thread(name, 8, 8) else {
        return;
    };
    struct WaitsAtEnd(RingHandle, Sender<bool>);
    impl Drop for WaitsAtEnd {
        fn drop(&mut self) {
            let slept = self.0.submit(ops::sleep(Duration::from_millis(5))).wait();
            self.1.send(slept.is_ok()).expect("somebody waits");
        }
    }
    thread_local!(static AT_END: RefCell<Option<WaitsAtEnd>> = const { RefCell::new(None) });
    let (ended, ends) = channel();
    let io = ring.handle();
    let run = move || {
        // Before the first wait, so it is destroyed after what that wait made.
        AT_END.with(|at_end| *at_end.borrow_mut() = Some(WaitsAtEnd(io.clone(), ended)));
        io.submit(ops::nop()).wait().expect("a nop");
    };
    thread::spawn(run).join().expect("the thread");
    assert_eq!(ends.recv(), Ok(true));
}
