//! What is in flight: a slot for each operation that the kernel has or will get.
//!
//! The number of a slot and its generation are the `user_data` of its entry. A slot is taken before the
//! entry is pushed, and is free again after the entry's last completion has been seen *and* its outcome
//! fetched; so no completion finds the slot of another operation, and one that did would not fit its
//! generation.
//!
//! What every operation needs is 16 bytes. Wakers and orphans stand apart: most operations are waited for by
//! the executor's main future, which needs no waker.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::task::Waker;

use pepita_sys::error::Errno;
use pepita_sys::io_uring::{IORING_CQE_F_MORE, IoUringCqe, IoUringSqe};

use super::multi::Origin;
use crate::ops::not_started;

/// Which slot, and which of its operations: the `user_data` of its entry. Or no slot, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(u64);

/// The number that no slot has.
const NO_SLOT: u32 = u32::MAX;

impl Key {
    #[inline]
    const fn new(index: u32, generation: u32) -> Self {
        Self((generation as u64) << 32 | index as u64)
    }

    /// The key that an entry carries.
    pub(super) const fn of(entry: &IoUringSqe) -> Self {
        Self(entry.user_data)
    }

    /// No slot: the operation was not handed over.
    pub(super) const fn failed(errno: Errno) -> Self {
        Self::new(NO_SLOT, errno.raw().cast_unsigned())
    }

    /// Whether there is no slot.
    pub(super) const fn is_failed(self) -> bool {
        self.index() == NO_SLOT
    }

    /// The key of no operation any more.
    pub(super) const SPENT: Self = Self::new(NO_SLOT, u32::MAX);

    /// What an operation without a slot comes to.
    #[cold]
    const fn failure(self) -> IoUringCqe {
        not_started(Errno::from_raw(self.generation().cast_signed()))
    }

    #[inline]
    pub(super) const fn user_data(self) -> u64 {
        self.0
    }

    /// The key of the slot's next operation.
    #[inline]
    const fn next(self) -> Self {
        Self(self.0.wrapping_add(1 << 32))
    }

    #[inline]
    const fn index(self) -> u32 {
        let [i0, i1, i2, i3, ..] = self.0.to_le_bytes();
        u32::from_le_bytes([i0, i1, i2, i3])
    }

    const fn generation(self) -> u32 {
        let [.., g0, g1, g2, g3] = self.0.to_le_bytes();
        u32::from_le_bytes([g0, g1, g2, g3])
    }
}

/// An operation that nobody waits for.
pub(super) trait Orphan {
    /// Puts away what came of it.
    fn end(self: Box<Self>, cqe: IoUringCqe);
}

impl fmt::Debug for dyn Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Orphan")
    }
}

/// An operation that another thread waits for, which shares it with the slot.
pub(crate) trait Remote: Send + Sync {
    /// Notes the number by which it can be cancelled.
    fn set_user_data(&self, user_data: u64);

    /// That number, if it was started.
    fn user_data(&self) -> Option<u64>;

    /// Gives over what came of it. Runs code of others, and contains its panics.
    fn end(self: Arc<Self>, cqe: IoUringCqe);

    /// Says that nobody will hear what comes of it. It is not freed any more.
    fn lose(&self);
}

impl fmt::Debug for dyn Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}

/// Who keeps an operation whose future does not.
#[derive(Debug)]
pub(super) enum Keeper {
    Orphan(Box<dyn Orphan>),
    Remote(Arc<dyn Remote>),
}

impl Keeper {
    /// Gives over what came of it.
    pub(super) fn end(self, cqe: IoUringCqe) {
        match self {
            Self::Orphan(orphan) => orphan.end(cqe),
            Self::Remote(remote) => remote.end(cqe),
        }
    }
}

/// A keeper and what came of its operation.
pub(super) type Ended = (Keeper, IoUringCqe);

/// How far an operation is: bits of [`Slot::head`] that no index has.
mod state {
    /// No completion yet, and nobody listens; or the slot is free.
    pub(super) const STARTED: u64 = 0;
    /// No completion yet; the main future listens.
    pub(super) const MAIN: u64 = 1 << 28;
    /// No completion yet; a waker or an orphan listens.
    pub(super) const OTHER: u64 = 2 << 28;
    /// A completion came, and another will come. Who listens is in `listeners`.
    pub(super) const PARTLY: u64 = 3 << 28;
    /// The last completion came.
    pub(super) const DONE: u64 = 4 << 28;
    /// Completions come again and again; the listener is a stream.
    pub(super) const STREAM: u64 = 5 << 28;
    /// All bits of a state.
    pub(super) const MASK: u64 = 0xF << 28;
}

/// Indices are less than this, which leaves the bits of a state.
const MAX_SLOTS: usize = 1 << 28;

