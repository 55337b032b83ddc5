//! [`Deck`]: the jobs of one scope, or what a worker spawned outside of scopes.
//!
//! Each scope that is open on a worker has one of its own, by its depth: who waits for the scope takes from that deck and
//! from no other. Workers without work take from the decks of all.
//!
//! # Order
//! The owner takes the newest job, others the oldest of the backlog or else of the deque. New jobs go to the deque, or to the
//! backlog when there are [`KEPT`] of them. What is in the deque then is older than what comes to the backlog from now on: that
//! is a [`Floor`], below which the owner takes nothing before it has taken those back, by the block, on top of it. So the jobs of
//! a tree that wait are about as many as its widest jobs spawn on the way down, and not all those of a level. As others take
//! jobs without a word, and add some, floors are where they should be only about.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crossbeam_deque::Injector;

use super::appetite::Appetite;
use super::backlog::{Backlog, Producer};
use super::deque::{Stealer, WorkerDeque};
use super::job::Job;

/// How many jobs are above the floor of a deque at the most; what is more goes where others can take many at
/// once, since to take one costs both sides more than a small job is worth.
const KEPT: usize = 256;

/// A deck as others see it.
pub(super) struct Deck {
    stealer: Stealer<Job>,
    /// Jobs that were too many for the owner, and those that other threads have added.
    backlog: Arc<Backlog<Job>>,
}

impl Deck {
    /// Adds jobs, from any thread.
    pub(super) fn add(&self, jobs: impl Iterator<Item = Job>) {
        self.backlog.add(jobs);
    }

    /// Takes jobs into `loot`, which is empty, if they are what the calling worker has an appetite for.
    pub(super) fn steal(&self, loot: &mut Vec<Job>, appetite: &Appetite) {
        let in_backlog = self.backlog.len();
        if in_backlog > 0 {
            if appetite.accepts(in_backlog) {
                self.backlog.take(loot, appetite.wanted());
            }
        } else if !self.stealer.is_empty() && appetite.accepts(1) {
            // These come one by one.
            loot.extend(self.stealer.steal());
        }
    }

    /// How many jobs it holds; only a hint.
    pub(super) fn len(&self) -> usize {
        self.stealer.len() + self.backlog.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stealer.is_empty() && self.backlog.is_empty()
    }
}

/// A deck as its owner has it; in lines that nobody else looks at.
#[repr(align(128))]
pub(super) struct OwnDeck {
    jobs: WorkerDeque<Job>,
    backlog: Producer<Job>,
    /// Jobs on the way from the backlog; empty but for that.
    hand: RefCell<Vec<Job>>,
    /// Where the deque ends: how many jobs it would hold if others had taken none.
    height: Cell<usize>,
    floor: Cell<Floor>,
    /// Those below, the lowest first.
    floors: RefCell<Vec<Floor>>,
    /// New jobs go to the backlog.
    is_over: Cell<bool>,
    pub(super) shared: Arc<Deck>,
}

/// A height of the deque below which all jobs are older than those that came to the backlog since.
#[derive(Debug, Clone, Copy, Default)]
struct Floor {
    height: usize,
    /// How high the backlog was; nothing for the bottom, below which there is no job.
    backlog: Option<usize>,
}

impl OwnDeck {
    pub(super) fn new() -> Self {
        let (jobs, backlog) = (WorkerDeque::new(), Producer::new());
        let shared = Arc::new(Deck {
            stealer: jobs.stealer(),
            backlog: backlog.backlog().clone(),
        });
        Self {
            jobs,
            backlog,
            hand: RefCell::default(),
            height: Cell::new(0),
            floor: Cell::default(),
            floors: RefCell::default(),
            is_over: Cell::new(false),
            shared,
        }
    }

    #[inline]
    pub(super) fn push(&self, job: Job) {
        if self.is_over.get() {
            self.backlog.push(job);
        } else {
            self.push_here(job);
            if self.height.get() - self.floor.get().height >= KEPT {
                self.lay_floor();
            }
        }
    }

    /// Adds a job where others take it one by one, and in order.
    #[inline]
    pub(super) fn push_here(&self, job: Job) {
        self.jobs.push(job);
        self.height.set(self.height.get() + 1);
    }

    #[cold]
    fn lay_floor(&self) {
        self.floors.borrow_mut().push(self.floor.get());
        self.floor.set(Floor {
            height: self.height.get(),
            backlog: Some(self.backlog.height()),
        });
        self.is_over.set(true);
    }

