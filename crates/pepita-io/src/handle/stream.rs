#![expect(unsafe_code, reason = "starts the operations of other threads")]
//! Operations that complete again and again, from other threads.
//!
//! The operation is in a [`Parcel`], which who waits and the ring's thread share. On that thread a task runs
//! it, by the entry that was made here; each completion goes into the parcel, and becomes an item where it is
//! fetched.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use pepita_sys::error::Errno;
use pepita_sys::io_uring::{IoUringCqe, IoUringSqe};

use super::queue::Pushed;
use super::sent::{contain, wait_for};
use super::{Item, Shared};
use crate::local::{LocalHandle, Origin};
use crate::ops::{MultiOperation, not_started};

/// An operation that completes again and again through a [`RingThread`](crate::RingThread). Dropping it ends
/// the operation; items that were not fetched are dropped.
///
/// It may end by itself, also without an error: then the operation is to be started again.
#[must_use = "dropping it ends the operation"]
pub struct SentMulti<O: MultiOperation + Send> {
    parcel: Arc<Parcel<O>>,
}

struct Parcel<O> {
    shared: Arc<Shared>,
    /// Dropped with the parcel, which the ring's side shares until the last completion (kept).
    operation: Mutex<O>,
    state: Mutex<State>,
    /// The task on the ring's thread is to drop the operation's stream.
    is_cancelled: AtomicBool,
    /// Wakes that task.
    task: Mutex<Option<Waker>>,
}

struct State {
    /// Completions that were not fetched.
    queue: VecDeque<IoUringCqe>,
    waker: Option<Waker>,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// More may come.
    Open,
    /// Nothing more will come.
    Ended,
    /// Nobody waits.
    Abandoned,
}

impl<O: MultiOperation + Send> SentMulti<O> {
    pub(super) fn start(shared: &Arc<Shared>, mut operation: O) -> Self {
        let entry = operation.entry();
        let parcel = Arc::new(Parcel {
            shared: Arc::clone(shared),
            operation: Mutex::new(operation),
            state: Mutex::new(State {
                queue: VecDeque::new(),
                waker: None,
                progress: Progress::Open,
            }),
            is_cancelled: AtomicBool::new(false),
            task: Mutex::new(None),
        });
        let item = Item::Stream(entry, parcel.clone());
        match shared.queue.push_operation(item) {
            Ok(Pushed::Behind) => {}
            Ok(Pushed::First) => shared.waker.wake_by_ref(),
            Err(refused) => {
                let mut state = parcel.lock();
                state.queue.push_back(refused.outcome());
                state.progress = Progress::Ended;
            }
        }
        Self { parcel }
    }