/// A slot. What is looked at together is one word: parts that are written apart and read together wait for
/// each other.
#[derive(Debug)]
struct Slot {
    /// The key of its operation, or of its next one, with the operation's [`state`].
    head: u64,
    /// Flags and result of the first completion.
    outcome: Outcome,
}

/// Flags and result of a completion.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome(u64);

impl Outcome {
    #[inline(always)]
    pub(super) fn of(cqe: IoUringCqe) -> Self {
        Self(u64::from(cqe.flags) << 32 | u64::from(cqe.res.cast_unsigned()))
    }

    /// Whether another completion will come.
    #[inline(always)]
    const fn has_more(self) -> bool {
        self.0 & (IORING_CQE_F_MORE as u64) << 32 != 0
    }

    #[inline(always)]
    pub(super) const fn cqe(self, user_data: u64) -> IoUringCqe {
        let [r0, r1, r2, r3, f0, f1, f2, f3] = self.0.to_le_bytes();
        IoUringCqe {
            user_data,
            res: i32::from_le_bytes([r0, r1, r2, r3]),
            flags: u32::from_le_bytes([f0, f1, f2, f3]),
        }
    }
}

impl Slot {
    #[inline]
    const fn state(&self) -> u64 {
        self.head & state::MASK
    }

    /// Whether it is the slot of this operation now.
    #[inline]
    const fn is_of(&self, key: Key) -> bool {
        (self.head ^ key.0) & !state::MASK == 0
    }

    #[inline]
    const fn set_state(&mut self, state: u64) {
        self.head = self.head & !state::MASK | state;
    }
}

/// Who hears of the end, if it is not the main future.
#[derive(Debug)]
enum Listener {
    Nobody,
    Main,
    Waker(Waker),
    Keeper(Keeper),
    Stream(Box<Stream>),
}

/// The completions of an operation that completes again and again.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Those that were not fetched.
    queue: VecDeque<IoUringCqe>,
    waker: Option<Waker>,
    /// Gets those that will not be fetched, at the end.
    orphan: Option<Box<dyn OrphanStream>>,
}

impl Stream {
    /// Puts away what nobody waits for any more.
    pub(super) fn end(mut self, origin: Origin<'_>) {
        if let Some(mut orphan) = self.orphan.take() {
            for cqe in self.queue {
                orphan.item(cqe, origin);
            }
        }
    }
}

/// An operation that completes again and again, and that nobody waits for.
pub(super) trait OrphanStream {
    /// Puts away what came of it once.
    fn item(&mut self, cqe: IoUringCqe, origin: Origin<'_>);
}

impl fmt::Debug for dyn OrphanStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OrphanStream")
    }
}

/// What a stream has next.
#[derive(Debug)]
pub(super) enum Next {
    Item(IoUringCqe),
    /// It was not handed over.
    Failed(IoUringCqe),
    /// Nothing any more; its slot is free.
    Ended,
    /// Nothing yet.
    Pending,
}

/// Whom to tell of a completion, when the ring is not borrowed any more.
#[derive(Debug)]
pub(super) enum Tell {
    Nobody,
    Main,
    Waker(Waker),
    Keeper(Ended),
    Stream(Box<Stream>),
}

/// Who would have heard of an end, to be dropped where others' code may run.
#[must_use]
#[derive(Debug)]
pub(super) struct Replaced(#[expect(dead_code, reason = "is only dropped")] Listener);

/// All slots.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// As long as `slots`.
    listeners: Vec<Listener>,
    /// The keys that the next operations get.
    free: Vec<Key>,
}

impl Slots {
    pub(super) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            listeners: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Count of operations whose last completion has not been seen.
    pub(super) fn in_flight(&self) -> usize {
        let done = self.slots.iter().filter(|slot| slot.state() == state::DONE);
        self.slots.len() - self.free.len() - done.count()
    }

    /// Whether there is an operation that nobody waits for.
    pub(super) fn has_orphans(&self) -> bool {
        self.listeners.iter().any(|listener| match listener {
            Listener::Keeper(Keeper::Orphan(_)) => true,
            Listener::Stream(stream) => stream.orphan.is_some(),
            _ => false,
        })
    }

    /// Takes a slot.
    #[inline]
    pub(super) fn insert(&mut self) -> Key {
        match self.free.pop() {
            Some(key) => key,
            None => self.grow(),
        }
    }

    #[cold]
    fn grow(&mut self) -> Key {
        let index = u32::try_from(self.slots.len()).unwrap_or(NO_SLOT);
        assert!(
            self.slots.len() < MAX_SLOTS,
            "2^28 operations are in flight"
        );
        let key = Key::new(index, 0);
        self.slots.push(Slot {
            head: key.0 | state::STARTED,
            outcome: Outcome(0),
        });
        self.listeners.push(Listener::Nobody);
        // Freeing one needs no memory, so it cannot fail.
        self.free.reserve(self.slots.len());
        key
    }