    /// Takes the newest job above the floor.
    #[inline]
    pub(super) fn pop_newest(&self) -> Option<Job> {
        let height = self.height.get();
        if height <= self.floor.get().height {
            return None;
        }
        let job = self.jobs.pop();
        if job.is_some() {
            self.height.set(height - 1);
        } else {
            self.reset();
        }
        job
    }

    /// Others have taken all that was in the deque.
    #[cold]
    fn reset(&self) {
        self.height.set(0);
        self.floor.take();
        self.floors.borrow_mut().clear();
        self.is_over.set(false);
    }

    /// Takes the newest job.
    #[inline]
    pub(super) fn pop(&self, added: impl FnOnce()) -> Option<Job> {
        self.pop_newest().or_else(|| self.pop_below(added))
    }

    /// Takes the newest job where none is above the floor. If that is one of the backlog, those that come with it are put where the
    /// owner finds them first and others one by one.
    pub(super) fn pop_below(&self, added: impl FnOnce()) -> Option<Job> {
        loop {
            // The heights of the backlog wrap, their difference does not.
            let is_below = |height| self.backlog.height().wrapping_sub(height).cast_signed() > 0;
            if self.floor.get().backlog.is_none_or(is_below) {
                let mut hand = self.hand.borrow_mut();
                self.backlog.take_newest(&mut hand);
                if !hand.is_empty() {
                    self.is_over.set(false);
                    return self.keep(&mut hand, added);
                }
            }
            self.is_over.set(false);
            let Some(lower) = self.floors.borrow_mut().pop() else {
                // The height may be too low after a fetch.
                self.height.set(0);
                return self.jobs.pop();
            };
            self.floor.set(lower);
            let job = self.pop_newest();
            if job.is_some() {
                return job;
            }
        }
    }

    /// Takes the oldest job of the backlog.
    pub(super) fn pop_oldest_of_backlog(&self) -> Option<Job> {
        let mut hand = self.hand.borrow_mut();
        self.backlog.backlog().take(&mut hand, 1);
        hand.pop()
    }

    /// Takes the oldest job of the deque.
    pub(super) fn pop_oldest(&self) -> Option<Job> {
        self.shared.stealer.steal()
    }

    /// Takes a job of `queue`, and moves up to `limit` that follow here.
    pub(super) fn fetch(&self, queue: &Injector<Job>, limit: usize) -> Option<Job> {
        let before = self.jobs.len();
        let first = self.jobs.fetch(queue, limit);
        // Others may take some meanwhile.
        let came = self.jobs.len().saturating_sub(before);
        self.height.set(self.height.get() + came);
        first
    }

    /// Takes one of these jobs, and keeps the others; then calls `added`, since who went to sleep meanwhile found them in
    /// no queue.
    pub(super) fn keep(&self, loot: &mut Vec<Job>, added: impl FnOnce()) -> Option<Job> {
        let first = loot.pop();
        if !loot.is_empty() {
            loot.drain(..).for_each(|job| self.push_here(job));
            added();
        }
        first
    }
}

/// The decks of one worker, as others see them.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Decks {
    /// How many scopes are open.
    depth: AtomicUsize,
    /// By depth; those of scopes that have ended are kept for later ones.
    all: RwLock<Vec<Arc<Deck>>>,
}

impl Decks {
    pub(super) fn set_depth(&self, depth: usize) {
        self.depth.store(depth, Ordering::Relaxed);
    }

    pub(super) fn push(&self, deck: Arc<Deck>) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.push(deck);
    }

    fn find<R>(&self, find: impl FnMut(&Arc<Deck>) -> Option<R>) -> Option<R> {
        let depth = self.depth.load(Ordering::Relaxed);
        if depth == 0 {
            return None;
        }
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().take(depth).find_map(find)
    }

    /// Takes jobs of the outermost scope that has one into `loot`, which is empty; gives the deck of that scope.
    pub(super) fn steal(&self, loot: &mut Vec<Job>, appetite: &Appetite) -> Option<Arc<Deck>> {
        self.find(|deck| {
            deck.steal(loot, appetite);
            (!loot.is_empty()).then(|| deck.clone())
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.find(|deck| (!deck.is_empty()).then_some(())).is_none()
    }
}
