#![expect(
    unsafe_code,
    reason = "frames of joins lie on stacks, and are reached from other threads"
)]
//! [`Board`]: the joins that a worker is in, and the one that it offers to others.
//!
//! # How a join is shared
//! Most joins do nothing but call both closures: they count down an *allowance* that the worker has. Only where it has
//! come to 0 a join is *noted*: its second closure goes into a list that its own thread alone reads. The allowance is 0
//!
//! * while fewer than [`KEPT`] noted frames are left that were not offered: so the outermost joins, the largest parts of the
//!   work, are noted;
//! * while somebody sleeps and nobody searches, after a *stride* of joins, so that the clock is looked at now and then;
//! * when a worker that has nothing to do sets it to 0. It does so again and again while it looks, since the owner counts
//!   by a load and a store, which may overwrite it.
//!
//! Else the allowance has no end, and is not counted. It may not stay so when the last searcher is gone and somebody sleeps: so
//! who goes to sleep, and who stops to search because it found something, sets the allowances to 0, after a fence; and who
//! makes one endless looks at the sleepers again, after a fence. One of both sees what the other did. The same holds for who
//! waits for the job of a scope that a worker runs, and sleeps.
//!
//! Who notes a frame also looks whether one should go on [offer](super::offer): the oldest that was not. One should if a
//! worker asked for it, or if somebody sleeps and the last call was a while ago; then the sleeper is called. If the call
//! before was of no use, the while becomes longer.
//!
//! So a join costs next to nothing as long as every worker has work, and a wake-up, which costs more than a small join
//! is worth, is rare until it pays.
//!
//! # Invariants
//! * *owner*: the fields of [`Own`] are used by the thread of the worker alone.
//! * *noted*: a frame and what it borrows live until its owner has popped it, and found it not offered, or taken it back, or
//!   waited for its latch.
//! * *once*: a frame's closure is run by its owner, or by the one who took its ticket.
//! * *served*: the latch and the thread of who waits for a job live until the worker no longer serves it.
//! * *entry-kept*: an entry is written while its frame is not on offer and no thief has its ticket.

use std::cell::{Cell, UnsafeCell};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering, fence};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::latch::Latch;
use super::offer::{Offer, Ticket};

/// How many joins may be noted at the same time; deeper ones run here.
const PLACES: usize = 256;

/// Frames that should be there for thieves.
const KEPT: usize = 1;

/// How many joins need not be noted while there are, at first and at the most.
const FIRST_STRIDE: i32 = 256;
const LONGEST_STRIDE: i32 = 1024;

/// An allowance that is not counted down.
const ENDLESS: i32 = -1;

/// How often joins look at the clock while somebody sleeps, roughly.
const LOOK_EVERY: Duration = Duration::from_micros(5);

/// The least time between two wake-ups by joins: about what one costs both sides.
const SHORTEST_PAUSE: Duration = Duration::from_micros(50);

/// The longest, after many that were of no use.
const LONGEST_PAUSE: Duration = Duration::from_millis(2);

/// No thief has begun yet.
const NOBODY: u32 = u32::MAX;

/// What every frame begins with; written when the frame is put on offer.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) latch: Latch,
    /// The worker that runs it.
    thief: AtomicU32,
    /// The worker whose frame it is.
    owner: *const Board,
}

impl Header {
    /// The worker that runs it, once one does.
    pub(super) fn thief(&self) -> Option<usize> {
        let thief = self.thief.load(Ordering::Acquire);
        (thief != NOBODY).then_some(thief as usize)
    }
}

/// Runs the closure of the frame at the address, sets its latch, and says whether the owner has to be unparked.
pub(super) type RunFrame = unsafe fn(*const Header) -> bool;

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// A frame begins with its header, which is written when the frame is put on offer.
    frame: *mut Header,
    run: RunFrame,
    /// Worth the way to another worker for certain.
    is_sure: bool,
}

/// What a thief has taken.
#[derive(Debug)]
pub(super) struct Taken(Entry);

/// Who waits for the job of a scope that the worker runs.
#[derive(Debug, Clone, Copy)]
struct Host {
    latch: *const Latch,
    thread: *const Thread,
}