    /// Gives back a slot whose entry was not pushed.
    pub(super) fn remove_unpushed(&mut self, key: Key) {
        let slot = &mut self.slots[key.index() as usize];
        slot.set_state(state::STARTED);
        self.free.push(key);
        self.listeners[key.index() as usize] = Listener::Nobody;
    }

    /// The outcome, if it is there; the slot is free then. A key without a slot has its failure, and a spent
    /// one nothing.
    #[inline(always)]
    pub(super) fn fetch(&mut self, key: Key) -> Option<IoUringCqe> {
        self.fetch_or(key, || None)
    }

    /// As [`Self::fetch`]; where nothing was noted and nobody listens, `take` may have the only completion.
    #[inline(always)]
    pub(super) fn fetch_or<F>(&mut self, key: Key, take: F) -> Option<IoUringCqe>
    where
        F: FnOnce() -> Option<Outcome>,
    {
        let Some(slot) = self.slots.get_mut(key.index() as usize) else {
            return (key != Key::SPENT).then(|| key.failure());
        };
        let outcome = if slot.head == key.0 | state::STARTED {
            take()?
        } else if slot.head == key.0 | state::DONE {
            slot.outcome
        } else {
            debug_assert!(slot.is_of(key));
            return None;
        };
        slot.head = key.next().0 | state::STARTED;
        self.free.push(key.next());
        Some(outcome.cqe(0))
    }

    /// Lets the main future hear of the end; `false` if somebody else may have been named before.
    #[inline]
    pub(super) fn listen_main(&mut self, key: Key) -> bool {
        let slot = &mut self.slots[key.index() as usize];
        let is_new = matches!(slot.state(), state::STARTED | state::MAIN);
        if is_new {
            slot.set_state(state::MAIN);
        }
        is_new
    }

    /// The outcome, if it is there; else `waker` will hear of it, and whoever would have heard of it is
    /// returned.
    pub(super) fn listen(
        &mut self,
        key: Key,
        waker: Waker,
    ) -> Result<Replaced, (Waker, IoUringCqe)> {
        if let Some(cqe) = self.fetch(key) {
            return Err((waker, cqe));
        }
        let replaced = self.replace(key, Listener::Waker(waker));
        self.mark_other(key);
        Ok(replaced)
    }

    /// Says that somebody else than the main future listens to what is not done.
    fn mark_other(&mut self, key: Key) {
        let slot = &mut self.slots[key.index() as usize];
        debug_assert_ne!(slot.state(), state::DONE);
        if slot.state() != state::PARTLY {
            slot.set_state(state::OTHER);
        }
    }

    fn replace(&mut self, key: Key, listener: Listener) -> Replaced {
        Replaced(mem::replace(
            &mut self.listeners[key.index() as usize],
            listener,
        ))
    }

    /// The outcome, if it is there; else `keeper` will get it, and whoever would have heard of it is
    /// returned.
    pub(super) fn leave_to(&mut self, key: Key, keeper: Keeper) -> Result<Replaced, Ended> {
        if let Some(cqe) = self.fetch(key) {
            return Err((keeper, cqe));
        }
        let replaced = self.replace(key, Listener::Keeper(keeper));
        self.mark_other(key);
        Ok(replaced)
    }

    /// Notes the only completion of an operation that nobody listens for; `false` if it is none. Other
    /// completions are for [`Self::complete_main`].
    #[inline(always)]
    pub(super) fn complete(&mut self, cqe: IoUringCqe) -> bool {
        let outcome = Outcome::of(cqe);
        self.complete_in(state::STARTED, Key(cqe.user_data), outcome)
    }

    /// Notes the only completion of an operation that the main future listens for; `false` if it is none.
    /// Other completions are for [`Self::complete_other`].
    ///
    /// Apart from [`Self::complete`], whose loop stays small.
    #[inline(never)]
    pub(super) fn complete_main(&mut self, user_data: u64, outcome: Outcome) -> bool {
        self.complete_in(state::MAIN, Key(user_data), outcome)
    }

    /// Notes the only completion of an operation that is in this state.
    #[inline(always)]
    fn complete_in(&mut self, state: u64, key: Key, outcome: Outcome) -> bool {
        match self.slots.get_mut(key.index() as usize) {
            Some(slot) if slot.head == key.0 | state && !outcome.has_more() => {
                slot.outcome = outcome;
                slot.head = key.0 | state::DONE;
                true
            }
            _ => false,
        }
    }

