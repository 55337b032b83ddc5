#![expect(unsafe_code, reason = "pushes the entries of operations")]
//! The ring of a thread, with what is in flight on it.
//!
//! # Invariants
//! * kept: what a pushed entry leads to is owned by its operation, which is in the future, or in the slot's
//!   keeper. The future gives it up only to the slot, to the caller after the last completion, or,
//!   forgotten, to nobody ever. The slot gives it up only after the last completion, or leaks it.
//! * leaf: code of others, which may come back here, runs only where the ring is not borrowed: wakers are
//!   cloned, woken and dropped, and what operations keep is dropped, outside of [`Exclusive::with`].

mod end;
mod pools;

use std::cell::Cell;
use std::mem;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use pepita_sys::error::{Errno, Result};
use pepita_sys::io_uring::{
    IORING_POLL_ADD_MULTI, IOSQE_IO_HARDLINK, IOSQE_IO_LINK, IoUringCqe, IoUringSqe, Timespec,
};

use super::cell::Exclusive;
use super::multi::Origin;
use super::panics::Panics;
use super::park::{Lease, Parker};
use super::slots::{
    Ended, Keeper, Key, Next, Orphan, OrphanStream, Outcome, Remote, Slots, Stream,
};
use super::told::{Heard, Seen, Told};
use crate::ring::{BufferPool, QueueFull, Ring, Wait};

/// `user_data` of entries whose completions say nothing; no slot has it.
const NOBODY: u64 = u64::MAX;
/// `user_data` of the poll that other threads end to wake this one; no slot has it.
const WAKE: u64 = u64::MAX - 1;

/// What an operation gets that would never be handed over.
pub(super) const CLOSED: Key = Key::failed(Errno::ESHUTDOWN);

/// How long a ring that is dropped waits for operations that it has cancelled. A disk's end by themselves; a
/// device or a server that does not answer would hold the program for ever.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// The ring and what is in flight.
#[derive(Debug)]
pub(super) struct Driver {
    inner: Exclusive<Inner>,
    main: Waker,
    /// Nobody turns the ring any more.
    is_closed: Cell<bool>,
    /// Given back after the ring has ended.
    parker: Lease,
}

#[derive(Debug)]
struct Inner {
    ring: Ring,
    slots: Slots,
    /// Empty between turns.
    told: Told,
    /// Each is the group of its number.
    pools: Vec<BufferPool>,
    wake_is_armed: bool,
    /// How long the drop waits for what is in flight.
    drain_limit: Option<Duration>,
}

/// How long a turn waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Not at all.
    Now,
    /// Until something has completed.
    UntilSome,
    /// So long.
    AtMost(Duration),
}

/// What a future that has no outcome yet finds in the completion queue.
enum Look {
    Nothing,
    /// Its own completion, in front of all.
    Mine(IoUringCqe),
    /// Others, which have been taken, and its own perhaps.
    Seen(Seen),
}

impl Driver {
    pub(super) fn new(ring: Ring, parker: Lease) -> Self {
        Self {
            inner: Exclusive::new(Inner {
                ring,
                slots: Slots::new(),
                told: Told::default(),
                pools: Vec::new(),
                wake_is_armed: false,
                drain_limit: Some(DRAIN_LIMIT),
            }),
            main: parker.parker().waker(),
            is_closed: Cell::new(false),
            parker,
        }
    }

    /// The ring's descriptor.
    pub(super) fn fd(&self) -> i32 {
        // SAFETY: leaf.
        unsafe { self.inner.with(|inner| inner.ring.fd()) }
    }

    /// Says that nobody turns the ring any more: what is started from now on comes to `ESHUTDOWN`.
    pub(super) fn close(&self) {
        self.is_closed.set(true);
    }

    /// Whether an operation would never be handed over. Who has the ring knows that it is not so.
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// Pushes an operation's entry.
    ///
    /// # Safety
    /// * kept holds for what it leads to.
    #[inline(always)]
    pub(super) unsafe fn start(&self, mut entry: IoUringSqe) -> Key {
        // SAFETY: leaf.
        let key = unsafe { self.inner.with(|inner| inner.slots.insert()) };
        entry.user_data = key.user_data();
        // SAFETY: the caller's duty.
        let push = |inner: &mut Inner| unsafe { inner.push(entry) };
        // SAFETY: leaf.
        match unsafe { self.inner.with(push) } {
            Ok(()) => key,
            Err(QueueFull) => self.cannot_start(key),
        }
    }

