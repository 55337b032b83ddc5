//! Operations from any thread, under any executor.

mod chains;
mod ends;

use std::fs::File;
use std::future::Future;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use pepita_io::ring::{RingConfig, SetupError};
use pepita_io::{LocalRing, RingHandle, RingThread, Sent, ops};
use pepita_sys::error::Errno;

/// A ring's thread, or `None` after saying why `test` is skipped.
fn ring_thread(test: &str, entries: u32, in_flight_limit: usize) -> Option<RingThread> {
    match RingThread::with_config(&RingConfig::new(entries), in_flight_limit) {
        Ok(ring) => Some(ring),
        Err(error) => {
            println!("SKIPPED: {test}: {error}");
            None
        }
    }
}

/// Makes a file with `bytes`, without a name.
fn file_with(bytes: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("its content");
    Arc::new(file)
}

fn pair() -> (UnixStream, Arc<UnixStream>) {
    let (writer, reader) = UnixStream::pair().expect("a pair");
    (writer, Arc::new(reader))
}

type PendingRead = Sent<ops::Read<Arc<UnixStream>, Vec<u8>>>;

/// A read that waits for bytes, and is in the kernel or on its way there.
fn pending_read(io: &RingHandle, reader: &Arc<UnixStream>) -> PendingRead {
    io.submit(ops::read(reader, Vec::with_capacity(4096), 0))
}

fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// Waits until the ring's thread has seen all that was handed over before.
fn pass(io: &RingHandle) {
    io.submit(ops::nop()).wait().expect("a no-op");
}

/// Writes a file, makes it durable, reads it back.
async fn write_and_read(io: RingHandle) -> Vec<u8> {
    let file = Arc::new(tempfile::tempfile().expect("a temporary file"));
    let text = b"through the ring".to_vec();
    let (count, text) = io.submit(ops::write(&file, text, 0)).await;
    assert_eq!(count, Ok(text.len()));
    io.submit(ops::fsync(&file)).await.expect("an fsync");
    io.submit(ops::sleep(Duration::from_millis(1)))
        .await
        .expect("a sleep");
    let (count, text) = io.submit(ops::read(&file, Vec::with_capacity(64), 0)).await;
    assert_eq!(count, Ok(text.len()));
    text
}

#[test]
fn operations_run_under_our_executor() {
    let Some(ring) = ring_thread("operations_run_under_our_executor", 8, 8) else {
        return;
    };
    let local = LocalRing::new(8).expect("a second ring");
    let text = local.block_on(write_and_read(ring.handle()));
    assert_eq!(text, b"through the ring");
}

#[test]
fn operations_run_under_tokio_on_one_thread() {
    let Some(ring) = ring_thread("operations_run_under_tokio_on_one_thread", 8, 8) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let text = runtime.block_on(write_and_read(ring.handle()));
    assert_eq!(text, b"through the ring");
}

#[test]
fn operations_run_under_tokio_on_many_threads() {
    let Some(ring) = ring_thread("operations_run_under_tokio_on_many_threads", 8, 64) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("a runtime");
    let tasks: Vec<_> = (0..32)
        .map(|_| runtime.spawn(write_and_read(ring.handle())))
        .collect();
    for task in tasks {
        let text = runtime.block_on(task).expect("a task");
        assert_eq!(text, b"through the ring");
    }
}

#[test]
fn a_task_that_tokio_aborts_takes_its_operation_along() {
    let name = "a_task_that_tokio_aborts_takes_its_operation_along";
    let Some(ring) = ring_thread(name, 8, 64) else {
        return;
    };
    let io = ring.handle();
    let (mut writer, reader) = pair();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("a runtime");
    let reads: Vec<_> = (0..20)
        .map(|_| runtime.spawn(pending_read(&io, &reader)))
        .collect();
    for (nth, read) in reads.iter().enumerate() {
        if nth % 2 == 0 {
            read.abort();
        }
    }
    // The rest goes with the executor.
    drop(runtime);
    while Arc::strong_count(&reader) > 1 {
        pass(&io);
    }
    writer.write_all(b"kept").expect("bytes");
    assert_eq!(pending_read(&io, &reader).wait(), (Ok(4), b"kept".to_vec()));
}

#[test]
fn a_thread_waits_without_an_executor() {
    let Some(ring) = ring_thread("a_thread_waits_without_an_executor", 8, 8) else {
        return;
    };
    let io = ring.handle();
    let file = file_with(b"hello");
    let (count, text) = io.submit(ops::read(&file, Vec::with_capacity(8), 0)).wait();
    assert_eq!((count, text), (Ok(5), b"hello".to_vec()));
    let (mut writer, reader) = pair();
    let read = pending_read(&io, &reader);
    let waiting = thread::spawn(move || read.wait());
    pass(&io);
    writer.write_all(b"late").expect("bytes");
    let (count, text) = waiting.join().expect("the thread");
    assert_eq!((count, text), (Ok(4), b"late".to_vec()));
}

/// Numbers that look random, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("it is below `end`")
    }
}

/// The pages of one thread.
const PAGES: usize = 16;
const PAGE: usize = 64;

