//! The future of an operation that was handed to a ring's thread.
//!
//! The operation is in a [`Parcel`], which the future and the ring's thread share. The kernel's answer goes
//! into it; the operation comes out of it once, after that.

use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use pepita_sys::error::Errno;
use pepita_sys::io_uring::IoUringCqe;

use super::queue::{Pushed, Refused};
use super::{Item, Shared};
use crate::local::Remote;
use crate::ops::{Operation, not_started};

/// An operation on its way through a [`RingThread`](crate::RingThread); resolves to what comes of it.
///
/// It is started whether this is polled or not. Dropping it cancels the operation, which may yet be done;
/// what it owns is put away when the kernel is done with it, then on the ring's thread. Forgetting it leaks
/// that.
#[must_use = "dropping it cancels the operation"]
pub struct Sent<O: Operation + Send> {
    /// `None` after it has resolved.
    parcel: Option<Arc<Parcel<O>>>,
}

/// The `user_data` of no operation.
const NO_OPERATION: u64 = u64::MAX;

struct Parcel<O> {
    shared: Arc<Shared>,
    user_data: AtomicU64,
    state: Mutex<State<O>>,
}

struct State<O> {
    /// Kept until there is an end (kept).
    operation: Option<O>,
    progress: Progress,
}

enum Progress {
    /// Who waits hears of the end.
    Waiting(Option<Waker>),
    Ended(IoUringCqe),
    /// Nobody waits.
    Abandoned,
    /// The ring was lost with the operation in flight, which is leaked.
    Lost,
}

impl<O: Operation + Send> Sent<O> {
    #[inline]
    pub(super) fn start(shared: &Arc<Shared>, mut operation: O) -> Self {
        let entry = operation.entry();
        let sent = Self::pack(shared, operation);
        let item = Item::Start(entry, sent.remote());
        match shared.queue.push_operation(item) {
            Ok(Pushed::Behind) => {}
            Ok(Pushed::First) => shared.waker.wake_by_ref(),
            Err(refused) => sent.refuse(refused),
        }
        sent
    }

    /// Makes the future of an operation that is yet to be handed over.
    #[inline]
    pub(super) fn pack(shared: &Arc<Shared>, operation: O) -> Self {
        let parcel = Parcel {
            shared: Arc::clone(shared),
            user_data: AtomicU64::new(NO_OPERATION),
            state: Mutex::new(State {
                operation: Some(operation),
                progress: Progress::Waiting(None),
            }),
        };
        Self {
            parcel: Some(Arc::new(parcel)),
        }
    }

    /// What the ring's thread gets of it.
    #[inline]
    pub(super) fn remote(&self) -> Arc<dyn Remote> {
        match &self.parcel {
            Some(parcel) => parcel.clone(),
            None => unreachable!("it has not resolved"),
        }
    }

    /// Ends an operation that was not handed over.
    #[cold]
    pub(super) fn refuse(&self, refused: Refused) {
        if let Some(parcel) = &self.parcel {
            parcel.lock().progress = Progress::Ended(refused.outcome());
        }
    }

    /// Asks for the operation's end. Its outcome still comes here, with what it owns: `ECANCELED`, `EINTR`, or
    /// what was done before.
    ///
    /// Nothing happens when the operation has ended already.
    ///
    /// ```
    /// use std::os::unix::net::UnixStream;
    /// use std::sync::Arc;
    /// use pepita_io::{RingThread, ops};
    /// use pepita_sys::error::Errno;
    ///
    /// let ring = RingThread::new(8)?;
    /// let (_theirs, ours) = UnixStream::pair()?;
    /// let recv = ring.handle().submit(ops::recv(&Arc::new(ours), vec![1, 2, 3]));
    /// recv.cancel();
    /// let (result, buf) = recv.wait();
    /// assert_eq!((result.unwrap_err().to_errno(), buf), (Errno::ECANCELED, vec![1, 2, 3]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(&self) {
        let Some(parcel) = &self.parcel else {
            return;
        };
        let is_waiting = matches!(parcel.lock().progress, Progress::Waiting(_));
        let shared = &parcel.shared;
        if is_waiting && shared.queue.push(Item::Cancel(parcel.clone())) == Pushed::First {
            shared.waker.wake_by_ref();
        }
    }

    /// Waits for what comes of it, on this thread and without an executor.
    ///
    /// # Panics
    /// * On the ring's own thread, where it would wait for itself: in a waker or a destructor.
    /// * As polling it.
    pub fn wait(mut self) -> O::Output {
        if let Some(parcel) = &self.parcel {
            assert!(
                !parcel.shared.is_here(),
                "the ring's thread waits for itself"
            );
        }
        wait_for(&mut self)
    }
}

impl Refused {
    #[cold]
    pub(super) fn outcome(self) -> IoUringCqe {
        not_started(match self {
            Self::Full => Errno::EAGAIN,
            Self::Closed => Errno::ESHUTDOWN,
        })
    }
}

