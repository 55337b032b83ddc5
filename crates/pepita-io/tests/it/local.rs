//! Owned operations on the thread's ring.

mod bundles;
mod chains;
mod files;
mod holes;
mod messages;
mod operations;
mod options;
mod reentry;

use std::cell::Cell;
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use pepita_io::buf::{AlignedBuf, Part};
use pepita_io::{LocalRing, ops};
use pepita_sys::error::Errno;
use pepita_sys::syscall::{O_CREAT, O_EXCL, O_RDONLY, O_RDWR};

/// A ring, or `None` after saying why `test` is skipped.
pub(crate) fn local_ring(test: &str, entries: u32) -> Option<LocalRing> {
    match LocalRing::new(entries) {
        Ok(ring) => Some(ring),
        Err(error) => {
            println!("SKIPPED: {test}: {error}");
            None
        }
    }
}

/// Makes a file with `bytes`, without a name.
fn file_with(bytes: &[u8]) -> Rc<File> {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("its content");
    Rc::new(file)
}

#[test]
fn a_buffer_comes_back_with_what_was_read() {
    let Some(ring) = local_ring("a_buffer_comes_back_with_what_was_read", 8) else {
        return;
    };
    let file = file_with(b"hello, ring");
    ring.block_on(async {
        let (count, buf) = ring
            .submit(ops::read(&file, Vec::with_capacity(64), 0))
            .await;
        assert_eq!((count, buf), (Ok(11), b"hello, ring".to_vec()));
        let boxed = vec![b'.'; 8].into_boxed_slice();
        let (count, boxed) = ring.submit(ops::read(&file, boxed, 7)).await;
        assert_eq!((count, &boxed[..]), (Ok(4), &b"ring...."[..]));
        let (count, part) = ring
            .submit(ops::read(&file, Part::new(boxed, 5..7), 0))
            .await;
        assert_eq!((count, &part.into_inner()[..]), (Ok(2), &b"ring.he."[..]));
        let aligned = Part::new(AlignedBuf::zeroed(8, 8), 2..20);
        let (count, part) = ring.submit(ops::read(&file, aligned, 6)).await;
        assert_eq!(
            (count, &part.into_inner()[..]),
            (Ok(5), &b"\0\0 ring\0"[..])
        );
        let (count, empty) = ring
            .submit(ops::read(&file, Vec::with_capacity(4), 11))
            .await;
        assert_eq!((count, empty), (Ok(0), Vec::new()));
    });
}

#[test]
fn what_was_written_is_in_the_file() {
    let Some(ring) = local_ring("what_was_written_is_in_the_file", 8) else {
        return;
    };
    let file = Arc::new(tempfile::tempfile().expect("a temporary file"));
    let text = ring.block_on(async {
        let (count, _) = ring.submit(ops::write(&file, "0123456789", 0)).await;
        assert_eq!(count, Ok(10));
        let (count, bytes) = ring.submit(ops::write(&file, b"89", 8)).await;
        assert_eq!((count, bytes), (Ok(2), b"89"));
        let part = Part::new(b"abcdef".to_vec(), 2..4);
        let (count, part) = ring.submit(ops::write(&file, part, 4)).await;
        assert_eq!((count, part.into_inner()), (Ok(2), b"abcdef".to_vec()));
        ring.submit(ops::fsync(&file)).await.expect("an fsync");
        ring.submit(ops::fdatasync(&file))
            .await
            .expect("an fdatasync");
        ring.submit(ops::read(&file, Vec::with_capacity(16), 0))
            .await
            .1
    });
    assert_eq!(text, b"0123cd6789");
}

#[test]
fn a_file_is_opened_and_an_error_names_what_failed() {
    let name = "a_file_is_opened_and_an_error_names_what_failed";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("new");
    ring.block_on(async {
        let flags = O_RDWR | O_CREAT | O_EXCL;
        let open = ops::open(&path, flags, 0o600).expect("a path");
        let file = Rc::new(ring.submit(open).await.expect("a new file"));
        let (count, _) = ring.submit(ops::write(&file, "x", 0)).await;
        assert_eq!(count, Ok(1));
        let again = ops::open(&path, flags, 0o600).expect("a path");
        let error = ring.submit(again).await.expect_err("it is there");
        assert_eq!(error.to_string(), "open: EEXIST (17): file exists");
    });
    assert_eq!(std::fs::read(&path).expect("the file"), b"x");
    let error = ops::open("a\0b", O_RDONLY, 0).expect_err("a zero byte");
    assert_eq!(error.to_errno(), Errno::EINVAL);
}

#[test]
fn more_operations_than_the_queue_holds_are_in_flight_together() {
    let name = "more_operations_than_the_queue_holds_are_in_flight_together";
    let Some(ring) = local_ring(name, 4) else {
        return;
    };
    let (mut writer, reader) = UnixStream::pair().expect("a pair");
    let reader = Rc::new(reader);
    let polls: Vec<_> = (0..100)
        .map(|_| ring.submit(ops::poll(&reader, 1)))
        .collect();
    ring.block_on(async {
        ring.submit(ops::nop()).await.expect("a turn");
        writer.write_all(b"x").expect("a byte");
        for poll in polls {
            assert_eq!(poll.await, Ok(1));
        }
    });
}

