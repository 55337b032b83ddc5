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
    /// The buffer after it in the same bundle.
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
    /// The buffer at each position, modulo the capacity.
    order: Box<[u16]>,
    buffer_len: u32,
    buffer_use: BufferUse,
}

impl Ledger {
    /// `count` buffers of `buffer_len` bytes, all of them out. `count` is a power of two.
    pub(super) fn new(count: u16, buffer_len: u32, buffer_use: BufferUse) -> Self {
        Self {
            entries: vec![Entry::default(); usize::from(count)].into(),
            order: vec![0; usize::from(count)].into(),
            buffer_len,
            buffer_use,
        }
    }

    /// Count of buffers in the ring.
    pub(super) fn in_ring(&self) -> usize {
        self.entries.iter().filter(|entry| entry.in_ring).count()
    }

    /// Notes that `bid`, which is out, is added at `position`.
    pub(super) fn add(&mut self, bid: u16, position: u16) {
        let slot = self.slot(position);
        self.order[slot] = bid;
        let entry = &mut self.entries[usize::from(bid)];
        debug_assert!(!entry.in_ring && entry.pieces == 0 && !entry.doubtful);
        entry.in_ring = true;
        entry.position = position;
        entry.used = 0;
    }

    fn slot(&self, position: u16) -> usize {
        usize::from(position) & (self.order.len() - 1)
    }

    /// The buffer at `position`, if it is in the ring.
    fn at(&self, position: u16) -> Option<u16> {
        let bid = self.order[self.slot(position)];
        let entry = self.entries[usize::from(bid)];
        (entry.in_ring && entry.position == position).then_some(bid)
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
        self.check(run, first.position)?;
        Ok((run, self.take_checked(run, first.position, more)))
    }

    /// Whether the buffers from `position` on hold what `run` says.
    fn check(&self, run: Run, mut position: u16) -> Result<(), BufferError> {
        let mut room = self.buffer_len - run.start;
        let mut left = run.bytes;
        // A buffer that is full already holds nothing of a run.
        while room != 0 && left > room {
            left -= room;
            position = position.wrapping_add(1);
            room = match self.at(position) {
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

    fn take_checked(&mut self, run: Run, mut position: u16, more: bool) -> Last {
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
            position = position.wrapping_add(1);
            let next = self.order[self.slot(position)];
            self.entries[usize::from(bid)].next = next;
            bid = next;
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
