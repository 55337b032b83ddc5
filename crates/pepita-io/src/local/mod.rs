#![expect(
    unsafe_code,
    reason = "passes on who keeps an operation, and lends the descriptor"
)]
//! A ring with owned operations, on the thread that made it.

mod cell;
mod chain;
mod driver;
mod multi;
mod op;
mod panics;
mod park;
mod pool;
mod slots;
mod tasks;
mod told;

use std::cell::Cell;
use std::future::Future;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pepita_sys::error::Result;
use pepita_sys::io_uring::IoUringSqe;

use crate::buf::{IoBuf, IoBufMut};
use crate::ops::{self, MultiOperation, Operation, SharedFile};
use crate::ring::{RingConfig, SetupError};
pub use chain::Chain;
pub(crate) use driver::DRAIN_LIMIT;
use driver::{Driver, Turn};
pub use multi::{Multi, Origin};
pub use op::{Limited, Submitted};
use park::Parker;
pub use pool::{LocalPool, RecvBundle, RecvMany, RecvPooled};
use slots::Key;
pub(crate) use slots::Remote;
pub use tasks::Task;
use tasks::Tasks;

/// A ring with owned operations, and an executor for the futures that wait for them.
///
/// Everything about it stays on its thread. [`submit`](Self::submit) starts an operation; operations that
/// were started are handed over together when the thread has nothing else to do.
///
/// ```
/// use std::{fs::File, rc::Rc};
/// use pepita_io::{LocalRing, ops};
///
/// let ring = LocalRing::new(64)?;
/// let file = Rc::new(File::open("/proc/self/stat")?);
/// let text = ring.block_on(async {
///     let (count, buf) = ring.submit(ops::read(&file, Vec::with_capacity(4096), 0)).await;
///     count.map(|_| buf)
/// })?;
/// assert!(text.starts_with(std::process::id().to_string().as_bytes()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Under another single-threaded executor, call [`turn`](Self::turn) when it is idle: futures of operations
/// wake by the waker that they were polled with.
///
/// Dropping it drops its tasks, and nothing turns it from then on; what a [`LocalHandle`] starts then comes to
/// `ESHUTDOWN`. When the last future of an operation is
/// dropped too, what is in flight is cancelled and waited for, up to 5 seconds; what has not ended then keeps
/// its memory for good.
#[derive(Debug)]
pub struct LocalRing {
    handle: LocalHandle,
    tasks: Rc<Tasks>,
    parker: &'static Parker,
    is_running: Cell<bool>,
}

/// Starts operations and tasks on a [`LocalRing`], from inside its futures.
#[derive(Debug, Clone)]
pub struct LocalHandle {
    driver: Rc<Driver>,
    tasks: Weak<Tasks>,
}

impl LocalRing {
    /// A ring with room for `entries` submissions at a time; more operations than that may be in flight.
    ///
    /// # Errors
    /// As [`RingConfig::build`].
    pub fn new(entries: u32) -> std::result::Result<Self, SetupError> {
        Self::with_config(&RingConfig::new(entries))
    }

    /// A ring that is made as `config` says.
    ///
    /// # Errors
    /// As [`RingConfig::build`].
    pub fn with_config(config: &RingConfig) -> std::result::Result<Self, SetupError> {
        let ring = config.build()?;
        let lease = Parker::take()?;
        let parker = lease.parker();
        let tasks = Rc::new(Tasks::new(parker));
        Ok(Self {
            handle: LocalHandle {
                driver: Rc::new(Driver::new(ring, lease)),
                tasks: Rc::downgrade(&tasks),
            },
            tasks,
            parker,
            is_running: Cell::new(false),
        })
    }

    /// A handle for futures, which may outlive this.
    #[must_use]
    pub fn handle(&self) -> LocalHandle {
        self.handle.clone()
    }

    /// Starts an operation.
    #[inline(always)]
    pub fn submit<O: Operation>(&self, operation: O) -> Submitted<O> {
        Submitted::start(&self.handle.driver, operation)
    }

    /// Starts an operation that is cancelled after `limit`; `EAGAIN` on a ring with room for one entry.
    pub fn submit_for<O: Operation>(&self, operation: O, limit: Duration) -> Submitted<Limited<O>> {
        self.handle.submit_for(operation, limit)
    }

    /// Reads from `offset` of `file` on until `buf` is full, and gives it back, also with an error. The offset
    /// is [`POSITION`](crate::ops::POSITION) for the file's own position, and for a pipe or a connection.
    ///
    /// It starts when it is polled. A vector is full when its capacity is; for a part of it, give a [`Part`](crate::buf::Part).
    ///
    /// ```
    /// use std::rc::Rc;
    /// use pepita_io::LocalRing;
    ///
    /// let ring = LocalRing::new(8)?;
    /// let file = Rc::new(tempfile::tempfile()?);
    /// let back = ring.block_on(async {
    ///     ring.write_all(&file, "all of it", 0).await.0?;
    ///     let (result, text) = ring.read_exact(&file, vec![0; 2].into_boxed_slice(), 4).await;
    ///     result.map(|()| text)
    /// })?;
    /// assert_eq!(*back, *b"of");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `ENODATA` at the end of the file, and what the kernel says. A vector then holds what was read.
    pub fn read_exact<F: SharedFile, B: IoBufMut>(
        &self,
        file: &F,
        buf: B,
        offset: u64,
    ) -> impl Future<Output = (Result<()>, B)> + use<F, B> {
        self.handle.read_exact(file, buf, offset)
    }

