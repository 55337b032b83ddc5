#![expect(
    unsafe_code,
    reason = "wakers and operations of its own tell what is done to them"
)]
//! Code of others that comes back into the ring, or panics, where the ring calls it.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::time::Duration;

use pepita_io::ops::{self, Operation};
use pepita_io::ring::RingConfig;
use pepita_io::{LocalHandle, LocalRing};
use pepita_sys::error::{Errno, Result};
use pepita_sys::io_uring::{IoUringCqe, IoUringSqe};

use super::local_ring;
use crate::filter::refuse;

/// A waker that calls `self.0`.
struct Calls<F>(F);

impl<F: Fn() + Send + Sync + 'static> Wake for Calls<F> {
    fn wake(self: Arc<Self>) {
        self.0();
    }
}

fn waker(wake: impl Fn() + Send + Sync + 'static) -> Waker {
    Waker::from(Arc::new(Calls(wake)))
}

fn panics() {
    panic!("a waker that panics");
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// Whether `work` panics.
fn does_panic(work: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_err()
}

/// A no-op that counts its ends, and panics at the end if it is told to.
struct Ends {
    ends: Rc<Cell<usize>>,
    panics: bool,
}

// SAFETY: its entry leads nowhere.
unsafe impl Operation for Ends {
    type Output = ();

    fn entry(&mut self) -> IoUringSqe {
        IoUringSqe::nop()
    }

    fn complete(self, _: IoUringCqe) {
        self.ends.set(self.ends.get() + 1);
        assert!(!self.panics, "an operation that panics");
    }
}

thread_local! {
    static RING: RefCell<Option<Rc<LocalRing>>> = const { RefCell::new(None) };
}

#[test]
fn an_operation_that_ends_while_a_waker_turns_the_ring_is_seen() {
    let name = "an_operation_that_ends_while_a_waker_turns_the_ring_is_seen";
    let Some(ring) = local_ring(name, 2).map(Rc::new) else {
        return;
    };
    RING.set(Some(Rc::clone(&ring)));
    let (writer, reader) = UnixStream::pair().expect("a pair");
    let turns = waker(move || {
        (&writer).write_all(b"x").expect("a byte");
        let ring = RING.take().expect("the ring");
        ring.turn(Some(Duration::from_secs(10))).expect("a turn");
    });
    let mut first = ring.submit(ops::nop());
    assert!(poll(&mut first, &turns).is_pending());
    // The queue is full, so both are handed over, and the first is done.
    let mut read = ring.submit(ops::read(&Rc::new(reader), Vec::with_capacity(1), 0));
    let mut polled = poll(&mut read, Waker::noop());
    if polled.is_pending() {
        polled = poll(&mut read, Waker::noop());
    }
    assert_eq!(polled, Poll::Ready((Ok(1), b"x".to_vec())));
}

#[test]
fn an_operation_that_ends_while_its_waker_is_cloned_is_seen() {
    let name = "an_operation_that_ends_while_its_waker_is_cloned_is_seen";
    let Some(ring) = local_ring(name, 8).map(Rc::new) else {
        return;
    };
    RING.set(Some(Rc::clone(&ring)));
    let mut nop = ring.submit(ops::nop());
    // SAFETY: the functions of the table take no data.
    let turns = unsafe { Waker::from_raw(turning()) };
    assert_eq!(poll(&mut nop, &turns), Poll::Ready(Ok(())));

    let listener = Rc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener"));
    let mut connections = ring.submit_multi(ops::accept(&listener));
    ring.turn(None).expect("a turn");
    let _client = TcpStream::connect(listener.local_addr().expect("an address"));
    RING.set(Some(Rc::clone(&ring)));
    let next = connections.poll_next(&mut Context::from_waker(&turns));
    assert!(matches!(next, Poll::Ready(Some(Ok(_)))));
}

/// A waker that turns the ring when it is cloned.
fn turning() -> RawWaker {
    const VTABLE: RawWakerVTable = RawWakerVTable::new(
        |_| {
            if let Some(ring) = RING.take() {
                ring.turn(Some(Duration::from_secs(10))).expect("a turn");
            }
            turning()
        },
        |_| {},
        |_| {},
        |_| {},
    );
    RawWaker::new(std::ptr::null(), &VTABLE)
}

#[test]
fn an_outcome_is_still_there_after_a_waker_has_panicked() {
    let name = "an_outcome_is_still_there_after_a_waker_has_panicked";
    let Some(ring) = local_ring(name, 2) else {
        return;
    };
    let mut first = ring.submit(ops::nop());
    assert!(poll(&mut first, &waker(panics)).is_pending());
    // The queue is full, so both are handed over and done.
    let mut second = ring.submit(ops::nop());
    assert!(does_panic(|| assert!(
        poll(&mut second, Waker::noop()).is_ready()
    )));
    assert_eq!(poll(&mut second, Waker::noop()), Poll::Ready(Ok(())));
    assert_eq!(poll(&mut first, Waker::noop()), Poll::Ready(Ok(())));
}

#[test]
fn a_waker_that_panics_leaves_the_others_their_wake_ups_and_ends() {
    let name = "a_waker_that_panics_leaves_the_others_their_wake_ups_and_ends";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    let counts = waker(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let ends = Rc::new(Cell::new(0));
    let watched = |panics| Ends {
        ends: Rc::clone(&ends),
        panics,
    };
    let mut first = ring.submit(ops::nop());
    let mut second = ring.submit(ops::nop());
    assert!(poll(&mut first, &waker(panics)).is_pending());
    assert!(poll(&mut second, &counts).is_pending());
    drop(ring.submit(watched(true)));
    drop(ring.submit(watched(false)));
    assert!(does_panic(|| ring.turn(None).expect("a turn")));
    assert_eq!((woken.load(Ordering::Relaxed), ends.get()), (1, 2));
}

#[test]
fn an_operation_that_panics_at_its_end_leaves_the_others_theirs_when_the_ring_is_dropped() {
    let name =
        "an_operation_that_panics_at_its_end_leaves_the_others_theirs_when_the_ring_is_dropped";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let ends = Rc::new(Cell::new(0));
    for panics in [true, false] {
        let ends = Rc::clone(&ends);
        drop(ring.submit(Ends { ends, panics }));
    }
    assert!(does_panic(|| drop(ring)));
    // What is dropped without its end is dropped while the kernel has it.
    assert_eq!(ends.get(), 2);
}

/// A socket that starts an operation when it is dropped.
struct Talks {
    socket: UnixStream,
    io: LocalHandle,
    talked: Rc<Cell<bool>>,
}

impl AsFd for Talks {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Talks {
    fn drop(&mut self) {
        drop(self.io.submit(ops::nop()));
        self.talked.set(true);
    }
}

#[test]
fn a_stream_that_could_not_start_is_dropped_where_its_file_may_use_the_ring() {
    let name = "a_stream_that_could_not_start_is_dropped_where_its_file_may_use_the_ring";
    let thread = std::thread::spawn(move || {
        let Some(ring) = local_ring(name, 2) else {
            return;
        };
        if !refuse(libc::SYS_io_uring_enter, Errno::EPERM) {
            println!("SKIPPED: {name}: no seccomp here");
            return;
        }
        let talked = Rc::new(Cell::new(false));
        let file = Rc::new(Talks {
            socket: UnixStream::pair().expect("a pair").0,
            io: ring.handle(),
            talked: Rc::clone(&talked),
        });
        let _full = [ring.submit(ops::nop()), ring.submit(ops::nop())];
        let refused = ring.submit_multi(ops::accept(&file));
        drop(file);
        drop(refused);
        assert!(talked.get());
    });
    thread.join().expect("the thread");
}

#[test]
fn a_task_that_panics_leaves_the_others_running() {
    let Some(ring) = local_ring("a_task_that_panics_leaves_the_others_running", 8) else {
        return;
    };
    let broken = ring.spawn(async { panic!("a task that panics") });
    let ran = Rc::new(Cell::new(false));
    let runs = Rc::clone(&ran);
    drop(ring.spawn(async move { runs.set(true) }));
    assert!(does_panic(|| ring.block_on(std::future::pending())));
    ring.block_on(async {
        for _ in 0..3 {
            ring.submit(ops::nop()).await.expect("a no-op");
        }
    });
    assert!(ran.get());
    // It has no output; waiting for one would never end.
    assert!(does_panic(|| ring.block_on(broken)));
}

#[test]
fn who_waits_for_a_task_that_panics_hears_of_it() {
    let Some(ring) = local_ring("who_waits_for_a_task_that_panics_hears_of_it", 8) else {
        return;
    };
    let broken = ring.spawn(async { panic!("a task that panics") });
    let waits = ring.spawn(broken);
    assert!(does_panic(|| ring.block_on(std::future::pending())));
    assert!(does_panic(|| ring.block_on(async {
        for _ in 0..3 {
            ring.submit(ops::nop()).await.expect("a no-op");
        }
    })));
    drop(waits);
}

#[test]
fn a_ring_that_is_still_used_shares_its_waker_with_no_other() {
    let name = "a_ring_that_is_still_used_shares_its_waker_with_no_other";
    let Some(first) = local_ring(name, 8) else {
        return;
    };
    let waker_of = |ring: &LocalRing| ring.block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
    let (waker, io) = (waker_of(&first), first.handle());
    drop(first);
    let Some(second) = local_ring(name, 8) else {
        return;
    };
    assert!(!waker.will_wake(&waker_of(&second)));
    drop(io);
}

#[test]
fn a_polling_thread_that_is_behind_refuses_no_operation() {
    let name = "a_polling_thread_that_is_behind_refuses_no_operation";
    let ring = LocalRing::with_config(&RingConfig::new(4).sq_poll(Duration::from_millis(1)));
    let ring = match ring {
        Ok(ring) => ring,
        Err(error) => return println!("SKIPPED: {name}: {error}"),
    };
    let all: Vec<_> = (0..1000).map(|_| ring.submit(ops::nop())).collect();
    ring.block_on(async {
        for (number, one) in all.into_iter().enumerate() {
            let done: Result<()> = one.await;
            assert_eq!((number, done), (number, Ok(())));
        }
    });
}

#[test]
fn a_ring_ends_though_what_was_in_flight_has_a_handle_to_it() {
    let name = "a_ring_ends_though_what_was_in_flight_has_a_handle_to_it";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let (_writer, socket) = UnixStream::pair().expect("a pair");
    let talked = Rc::new(Cell::new(false));
    let file = Rc::new(Talks {
        socket,
        io: ring.handle(),
        talked: Rc::clone(&talked),
    });
    let io = ring.handle();
    drop(ring.spawn(async move { io.submit(ops::read(&file, vec![0; 8], 0)).await }));
    ring.block_on(ring.submit(ops::nop())).expect("a no-op");
    drop(ring);
    assert!(talked.get());
}
