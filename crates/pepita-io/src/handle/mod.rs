#![expect(unsafe_code, reason = "starts the operations of other threads")]
//! A ring on a thread of its own, for operations from any thread and under any executor.

mod chain;
mod queue;
mod sent;
mod stream;

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::thread::{self, JoinHandle, ThreadId};

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::IoUringSqe;

use crate::buf::{IoBuf, IoBufMut};
use crate::local::{DRAIN_LIMIT, LocalHandle, LocalRing, Remote};
use crate::ops::{self, MultiOperation, Operation, SharedFile, not_started};
use crate::ring::{RingConfig, SetupError};
pub use chain::SendChain;
use queue::{Pushed, Queue};
pub use sent::Sent;
use stream::RemoteStream;
pub use stream::SentMulti;

/// How many operations may be in flight when nothing else is said.
const IN_FLIGHT_LIMIT: usize = 16_384;

/// A thread that owns a ring, and runs operations for all others.
///
/// Work goes to it through [`handle`](Self::handle), of which there may be many.
///
/// ```
/// use std::{fs::File, sync::Arc};
/// use pepita_io::{RingThread, ops};
///
/// let ring = RingThread::new(64)?;
/// let io = ring.handle();
/// let file = Arc::new(File::open("/proc/self/comm")?);
/// let reader = std::thread::spawn(move || {
///     io.submit(ops::read(&file, Vec::with_capacity(64), 0)).wait()
/// });
/// let (count, name) = reader.join().expect("the thread");
/// assert_eq!(count?, name.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Dropping it cancels what is in flight and waits for it, up to 5 seconds; the thread goes on waiting after
/// that, and keeps what the kernel still has. Use [`stop`](Self::stop) to hear of it.
///
/// A waker or a destructor that panics on the thread is reported by the panic hook; the thread goes on.
#[derive(Debug)]
pub struct RingThread {
    handle: RingHandle,
    /// `None` when it was waited for.
    thread: Option<JoinHandle<()>>,
    /// Gets nothing; disconnected at the thread's end.
    end: mpsc::Receiver<()>,
}

impl RingThread {
    /// A thread with a ring that has room for `entries` submissions at a time; up to 16,384 operations may
    /// be in flight.
    ///
    /// # Errors
    /// As [`RingConfig::build`], and what clone(2) says when there is no thread to be had.
    pub fn new(entries: u32) -> std::result::Result<Self, SetupError> {
        Self::with_config(&RingConfig::new(entries), IN_FLIGHT_LIMIT)
    }

    /// A thread with a ring that is made as `config` says. Up to `in_flight_limit` operations may be in
    /// flight, those included that nobody waits for any more; one more fails with `EAGAIN`.
    ///
    /// So a server knows what its peers can make it hold. A completion queue with room for the limit
    /// ([`RingConfig::cq_entries`]) spares the kernel allocations.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_config(
        config: &RingConfig,
        in_flight_limit: usize,
    ) -> std::result::Result<Self, SetupError> {
        let config = config.clone();
        let (made, making) = mpsc::sync_channel(1);
        let (end_sender, end) = mpsc::channel();
        let run = move || {
            let _end: mpsc::Sender<()> = end_sender;
            match LocalRing::with_config(&config) {
                Ok(ring) => {
                    let shared = Arc::new(Shared::new(&ring, in_flight_limit));
                    // Whoever made the thread waits for this.
                    let _ = made.send(Ok(Arc::clone(&shared)));
                    serve(&ring, &shared);
                }
                Err(error) => drop(made.send(Err(error))),
            }
        };
        let builder = thread::Builder::new().name("pepita-ring".to_owned());
        let thread = builder.spawn(run).map_err(|error| {
            let errno = error.raw_os_error().map_or(Errno::EAGAIN, Errno::from_raw);
            KernelError::from_errno("clone", errno)
        })?;
        let Ok(made) = making.recv() else {
            panic!("the thread of the ring has panicked");
        };
        Ok(Self {
            handle: RingHandle { shared: made? },
            thread: Some(thread),
            end,
        })
    }

    /// A handle, for any thread.
    #[must_use]
    pub fn handle(&self) -> RingHandle {
        self.handle.clone()
    }

    /// Cancels what is in flight, waits for it, and ends the thread. Operations that come later fail with
    /// `ESHUTDOWN`.
    ///
    /// Called on the thread itself, by a waker or a destructor, it does not wait.
    ///
    /// # Errors
    /// `ETIMEDOUT` when something in flight has not ended within 5 seconds. The thread goes on waiting for
    /// it.
    ///
    /// # Panics
    /// When the thread has panicked.
    pub fn stop(mut self) -> Result<()> {
        match self.end() {
            Ok(is_ended) if !is_ended => Err(KernelError::from_errno("join", Errno::ETIMEDOUT)),
            Ok(_) => Ok(()),
            Err(panic) => panic::resume_unwind(panic),
        }
    }

    /// Says whether the thread has ended or need not be waited for.
    fn end(&mut self) -> thread::Result<bool> {
        let Some(thread) = self.thread.take() else {
            return Ok(true);
        };
        let shared = &self.handle.shared;
        shared.queue.close();
        shared.waker.wake_by_ref();
        if shared.is_here() {
            return Ok(true);
        }
        if self.end.recv_timeout(DRAIN_LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            return Ok(false);
        }
        thread.join().map(|()| true)
    }
}