    /// Writes all of `buf` at `offset` of `file`, and gives it back, also with an error. The offset is
    /// [`POSITION`](crate::ops::POSITION) for the file's own position, and for a pipe or a connection.
    ///
    /// It starts when it is polled. For an example see [`Self::read_exact`].
    ///
    /// # Errors
    /// `ENOSPC` where the file takes no more, and what the kernel says. Some may have been written.
    pub fn write_all<F: SharedFile, B: IoBuf>(
        &self,
        file: &F,
        buf: B,
        offset: u64,
    ) -> impl Future<Output = (Result<()>, B)> + use<F, B> {
        self.handle.write_all(file, buf, offset)
    }

    /// Starts operations of which each waits for the one before, in the kernel. If one fails, or does less
    /// than was asked for, those behind it come to `ECANCELED` and give back what they own. All come to
    /// `EAGAIN` on a ring with fewer entries than there are operations.
    ///
    /// ```
    /// use std::{fs::File, rc::Rc};
    /// use pepita_io::{LocalRing, ops};
    /// use pepita_sys::error::Errno;
    ///
    /// let ring = LocalRing::new(8)?;
    /// let file = Rc::new(tempfile::tempfile()?);
    /// let (write, sync, read) = ring.submit_linked((
    ///     ops::write(&file, "kept", 0),
    ///     ops::fdatasync(&file),
    ///     ops::read(&file, Vec::with_capacity(8), 0),
    /// ));
    /// ring.block_on(async {
    ///     assert_eq!(write.await.0?, 4);
    ///     sync.await?;
    ///     assert_eq!(read.await.1, b"kept");
    /// #   Ok::<(), pepita_sys::error::KernelError>(())
    /// })?;
    ///
    /// let full = Rc::new(File::options().write(true).open("/dev/full")?);
    /// let (write, next) = ring.submit_linked((ops::write(&full, "lost", 0), ops::write(&file, "never", 0)));
    /// assert_eq!(ring.block_on(write).0.unwrap_err().to_errno(), Errno::ENOSPC);
    /// let (result, text) = ring.block_on(next);
    /// assert_eq!((result.unwrap_err().to_errno(), text), (Errno::ECANCELED, "never"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn submit_linked<C: Chain>(&self, chain: C) -> C::Submitted {
        self.handle.submit_linked(chain)
    }

    /// Starts an operation that completes again and again.
    pub fn submit_multi<O: MultiOperation>(&self, operation: O) -> Multi<O> {
        self.handle.submit_multi(operation)
    }

    /// Makes a pool of `count` buffers, a power of two, of `buffer_len` bytes.
    ///
    /// # Errors
    /// As [`BufferPool::new`](crate::ring::BufferPool::new).
    pub fn buffer_pool(&self, count: u16, buffer_len: u32) -> Result<LocalPool> {
        LocalPool::new(&self.handle.driver, count, buffer_len)
    }

    /// Starts a task, which runs inside [`block_on`](Self::block_on) beside its future. If it panics, so does
    /// `block_on`, and the [`Task`] never resolves.
    pub fn spawn<F: Future + 'static>(&self, future: F) -> Task<F::Output> {
        self.tasks.spawn(future)
    }

    /// Hands over what was started, and tells the futures of what has completed. With a `timeout`, waits so
    /// long for the first completion. For other executors: [`block_on`](Self::block_on) does this itself.
    ///
    /// # Errors
    /// What io_uring_enter(2) says.
    pub fn turn(&self, timeout: Option<Duration>) -> Result<()> {
        self.handle
            .driver
            .turn(timeout.map_or(Turn::Now, Turn::AtMost))
    }

    /// Runs `future` and the tasks until the future has ended.
    ///
    /// # Panics
    /// * When the future or a task does. That task is gone; the others go on at the next call.
    /// * Inside itself.
    /// * When the future or a task does. The ring can be used on.
    /// * When the kernel refuses to let the thread into its ring, which no operation can answer for.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        assert!(!self.is_running.replace(true), "block_on inside block_on");
        let _running = Running(&self.is_running);
        let mut future = pin!(future);
        let waker = self.parker.waker();
        let mut cx = Context::from_waker(&waker);
        waker.wake_by_ref();
        loop {
            if self.parker.take_notified()
                && let Poll::Ready(output) = future.as_mut().poll(&mut cx)
            {
                return output;
            }
            self.tasks.run_ready();
            self.wait();
        }
    }

    /// Waits until something is to be polled; hands over what was started.
    fn wait(&self) {
        let driver = &self.handle.driver;
        let turned = if self.parker.prepare_sleep() {
            let turned = driver.turn(Turn::UntilSome);
            self.parker.end_sleep();
            turned
        } else {
            driver.turn(Turn::Now)
        };
        if let Err(error) = turned {
            panic!("the ring does not let its thread in: {error}");
        }
    }
}