    /// Notes a completion that is not the only one, or that the main future does not wait for.
    pub(super) fn complete_other(&mut self, cqe: IoUringCqe) -> Tell {
        let key = Key(cqe.user_data);
        // The number is one that was pushed; one that is not finds nothing.
        let Some(slot) = self.slots.get_mut(key.index() as usize) else {
            return Tell::Nobody;
        };
        let listener = &mut self.listeners[key.index() as usize];
        if !slot.is_of(key) {
            return Tell::Nobody;
        }
        match slot.state() {
            state::PARTLY => {}
            state::MAIN => {
                *listener = Listener::Main;
                slot.outcome = Outcome::of(cqe);
            }
            state::STARTED | state::OTHER => slot.outcome = Outcome::of(cqe),
            state::STREAM => return self.complete_stream(key, cqe),
            _ => return Tell::Nobody,
        }
        if cqe.has_more() {
            slot.set_state(state::PARTLY);
            return Tell::Nobody;
        }
        slot.set_state(state::DONE);
        match mem::replace(listener, Listener::Nobody) {
            Listener::Nobody => Tell::Nobody,
            Listener::Main => Tell::Main,
            Listener::Waker(waker) => Tell::Waker(waker),
            Listener::Keeper(keeper) => match self.fetch(key) {
                Some(first) => Tell::Keeper((keeper, first)),
                None => unreachable!("it is done"),
            },
            Listener::Stream(_) => unreachable!("in the state STREAM only"),
        }
    }

    /// Notes a completion of a stream.
    fn complete_stream(&mut self, key: Key, cqe: IoUringCqe) -> Tell {
        let slot = &mut self.slots[key.index() as usize];
        let listener = &mut self.listeners[key.index() as usize];
        let Listener::Stream(stream) = listener else {
            unreachable!("a stream's listener is a stream");
        };
        stream.queue.push_back(cqe);
        if !cqe.has_more() {
            slot.set_state(state::DONE);
            if stream.orphan.is_some() {
                return match self.free_stream(key) {
                    Listener::Stream(stream) => Tell::Stream(stream),
                    _ => unreachable!("it is a stream"),
                };
            }
        }
        stream.waker.take().map_or(Tell::Nobody, Tell::Waker)
    }

    /// Takes a slot for a stream.
    pub(super) fn insert_stream(&mut self) -> Key {
        let key = self.insert();
        self.slots[key.index() as usize].set_state(state::STREAM);
        self.listeners[key.index() as usize] = Listener::Stream(Box::default());
        key
    }

    /// Frees the slot of a stream, whose last completion has come.
    fn free_stream(&mut self, key: Key) -> Listener {
        self.fetch(key);
        mem::replace(&mut self.listeners[key.index() as usize], Listener::Nobody)
    }

    /// What a stream has next.
    pub(super) fn next(&mut self, key: Key) -> Next {
        let Some(slot) = self.slots.get(key.index() as usize) else {
            return Next::Failed(key.failure());
        };
        let Listener::Stream(stream) = &mut self.listeners[key.index() as usize] else {
            unreachable!("a stream's listener is a stream");
        };
        match stream.queue.pop_front() {
            Some(cqe) => Next::Item(cqe),
            None if slot.state() == state::DONE => {
                self.free_stream(key);
                Next::Ended
            }
            None => Next::Pending,
        }
    }

    /// Lets `waker` hear of a stream's next completion. Returns who would have heard of it before.
    pub(super) fn listen_stream(&mut self, key: Key, waker: Waker) -> Option<Waker> {
        match &mut self.listeners[key.index() as usize] {
            Listener::Stream(stream) => stream.waker.replace(waker),
            _ => Some(waker),
        }
    }

    /// Leaves a stream to `orphan`. If nothing more will come, it is returned; else its waker is.
    pub(super) fn abandon_stream(
        &mut self,
        key: Key,
        orphan: Box<dyn OrphanStream>,
    ) -> Result<Option<Waker>, Box<Stream>> {
        let Some(slot) = self.slots.get(key.index() as usize) else {
            // It was not handed over.
            return Err(Box::new(Stream {
                orphan: Some(orphan),
                ..Stream::default()
            }));
        };
        let is_done = slot.state() == state::DONE;
        let Listener::Stream(stream) = &mut self.listeners[key.index() as usize] else {
            unreachable!("a stream's listener is a stream");
        };
        stream.orphan = Some(orphan);
        if !is_done {
            return Ok(stream.waker.take());
        }
        match self.free_stream(key) {
            Listener::Stream(stream) => Err(stream),
            _ => unreachable!("it is a stream"),
        }
    }

    /// Leaks what waits for completions that will not be seen: it is the kernel's.
    pub(super) fn leak(&mut self) {
        for listener in &self.listeners {
            if let Listener::Keeper(Keeper::Remote(remote)) = listener {
                remote.lose();
            }
        }
        mem::forget(mem::take(&mut self.listeners));
    }
}

#[cfg(test)]
mod tests;