/// Writes and reads pages of its own through `io`, several at a time, against a model in memory.
fn play(io: &RingHandle, file: &Arc<File>, player: usize, rounds: usize) {
    let base = player * PAGES * PAGE;
    let mut model = vec![[0_u8; PAGE]; PAGES];
    let mut numbers = Numbers(player as u64 + 1);
    for round in 0..rounds {
        let first = numbers.below(PAGES);
        let pages = (0..1 + numbers.below(4)).map(|nth| (first + nth) % PAGES);
        let offset = |page: usize| (base + page * PAGE) as u64;
        if numbers.below(2) == 0 {
            let writes: Vec<_> = pages
                .map(|page| {
                    model[page] = [u8::try_from((round + page) % 256).expect("a byte"); PAGE];
                    let buf = model[page].to_vec();
                    io.submit(ops::write(file, buf, offset(page)))
                })
                .collect();
            for write in writes {
                assert_eq!(write.wait().0, Ok(PAGE));
            }
        } else {
            let reads: Vec<_> = pages
                .map(|page| {
                    let buf = Vec::with_capacity(PAGE);
                    (page, io.submit(ops::read(file, buf, offset(page))))
                })
                .collect();
            for (page, read) in reads {
                // What some others wait for is dropped now and then.
                if numbers.below(8) > 0 {
                    assert_eq!(read.wait().1, model[page]);
                }
            }
        }
    }
    for (page, bytes) in model.iter().enumerate() {
        let mut read = [0; PAGE];
        let offset = (base + page * PAGE) as u64;
        file.read_exact_at(&mut read, offset).expect("a page");
        assert_eq!(&read, bytes);
    }
}

#[test]
fn each_of_many_threads_gets_what_it_asked_for() {
    let name = "each_of_many_threads_gets_what_it_asked_for";
    let Some(ring) = ring_thread(name, 16, 64) else {
        return;
    };
    const PLAYERS: usize = 8;
    let rounds = match std::env::var("PEPITA_TEST_SET").as_deref() {
        Ok("full") => 20_000,
        _ => 500,
    };
    let file = file_with(&vec![0; PLAYERS * PAGES * PAGE]);
    thread::scope(|scope| {
        for player in 0..PLAYERS {
            let (io, file) = (ring.handle(), &file);
            scope.spawn(move || play(&io, file, player, rounds));
        }
    });
    pass(&ring.handle());
    ring.stop().expect("nothing is in flight");
    assert_eq!(Arc::strong_count(&file), 1);
}

#[test]
fn more_operations_than_the_queues_hold_are_in_flight_together() {
    let name = "more_operations_than_the_queues_hold_are_in_flight_together";
    let Some(ring) = ring_thread(name, 4, 5000) else {
        return;
    };
    let io = ring.handle();
    let (mut writer, reader) = pair();
    let polls: Vec<_> = (0..5000)
        .map(|_| io.submit(ops::poll(&reader, 1)))
        .collect();
    writer.write_all(b"x").expect("a byte");
    for poll in polls {
        assert_eq!(poll.wait(), Ok(1));
    }
}

#[test]
fn an_operation_above_the_limit_comes_back_with_its_buffer() {
    let name = "an_operation_above_the_limit_comes_back_with_its_buffer";
    let Some(ring) = ring_thread(name, 8, 2) else {
        return;
    };
    let io = ring.handle();
    let (mut writer, reader) = pair();
    let first = pending_read(&io, &reader);
    let second = pending_read(&io, &reader);
    let (result, buf) = io.submit(ops::read(&reader, vec![1, 2, 3], 0)).wait();
    assert_eq!(result.map_err(|error| error.to_errno()), Err(Errno::EAGAIN));
    assert_eq!(buf, [1, 2, 3]);
    // One that nobody waits for counts until the kernel is done with it.
    drop(second);
    while let Err(error) = io.submit(ops::nop()).wait() {
        assert_eq!(error.to_errno(), Errno::EAGAIN);
        thread::yield_now();
    }
    writer.write_all(b"x").expect("a byte");
    first.wait().0.expect("a byte");
    for _ in 0..1000 {
        pass(&io);
    }
}

#[test]
fn who_has_seen_an_end_may_start_the_next_at_a_limit_of_one() {
    let name = "who_has_seen_an_end_may_start_the_next_at_a_limit_of_one";
    let Some(ring) = ring_thread(name, 8, 1) else {
        return;
    };
    let io = ring.handle();
    for _ in 0..1000 {
        pass(&io);
    }
}

#[test]
fn a_ring_that_cannot_be_made_is_an_error_of_the_caller() {
    let error = RingThread::new(0).expect_err("a ring without entries");
    assert!(
        matches!(error, SetupError::Entries { .. } | SetupError::Refused(_)),
        "{error}"
    );
}

#[test]
fn handles_and_futures_go_to_other_threads() {
    fn goes<T: Send>() {}
    fn is_shared<T: Sync>() {}
    goes::<RingThread>();
    goes::<RingHandle>();
    is_shared::<RingHandle>();
    goes::<Sent<ops::Read<Arc<File>, Vec<u8>>>>();
    is_shared::<Sent<ops::Nop>>();
}
