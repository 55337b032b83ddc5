//! Who is concerned by the completions of a turn, and is told when the ring is not borrowed any more.

use std::task::Waker;

use super::slots::{Ended, Outcome, Slots, Stream, Tell};

/// Whom to tell of the completions of a turn, beside the main future.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) wakers: Vec<Waker>,
    pub(super) ended: Vec<Ended>,
    pub(super) streams: Vec<Stream>,
}

impl Told {
    pub(super) fn is_empty(&self) -> bool {
        self.wakers.is_empty() && self.ended.is_empty() && self.streams.is_empty()
    }

    /// Notes whom a completion concerns. It comes as two words, and the answer is small, so that the loop
    /// over completions keeps them in registers.
    #[inline(never)]
    pub(super) fn note(&mut self, slots: &mut Slots, user_data: u64, outcome: Outcome) -> Heard {
        match slots.complete_other(outcome.cqe(user_data)) {
            Tell::Nobody => return Heard::Nobody,
            Tell::Main => return Heard::Main,
            Tell::Waker(waker) => self.wakers.push(waker),
            Tell::Keeper(ended) => self.ended.push(ended),
            Tell::Stream(stream) => self.streams.push(*stream),
        }
        Heard::Others
    }
}

/// Who hears of a completion.
#[derive(Debug, Clone, Copy)]
pub(super) enum Heard {
    Nobody,
    Main,
    Others,
}

/// Who is concerned by the completions of a turn.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The executor's main future.
    pub(super) main: bool,
    /// `wakers` or `ended` is not empty.
    pub(super) others: bool,
}
