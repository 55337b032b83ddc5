//! The queue of one worker, and the right to steal from it.

use crossbeam_deque as deque;

/// A queue whose owner pushes and pops at one end while thieves steal at the other (Chase and
/// Lev, "Dynamic circular work-stealing deque", SPAA 2005; after Blumofe and Leiserson's
/// scheduler, JACM 1999).
///
/// It stands on `crossbeam-deque` and rests on that crate's soundness.
///
/// ```
/// use pepita_sched::scheduler::WorkerDeque;
///
/// let mine = WorkerDeque::new();
/// let thief = mine.stealer();
/// mine.push(1);
/// mine.push(2);
/// mine.push(3);
/// assert_eq!(thief.steal(), Some(1));
/// assert_eq!(mine.pop(), Some(3));
/// ```
#[derive(Debug)]
pub struct WorkerDeque<T>(deque::Worker<T>);

impl<T> WorkerDeque<T> {
    /// An empty queue, which grows as needed.
    #[must_use]
    pub fn new() -> Self {
        Self(deque::Worker::new_lifo())
    }

    /// Adds an item, the newest.
    pub fn push(&self, item: T) {
        self.0.push(item);
    }

    /// Takes the newest item.
    #[must_use]
    pub fn pop(&self) -> Option<T> {
        self.0.pop()
    }

    /// The right to steal from this queue, for another thread.
    #[must_use]
    pub fn stealer(&self) -> Stealer<T> {
        Stealer(self.0.stealer())
    }

    /// Takes one item of `queue`, and puts up to `limit` that follow here.
    pub(super) fn fetch(&self, queue: &deque::Injector<T>, limit: usize) -> Option<T> {
        until_settled(|| queue.steal_batch_with_limit_and_pop(&self.0, limit))
    }

    /// How many items it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for WorkerDeque<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The right to steal from a [`WorkerDeque`].
#[derive(Debug)]
pub struct Stealer<T>(deque::Stealer<T>);

impl<T> Stealer<T> {
    /// Takes the oldest item; `None` if there is none.
    #[must_use]
    pub fn steal(&self) -> Option<T> {
        until_settled(|| self.0.steal())
    }

    /// How many items the queue holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the queue holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Clone for Stealer<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Tries again while another thief got in between.
pub(super) fn until_settled<T>(mut steal: impl FnMut() -> deque::Steal<T>) -> Option<T> {
    loop {
        match steal() {
            deque::Steal::Success(item) => return Some(item),
            deque::Steal::Empty => return None,
            deque::Steal::Retry => {}
        }
    }
}