    /// Pushes an operation's entry and a time after which it is cancelled.
    ///
    /// # Safety
    /// * kept holds for what it leads to, and for `limit`.
    pub(super) unsafe fn start_limited(&self, entry: IoUringSqe, limit: *const Timespec) -> Key {
        if self.is_closed() {
            return CLOSED;
        }
        let start = |inner: &mut Inner| {
            let key = inner.slots.insert();
            let entry = entry.user_data(key.user_data()).link();
            let limit = IoUringSqe::link_timeout(limit, 0).user_data(NOBODY);
            // SAFETY: the caller's duty.
            if unsafe { inner.push_all(&[entry, limit]) }.is_ok() {
                return key;
            }
            inner.slots.remove_unpushed(key);
            Key::failed(Errno::EAGAIN)
        };
        // SAFETY: leaf.
        unsafe { self.inner.with(start) }
    }

    /// Pushes entries that are linked, each of which starts after the one before. Their `user_data` are their
    /// keys afterwards.
    ///
    /// # Safety
    /// * kept holds for what they lead to.
    pub(super) unsafe fn start_linked(&self, entries: &mut [IoUringSqe]) {
        if let Some(last) = entries.last_mut() {
            last.flags &= !(IOSQE_IO_LINK | IOSQE_IO_HARDLINK);
        }
        if self.is_closed() {
            for entry in entries {
                entry.user_data = CLOSED.user_data();
            }
            return;
        }
        let start = |inner: &mut Inner| {
            for entry in &mut *entries {
                entry.user_data = inner.slots.insert().user_data();
            }
            // SAFETY: the caller's duty.
            if unsafe { inner.push_all(entries) }.is_ok() {
                return;
            }
            for entry in entries {
                inner.slots.remove_unpushed(Key::of(entry));
                entry.user_data = Key::failed(Errno::EAGAIN).user_data();
            }
        };
        // SAFETY: leaf.
        unsafe { self.inner.with(start) }
    }

    /// Pushes the entry of an operation that completes again and again.
    ///
    /// # Safety
    /// * kept holds for what it leads to.
    pub(super) unsafe fn start_stream(&self, entry: IoUringSqe) -> Key {
        if self.is_closed() {
            return CLOSED;
        }
        let start = |inner: &mut Inner| {
            let key = inner.slots.insert_stream();
            // SAFETY: the caller's duty.
            if unsafe { inner.push(entry.user_data(key.user_data())) }.is_ok() {
                return key;
            }
            inner.slots.remove_unpushed(key);
            Key::failed(Errno::EAGAIN)
        };
        // SAFETY: leaf.
        unsafe { self.inner.with(start) }
    }

    /// What a stream has next; if nothing yet, `waker` will hear of it.
    pub(super) fn next(&self, key: Key, waker: &Waker) -> Next {
        // SAFETY: leaf.
        let next = unsafe { self.inner.with(|inner| inner.slots.next(key)) };
        let Next::Pending = next else {
            return next;
        };
        let waker = waker.clone();
        // Cloning may have run others' code, so there may be something by now.
        let listen = |inner: &mut Inner| match inner.slots.next(key) {
            Next::Pending => (Next::Pending, inner.slots.listen_stream(key, waker)),
            next => (next, Some(waker)),
        };
        // SAFETY: leaf: the waker that is left over is dropped afterwards.
        let (next, left_over) = unsafe { self.inner.with(listen) };
        drop(left_over);
        next
    }

