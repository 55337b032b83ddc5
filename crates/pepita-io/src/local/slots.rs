//! What is in flight: a slot for each operation that the kernel has or will get.
//!
//! The number of a slot and its generation are the `user_data` of its entry. A slot is taken before the
//! entry is pushed, and is free again after the entry's last completion has been seen *and* its outcome
//! fetched; so no completion finds the slot of another operation, and one that did would not fit its
//! generation.

use std::fmt;
use std::task::Waker;

use pepita_sys::io_uring::IoUringCqe;

/// Which slot, and which of its operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    #[inline]
    pub(super) const fn user_data(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    #[inline]
    const fn of_user_data(user_data: u64) -> Self {
        let [i0, i1, i2, i3, g0, g1, g2, g3] = user_data.to_le_bytes();
        Self {
            index: u32::from_le_bytes([i0, i1, i2, i3]),
            generation: u32::from_le_bytes([g0, g1, g2, g3]),
        }
    }
}

/// An operation that nobody waits for.
pub(super) trait Orphan {
    /// Puts away what came of it.
    fn end(self: Box<Self>, cqe: IoUringCqe);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is in flight; the next free slot, if there is one.
    Free(Option<u32>),
    /// No completion yet.
    Waiting,
    /// A completion came, and another will come.
    Partly(IoUringCqe),
    /// The last completion came.
    Done(IoUringCqe),
}

/// Who hears of the end.
enum Listener {
    Nobody,
    Waker(Waker),
    Orphan(Box<dyn Orphan>),
}

struct Slot {
    generation: u32,
    state: State,
    listener: Listener,
}

/// All slots.
#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Option<u32>,
    in_flight: usize,
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("slots", &self.slots.len())
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

/// An orphan and what came of it.
pub(super) type Ended = (Box<dyn Orphan>, IoUringCqe);

/// Whom to tell of a completion, when the ring is not borrowed any more.
pub(super) enum Tell {
    Nobody,
    Waker(Waker),
    Orphan(Ended),
}

impl Slots {
    /// Count of operations whose last completion has not been seen.
    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Takes a slot.
    #[inline]
    pub(super) fn insert(&mut self) -> Key {
        self.in_flight += 1;
        let Some(index) = self.free else {
            return self.grow();
        };
        let slot = &mut self.slots[index as usize];
        if let State::Free(next) = slot.state {
            self.free = next;
        }
        slot.state = State::Waiting;
        Key {
            index,
            generation: slot.generation,
        }
    }

    #[cold]
    fn grow(&mut self) -> Key {
        let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 operations in flight");
        self.slots.push(Slot {
            generation: 0,
            state: State::Waiting,
            listener: Listener::Nobody,
        });
        Key {
            index,
            generation: 0,
        }
    }

    /// Gives back a slot whose entry was not pushed.
    pub(super) fn remove_unpushed(&mut self, key: Key) {
        self.in_flight -= 1;
        self.release(key);
    }

    #[inline]
    fn release(&mut self, key: Key) {
        let slot = &mut self.slots[key.index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.state = State::Free(self.free);
        slot.listener = Listener::Nobody;
        self.free = Some(key.index);
    }

    /// The outcome, if it is there; else `waker` will hear of it.
    #[inline]
    pub(super) fn poll(&mut self, key: Key, waker: &Waker) -> Option<IoUringCqe> {
        let slot = &mut self.slots[key.index as usize];
        if let State::Done(cqe) = slot.state {
            self.release(key);
            return Some(cqe);
        }
        match &slot.listener {
            Listener::Waker(old) if old.will_wake(waker) => {}
            _ => slot.listener = Listener::Waker(waker.clone()),
        }
        None
    }

    /// The outcome, if it is there; else `orphan` will get it.
    pub(super) fn abandon(&mut self, key: Key, orphan: Box<dyn Orphan>) -> Option<Ended> {
        let slot = &mut self.slots[key.index as usize];
        if let State::Done(cqe) = slot.state {
            self.release(key);
            return Some((orphan, cqe));
        }
        slot.listener = Listener::Orphan(orphan);
        None
    }

    /// Notes a completion.
    #[inline]
    pub(super) fn complete(&mut self, cqe: IoUringCqe) -> Tell {
        // The number is one that was pushed; one that is not finds nothing.
        let key = Key::of_user_data(cqe.user_data);
        let Some(slot) = self.slots.get_mut(key.index as usize) else {
            return Tell::Nobody;
        };
        let first = match slot.state {
            State::Waiting if slot.generation == key.generation => cqe,
            State::Partly(first) if slot.generation == key.generation => first,
            _ => return Tell::Nobody,
        };
        if cqe.has_more() {
            slot.state = State::Partly(first);
            return Tell::Nobody;
        }
        self.in_flight -= 1;
        slot.state = State::Done(first);
        match std::mem::replace(&mut slot.listener, Listener::Nobody) {
            Listener::Nobody => Tell::Nobody,
            Listener::Waker(waker) => Tell::Waker(waker),
            Listener::Orphan(orphan) => {
                self.release(key);
                Tell::Orphan((orphan, first))
            }
        }
    }

    /// Takes out what waits for completions that will not be seen. It is the kernel's, and must be leaked.
    pub(super) fn take_orphans(&mut self) -> Vec<Box<dyn Orphan>> {
        let listeners = self.slots.iter_mut().map(|slot| &mut slot.listener);
        listeners
            .filter_map(
                |listener| match std::mem::replace(listener, Listener::Nobody) {
                    Listener::Orphan(orphan) => Some(orphan),
                    Listener::Nobody | Listener::Waker(_) => None,
                },
            )
            .collect()
    }
}