/// What only the owner's thread uses.
#[derive(Debug)]
#[repr(align(128))]
struct Own {
    /// Noted frames.
    len: Cell<usize>,
    /// Frames below this have been on offer.
    offered: Cell<usize>,
    generation: Cell<u64>,
    /// The frame of another worker that this one runs.
    running: Cell<*const Header>,
    host: Cell<Option<Host>>,
    stride: Cell<i32>,
    last_look: Cell<Option<Instant>>,
    /// When a sleeper may be woken again.
    next_call: Cell<Option<Instant>>,
    pause: Cell<Duration>,
    /// The last offer was put up with a wake-up.
    called: Cell<bool>,
}

/// How many joins need not be noted; others may set it to 0.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Allowance(AtomicI32);

impl Allowance {
    /// For who has no board: every join is looked at.
    pub(super) const fn none() -> Self {
        Self(AtomicI32::new(0))
    }

    /// Whether this join may go without; counts it then.
    #[inline]
    pub(super) fn spend(&self) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        // A store in each join would make it wait for the one before.
        if left > 0 {
            self.0.store(left - 1, Ordering::Relaxed);
        }
        left != 0
    }
}

#[derive(Debug)]
#[repr(align(128))]
struct Shared {
    offer: Offer,
    /// A worker without work wants a frame.
    asked: AtomicBool,
    /// The address of the scope one of whose jobs it runs for another worker; 0 for none.
    serving: AtomicUsize,
    thread: OnceLock<Thread>,
}

/// The frames of one worker.
#[derive(Debug)]
pub(crate) struct Board {
    own: Own,
    allowance: Allowance,
    shared: Shared,
    entries: [UnsafeCell<Entry>; PLACES],
}

// SAFETY: owner: `own` is used by one thread; once, entry-kept: an entry is written by the owner and read by who has
// its ticket, never at the same time; all else is atomic.
unsafe impl Sync for Board {}
// SAFETY: the addresses in it are those of frames that noted keeps, and are not bound to a thread.
unsafe impl Send for Board {}

unsafe fn run_nothing(_: *const Header) -> bool {
    false
}

impl Board {
    pub(super) fn new() -> Self {
        const NOTHING: Entry = Entry {
            frame: std::ptr::null_mut(),
            run: run_nothing,
            is_sure: false,
        };
        Self {
            own: Own {
                len: Cell::new(0),
                offered: Cell::new(0),
                generation: Cell::new(0),
                running: Cell::new(std::ptr::null()),
                host: Cell::new(None),
                stride: Cell::new(FIRST_STRIDE),
                last_look: Cell::new(None),
                next_call: Cell::new(None),
                pause: Cell::new(SHORTEST_PAUSE),
                called: Cell::new(false),
            },
            allowance: Allowance::none(),
            shared: Shared {
                offer: Offer::new(),
                asked: AtomicBool::new(false),
                serving: AtomicUsize::new(0),
                thread: OnceLock::new(),
            },
            entries: [const { UnsafeCell::new(NOTHING) }; PLACES],
        }
    }
}

/// For the owner.
impl Board {
    /// The calling thread is the worker.
    pub(super) fn begin(&self) {
        // A board has one thread for its life.
        let _ = self.shared.thread.set(std::thread::current());
    }

    pub(super) fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// Notes a frame, and gives its place; `None` if it is too deep. [`pop`](Self::pop) must follow.
    ///
    /// # Safety
    /// * The calling thread is the owner's.
    /// * `frame` and what `run` uses of it live, unmoved, until `pop` says that it is here, or its latch is set.
    /// * `run` may be called once with it, on any thread.
    pub(super) unsafe fn note(
        &self,
        frame: *mut Header,
        run: RunFrame,
        is_sure: bool,
    ) -> Option<usize> {
        let own = &self.own;
        let place = own.len.get();
        if place == PLACES {
            return None;
        }
        // SAFETY: entry-kept: the place is above all frames that are noted.
        unsafe {
            *self.entries[place].get() = Entry {
                frame,
                run,
                is_sure,
            }
        };
        own.len.set(place + 1);
        Some(place)
    }

    /// Forgets the newest frame, which is at `place`; `false` if a thief has it: then [`hold`](Self::hold) its place, and
    /// wait for its latch.
    #[must_use]
    pub(super) fn pop(&self, place: usize) -> bool {
        let own = &self.own;
        own.len.set(place);
        let is_here = own.offered.get() <= place || self.take_back(place);
        if place - own.offered.get() < KEPT {
            self.allowance.0.store(0, Ordering::Relaxed);
        }
        is_here
    }