#[test]
fn an_operation_gets_its_own_outcome_in_whatever_order_it_is_waited_for() {
    let name = "an_operation_gets_its_own_outcome_in_whatever_order_it_is_waited_for";
    let orders: [fn(usize) -> usize; 4] = [|i| i, |i| 15 - i, |i| i ^ 1, |i| i * 5 % 16];
    let Some(ring) = local_ring(name, 16) else {
        return;
    };
    let file = file_with(&[7; 100]);
    // More than the completion queue holds, so that each completion's room has to come back.
    for order in orders.into_iter().cycle().take(40) {
        let mut reads: Vec<_> = (0..16)
            .map(|i| Some(ring.submit(ops::read(&file, Vec::with_capacity(100), i))))
            .collect();
        ring.block_on(async {
            for i in (0..16).map(order) {
                let read = reads[i].take().expect("each is waited for once");
                let (count, buf) = read.await;
                assert_eq!((count, buf.len()), (Ok(100 - i), 100 - i));
            }
        });
    }
}

#[test]
fn tasks_run_beside_the_main_future_and_give_their_output() {
    let name = "tasks_run_beside_the_main_future_and_give_their_output";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let steps = Rc::new(Cell::new(0));
    let sum = ring.block_on(async {
        let tasks: Vec<_> = (0..10_u64)
            .map(|number| {
                let (io, steps) = (ring.handle(), Rc::clone(&steps));
                ring.spawn(async move {
                    for _ in 0..number {
                        io.submit(ops::nop()).await.expect("a no-op");
                        steps.set(steps.get() + 1);
                    }
                    io.clone().spawn(async move { number }).await
                })
            })
            .collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await;
        }
        sum
    });
    assert_eq!((sum, steps.get()), (45, 45));
}

#[test]
fn another_thread_wakes_the_one_that_waits_in_its_ring() {
    let name = "another_thread_wakes_the_one_that_waits_in_its_ring";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    for _ in 0..100 {
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let waker: std::task::Waker = receiver.recv().expect("a waker");
            waker.wake();
        });
        let mut sender = Some(sender);
        let mut polls = 0;
        ring.block_on(poll_fn(|cx| {
            polls += 1;
            match sender.take() {
                Some(sender) => {
                    sender.send(cx.waker().clone()).expect("the thread");
                    Poll::Pending
                }
                None => Poll::Ready(()),
            }
        }));
        thread.join().expect("the thread");
        assert!(polls >= 2);
    }
}

#[test]
fn another_thread_wakes_a_task() {
    let Some(ring) = local_ring("another_thread_wakes_a_task", 8) else {
        return;
    };
    let (sender, receiver) = std::sync::mpsc::channel::<std::task::Waker>();
    let thread = std::thread::spawn(move || receiver.recv().expect("a waker").wake());
    let mut sender = Some(sender);
    let task = ring.spawn(poll_fn(move |cx| match sender.take() {
        Some(sender) => {
            sender.send(cx.waker().clone()).expect("the thread");
            Poll::Pending
        }
        None => Poll::Ready(7),
    }));
    assert_eq!(ring.block_on(task), 7);
    thread.join().expect("the thread");
}

#[test]
fn a_sleep_ends_and_a_poll_waits_for_readiness() {
    let name = "a_sleep_ends_and_a_poll_waits_for_readiness";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let (mut writer, reader) = UnixStream::pair().expect("a pair");
    let reader = Rc::new(reader);
    ring.block_on(async {
        ring.submit(ops::sleep(Duration::from_millis(1)))
            .await
            .expect("a sleep");
        let mut readable = pin!(ring.submit(ops::poll(&reader, 1)));
        let first = poll_fn(|cx| Poll::Ready(readable.as_mut().poll(cx))).await;
        assert!(first.is_pending());
        writer.write_all(b"x").expect("a byte");
        assert_eq!(readable.await, Ok(1));
    });
}

#[test]
#[should_panic(expected = "block_on inside block_on")]
fn block_on_inside_itself_panics() {
    let Some(ring) = local_ring("block_on_inside_itself_panics", 8) else {
        panic!("block_on inside block_on");
    };
    ring.block_on(async { ring.block_on(async {}) });
}

#[test]
fn a_foreign_executor_drives_the_ring_by_turns() {
    let name = "a_foreign_executor_drives_the_ring_by_turns";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let file = file_with(b"abc");
    let waker = std::task::Waker::noop();
    let mut cx = std::task::Context::from_waker(waker);
    let mut read = pin!(ring.submit(ops::read(&file, Vec::with_capacity(8), 0)));
    let (count, buf) = loop {
        match read.as_mut().poll(&mut cx) {
            Poll::Ready(outcome) => break outcome,
            Poll::Pending => ring.turn(Some(Duration::from_secs(10))).expect("a turn"),
        }
    };
    assert_eq!((count, buf), (Ok(3), b"abc".to_vec()));
}

#[test]
fn an_operation_that_is_polled_after_its_end_panics_and_the_ring_goes_on() {
    let test = "an_operation_that_is_polled_after_its_end_panics_and_the_ring_goes_on";
    let Some(ring) = local_ring(test, 8) else {
        return;
    };
    let mut first = ring.submit(ops::nop());
    ring.block_on(&mut first).expect("a no-op");
    let second = ring.submit(ops::nop());
    let again = panic::catch_unwind(AssertUnwindSafe(|| ring.block_on(&mut first)));
    assert!(again.is_err());
    drop(first);
    ring.block_on(second).expect("another");
}
