#![expect(unsafe_code, reason = "a thread finds its worker by an address")]
//! [`Local`]: what a worker's own thread has, and how code on that thread finds it.

use std::cell::Cell;
use std::hint::spin_loop;
use std::ptr;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::deque::WorkerDeque;
use super::frames::{Allowance, Board, Header, Taken};
use super::patience::Patience;
use super::workers::{Job, Shared};

/// How often a worker that waits for the other half of a join looks before it sleeps: some of them spin, the others
/// yield the CPU.
const WAIT_ROUNDS: u32 = 100;
const SPIN_ROUNDS: u32 = 40;

/// How often before it asks for a part: it would come later than the whole of a small frame.
const ASK_ROUNDS: u32 = 10;

/// A worker, for its own thread.
///
/// # Invariants
/// * *mine*: the address in [`CURRENT`] is that of a `Local` in a frame of this thread that has not returned.
pub(super) struct Local {
    index: usize,
    board: Arc<Board>,
    deque: WorkerDeque<Job>,
    shared: Arc<Shared>,
    patience: Patience,
}

thread_local! {
    static CURRENT: Cell<*const Local> = const { Cell::new(ptr::null()) };

    /// That of this thread's worker. Always an address that may be read.
    static ALLOWANCE: Cell<*const Allowance> = const { Cell::new(&raw const NO_ALLOWANCE) };
}

static NO_ALLOWANCE: Allowance = Allowance::none();

/// Whether a join on this thread need not be noted; counts it then.
#[inline]
pub(super) fn spend_allowance() -> bool {
    // SAFETY: mine: it is that of a `Local` of this thread, or static.
    unsafe { &*ALLOWANCE.get() }.spend()
}

/// Calls `use_it` with the worker that this thread is, if it is one.
#[inline]
pub(super) fn with<R>(use_it: impl FnOnce(Option<&Local>) -> R) -> R {
    let local = CURRENT.get();
    // SAFETY: mine.
    use_it(unsafe { local.as_ref() })
}

/// The index of the worker that the calling code runs on.
pub(crate) fn current_worker() -> Option<usize> {
    with(|local| local.map(Local::index))
}

/// Lets a little time pass between two looks.
pub(super) fn pause() {
    thread::yield_now();
}

impl Local {
    pub(super) fn new(index: usize, deque: WorkerDeque<Job>, shared: Arc<Shared>) -> Self {
        Self {
            index,
            board: shared.boards[index].clone(),
            deque,
            shared,
            patience: Patience::default(),
        }
    }

    /// Calls `live` with the calling thread being this worker; ends the worker when it returns.
    pub(super) fn enter(self, live: impl FnOnce(&Self)) {
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                CURRENT.set(ptr::null());
                ALLOWANCE.set(&raw const NO_ALLOWANCE);
            }
        }
        self.board.begin();
        CURRENT.set(&raw const self);
        ALLOWANCE.set(self.board.allowance());
        let leave = Leave;
        live(&self);
        drop(leave);
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    #[inline]
    pub(super) fn board(&self) -> &Board {
        &self.board
    }

    pub(super) fn deque(&self) -> &WorkerDeque<Job> {
        &self.deque
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    #[cold]
    pub(super) fn beat(&self) {
        let sleep = &self.shared.sleep;
        self.board.beat(|| sleep.may_call(), || sleep.added());
    }

    /// Runs the half of a join that this worker took.
    pub(super) fn run(&self, taken: Taken) {
        let index = u32::try_from(self.index).unwrap_or(u32::MAX);
        let begin = Instant::now();
        self.board.run(taken, index);
        self.patience.learn(begin.elapsed());
    }

    /// A frame that another worker offers; if there is none, all are asked for one.
    pub(super) fn take_frame(&self) -> Option<Taken> {
        let boards = &self.shared.boards;
        let others = || (1..boards.len()).map(|step| (self.index + step) % boards.len());
        let taken = others().find_map(|other| self.take_from(other));
        if taken.is_none() && self.patience.asks() {
            self.ask_all();
        }
        taken
    }

    /// Has every other worker offer something at its next join.
    pub(super) fn ask_all(&self) {
        let boards = self.shared.boards.iter().enumerate();
        let others = boards.filter(|(index, _)| *index != self.index);
        others.for_each(|(_, board)| board.ask());
    }

    fn take_from(&self, other: usize) -> Option<Taken> {
        let board = &self.shared.boards[other];
        let ticket = board.look()?;
        if self.patience.accepts(other, ticket) {
            board.take(ticket)
        } else {
            None
        }
    }

    /// Waits until a thief has run the frame at `place`. Meanwhile this worker does what that thief offers, which is part of
    /// the same join, and nothing else: other work might want a lock that the caller holds.
    pub(super) fn wait_for(&self, header: &Header, place: usize) {
        self.board.hold(place);
        let mut rounds = 0;
        while !header.latch.is_set() {
            if let Some(thief) = header.thief() {
                let board = &self.shared.boards[thief];
                // What is on offer while the thief is in our frame comes from there: it began with nothing on offer, as
                // all that it had noted before was taken. So the offer must have been seen before the latch was found unset.
                let ticket = board.look().filter(|_| !header.latch.is_set());
                let ticket = ticket.filter(|ticket| self.patience.accepts(thief, *ticket));
                if let Some(taken) = ticket.and_then(|ticket| board.take(ticket)) {
                    self.run(taken);
                    rounds = 0;
                    continue;
                }
                if rounds > ASK_ROUNDS && self.patience.asks() {
                    board.ask();
                }
            }
            rounds += 1;
            if rounds < SPIN_ROUNDS {
                spin_loop();
            } else if rounds < WAIT_ROUNDS {
                thread::yield_now();
            } else {
                header.latch.sleep(thread::park);
                rounds = SPIN_ROUNDS;
            }
        }
        self.board.release(place);
    }
}
