#![expect(
    unsafe_code,
    reason = "answers LeakSanitizer by the name of a function"
)]
//! Memory that the kernel may still touch is not freed, whatever is done to the futures.
//!
//! A read keeps a handle of its file as long as its buffer, so the handles tell when the buffer is freed;
//! under AddressSanitizer, a buffer that is freed too early ends the test.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use pepita_io::{LocalRing, Submitted, ops};
use pepita_sys::error::Errno;
use pepita_sys::syscall::O_RDONLY;

use super::local_ring;
use crate::filter::refuse;

/// Leaking what the kernel may still write to is what is tested here, so LeakSanitizer is asked to be quiet.
// SAFETY: nothing else has this name, which LeakSanitizer reserves for the program.
#[unsafe(no_mangle)]
extern "C" fn __lsan_is_turned_off() -> i32 {
    1
}

type PendingRead = Submitted<ops::Read<Rc<UnixStream>, Vec<u8>>>;

/// A read that waits for bytes, and was handed over.
fn pending_read(ring: &LocalRing, reader: &Rc<UnixStream>) -> PendingRead {
    let read = ring.submit(ops::read(reader, Vec::with_capacity(4096), 0));
    ring.turn(None).expect("a turn");
    read
}

/// Polls once.
fn poll_now<F: Future>(ring: &LocalRing, future: Pin<&mut F>) -> Poll<F::Output> {
    let mut future = future;
    ring.block_on(poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))))
}

fn pair() -> (UnixStream, Rc<UnixStream>) {
    let (writer, reader) = UnixStream::pair().expect("a pair");
    (writer, Rc::new(reader))
}

#[test]
fn a_dropped_future_keeps_its_buffer_and_file_until_the_kernel_is_done() {
    let name = "a_dropped_future_keeps_its_buffer_and_file_until_the_kernel_is_done";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let (mut writer, reader) = pair();
    drop(pending_read(&ring, &reader));
    // The operation has its own handle until its completion was seen.
    assert_eq!(Rc::strong_count(&reader), 2);
    writer.write_all(b"late").expect("bytes");
    while Rc::strong_count(&reader) > 1 {
        ring.turn(Some(Duration::from_secs(10))).expect("a turn");
    }
}

#[test]
fn a_dropped_future_that_was_not_handed_over_keeps_its_buffer_too() {
    let name = "a_dropped_future_that_was_not_handed_over_keeps_its_buffer_too";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let (mut writer, reader) = pair();
    writer.write_all(b"early").expect("bytes");
    drop(ring.submit(ops::read(&reader, Vec::with_capacity(4096), 0)));
    assert_eq!(Rc::strong_count(&reader), 2);
    while Rc::strong_count(&reader) > 1 {
        ring.turn(Some(Duration::from_secs(10))).expect("a turn");
    }
}

#[test]
fn a_forgotten_future_leaks_its_buffer() {
    let Some(ring) = local_ring("a_forgotten_future_leaks_its_buffer", 8) else {
        return;
    };
    let (mut writer, reader) = pair();
    mem::forget(pending_read(&ring, &reader));
    writer.write_all(b"late").expect("bytes");
    ring.block_on(ring.submit(ops::nop())).expect("a no-op");
    drop(ring);
    assert_eq!(Rc::strong_count(&reader), 2);
}

#[test]
fn a_ring_that_is_dropped_ends_what_is_in_flight() {
    let name = "a_ring_that_is_dropped_ends_what_is_in_flight";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let (mut writer, reader) = pair();
    let read = pending_read(&ring, &reader);
    drop(ring);
    // The future keeps the ring.
    drop(read);
    assert_eq!(Rc::strong_count(&reader), 1);
    writer.write_all(b"late").expect("the other end is open");
}

#[test]
fn a_ring_that_is_dropped_frees_what_thousands_of_operations_keep() {
    let name = "a_ring_that_is_dropped_frees_what_thousands_of_operations_keep";
    let Some(ring) = local_ring(name, 4096) else {
        return;
    };
    let (_writer, reader) = pair();
    let reads: Vec<_> = (0..20_000)
        .map(|_| ring.submit(ops::recv(&reader, Vec::with_capacity(64))))
        .collect();
    ring.turn(None).expect("a turn");
    drop(reads);
    drop(ring);
    assert_eq!(Rc::strong_count(&reader), 1);
}

#[test]
fn a_ring_that_is_dropped_with_disk_reads_in_flight_waits_for_them() {
    let name = "a_ring_that_is_dropped_with_disk_reads_in_flight_waits_for_them";
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(&vec![7; 1 << 20]).expect("its content");
    let file = Rc::new(file);
    for _ in 0..20 {
        let Some(ring) = local_ring(name, 64) else {
            return;
        };
        let reads: Vec<_> = (0..64)
            .map(|number| {
                let buf = Vec::with_capacity(16384);
                ring.submit(ops::read(&file, buf, number * 16384))
            })
            .collect();
        drop(reads);
        drop(ring);
        assert_eq!(Rc::strong_count(&file), 1);
    }
}

