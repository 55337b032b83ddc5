//! Where each buffer of a pool is, as numbers.
//!
//! Each buffer is known by its id (`bid`). It is *in the ring* at one position, or out of it; and some of its
//! bytes are *pieces* that the program holds. It may be added again when it is out and no piece is held.
//!
//! # Invariants
//! * once: a buffer is added only when it is out, so the ring holds each at most once.
//! * kernel-first: a buffer is out only when the kernel has certainly moved past it.

use alloc::boxed::Box;
use alloc::vec;

use super::super::BufferUse;
use super::BufferError;

/// One buffer.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    in_ring: bool,
    /// Whether the kernel could not be asked if it has moved past; it is never added again then.
    doubtful: bool,
    /// Where it is in the ring, or was last.
    position: u16,
    /// Bytes that completions have brought since it was added.
    used: u32,
    /// Count of pieces held.
    pieces: u32,
    /// The buffer that was added after it, once there is one: what a bundle goes on in. It stays until this
    /// one is added again.
    next: u16,
}

/// What a completion brought: `bytes` from `start` of the buffer `bid` on, and on in the buffers after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) bid: u16,
    pub(super) start: u32,
    pub(super) bytes: u32,
}

/// A part of one buffer that the program holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) bid: u16,
    pub(super) start: u32,
    pub(super) len: u32,
}

/// Whether the kernel has moved past the last buffer of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// It has, or will use it on.
    Known,
    /// Ask for its head, and [settle](Ledger::settle) this buffer.
    Doubtful(u16),
}

#[derive(Debug)]
pub(super) struct Ledger {
    entries: Box<[Entry]>,
    /// The buffer that was added last.
    newest: u16,
    buffer_len: u32,
    buffer_use: BufferUse,
}

impl Ledger {
    /// `count` buffers of `buffer_len` bytes, all of them out. `count` is a power of two.
    pub(super) fn new(count: u16, buffer_len: u32, buffer_use: BufferUse) -> Self {
        Self {
            entries: vec![Entry::default(); usize::from(count)].into(),
            newest: 0,
            buffer_len,
            buffer_use,
        }
    }

    /// Count of buffers.
    pub(super) fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// Count of buffers in the ring.
    pub(super) fn in_ring(&self) -> usize {
        self.entries.iter().filter(|entry| entry.in_ring).count()
    }

    /// Notes that `bid`, which is out, is added at `position`.
    pub(super) fn add(&mut self, bid: u16, position: u16) {
        self.entries[usize::from(self.newest)].next = bid;
        self.newest = bid;
        let entry = &mut self.entries[usize::from(bid)];
        debug_assert!(!entry.in_ring && entry.pieces == 0 && !entry.doubtful);
        entry.in_ring = true;
        entry.position = position;
        entry.used = 0;
    }

    /// The buffer at the position after that of `bid`, if the kernel can go on there.
    ///
    /// By the order of adding, and not by what is at that position of the ring now: the kernel has moved past
    /// it, and a buffer that came back since may stand there, when completions are taken late.
    fn after(&self, bid: u16) -> Option<u16> {
        let Entry { position, next, .. } = self.entries[usize::from(bid)];
        let other = self.entries[usize::from(next)];
        (other.in_ring && other.position == position.wrapping_add(1)).then_some(next)
    }

    /// Notes what a completion says: it brought `bytes`, the first of them into `bid`; with `more`, the kernel
    /// uses the last buffer on. Nothing changes when that cannot be.
    pub(super) fn take(
        &mut self,
        bid: u16,
        bytes: u32,
        more: bool,
    ) -> Result<(Run, Last), BufferError> {
        let first = self.entries.get(usize::from(bid)).copied();
        let Some(first) = first.filter(|entry| entry.in_ring) else {
            return Err(BufferError::NotLent { bid });
        };
        let run = Run {
            bid,
            start: first.used,
            bytes,
        };
        if bytes == 0 {
            let last = if more {
                Last::Known
            } else {
                Last::Doubtful(bid)
            };
            return Ok((run, last));
        }
        self.check(run)?;
        Ok((run, self.take_checked(run, more)))
    }

    /// Whether the buffers from the first on hold what `run` says.
    fn check(&self, run: Run) -> Result<(), BufferError> {
        let mut last = Some(run.bid);
        let mut room = self.buffer_len - run.start;
        let mut left = run.bytes;
        // A buffer that is full already holds nothing of a run.
        while room != 0 && left > room {
            left -= room;
            last = last.and_then(|bid| self.after(bid));
            room = match last {
                Some(bid) => self.buffer_len - self.entries[usize::from(bid)].used,
                None => 0,
            };
            // All but the first are fresh.
            if room != self.buffer_len {
                room = 0;
            }
        }
        if room == 0 {
            let Run { bid, bytes, .. } = run;
            return Err(BufferError::TooLong { bid, bytes });
        }
        Ok(())
    }

    fn take_checked(&mut self, run: Run, more: bool) -> Last {
        let mut left = run.bytes;
        let mut bid = run.bid;
        loop {
            let entry = &mut self.entries[usize::from(bid)];
            let taken = left.min(self.buffer_len - entry.used);
            entry.used += taken;
            entry.pieces += 1;
            left -= taken;
            if left == 0 {
                break;
            }
            entry.in_ring = false;
            bid = entry.next;
        }
        let rest = self.buffer_len - self.entries[usize::from(bid)].used;
        if rest >= self.buffer_use.min_left() {
            if more {
                return Last::Known;
            }
            return Last::Doubtful(bid);
        }
        // A kernel that uses on what it does not use on is not believed.
        if !more || self.buffer_use == BufferUse::Once {
            self.entries[usize::from(bid)].in_ring = false;
        }
        Last::Known
    }

    /// Notes how far the kernel is: its `head`, or `None` if it does not tell. Returns whether `bid` is to be
    /// added again.
    pub(super) fn settle(&mut self, bid: u16, head: Option<u16>) -> bool {
        let entry = &mut self.entries[usize::from(bid)];
        match head {
            // Of up to 2^15 positions, those that it has not moved past lie from its head on.
            Some(head) if (1..=1 << 15).contains(&head.wrapping_sub(entry.position)) => {
                entry.in_ring = false;
            }
            Some(_) => {}
            None => {
                entry.in_ring = false;
                entry.doubtful = true;
            }
        }
        entry.is_free()
    }

    /// The first piece of `run`, and the rest of it.
    pub(super) fn split(&self, run: Run) -> Option<(Piece, Run)> {
        if run.bytes == 0 {
            return None;
        }
        let len = run.bytes.min(self.buffer_len - run.start);
        let piece = Piece {
            bid: run.bid,
            start: run.start,
            len,
        };
        let rest = Run {
            bid: self.entries[usize::from(run.bid)].next,
            start: 0,
            bytes: run.bytes - len,
        };
        Some((piece, rest))
    }

    /// Notes that a piece of `bid` is not held any more. Returns whether `bid` is to be added again.
    pub(super) fn release(&mut self, bid: u16) -> bool {
        let entry = &mut self.entries[usize::from(bid)];
        entry.pieces -= 1;
        entry.is_free()
    }
}

impl Entry {
    const fn is_free(&self) -> bool {
        !self.in_ring && !self.doubtful && self.pieces == 0
    }
}

#[cfg(test)]
mod tests;
