#![expect(unsafe_code, reason = "passes on who keeps an operation")]
//! A ring with owned operations, on the thread that made it.

mod cell;
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
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pepita_sys::error::Result;
use pepita_sys::io_uring::IoUringSqe;

use crate::ops::{MultiOperation, Operation};
use crate::ring::{RingConfig, SetupError};
pub(crate) use driver::DRAIN_LIMIT;
use driver::{Driver, Turn};
pub use multi::{Multi, Origin};
pub use op::{Limited, Submitted};
use park::Parker;
pub use pool::{LocalPool, RecvMany};
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
/// Dropping it drops its tasks, and nothing turns it from then on. When the last future of an operation is
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

    /// The ring's descriptor, which is readable when something has completed.
    #[must_use]
    pub fn fd(&self) -> i32 {
        self.handle.driver.fd()
    }

    /// Starts an operation.
    #[inline]
    pub fn submit<O: Operation>(&self, operation: O) -> Submitted<O> {
        self.handle.submit(operation)
    }

    /// Starts an operation that is cancelled after `limit`; `EAGAIN` on a ring with room for one entry.
    pub fn submit_for<O: Operation>(&self, operation: O, limit: Duration) -> Submitted<Limited<O>> {
        self.handle.submit_for(operation, limit)
    }

    /// Starts two operations, of which the second waits for the first, in the kernel. If the first fails, or
    /// does less than was asked for, the second fails with `ECANCELED`; both with `EAGAIN` on a ring with room
    /// for one entry.
    pub fn submit_linked<A: Operation, B: Operation>(
        &self,
        first: A,
        second: B,
    ) -> (Submitted<A>, Submitted<B>) {
        self.handle.submit_linked(first, second)
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
        // Else the driver itself does it.
        if Rc::strong_count(&self.handle.driver) > 1 {
            self.handle.driver.end_orphans();
        }
    }
}

impl LocalHandle {
    /// Starts an operation. When the ring has been dropped, nobody hands it over, and it never resolves.
    #[inline]
    pub fn submit<O: Operation>(&self, operation: O) -> Submitted<O> {
        Submitted::start(&self.driver, operation)
    }

    /// Starts an operation that is cancelled after `limit`.
    pub fn submit_for<O: Operation>(&self, operation: O, limit: Duration) -> Submitted<Limited<O>> {
        Submitted::start_limited(&self.driver, Limited::new(operation, limit))
    }

    /// Starts two operations, of which the second waits for the first: see [`LocalRing::submit_linked`].
    pub fn submit_linked<A: Operation, B: Operation>(
        &self,
        first: A,
        second: B,
    ) -> (Submitted<A>, Submitted<B>) {
        op::start_linked(&self.driver, first, second)
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

    /// Cancels an operation; what comes of it comes as if it had ended by itself.
    pub(crate) fn cancel(&self, user_data: u64) {
        self.driver.cancel(user_data);
    }

    /// Lets the drop of the ring wait for what is in flight as long as it takes.
    pub(crate) fn drain_without_limit(&self) {
        self.driver.drain_without_limit();
    }
}