impl Drop for RingThread {
    fn drop(&mut self) {
        // The panic hook has told of a panic.
        let _ = self.end();
    }
}

/// Hands operations to a [`RingThread`], from any thread; what comes of them is awaited under any executor,
/// or without one.
///
/// ```
/// use std::{fs::File, sync::Arc};
/// use pepita_io::{LocalRing, RingThread, ops};
///
/// let ring = RingThread::new(64)?;
/// let io = ring.handle();
/// let file = Arc::new(File::open("/proc/self/comm")?);
/// // The executor may be any; it knows nothing of the ring.
/// let (count, name) = LocalRing::new(8)?.block_on(async move {
///     io.submit(ops::read(&file, Vec::with_capacity(64), 0)).await
/// });
/// assert_eq!(count?, name.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// When the thread has ended, operations fail with `ESHUTDOWN` and give back what they own.
#[derive(Debug, Clone)]
pub struct RingHandle {
    shared: Arc<Shared>,
}

impl RingHandle {
    /// Hands over an operation. Many that come while the thread is busy are started together.
    ///
    /// At the limit of operations in flight, it ends with `EAGAIN` at once: let some of yours end first.
    ///
    /// Operations on files keep them as `Arc`s here:
    ///
    /// ```compile_fail,E0277
    /// use std::{fs::File, rc::Rc};
    /// use pepita_io::{RingThread, ops};
    ///
    /// let ring = RingThread::new(8).unwrap();
    /// let file = Rc::new(File::open("/proc/self/comm").unwrap());
    /// ring.handle().submit(ops::read(&file, Vec::new(), 0)).wait(); // an `Rc` stays on its thread
    /// ```
    #[inline]
    pub fn submit<O: Operation + Send>(&self, operation: O) -> Sent<O> {
        Sent::start(&self.shared, operation)
    }

    /// Hands over operations of which each waits for the one before, in the kernel: see
    /// [`LocalRing::submit_linked`]. Each counts as one in flight.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use pepita_io::{RingThread, ops};
    ///
    /// let ring = RingThread::new(8)?;
    /// let file = Arc::new(tempfile::tempfile()?);
    /// let write = ops::write(&file, "kept", 0);
    /// let (write, sync) = ring.handle().submit_linked((write, ops::fdatasync(&file)));
    /// assert_eq!(write.wait().0?, 4);
    /// sync.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn submit_linked<C: SendChain>(&self, chain: C) -> C::Sent {
        chain.send(self)
    }

    /// Hands over an operation that completes again and again. It counts as one in flight; what comes of it is
    /// kept until it is fetched. Of connections that are, the limit is that of the process on descriptors.
    ///
    /// ```
    /// use std::net::{TcpListener, TcpStream};
    /// use std::sync::Arc;
    /// use pepita_io::{RingThread, ops};
    ///
    /// let ring = RingThread::new(8)?;
    /// let listener = Arc::new(TcpListener::bind("127.0.0.1:0")?);
    /// let mut connections = ring.handle().submit_multi(ops::accept(&listener));
    /// for _ in 0..3 {
    ///     let client = TcpStream::connect(listener.local_addr()?)?;
    ///     let server = TcpStream::from(connections.wait_next().expect("goes on")?);
    ///     assert_eq!(server.peer_addr()?, client.local_addr()?);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn submit_multi<O: MultiOperation + Send>(&self, operation: O) -> SentMulti<O> {
        SentMulti::start(&self.shared, operation)
    }

    /// Reads from `offset` of `file` on until `buf` is full, and gives it back, also with an error: see
    /// [`LocalRing::read_exact`].
    ///
    /// # Errors
    /// As there, and as [`Self::submit`].
    pub fn read_exact<F: SharedFile + Send, B: IoBufMut + Send>(
        &self,
        file: &F,
        buf: B,
        offset: u64,
    ) -> impl Future<Output = (Result<()>, B)> + Send + use<F, B> {
        let shared = Arc::clone(&self.shared);
        let start = move |read| Sent::start(&shared, read);
        ops::read_exact(start, file.clone(), buf, offset)
    }

    /// Writes all of `buf` at `offset` of `file`, and gives it back, also with an error: see
    /// [`LocalRing::write_all`].
    ///
    /// # Errors
    /// As there, and as [`Self::submit`].
    pub fn write_all<F: SharedFile + Send, B: IoBuf + Send>(
        &self,
        file: &F,
        buf: B,
        offset: u64,
    ) -> impl Future<Output = (Result<()>, B)> + Send + use<F, B> {
        let shared = Arc::clone(&self.shared);
        let start = move |write| Sent::start(&shared, write);
        ops::write_all(start, file.clone(), buf, offset)
    }
}

