//! Tasks beside the main future.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::mem;
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
            has_ended: Cell::new(false),
            waiting: Cell::new(None),
        });
        let end = End(Rc::clone(&shared));
        self.add(Box::pin(async move {
            let output = future.await;
            end.give(output);
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
        let mut batch = Batch {
            parker: self.parker,
            tasks: self.batch.take(),
            begun: 0,
        };
        self.parker.take_ready(&mut batch.tasks);
        while let Some(&index) = batch.tasks.get(batch.begun) {
            batch.begun += 1;
            self.run(index);
        }
        let mut tasks = mem::take(&mut batch.tasks);
        tasks.clear();
        self.batch.replace(tasks);
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
        let frees = Frees(&self.free, index);
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        if polled.is_pending() {
            mem::forget(frees);
            self.slots.borrow_mut()[index].future = Some(future);
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

/// Frees a task's number, also when it panics.
struct Frees<'a>(&'a RefCell<Vec<usize>>, usize);

impl Drop for Frees<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().push(self.1);
    }
}

/// Tasks that are being polled. When one panics, those after it still want to be polled.
struct Batch {
    parker: &'static Parker,
    tasks: Vec<usize>,
    begun: usize,
}

impl Drop for Batch {
    fn drop(&mut self) {
        for &index in self.tasks.get(self.begun..).unwrap_or_default() {
            self.parker.add_ready(index);
        }
    }
}

/// A task's end, whether it has an output, panics or is dropped.
struct End<T>(Rc<Shared<T>>);

impl<T> End<T> {
    fn give(self, output: T) {
        self.0.output.set(Some(output));
    }
}

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        self.0.has_ended.set(true);
        if let Some(waiting) = self.0.waiting.take() {
            waiting.wake();
        }
    }
}

struct Shared<T> {
    output: Cell<Option<T>>,
    has_ended: Cell<bool>,
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

    /// # Panics
    /// * When it has resolved before.
    /// * When the task has panicked, or its ring was dropped before it ended.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match self.shared.output.take() {
            Some(output) => Poll::Ready(output),
            None => {
                assert!(!self.shared.has_ended.get(), "the task gives no output");
                self.shared.waiting.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}
