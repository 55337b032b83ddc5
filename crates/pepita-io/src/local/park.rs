#![expect(unsafe_code, reason = "a waker without a count")]
//! How a thread that waits in its ring is woken.
//!
//! A [`Parker`] lives as long as the process and serves one executor after another. So a waker is its address
//! alone: making and dropping one touches no count, which would be two atomic operations for each operation
//! of a ring. A waker that outlives its executor wakes the next one for nothing, which every executor must
//! stand anyway.
//!
//! # Invariants
//! * for-ever: a parker is leaked, so its address is valid until the process ends.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{RawWaker, RawWakerVTable, Wake, Waker};
use std::{mem, ptr};

use pepita_sys::error::{Errno, KernelError, Result};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsRawFd, OwnedFd};

/// What wakes one executor.
#[derive(Debug)]
pub(super) struct Parker {
    /// The token of the thread that runs it, or 0.
    owner: AtomicUsize,
    /// The main future wants to be polled, says its own thread.
    notified_here: AtomicBool,
    /// The main future wants to be polled, says another thread.
    notified: AtomicBool,
    /// The owner waits in its ring, or is about to.
    sleeping: AtomicBool,
    /// Ends that wait, by each write; nobody needs to read it meanwhile.
    eventfd: OwnedFd,
    /// Tasks that want to be polled.
    ready: Mutex<Vec<usize>>,
    /// `ready` is not empty, or is about to be.
    has_ready: AtomicBool,
}

/// A parker that one ring has, and nobody else as long: two would take each other's wake-ups out of the
/// eventfd.
#[derive(Debug)]
pub(super) struct Lease(&'static Parker);

impl Lease {
    #[inline]
    pub(super) const fn parker(&self) -> &'static Parker {
        self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// Parkers without an executor.
static SPARE: Mutex<Vec<&'static Parker>> = Mutex::new(Vec::new());

/// A number that no other living thread has.
fn thread_token() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| ptr::from_ref(here).addr())
}

impl Parker {
    /// A parker for an executor of this thread.
    pub(super) fn take() -> Result<Lease> {
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let parker = match spare {
            Some(parker) => parker,
            None => Box::leak(Box::new(Self::new()?)),
        };
        parker.owner.store(thread_token(), Ordering::Relaxed);
        Ok(Lease(parker))
    }

    /// Gives it back.
    fn give_back(&'static self) {
        self.owner.store(0, Ordering::Relaxed);
        self.take_ready(&mut Vec::new());
        // Or the next ring's first wait would end at once.
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.eventfd, &mut count);
        SPARE
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self);
    }

    fn new() -> Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let eventfd = eventfd(0, flags).map_err(|errno| {
            KernelError::from_errno("eventfd", Errno::from_raw(errno.raw_os_error()))
        })?;
        Ok(Self {
            owner: AtomicUsize::new(0),
            notified_here: AtomicBool::new(false),
            notified: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            eventfd,
            ready: Mutex::new(Vec::new()),
            has_ready: AtomicBool::new(false),
        })
    }

    pub(super) fn eventfd(&self) -> i32 {
        self.eventfd.as_raw_fd()
    }

    /// Whether the main future wants to be polled; it does not any more.
    #[inline]
    pub(super) fn take_notified(&self) -> bool {
        if self.notified_here.load(Ordering::Relaxed) {
            self.notified_here.store(false, Ordering::Relaxed);
            return true;
        }
        // Only the owner clears it, so what it has not seen stays.
        self.notified.load(Ordering::Relaxed) && self.notified.swap(false, Ordering::Acquire)
    }

    /// Moves the tasks that want to be polled into `into`, which is empty.
    #[inline]
    pub(super) fn take_ready(&self, into: &mut Vec<usize>) {
        // Who adds one sets the flag afterwards, so a task is seen now or next time.
        if self.has_ready.load(Ordering::Relaxed) {
            self.has_ready.store(false, Ordering::Relaxed);
            let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            mem::swap(&mut *ready, into);
        }
    }

    /// Says that a task wants to be polled; the owner may have to be woken.
    pub(super) fn add_ready(&self, task: usize) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.push(task);
        self.has_ready.store(true, Ordering::Relaxed);
    }

    /// Says that the owner is about to wait; `false` if there is something to do instead.
    pub(super) fn prepare_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::Relaxed);
        // Who wakes stores what it wants and then looks whether we sleep; we store that we sleep and then
        // look what is wanted. One of the two sees the other.
        fence(Ordering::SeqCst);
        let idle = !self.notified_here.load(Ordering::Relaxed)
            && !self.notified.load(Ordering::Relaxed)
            && !self.has_ready.load(Ordering::Relaxed);
        if !idle {
            self.end_sleep();
        }
        idle
    }

    /// Says that the owner does not wait any more.
    pub(super) fn end_sleep(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// [`Self::waker`]'s wake, by the owner.
    #[inline]
    pub(super) fn notify_here(&self) {
        self.notified_here.store(true, Ordering::Relaxed);
    }

    #[inline]
    fn notify(&self) {
        if self.owner.load(Ordering::Relaxed) == thread_token() {
            self.notify_here();
        } else {
            self.notified.store(true, Ordering::Release);
            self.end_wait();
        }
    }

    /// Ends the owner's wait, if it waits.
    #[cold]
    fn end_wait(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.swap(false, Ordering::Relaxed) {
            let _ = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
        }
    }

    /// Wakes the main future.
    pub(super) fn waker(&'static self) -> Waker {
        let raw = RawWaker::new(ptr::from_ref(self).cast(), &VTABLE);
        // SAFETY: for-ever; the functions keep a waker's contract, and may be called by any thread.
        unsafe { Waker::from_raw(raw) }
    }
}

static VTABLE: RawWakerVTable =
    RawWakerVTable::new(|parker| RawWaker::new(parker, &VTABLE), wake, wake, |_| {});

fn wake(parker: *const ()) {
    // SAFETY: for-ever: a waker's data is the address of a parker.
    let parker: &'static Parker = unsafe { &*parker.cast() };
    parker.notify();
}

/// Wakes the task number `task` of the executor that `parker` serves.
#[derive(Debug)]
pub(super) struct TaskWaker {
    pub(super) parker: &'static Parker,
    pub(super) task: usize,
    queued: AtomicBool,
}

impl TaskWaker {
    pub(super) fn new(parker: &'static Parker, task: usize) -> Arc<Self> {
        Arc::new(Self {
            parker,
            task,
            queued: AtomicBool::new(false),
        })
    }

    /// Says that the task is about to be polled.
    pub(super) fn begin(&self) {
        self.queued.swap(false, Ordering::AcqRel);
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        self.parker.add_ready(self.task);
        if self.parker.owner.load(Ordering::Relaxed) != thread_token() {
            self.parker.end_wait();
        }
    }
}