    /// Lets joins go without being noted if there are enough frames.
    fn allow(&self, may_call: impl Fn() -> bool) {
        let own = &self.own;
        let allowance = &self.allowance.0;
        let kept = own.len.get() - own.offered.get();
        if kept < KEPT {
            allowance.store(0, Ordering::Relaxed);
        } else if may_call() {
            allowance.store(own.stride.get(), Ordering::Relaxed);
        } else if allowance.load(Ordering::Relaxed) != ENDLESS {
            allowance.store(ENDLESS, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if may_call() || self.sleeping_host().is_some() {
                allowance.store(own.stride.get(), Ordering::Relaxed);
            }
        }
    }

    /// Who waits for the job that this worker runs, if that one sleeps.
    fn sleeping_host(&self) -> Option<(&Latch, &Thread)> {
        let host = self.own.host.get()?;
        // SAFETY: served.
        let latch = unsafe { &*host.latch };
        // SAFETY: served.
        let thread = unsafe { &*host.thread };
        latch.is_asleep().then_some((latch, thread))
    }

    /// Wakes who waits for the job that this worker runs, if that one sleeps.
    pub(super) fn rouse_host(&self) {
        if let Some((latch, thread)) = self.sleeping_host()
            && latch.rouse()
        {
            thread.unpark();
        }
    }

    /// Puts the oldest frame on offer if somebody wants it; called after one was noted. `may_call` says whether a worker
    /// sleeps while nobody searches; `call` wakes one.
    pub(super) fn beat(&self, may_call: impl Fn() -> bool, call: impl FnOnce()) {
        let own = &self.own;
        let is_asked = self.shared.asked.load(Ordering::Relaxed);
        if is_asked {
            self.shared.asked.store(false, Ordering::Relaxed);
        }
        // SAFETY: noted: the frame is another worker's, which waits until this one has set its latch.
        let running = unsafe { own.running.get().as_ref() };
        let waiter = running.filter(|running| running.latch.is_asleep());
        let host = match waiter {
            Some(_) => None,
            None => self.sleeping_host(),
        };
        let is_awaited = waiter.is_some() || host.is_some();
        // The frames that are noted to be kept come too often for a look at the clock, but for the first.
        let kept = own.len.get() - own.offered.get();
        let is_due = (kept == 1 || kept > KEPT) && !is_awaited && may_call();
        let calls = is_due && self.is_time_to_call();
        if is_asked || is_awaited || calls {
            let is_there = self.shared.offer.look().is_some() || self.put_oldest(calls);
            if let Some(waiter) = waiter.filter(|_| is_there)
                && waiter.latch.rouse()
            {
                waiter.unpark_owner();
            }
            if let Some((latch, thread)) = host.filter(|_| is_there)
                && latch.rouse()
            {
                thread.unpark();
            }
            if calls && is_there {
                call();
            }
        }
        self.allow(may_call);
    }

    /// Also sets how many joins may pass until the next look at the clock.
    fn is_time_to_call(&self) -> bool {
        let own = &self.own;
        let now = Instant::now();
        if let Some(last) = own.last_look.replace(Some(now)) {
            let stride = own.stride.get();
            let passed = now - last;
            if passed < LOOK_EVERY {
                own.stride.set((stride * 2).min(LONGEST_STRIDE));
            } else if passed > LOOK_EVERY * 4 {
                own.stride.set((stride / 4).max(1));
            }
        }
        let is_time = own.next_call.get().is_none_or(|next| next <= now);
        if is_time {
            own.next_call.set(Some(now + own.pause.get()));
        }
        is_time
    }

    /// Puts the oldest frame that was not on offer there; `false` if there is none.
    fn put_oldest(&self, calls: bool) -> bool {
        let own = &self.own;
        let place = own.offered.get();
        if place >= own.len.get() {
            return false;
        }
        let header = Header {
            latch: Latch::new(),
            thief: AtomicU32::new(NOBODY),
            owner: self,
        };
        // SAFETY: entry-kept: the entry was written by this thread, and is not on offer yet.
        let Entry { frame, is_sure, .. } = unsafe { *self.entries[place].get() };
        // SAFETY: noted: the frame lives, and nobody else has its address yet.
        unsafe { frame.write(header) };
        own.offered.set(place + 1);
        own.called.set(calls);
        let generation = own.generation.get() + 1;
        own.generation.set(generation);
        let ticket = Ticket::new(generation, place);
        let ticket = if is_sure { ticket.sure() } else { ticket };
        self.shared.offer.put(ticket);
        true
    }

    /// Takes back the frame at `place`, which has been on offer; `false` if a thief has it.
    #[cold]
    fn take_back(&self, place: usize) -> bool {
        let own = &self.own;
        own.offered.set(place);
        // What is there is this frame: those above it are popped, those below were taken before it was put up.
        let ticket = self.shared.offer.look();
        let is_back = ticket.is_some_and(|ticket| self.shared.offer.take(ticket));
        let called = own.called.replace(false);
        if !is_back {
            own.pause.set(SHORTEST_PAUSE);
        } else if called {
            own.pause.set((own.pause.get() * 2).min(LONGEST_PAUSE));
        }
        is_back
    }

    /// Keeps the place of a frame that a thief has, so that what runs meanwhile is noted above it.
    pub(super) fn hold(&self, place: usize) {
        self.own.len.set(place + 1);
        self.own.offered.set(place + 1);
    }

    /// Gives the place up again.
    pub(super) fn release(&self, place: usize) {
        self.own.len.set(place);
        self.own.offered.set(place);
    }

    /// Whether somebody without work has asked for some.
    #[inline]
    pub(super) fn is_asked(&self) -> bool {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// What was asked for is given in another way than by a frame.
    pub(super) fn hear(&self) {
        self.shared.asked.store(false, Ordering::Relaxed);
    }

    /// Whether nothing is on offer, and nothing that is noted could be.
    pub(super) fn is_bare(&self) -> bool {
        let own = &self.own;
        own.offered.get() == own.len.get() && self.shared.offer.look().is_none()
    }

    /// From now on this worker runs a job of the scope at this address, for whose end `thread` waits by `latch`.
    ///
    /// # Safety
    /// Both live until [`serve_nobody`](Self::serve_nobody).
    pub(super) unsafe fn serve(&self, scope: usize, latch: *const Latch, thread: *const Thread) {
        self.own.host.set(Some(Host { latch, thread }));
        self.shared.serving.store(scope, Ordering::Release);
    }

    /// The job has ended.
    pub(super) fn serve_nobody(&self) {
        self.own.host.set(None);
        self.shared.serving.store(0, Ordering::Release);
    }

    /// Runs what this worker, number `index`, has taken from another.
    pub(super) fn run(&self, taken: Taken, index: u32) {
        let Taken(Entry { frame, run, .. }) = taken;
        // SAFETY: noted, once: the ticket is ours, so the frame lives until its latch is set, by `run`.
        let header = unsafe { &*frame };
        header.thief.store(index, Ordering::Release);
        let owner = header.owner;
        let before = self.own.running.replace(frame);
        // SAFETY: once: the ticket is ours. The function is the one that was noted with the frame.
        let sleeps = unsafe { run(frame) };
        self.own.running.set(before);
        if sleeps {
            // SAFETY: boards live as long as the scheduler, which this worker holds.
            unsafe { &*owner }.unpark();
        }
    }
}

/// For others.
impl Board {
    /// What is on offer.
    pub(super) fn look(&self) -> Option<Ticket> {
        self.shared.offer.look()
    }

    /// Whether it runs a job of that scope for its owner. What was seen on offer before is a part of that job: a worker that
    /// takes a job of a scope has nothing noted.
    pub(super) fn serves(&self, scope: usize) -> bool {
        self.shared.serving.load(Ordering::Acquire) == scope
    }

    /// Takes what was seen on offer, if it is still there.
    pub(super) fn take(&self, ticket: Ticket) -> Option<Taken> {
        self.shared.offer.take(ticket).then(|| {
            // SAFETY: entry-kept: the ticket is ours now, and the exchange acquired what the owner wrote.
            Taken(unsafe { *self.entries[ticket.place()].get() })
        })
    }

    /// Has the owner put a frame on offer at its next join.
    pub(super) fn ask(&self) {
        // Mostly it has been asked already; then its line stays where it is.
        if !self.shared.asked.load(Ordering::Relaxed) {
            self.shared.asked.store(true, Ordering::Relaxed);
        }
        if self.allowance.0.load(Ordering::Relaxed) != 0 {
            self.allowance.0.store(0, Ordering::Relaxed);
        }
    }

    fn unpark(&self) {
        if let Some(thread) = self.shared.thread.get() {
            thread.unpark();
        }
    }
}

impl Taken {
    pub(super) fn is_sure(&self) -> bool {
        self.0.is_sure
    }
}

impl Header {
    fn unpark_owner(&self) {
        // SAFETY: boards live as long as the scheduler, and who asks is one of its workers.
        unsafe { &*self.owner }.unpark();
    }
}
