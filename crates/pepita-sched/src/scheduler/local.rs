#![expect(unsafe_code, reason = "a thread finds its worker by an address")]
//! [`Local`]: what a worker's own thread has, and how code on that thread finds it.

use std::cell::{Cell, RefCell};
use std::hint::spin_loop;
use std::ptr;
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::Instant;

use super::appetite::{Appetite, PATIENCE};
use super::deck::{Deck, OwnDeck};
use super::dice::Dice;
use super::frames::{Allowance, Board, Header, Taken};
use super::job::Job;
use super::latch::Latch;
use super::metrics::Record;
use super::nearness::victims;
use super::patience::Patience;
use super::workers::Shared;

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
    /// The other workers, in the order in which this one goes to them.
    victims: Box<[usize]>,
    board: Arc<Board>,
    /// Closures that this worker spawned, and those that it took together from outside or from another worker.
    own: OwnDeck,
    shared: Arc<Shared>,
    patience: Patience,
    /// Scopes that are open on this worker.
    depth: Cell<usize>,
    /// Those of scopes that have ended, the outermost last.
    decks: RefCell<Vec<OwnDeck>>,
    /// Jobs on their way from another worker; empty between two looks for work. Those of a scope stay here until they are run or
    /// given back, the others go to the own deck.
    loot: RefCell<Vec<Job>>,
    /// Where the jobs of a scope come from that it holds.
    looted_from: RefCell<Option<Arc<Deck>>>,
    /// Since when it holds jobs of a scope.
    looted: Cell<Instant>,
    appetite: Appetite,
    /// How many closures it took of another worker, and when.
    stolen: Cell<Option<(usize, Instant)>>,
    /// Is in a blocking section.
    is_blocked: Cell<bool>,
    /// Decides what comes first, if the scheduler is deterministic.
    dice: Option<Dice>,
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

/// An address that no other thread has meanwhile.
#[inline]
pub(super) fn thread_mark() -> *const () {
    CURRENT.with(|current| ptr::from_ref(current).cast())
}

/// Calls `run`, which is a job of the scope at the address `scope`; its owner, which is `thread` and waits by `latch`, may help.
pub(super) fn serving<R>(
    scope: usize,
    latch: &Latch,
    thread: &Thread,
    run: impl FnOnce() -> R,
) -> R {
    struct Served<'a>(&'a Board);
    impl Drop for Served<'_> {
        fn drop(&mut self) {
            self.0.serve_nobody();
        }
    }
    with(|local| {
        let _served = local.map(|local| {
            // SAFETY: both are borrowed until `Served` is dropped.
            unsafe { local.board.serve(scope, latch, thread) };
            Served(&local.board)
        });
        run()
    })
}

/// Whether the calling thread is a worker.
pub(super) fn is_worker() -> bool {
    !CURRENT.get().is_null()
}

/// How many workers the calling one is of; 1 outside.
pub(super) fn workers() -> usize {
    with(|local| local.map_or(1, |local| local.shared.crew.wanted()))
}

/// What a join does before it begins: puts something on offer if somebody wants it.
#[inline]
pub(super) fn look_around() {
    if !spend_allowance() {
        with(|local| local.map_or((), Local::beat));
    }
}

/// Has this worker put something on offer at its next join if another one searches.
pub(super) fn offer_to_searchers() {
    with(|local| {
        if let Some(local) = local
            && local.shared.sleep.has_searchers()
        {
            local.board.ask();
        }
    });
}

/// Lets a little time pass between two looks.
pub(super) fn pause() {
    thread::yield_now();
}

