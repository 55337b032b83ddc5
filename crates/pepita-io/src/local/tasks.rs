//! Tasks beside the main future.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::park::{Parker, TaskWaker};

type Boxed = Pin<Box<dyn Future<Output = ()>>>;

/// The tasks of an executor.
pub(super) struct Tasks {
    parker: &'static Parker,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
    /// Kept for its memory; empty between passes.
    batch: RefCell<Vec<usize>>,
}

struct Slot {
    /// `None` while it is polled, and when there is none.
    future: Option<Boxed>,
    waker: Arc<TaskWaker>,
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").finish_non_exhaustive()
    }
}

impl Tasks {
    pub(super) fn new(parker: &'static Parker) -> Self {
        Self {
            parker,
            slots: RefCell::default(),
            free: RefCell::default(),
            batch: RefCell::default(),
        }
    }

    pub(super) fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
    {
        let shared = Rc::new(Shared {
            output: Cell::new(None),
            waiting: Cell::new(None),
        });
        let ours = Rc::clone(&shared);
        self.add(Box::pin(async move {
            ours.output.set(Some(future.await));
            if let Some(waiting) = ours.waiting.take() {
                waiting.wake();
            }
        }));
        Task { shared }
    }

    fn add(&self, future: Boxed) {
        let mut slots = self.slots.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or(slots.len());
        let waker = TaskWaker::new(self.parker, index);
        let slot = Slot {
            future: Some(future),
            waker: Arc::clone(&waker),
        };
        if index == slots.len() {
            slots.push(slot);
        } else {
            slots[index] = slot;
        }
        drop(slots);
        Waker::from(waker).wake();
    }

    /// Polls each task that wants it, once.
    pub(super) fn run_ready(&self) {
        let mut batch = self.batch.take();
        self.parker.take_ready(&mut batch);
        for index in batch.drain(..) {
            self.run(index);
        }
        self.batch.replace(batch);
    }

    /// Polls one task. A number that has no task is one of a waker that outlived its own.
    fn run(&self, index: usize) {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(index) else {
            return;
        };
        let Some(mut future) = slot.future.take() else {
            return;
        };
        let waker = Arc::clone(&slot.waker);
        drop(slots);
        waker.begin();
        let waker = Waker::from(waker);
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        match polled {
            Poll::Pending => self.slots.borrow_mut()[index].future = Some(future),
            Poll::Ready(()) => {
                self.free.borrow_mut().push(index);
                drop(future);
            }
        }
    }

    /// Drops all tasks, also those that dropped tasks spawn.
    pub(super) fn clear(&self) {
        loop {
            let slots = self.slots.take();
            self.free.take();
            if slots.is_empty() {
                return;
            }
        }
    }
}

struct Shared<T> {
    output: Cell<Option<T>>,
    waiting: Cell<Option<Waker>>,
}

/// A task beside the main future; awaiting it gives its output. Dropping this lets the task run on.
pub struct Task<T> {
    shared: Rc<Shared<T>>,
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match self.shared.output.take() {
            Some(output) => Poll::Ready(output),
            None => {
                self.shared.waiting.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}