impl<O> Parcel<O> {
    /// No code of others runs while this is locked: no waker, and nothing of an operation.
    #[inline]
    fn lock(&self) -> MutexGuard<'_, State<O>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<O> State<O> {
    /// The operation and what came of it, if it has ended.
    #[inline]
    fn take(&mut self) -> Option<(O, IoUringCqe)> {
        let Progress::Ended(cqe) = self.progress else {
            return None;
        };
        self.operation.take().map(|operation| (operation, cqe))
    }
}

/// Nothing in it is pinned.
impl<O: Operation + Send> Unpin for Sent<O> {}

impl<O: Operation + Send> Future for Sent<O> {
    type Output = O::Output;

    /// # Panics
    /// * When it has resolved before.
    /// * When the ring's thread has panicked with the operation in flight, because the kernel did not let it
    ///   into its ring. What the operation owns is leaked.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O::Output> {
        let parcel = self.parcel.as_ref().expect("polled after it resolved");
        let Some((operation, cqe)) = parcel.take_or_listen(cx.waker()) else {
            return Poll::Pending;
        };
        self.parcel = None;
        Poll::Ready(operation.complete(cqe))
    }
}

impl<O> Parcel<O> {
    /// What has come of it; else `waker` will hear of it.
    fn take_or_listen(&self, waker: &Waker) -> Option<(O, IoUringCqe)> {
        let mut state = self.lock();
        if let Some(taken) = state.take() {
            return Some(taken);
        }
        if matches!(&state.progress, Progress::Waiting(Some(known)) if known.will_wake(waker)) {
            return None;
        }
        drop(state);
        let waker = waker.clone();
        let mut state = self.lock();
        if let Some(taken) = state.take() {
            drop(state);
            return Some(taken);
        }
        let replaced = match &mut state.progress {
            Progress::Waiting(known) => known.replace(waker),
            Progress::Lost => {
                drop(state);
                panic!("the ring was lost with the operation in flight");
            }
            Progress::Ended(_) | Progress::Abandoned => unreachable!("it has a future"),
        };
        drop(state);
        drop(replaced);
        None
    }
}

impl<O: Operation + Send> Drop for Sent<O> {
    fn drop(&mut self) {
        let Some(parcel) = self.parcel.take() else {
            return;
        };
        let mut state = parcel.lock();
        if let Some((operation, cqe)) = state.take() {
            drop(state);
            operation.discard(cqe);
            return;
        }
        let Progress::Waiting(_) = state.progress else {
            return;
        };
        let replaced = mem::replace(&mut state.progress, Progress::Abandoned);
        drop(state);
        drop(replaced);
        let shared = Arc::clone(&parcel.shared);
        if shared.queue.push(Item::Cancel(parcel)) == Pushed::First {
            shared.waker.wake_by_ref();
        }
    }
}

impl<O: Operation + Send> Remote for Parcel<O> {
    fn set_user_data(&self, user_data: u64) {
        // Only the ring's thread looks at it.
        self.user_data.store(user_data, Ordering::Relaxed);
    }

    fn user_data(&self) -> Option<u64> {
        let user_data = self.user_data.load(Ordering::Relaxed);
        (user_data != NO_OPERATION).then_some(user_data)
    }

    fn end(self: Arc<Self>, cqe: IoUringCqe) {
        self.shared.queue.count_end();
        let mut state = self.lock();
        let before = mem::replace(&mut state.progress, Progress::Ended(cqe));
        match before {
            Progress::Waiting(waker) => {
                drop(state);
                contain(|| waker.map_or((), Waker::wake));
            }
            Progress::Abandoned => {
                let taken = state.take();
                drop(state);
                contain(|| taken.map_or((), |(operation, cqe)| operation.discard(cqe)));
            }
            Progress::Ended(_) | Progress::Lost => unreachable!("it ends once"),
        }
    }

    fn lose(&self) {
        let mut state = self.lock();
        let before = mem::replace(&mut state.progress, Progress::Lost);
        drop(state);
        if let Progress::Waiting(Some(waker)) = before {
            contain(|| waker.wake());
        }
    }
}

/// Runs code of others. The panic hook has told of its panic; the others' operations go on.
pub(super) fn contain(run: impl FnOnce()) {
    if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(run)) {
        // Its destructor is code of others too.
        mem::forget(panic);
    }
}

impl<O: Operation + Send> fmt::Debug for Sent<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent").finish_non_exhaustive()
    }
}

/// Waits for `future` on this thread, without an executor.
pub(super) fn wait_for<F: Future + Unpin>(mut future: F) -> F::Output {
    // At the thread's end, a destructor may come after that of the waker.
    let waker = THREAD
        .try_with(Waker::clone)
        .unwrap_or_else(|_| Unpark::waker());
    let mut cx = Context::from_waker(&waker);
    loop {
        match Pin::new(&mut future).poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Wakes a thread that waits without an executor.
struct Unpark(Thread);

impl Unpark {
    /// For this thread.
    fn waker() -> Waker {
        Waker::from(Arc::new(Self(thread::current())))
    }
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static THREAD: Waker = Unpark::waker();
}