    /// The next item, or `None` at the end.
    ///
    /// The future may be dropped without losing an item.
    pub async fn next(&mut self) -> Option<O::Item> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Self::next`], on this thread and without an executor.
    ///
    /// # Panics
    /// On the ring's own thread, where it would wait for itself: in a waker or a destructor.
    pub fn wait_next(&mut self) -> Option<O::Item> {
        assert!(
            !self.parcel.shared.is_here(),
            "the ring's thread waits for itself"
        );
        wait_for(poll_fn(|cx| self.poll_next(cx)))
    }

    /// As [`Self::next`], for those who poll.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<O::Item>> {
        let parcel = &self.parcel;
        let mut next = parcel.lock().next();
        if next.is_pending() {
            let waker = cx.waker().clone();
            let mut state = parcel.lock();
            // Something may have come while the waker was cloned.
            next = state.next();
            let left_over = match next {
                Poll::Pending => state.waker.replace(waker),
                Poll::Ready(_) => Some(waker),
            };
            drop(state);
            drop(left_over);
        }
        next.map(|cqe| cqe.and_then(|cqe| parcel.item(cqe)))
    }

    /// Asks for the operation's end. What has come of it until then still comes here, then an item that says
    /// `ECANCELED`.
    pub fn cancel(&self) {
        self.parcel.is_cancelled.store(true, Ordering::Release);
        let task = lock(&self.parcel.task).clone();
        // Without one, the task is yet to look for the first time, or has ended.
        if let Some(task) = task {
            task.wake();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<O> Parcel<O> {
    /// No code of others runs while this is locked.
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl<O: MultiOperation> Parcel<O> {
    fn item(&self, cqe: IoUringCqe) -> Option<O::Item> {
        lock(&self.operation).item(cqe, Origin::ELSEWHERE)
    }
}

impl State {
    /// The next completion, or the end.
    fn next(&mut self) -> Poll<Option<IoUringCqe>> {
        match self.queue.pop_front() {
            None if self.progress == Progress::Open => Poll::Pending,
            next => Poll::Ready(next),
        }
    }
}

impl<O: MultiOperation + Send> Drop for SentMulti<O> {
    fn drop(&mut self) {
        let mut state = self.parcel.lock();
        if state.progress == Progress::Open {
            state.progress = Progress::Abandoned;
        }
        let (waker, queue) = (state.waker.take(), mem::take(&mut state.queue));
        drop(state);
        self.cancel();
        drop(waker);
        for cqe in queue {
            drop(self.parcel.item(cqe));
        }
    }
}

impl<O: MultiOperation + Send> fmt::Debug for SentMulti<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentMulti").finish_non_exhaustive()
    }
}

/// An operation that completes again and again, as the ring's thread sees it.
pub(super) trait RemoteStream: Send + Sync {
    /// Takes a completion.
    fn deliver(&self, cqe: IoUringCqe);

    /// Says that nothing more comes.
    fn end(&self);

    /// Counts the end of the operation.
    fn count_end(&self);

    /// Whether it is to end; `waker` hears of it later.
    fn is_cancelled(&self, waker: &Waker) -> bool;
}

impl<O: MultiOperation + Send> RemoteStream for Parcel<O> {
    fn deliver(&self, cqe: IoUringCqe) {
        let mut state = self.lock();
        if state.progress == Progress::Open {
            state.queue.push_back(cqe);
            let waker = state.waker.take();
            drop(state);
            contain(|| waker.map_or((), Waker::wake));
        } else {
            drop(state);
            contain(|| drop(self.item(cqe)));
        }
    }

    fn end(&self) {
        let mut state = self.lock();
        if state.progress == Progress::Open {
            state.progress = Progress::Ended;
        }
        let waker = state.waker.take();
        drop(state);
        contain(|| waker.map_or((), Waker::wake));
    }

    fn count_end(&self) {
        self.shared.queue.count_end();
    }

    fn is_cancelled(&self, waker: &Waker) -> bool {
        let mut task = lock(&self.task);
        if !task.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *task = Some(waker.clone());
        }
        drop(task);
        self.is_cancelled.load(Ordering::Acquire)
    }
}

/// The operation on the ring's thread: the entry that was made elsewhere, and who gets the completions.
struct Forward {
    entry: IoUringSqe,
    remote: Arc<dyn RemoteStream>,
}

// SAFETY: the parcel keeps what the entry leads to, as the operation in it has promised.
unsafe impl MultiOperation for Forward {
    type Item = ();

    fn entry(&mut self) -> IoUringSqe {
        self.entry
    }

    fn item(&mut self, cqe: IoUringCqe, _: Origin<'_>) -> Option<()> {
        self.remote.deliver(cqe);
        Some(())
    }
}

impl Drop for Forward {
    /// The kernel is done with it.
    fn drop(&mut self) {
        self.remote.count_end();
    }
}

/// Tells who waits of the end, however the task comes to it.
struct Ending(Arc<dyn RemoteStream>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Starts a stream on the ring's thread.
///
/// # Safety
/// * kept: `remote` owns what `entry` leads to.
pub(super) unsafe fn begin(io: &LocalHandle, entry: IoUringSqe, remote: Arc<dyn RemoteStream>) {
    let ending = Ending(Arc::clone(&remote));
    let mut multi = io.submit_multi(Forward {
        entry,
        remote: Arc::clone(&remote),
    });
    // Nobody waits for the task.
    drop(io.spawn(async move {
        let _ending = ending;
        let mut is_cancelling = false;
        poll_fn(|cx| {
            if !is_cancelling && remote.is_cancelled(cx.waker()) {
                is_cancelling = true;
                multi.cancel();
            }
            while let Poll::Ready(item) = multi.poll_next(cx) {
                if item.is_none() {
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        })
        .await;
    }));
}

/// Ends a stream that will not be started.
pub(super) fn refuse(remote: &dyn RemoteStream) {
    remote.deliver(not_started(Errno::ESHUTDOWN));
    remote.end();
    remote.count_end();
}