    /// Leaves a stream to itself: it is cancelled, and `orphan` gets what still comes of it.
    pub(super) fn abandon_stream(&self, key: Key, orphan: Box<dyn OrphanStream>) {
        let cancel = |inner: &mut Inner| {
            let waker = inner.slots.abandon_stream(key, orphan)?;
            inner.cancel(key.user_data());
            Ok(waker)
        };
        // SAFETY: leaf: a waker, and a stream that has ended, are dropped afterwards.
        let abandoned: std::result::Result<_, Box<Stream>> = unsafe { self.inner.with(cancel) };
        match abandoned {
            Ok(waker) => drop(waker),
            Err(stream) => stream.end(Origin(Some(self))),
        }
    }

    /// Pushes the entry of an operation that `remote` keeps, and gives over to it what comes of it.
    ///
    /// # Safety
    /// * kept holds for what it leads to: `remote` owns it until its end.
    pub(super) unsafe fn start_remote(&self, entry: IoUringSqe, remote: Arc<dyn Remote>) {
        // SAFETY: the caller's duty.
        let key = unsafe { self.start(entry) };
        self.leave_to_remote(key, remote);
    }

    /// Leaves an operation, which was just started, to `remote`.
    pub(super) fn leave_to_remote(&self, key: Key, remote: Arc<dyn Remote>) {
        if !key.is_failed() {
            remote.set_user_data(key.user_data());
        }
        let leave = |inner: &mut Inner| inner.slots.leave_to(key, Keeper::Remote(remote));
        // SAFETY: leaf: what has failed to start is told of afterwards.
        match unsafe { self.inner.with(leave) } {
            Ok(replaced) => drop(replaced),
            Err((keeper, cqe)) => keeper.end(cqe),
        }
    }

    /// Cancels an operation; what comes of it comes as if it had ended by itself.
    pub(super) fn cancel(&self, user_data: u64) {
        // SAFETY: leaf.
        unsafe { self.inner.with(|inner| inner.cancel(user_data)) };
    }

    /// Lets the drop wait for what is in flight as long as it takes.
    pub(super) fn drain_without_limit(&self) {
        // SAFETY: leaf.
        unsafe { self.inner.with(|inner| inner.drain_limit = None) };
    }

    #[cold]
    fn cannot_start(&self, key: Key) -> Key {
        // SAFETY: leaf.
        unsafe { self.inner.with(|inner| inner.slots.remove_unpushed(key)) };
        Key::failed(Errno::EAGAIN)
    }

    /// The outcome, if it is there; else `waker` will hear of it.
    ///
    /// # Panics
    /// For a spent key, which has no outcome.
    #[inline(always)]
    pub(super) fn poll(&self, key: Key, waker: &Waker) -> Option<IoUringCqe> {
        // SAFETY: leaf.
        let outcome = unsafe { self.inner.with(|inner| inner.fetch(key)) };
        if outcome.is_some() {
            return outcome;
        }
        self.look_or_wait(key, waker)
    }

    /// Looks whether its completion is there already, as when the queue was full and was handed over; if
    /// not, `waker` will hear of it.
    ///
    /// # Panics
    /// For a spent key.
    fn look_or_wait(&self, key: Key, waker: &Waker) -> Option<IoUringCqe> {
        assert!(key != Key::SPENT, "polled after it resolved");
        let look = |inner: &mut Inner| {
            if !inner.ring.has_completions() {
                return Look::Nothing;
            }
            match inner.fetch(key) {
                Some(cqe) => Look::Mine(cqe),
                None => Look::Seen(inner.reap()),
            }
        };
        // SAFETY: leaf.
        match unsafe { self.inner.with(look) } {
            Look::Nothing => {}
            Look::Mine(cqe) => return Some(cqe),
            Look::Seen(seen) => {
                self.tell(&seen);
                // Fetched only now: who is told may panic, which would lose it, or see it come.
                // SAFETY: leaf.
                let outcome = unsafe { self.inner.with(|inner| inner.slots.fetch(key)) };
                if outcome.is_some() {
                    return outcome;
                }
            }
        }
        self.wait_for(key, waker)
    }