#[test]
fn a_late_completion_finds_no_other_operation() {
    let Some(ring) = local_ring("a_late_completion_finds_no_other_operation", 8) else {
        return;
    };
    let (mut writer, reader) = pair();
    for round in 0..50_u8 {
        drop(pending_read(&ring, &reader));
        // This one may not get the slot, nor the outcome, of the one that is being cancelled.
        let mut read = pin!(pending_read(&ring, &reader));
        assert!(poll_now(&ring, read.as_mut()).is_pending());
        while Rc::strong_count(&reader) > 2 {
            ring.turn(Some(Duration::from_secs(10))).expect("a turn");
        }
        assert!(poll_now(&ring, read.as_mut()).is_pending());
        writer.write_all(&[round]).expect("a byte");
        assert_eq!(ring.block_on(read), (Ok(1), vec![round]));
    }
}

#[test]
fn a_file_that_was_opened_for_nobody_is_closed() {
    let Some(ring) = local_ring("a_file_that_was_opened_for_nobody_is_closed", 8) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("pipe");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &path,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )
    .expect("a pipe");
    // The open is done before the cancellation comes.
    let open = ops::open(&path, O_RDONLY | NONBLOCK, 0).expect("a path");
    drop(ring.submit(open));
    ring.block_on(ring.submit(ops::nop())).expect("a no-op");
    ring.block_on(ring.submit(ops::nop())).expect("a no-op");
    // A pipe without a reader refuses a writer that does not wait.
    let writer = rustix::fs::open(
        &path,
        rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK,
        rustix::fs::Mode::empty(),
    );
    assert_eq!(writer.err(), Some(rustix::io::Errno::NXIO));
}

/// `O_NONBLOCK`.
const NONBLOCK: u32 = pepita_sys::syscall::O_NONBLOCK;

#[test]
fn what_was_pushed_is_never_freed_when_the_kernel_lets_nobody_in() {
    let name = "what_was_pushed_is_never_freed_when_the_kernel_lets_nobody_in";
    let thread = std::thread::spawn(move || {
        let Some(ring) = local_ring(name, 8) else {
            return;
        };
        let (_writer, reader) = pair();
        let read = ring.submit(ops::read(&reader, Vec::with_capacity(4096), 0));
        if !refuse(libc::SYS_io_uring_enter, Errno::EPERM) {
            println!("SKIPPED: {name}: no seccomp here");
            return;
        }
        let error = ring.turn(None).expect_err("nobody gets in");
        assert_eq!(error.to_errno(), Errno::EPERM);
        // The entry is in the queue: any submission would hand it over.
        drop(read);
        assert_eq!(Rc::strong_count(&reader), 2);
        drop(ring);
        assert_eq!(Rc::strong_count(&reader), 2);
    });
    thread.join().expect("the thread");
}

#[test]
fn operations_fail_with_the_kernels_error_and_give_their_buffer_back() {
    let name = "operations_fail_with_the_kernels_error_and_give_their_buffer_back";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let write_only = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/null")
        .expect("a file");
    let file = Rc::new(write_only);
    let read = ops::read(&file, vec![1, 2, 3], 0);
    let (result, buf) = ring.block_on(ring.submit(read));
    assert_eq!(result.map_err(|error| error.to_errno()), Err(Errno::EBADF));
    assert_eq!(buf, [1, 2, 3]);
}

#[test]
fn bytes_that_were_read_for_nobody_are_gone_and_the_stream_goes_on() {
    let name = "bytes_that_were_read_for_nobody_are_gone_and_the_stream_goes_on";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let (mut writer, reader) = pair();
    drop(pending_read(&ring, &reader));
    while Rc::strong_count(&reader) > 1 {
        ring.turn(Some(Duration::from_secs(10))).expect("a turn");
    }
    writer.write_all(b"kept").expect("bytes");
    let mut bytes = [0; 4];
    (&*reader).read_exact(&mut bytes).expect("the bytes");
    assert_eq!(&bytes, b"kept");
}

/// A file whose destructor panics.
struct Grumbling(UnixStream, Rc<Cell<u32>>);

impl AsFd for Grumbling {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Grumbling {
    fn drop(&mut self) {
        self.1.set(self.1.get() + 1);
        panic!("a destructor that panics, as the test wants it to");
    }
}

#[test]
fn destructors_that_panic_at_the_end_of_the_ring_do_not_stop_it() {
    let name = "destructors_that_panic_at_the_end_of_the_ring_do_not_stop_it";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let (drops, mut writers) = (Rc::default(), Vec::new());
    for _ in 0..3 {
        let (writer, reader) = UnixStream::pair().expect("a pair");
        let reader = Rc::new(Grumbling(reader, Rc::clone(&drops)));
        drop(ring.submit(ops::read(&reader, Vec::with_capacity(8), 0)));
        writers.push(writer);
    }
    let (_writer, reader) = pair();
    drop(pending_read(&ring, &reader));
    let dropped = panic::catch_unwind(AssertUnwindSafe(|| drop(ring)));
    assert!(dropped.is_err(), "the first panic is passed on");
    assert_eq!((drops.get(), Rc::strong_count(&reader)), (3, 1));
}
