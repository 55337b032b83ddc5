//! [`Timer`]: brings tasks back when the time of their next attempt has come.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// Calls back with an item when its time has come. Its thread starts with the first item.
pub(super) struct Timer<T> {
    shared: Arc<Shared<T>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    items: BinaryHeap<Reverse<Item<T>>>,
    next_number: u64,
    stopping: bool,
}

struct Item<T> {
    due: Instant,
    /// Keeps items of one instant in the order they came.
    number: u64,
    value: T,
}

impl<T> Item<T> {
    fn key(&self) -> (Instant, u64) {
        (self.due, self.number)
    }
}

impl<T> PartialEq for Item<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Item<T> {}

impl<T> PartialOrd for Item<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Item<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next item that is due; waits for it. `None` when the timer stops.
    fn next(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.stopping {
                return None;
            }
            let left = match state.items.peek() {
                None => None,
                Some(Reverse(item)) => {
                    let left = item.due.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return state.items.pop().map(|Reverse(item)| item.value);
                    }
                    Some(left)
                }
            };
            state = match left {
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl<T: Send + 'static> Timer<T> {
    pub(super) fn new() -> Self {
        let state = State {
            items: BinaryHeap::new(),
            next_number: 0,
            stopping: false,
        };
        let shared = Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        };
        Self {
            shared: Arc::new(shared),
            thread: Mutex::new(None),
        }
    }

    /// Has `fire` called with `value` at `due`, on the timer's thread. All calls of one timer
    /// pass the same `fire`.
    pub(super) fn add(&self, due: Instant, value: T, fire: fn(T)) -> std::io::Result<()> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = self.shared.clone();
            let body = move || {
                while let Some(value) = shared.next() {
                    // What `fire` drops may be a user's.
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| fire(value))) {
                        let message = crate::scheduler::panic_message(panic);
                        tracing::error!(message, "a task panicked as it was dropped");
                    }
                }
            };
            *thread = Some(
                thread::Builder::new()
                    .name("pepita-timer".into())
                    .spawn(body)?,
            );
        }
        drop(thread);
        let mut state = self.shared.lock();
        let number = state.next_number;
        state.next_number += 1;
        state.items.push(Reverse(Item { due, number, value }));
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Takes out everything that waits.
    pub(super) fn drain(&self) -> Vec<T> {
        let items = std::mem::take(&mut self.shared.lock().items);
        items.into_iter().map(|Reverse(item)| item.value).collect()
    }
}

impl<T> Drop for Timer<T> {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_one();
        let thread = self
            .thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.thread().id() != thread::current().id()
        {
            // It does not unwind: `fire` only queues.
            let _ = thread.join();
        }
    }
}