    #[inline]
    fn wait_for(&self, key: Key, waker: &Waker) -> Option<IoUringCqe> {
        let is_main = waker.will_wake(&self.main);
        // SAFETY: leaf.
        if is_main && unsafe { self.inner.with(|inner| inner.slots.listen_main(key)) } {
            return None;
        }
        let waker = waker.clone();
        // SAFETY: leaf: what is replaced, or not needed, is dropped afterwards.
        match unsafe { self.inner.with(|inner| inner.slots.listen(key, waker)) } {
            Ok(_replaced) => None,
            Err((_waker, cqe)) => Some(cqe),
        }
    }

    /// Leaves an operation to itself: it is cancelled, and `orphan` gets what comes of it.
    pub(super) fn abandon(&self, key: Key, orphan: Box<dyn Orphan>) {
        let cancel = |inner: &mut Inner| {
            let replaced = inner.slots.leave_to(key, Keeper::Orphan(orphan))?;
            inner.cancel(key.user_data());
            Ok(replaced)
        };
        // SAFETY: leaf: what is replaced, and an orphan that has ended, are dropped afterwards.
        let abandoned: std::result::Result<_, Ended> = unsafe { self.inner.with(cancel) };
        match abandoned {
            Ok(replaced) => drop(replaced),
            Err((keeper, cqe)) => keeper.end(cqe),
        }
    }

    /// Hands over what was pushed, waits as `turn` says, and tells everybody of what has completed.
    #[inline]
    pub(super) fn turn(&self, turn: Turn) -> Result<()> {
        // SAFETY: leaf.
        let (entered, seen) = unsafe {
            self.inner
                .with(|inner| inner.turn(turn, self.parker.parker()))
        };
        self.tell(&seen);
        entered
    }

    /// Waits for the end of what nobody waits for, since nobody will turn the ring from now on. What such an
    /// operation keeps may hold the ring, which would then never end.
    pub(super) fn end_orphans(&self) {
        let deadline = Instant::now() + DRAIN_LIMIT;
        // SAFETY: leaf.
        while unsafe { self.inner.with(|inner| inner.slots.has_orphans()) } {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.turn(Turn::AtMost(left)).is_err() {
                return;
            }
        }
    }

    /// Tells everybody of what was seen.
    #[inline]
    fn tell(&self, seen: &Seen) {
        if seen.main {
            self.parker.parker().notify_here();
        }
        if seen.others {
            self.tell_others();
        }
    }

    #[cold]
    fn tell_others(&self) {
        // SAFETY: leaf.
        let mut told = unsafe { self.inner.with(|inner| mem::take(&mut inner.told)) };
        let mut panics = Panics::default();
        for waker in told.wakers.drain(..) {
            panics.catch(|| waker.wake());
        }
        for (keeper, cqe) in told.ended.drain(..) {
            panics.catch(|| keeper.end(cqe));
        }
        for stream in told.streams.drain(..) {
            panics.catch(|| stream.end(Origin(Some(self))));
        }
        // Its memory serves the next turn, unless a waker has made one.
        let keep = |inner: &mut Inner| {
            if inner.told.is_empty() {
                mem::swap(&mut inner.told, &mut told);
            }
        };
        // SAFETY: leaf: nothing is dropped.
        unsafe { self.inner.with(keep) };
        panics.resume();
    }
}

/// `POLLIN` of poll(2).
const POLLIN: u32 = 1;

impl Inner {
    /// Pushes an entry, and hands over all of them when there is no room for another.
    ///
    /// # Safety
    /// * kept holds for what it leads to.
    #[inline(always)]
    unsafe fn push(&mut self, entry: IoUringSqe) -> std::result::Result<(), QueueFull> {
        // SAFETY: the caller's duty.
        let room = unsafe { self.ring.push_and_count(entry) }?;
        if room == 0 {
            // An error shows when the next entry has no room.
            let _ = self.hand_over();
        }
        Ok(())
    }

    /// Pushes linked entries, which go over in one submission.
    ///
    /// # Safety
    /// * kept holds for what they lead to.
    unsafe fn push_all(&mut self, entries: &[IoUringSqe]) -> std::result::Result<(), QueueFull> {
        if (self.ring.sq_room() as usize) < entries.len() {
            // An error shows when there is no room afterwards.
            let _ = self.hand_over();
        }
        if (self.ring.sq_room() as usize) < entries.len() {
            return Err(QueueFull);
        }
        for entry in entries {
            // SAFETY: the caller's duty. Room for all was there, so the first is not handed over alone.
            unsafe { self.ring.push(*entry) }?;
        }
        if self.ring.is_full() {
            let _ = self.hand_over();
        }
        Ok(())
    }