/// What the threads share.
struct Shared {
    queue: Queue<Item>,
    /// Wakes the ring's thread.
    waker: Waker,
    thread: ThreadId,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("thread", &self.thread)
            .finish_non_exhaustive()
    }
}

/// What is handed over.
enum Item {
    /// The operation is to be started by this entry.
    Start(IoUringSqe, Arc<dyn Remote>),
    /// The operations are to be started by these entries, each after the one before.
    Chain(Vec<(IoUringSqe, Arc<dyn Remote>)>),
    /// The operation, which completes again and again, is to be started by this entry.
    Stream(IoUringSqe, Arc<dyn RemoteStream>),
    /// The operation, which was handed over before, is to be cancelled.
    Cancel(Arc<dyn Remote>),
}

impl Shared {
    /// For the thread that has `ring`, which is this one.
    fn new(ring: &LocalRing, in_flight_limit: usize) -> Self {
        Self {
            queue: Queue::new(in_flight_limit),
            waker: ring.block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone()))),
            thread: thread::current().id(),
        }
    }

    /// Whether this is the ring's thread.
    fn is_here(&self) -> bool {
        thread::current().id() == self.thread
    }
}

/// Starts what is handed over until there is an end, and tells of what has completed.
fn serve(ring: &LocalRing, shared: &Shared) {
    let io = ring.handle();
    io.drain_without_limit();
    let _closing = Closing(shared);
    let mut items = Vec::new();
    ring.block_on(poll_fn(|_| {
        if shared.queue.take(&mut items).is_closed() {
            return Poll::Ready(());
        }
        for item in items.drain(..) {
            begin(&io, item);
        }
        Poll::Pending
    }));
}

fn begin(io: &LocalHandle, item: Item) {
    match item {
        Item::Start(entry, remote) => {
            // SAFETY: kept: `Sent::start` made the entry of the operation that `remote` owns.
            unsafe { io.start_remote(entry, remote) };
        }
        Item::Chain(chain) => {
            // SAFETY: kept: `SendChain::send` made the entries of the operations that these own.
            unsafe { io.start_remote_chain(chain) };
        }
        Item::Stream(entry, remote) => {
            // SAFETY: kept: `SentMulti::start` made the entry of the operation that `remote` owns.
            unsafe { stream::begin(io, entry, remote) };
        }
        Item::Cancel(remote) => {
            if let Some(user_data) = remote.user_data() {
                io.cancel(user_data);
            }
        }
    }
}

/// Gives back what was handed over and will not be started, also when the thread panics.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        for item in self.0.queue.close_and_take() {
            match item {
                Item::Start(_, remote) => remote.end(not_started(Errno::ESHUTDOWN)),
                Item::Chain(chain) => {
                    for (_, remote) in chain {
                        remote.end(not_started(Errno::ESHUTDOWN));
                    }
                }
                Item::Stream(_, remote) => stream::refuse(&*remote),
                Item::Cancel(_) => {}
            }
        }
    }
}