impl Local {
    /// Worker `index`, to which others are as far as `distance` says.
    pub(super) fn new(
        index: usize,
        own: OwnDeck,
        shared: Arc<Shared>,
        seed: Option<u64>,
        distance: impl Fn(usize, usize) -> u32,
    ) -> Self {
        Self {
            index,
            victims: victims(index, shared.boards.len(), distance),
            board: shared.boards[index].clone(),
            own,
            patience: Patience::new(shared.boards.len()),
            shared,
            depth: Cell::new(0),
            decks: RefCell::default(),
            loot: RefCell::default(),
            looted_from: RefCell::default(),
            looted: Cell::new(Instant::now()),
            appetite: Appetite::default(),
            stolen: Cell::new(None),
            is_blocked: Cell::new(false),
            dice: seed.map(Dice::new),
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
        // Where dice decide, every join is looked at.
        if self.dice.is_none() {
            ALLOWANCE.set(self.board.allowance());
        }
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

    #[inline]
    pub(super) fn own(&self) -> &OwnDeck {
        &self.own
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    #[inline]
    pub(super) fn record(&self) -> &Record {
        &self.shared.records[self.index]
    }

    pub(super) fn dice(&self) -> Option<&Dice> {
        self.dice.as_ref()
    }

    /// Whether something is done now that would be done later, as a thief would.
    #[inline]
    pub(super) fn flips(&self) -> bool {
        self.dice.as_ref().is_some_and(Dice::flip)
    }

    /// Takes a job of an own deck: the newest, or where dice say so the oldest, as a thief would. A look in vain, of which there may be any
    /// number, throws none.
    #[inline]
    pub(super) fn pop_of(&self, own: &OwnDeck, added: impl FnOnce()) -> Option<Job> {
        let oldest = if self.dice.is_some() && !own.shared.is_empty() && self.flips() {
            own.pop_oldest_of_backlog().or_else(|| own.pop_oldest())
        } else {
            None
        };
        oldest.or_else(|| own.pop(added))
    }

    pub(super) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    /// The deck of a scope that is opened now.
    pub(super) fn open_deck(&self) -> OwnDeck {
        let depth = self.depth.get();
        let shared = &self.shared.decks[self.index];
        let deck = self.decks.borrow_mut().pop().unwrap_or_else(|| {
            let deck = OwnDeck::new();
            shared.push(deck.shared.clone());
            deck
        });
        self.depth.set(depth + 1);
        shared.set_depth(depth + 1);
        deck
    }

    /// The newest scope has ended.
    pub(super) fn close_deck(&self, deck: OwnDeck) {
        let depth = self.depth.get() - 1;
        self.depth.set(depth);
        self.shared.decks[self.index].set_depth(depth);
        self.decks.borrow_mut().push(deck);
    }

    /// Nothing was to be done at the first look.
    pub(super) fn begin_search(&self) {
        self.appetite.begin();
    }

    /// Takes jobs of a scope that is open on another worker; `false` if there are none.
    pub(super) fn loots_scopes(&self) -> bool {
        let decks = &self.shared.decks;
        let mut loot = self.loot.borrow_mut();
        let mut others = self.victims.iter();
        let from = others.find_map(|other| decks[*other].steal(&mut loot, &self.appetite));
        let finds = from.is_some();
        if finds {
            self.looted_from.replace(from);
            self.record().steals();
        }
        finds
    }

    /// A blocking section begins: gives away what others can do, and lends the slot. `false` inside of another section.
    pub(super) fn begins_section(&self) -> bool {
        if self.is_blocked.replace(true) {
            return false;
        }
        let mut loot = self.loot.borrow_mut();
        if let Some(deck) = self.looted_from.borrow().as_ref() {
            deck.add(loot.drain(..));
        }
        drop(loot);
        self.board.ask();
        self.beat();
        // Who sleeps sees what was given, or is woken.
        self.shared.sleep.added();
        self.board.rouse_host();
        self.shared.crew.lend();
        true
    }

    /// The section has ended.
    pub(super) fn ends_section(&self) {
        self.is_blocked.set(false);
        self.shared.crew.reclaim();
    }

    /// Has other workers take what waits for this one, which goes out.
    pub(super) fn hands_over(&self) {
        let oldest = || {
            let backlog = self.own.pop_oldest_of_backlog();
            backlog.or_else(|| self.own.pop_oldest())
        };
        while let Some(job) = oldest() {
            self.shared.add_outside(job);
        }
        self.shared.sleep.added();
    }

    /// Runs the jobs of a scope that were taken.
    pub(super) fn run_loot(&self) {
        let begin = Instant::now();
        self.looted.set(begin);
        let mut count = 0;
        loop {
            // A job may give the others back.
            let job = self.loot.borrow_mut().pop();
            let Some(job) = job else {
                break;
            };
            self.record().runs();
            job.run();
            count += 1;
        }
        self.appetite.learn(count, begin.elapsed());
    }

    /// Gives jobs of a scope that wait here back to its deck, if its owner sleeps or another worker has nothing to do; says
    /// whether there were any. Called at the end of one of them. Another worker leaves small jobs alone for a while, which is longer
    /// than those here should take: before that they would go back and forth.
    #[inline]
    pub(super) fn gives_back(&self, deck: &Deck, owner_sleeps: bool) -> bool {
        if !(owner_sleeps || self.board.is_asked() || self.shared.sleep.may_call()) {
            return false;
        }
        let mut loot = self.loot.borrow_mut();
        let gives = !loot.is_empty() && (owner_sleeps || self.looted.get().elapsed() >= PATIENCE);
        if gives {
            self.board.hear();
            deck.add(loot.drain(..));
        }
        gives
    }

    /// Takes closures that another worker has spawned.
    pub(super) fn steal(&self) -> Option<Job> {
        // It is here again since nothing is left of the last time.
        if let Some((count, begin)) = self.stolen.take() {
            self.appetite.learn(count, begin.elapsed());
        }
        let all = &self.shared.own;
        // Nothing is in it between two looks for work.
        let mut loot = self.loot.borrow_mut();
        for other in &self.victims {
            all[*other].steal(&mut loot, &self.appetite);
            if !loot.is_empty() {
                self.stolen.set(Some((loot.len(), Instant::now())));
                self.record().steals();
                return self.own.keep(&mut loot, || self.shared.sleep.added());
            }
        }
        None
    }

    /// Runs a part of a job of the scope at the address `scope` that another worker is in; `false` if none is on offer. It
    /// has been called in vain `rounds` times.
    pub(super) fn help(&self, scope: usize, rounds: u32) -> bool {
        // What is taken here runs on top of what this worker has noted, and who waits for it takes what is offered meanwhile
        // for parts of it.
        if !self.board.is_bare() {
            return false;
        }
        for (index, board) in self.shared.boards.iter().enumerate() {
            // As in `wait_for`: first the offer, then whose it is.
            let ticket = board.look();
            if index == self.index || !board.serves(scope) {
                continue;
            }
            let ticket = ticket.filter(|ticket| self.patience.accepts(index, *ticket));
            if let Some(taken) = ticket.and_then(|ticket| board.take(ticket)) {
                self.run(taken);
                return true;
            }
            if rounds > ASK_ROUNDS && self.patience.asks() {
                board.ask();
            }
        }
        false
    }

    /// Has those offer something at their next join who run jobs of the scope at this address.
    pub(super) fn ask_servers(&self, scope: usize) {
        let boards = self.shared.boards.iter();
        let servers = boards.filter(|board| board.serves(scope));
        servers.for_each(|board| board.ask());
    }

    #[cold]
    pub(super) fn beat(&self) {
        let sleep = &self.shared.sleep;
        self.board.beat(|| sleep.may_call(), || sleep.added());
    }

    /// Runs the half of a join that this worker took.
    pub(super) fn run(&self, taken: Taken) {
        let index = u32::try_from(self.index).unwrap_or(u32::MAX);
        let is_sure = taken.is_sure();
        let begin = Instant::now();
        self.board.run(taken, index);
        // How long one of these takes says nothing of the others.
        if !is_sure {
            self.patience.learn(begin.elapsed());
        }
    }

    /// A frame that another worker offers; if there is none, all are asked for one.
    pub(super) fn take_frame(&self) -> Option<Taken> {
        let mut others = self.victims.iter();
        let taken = others.find_map(|other| self.take_from(*other));
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

#[cfg(all(test, not(pepita_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn jobs_are_given_back_at_once_to_who_sleeps_and_after_a_while_to_who_asks() {
        let (shared, mut own) = Shared::new(3, 3);
        let local = Local::new(0, own.remove(0), Arc::new(shared), None, |_, _| 0);
        let deck = own.remove(0).shared.clone();
        let loots = |since| {
            local.looted.set(since);
            local.loot.borrow_mut().push(Job::new(|| ()));
        };
        let long_ago = Instant::now() - PATIENCE;
        // Nobody wants them.
        loots(long_ago);
        assert!(!local.gives_back(&deck, false));
        // The time has only just begun; it may be over by the look, so it begins in the future.
        let now = Instant::now() + Duration::from_secs(3600);
        for (since, is_asked, owner_sleeps, gives) in [
            (now, true, false, false),
            (long_ago, true, false, true),
            (now, false, true, true),
        ] {
            local.loot.borrow_mut().clear();
            loots(since);
            if is_asked {
                local.board.ask();
            }
            assert_eq!(local.gives_back(&deck, owner_sleeps), gives);
            assert_eq!(local.loot.borrow().is_empty(), gives);
        }
        assert_eq!(deck.len(), 2);
        assert!(!local.gives_back(&deck, true));
    }
}