    /// Asks for an operation's end. Without room for that, it goes on until it ends by itself.
    fn cancel(&mut self, user_data: u64) {
        let cancel = IoUringSqe::cancel(user_data, 0).user_data(NOBODY);
        // SAFETY: the entry leads nowhere.
        let _ = unsafe { self.push(cancel) };
    }

    /// Hands over what was pushed, waits as `turn` says, and takes what has completed.
    #[inline]
    fn turn(&mut self, turn: Turn, parker: &Parker) -> (Result<()>, Seen) {
        if turn != Turn::Now
            && !self.wake_is_armed
            && let Err(error) = self.arm_wake(parker.eventfd())
        {
            return (Err(error), Seen::default());
        }
        let entered = self.enter(turn);
        (entered, self.reap())
    }

    #[cold]
    fn hand_over(&mut self) -> Result<()> {
        self.ring.submit()?;
        // A polling thread takes entries when it comes to it.
        self.ring.wait_for_room()
    }

    #[inline]
    fn enter(&mut self, turn: Turn) -> Result<()> {
        let entered = match turn {
            // What has completed is taken before anything is waited for.
            _ if self.ring.has_completions() => self.ring.submit(),
            Turn::Now => self.ring.submit(),
            Turn::UntilSome => self.ring.submit_and_wait(1),
            Turn::AtMost(timeout) => self
                .ring
                .submit_and_wait_for(1, &Wait::new().timeout(timeout)),
        };
        match entered {
            Ok(_) => Ok(()),
            // A signal, or the time: there is nothing to take, and the caller looks around.
            Err(error) if matches!(error.to_errno(), Errno::EINTR | Errno::ETIME) => Ok(()),
            // Completions stand in the way; they are taken now.
            Err(error) if matches!(error.to_errno(), Errno::EBUSY | Errno::EAGAIN) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Lets each write to `eventfd`, which lives as long as the process, end a wait.
    #[cold]
    fn arm_wake(&mut self, eventfd: i32) -> Result<()> {
        let poll = IoUringSqe::poll_add(eventfd, POLLIN, IORING_POLL_ADD_MULTI).user_data(WAKE);
        // SAFETY: the entry names a file that is not closed, and leads to no memory.
        unsafe { self.push(poll) }?;
        self.wake_is_armed = true;
        Ok(())
    }

    /// The outcome, if it is there: noted, or in front of the completions that were there when last asked.
    /// Operations of a batch often end in the order in which they are waited for, and then need no note.
    #[inline(always)]
    fn fetch(&mut self, key: Key) -> Option<IoUringCqe> {
        let ring = &mut self.ring;
        self.slots.fetch_or(key, || {
            // One with flags may be the first of several.
            let is_only = |cqe: &IoUringCqe| cqe.user_data == key.user_data() && cqe.flags == 0;
            ring.pop_if(is_only).map(Outcome::of)
        })
    }

    /// Takes completions; whoever is to be told is in `wakers` and `ended`, or in the answer.
    #[inline]
    fn reap(&mut self) -> Seen {
        let mut seen = Seen::default();
        let (slots, told) = (&mut self.slots, &mut self.told);
        let wake_is_armed = &mut self.wake_is_armed;
        self.ring.drain_completions(|cqe| {
            if slots.complete(cqe) {
                return;
            }
            let (user_data, outcome) = (cqe.user_data, Outcome::of(cqe));
            if slots.complete_main(user_data, outcome) {
                seen.main = true;
                return;
            }
            match user_data {
                WAKE => *wake_is_armed = cqe.has_more(),
                NOBODY => {}
                _ => match told.note(slots, user_data, outcome) {
                    Heard::Nobody => {}
                    Heard::Main => seen.main = true,
                    Heard::Others => seen.others = true,
                },
            }
        });
        seen
    }
}