/// For an epoll instance or another ring that looks at it. Completions make it readable, but not those that a
/// worker of the kernel leaves for the ring's thread to fetch: on Linux 6.18 these do not wake who waits for a
/// ring with `IORING_SETUP_DEFER_TASKRUN`, as this one is. So let such a wait have an end, and call
/// [`LocalRing::turn`] then.
impl AsRawFd for LocalRing {
    fn as_raw_fd(&self) -> RawFd {
        self.handle.driver.fd()
    }
}

/// As for [`AsRawFd`](#impl-AsRawFd-for-LocalRing).
impl AsFd for LocalRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: open-fd: it is the ring's, which is closed after the driver, which this keeps.
        unsafe { BorrowedFd::borrow_raw(self.as_raw_fd()) }
    }
}

/// Ends a run also when it panics.
struct Running<'a>(&'a Cell<bool>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Drop for LocalRing {
    fn drop(&mut self) {
        self.tasks.clear();
        self.handle.driver.close();
        // Else the driver itself does it.
        if Rc::strong_count(&self.handle.driver) > 1 {
            self.handle.driver.end_orphans();
        }
    }
}

impl LocalHandle {
    /// Starts an operation. When the ring has been dropped, it comes to `ESHUTDOWN` and gives back what it owns,
    /// as all that this starts.
    #[inline]
    pub fn submit<O: Operation>(&self, operation: O) -> Submitted<O> {
        Submitted::start_if_open(&self.driver, operation)
    }

    /// Starts an operation that is cancelled after `limit`.
    pub fn submit_for<O: Operation>(&self, operation: O, limit: Duration) -> Submitted<Limited<O>> {
        Submitted::start_limited(&self.driver, Limited::new(operation, limit))
    }

    /// Reads until `buf` is full: see [`LocalRing::read_exact`].
    pub fn read_exact<F: SharedFile, B: IoBufMut>(
        &self,
        file: &F,
        buf: B,
        offset: u64,
    ) -> impl Future<Output = (Result<()>, B)> + use<F, B> {
        let driver = Rc::clone(&self.driver);
        let start = move |read| Submitted::start_if_open(&driver, read);
        ops::read_exact(start, file.clone(), buf, offset)
    }

    /// Writes all of `buf`: see [`LocalRing::write_all`].
    pub fn write_all<F: SharedFile, B: IoBuf>(
        &self,
        file: &F,
        buf: B,
        offset: u64,
    ) -> impl Future<Output = (Result<()>, B)> + use<F, B> {
        let driver = Rc::clone(&self.driver);
        let start = move |write| Submitted::start_if_open(&driver, write);
        ops::write_all(start, file.clone(), buf, offset)
    }

    /// Starts operations of which each waits for the one before: see [`LocalRing::submit_linked`].
    pub fn submit_linked<C: Chain>(&self, chain: C) -> C::Submitted {
        chain.start(self)
    }

    /// Starts an operation that completes again and again.
    pub fn submit_multi<O: MultiOperation>(&self, operation: O) -> Multi<O> {
        Multi::start(&self.driver, operation)
    }

    /// Starts a task.
    ///
    /// # Panics
    /// When the ring has been dropped.
    pub fn spawn<F: Future + 'static>(&self, future: F) -> Task<F::Output> {
        self.tasks
            .upgrade()
            .expect("a task needs its ring")
            .spawn(future)
    }

    /// Starts an operation that another thread waits for.
    ///
    /// # Safety
    /// * kept: `remote` owns what `entry` leads to, until its end.
    pub(crate) unsafe fn start_remote(&self, entry: IoUringSqe, remote: Arc<dyn Remote>) {
        // SAFETY: the caller's duty.
        unsafe { self.driver.start_remote(entry, remote) };
    }

    /// Starts operations that other threads wait for, each after the one before.
    ///
    /// # Safety
    /// * kept: each `Remote` owns what its entry leads to, until its end.
    pub(crate) unsafe fn start_remote_chain(&self, chain: Vec<(IoUringSqe, Arc<dyn Remote>)>) {
        let (mut entries, remotes): (Vec<_>, Vec<_>) = chain.into_iter().unzip();
        // SAFETY: the caller's duty.
        unsafe { self.driver.start_linked(&mut entries) };
        for (entry, remote) in entries.iter().zip(remotes) {
            self.driver.leave_to_remote(Key::of(entry), remote);
        }
    }

    /// Cancels an operation; what comes of it comes as if it had ended by itself.
    pub(crate) fn cancel(&self, user_data: u64) {
        self.driver.cancel(user_data);
    }

    /// Lets the drop of the ring wait for what is in flight as long as it takes.
    pub(crate) fn drain_without_limit(&self) {
        self.driver.drain_without_limit();
    }
}
