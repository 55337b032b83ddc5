//! [`Patience`]: how long a worker without work leaves small joins alone.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::offer::Ticket;

/// Frames that take less are not worth the way to another worker, which costs both some hundred nanoseconds.
const SMALL: Duration = Duration::from_micros(3);

const SHORTEST: Duration = Duration::from_micros(2);
const LONGEST: Duration = Duration::from_micros(64);

/// A frame, and when it was seen first.
type Seen = (Ticket, Instant);

/// Grows with each small frame that was taken, and is over with a large one. While it lasts, only a frame that stays on
/// offer is taken: its owner is still at the first half of that join, so the second is likely to take as long.
#[derive(Debug)]
pub(super) struct Patience {
    length: Cell<Duration>,
    /// For each board, what was seen there last, and when first.
    seen: Box<[Cell<Option<Seen>>]>,
    asked: Cell<Option<Instant>>,
}

impl Patience {
    /// For frames of so many boards.
    pub(super) fn new(boards: usize) -> Self {
        Self {
            length: Cell::default(),
            seen: (0..boards).map(|_| Cell::default()).collect(),
            asked: Cell::default(),
        }
    }

    /// Whether the frame that `board` offers is to be taken.
    pub(super) fn accepts(&self, board: usize, ticket: Ticket) -> bool {
        let length = self.length.get();
        if length.is_zero() || ticket.is_sure() {
            return true;
        }
        let now = Instant::now();
        match self.seen[board].get() {
            Some((same, since)) if same == ticket => now - since >= length,
            _ => {
                self.seen[board].set(Some((ticket, now)));
                false
            }
        }
    }

    /// Whether others are to be asked for frames.
    pub(super) fn asks(&self) -> bool {
        let length = self.length.get();
        if length.is_zero() {
            return true;
        }
        let now = Instant::now();
        let asks = self.asked.get().is_none_or(|last| now - last >= length);
        if asks {
            self.asked.set(Some(now));
        }
        asks
    }

    /// A frame was taken, and run for so long.
    pub(super) fn learn(&self, ran: Duration) {
        let length = self.length.get();
        let length = if ran < SMALL {
            (length * 2).clamp(SHORTEST, LONGEST)
        } else if ran < SMALL * 4 {
            length / 2
        } else {
            Duration::ZERO
        };
        self.length.set(length);
        // What was seen stays: other boards may have it on offer still, and on this one another ticket is next.
        self.asked.set(None);
    }
}

#[cfg(all(test, not(pepita_loom)))]
mod tests {
    use super::*;

    #[test]
    fn small_frames_make_patient_and_a_large_one_ends_that() {
        let patience = Patience::new(3);
        let ticket = |generation| Ticket::new(generation, 0);
        assert!(patience.accepts(1, ticket(1)) && patience.asks());
        for _ in 0..20 {
            patience.learn(Duration::ZERO);
        }
        assert_eq!(patience.length.get(), LONGEST);
        // What was not on offer before is left there, also where another frame was.
        assert!(!patience.accepts(1, ticket(2)));
        assert!(!patience.accepts(1, ticket(3)));
        assert!(!patience.accepts(2, ticket(3)));
        // What stays is taken, also while another board has something else.
        let past = Instant::now() - LONGEST;
        for (board, number) in [(0, 4), (1, 5)] {
            patience.seen[board].set(Some((ticket(number), past)));
        }
        assert!(patience.accepts(0, ticket(4)) && patience.accepts(1, ticket(5)));
        // Also after a frame of one of them was small.
        patience.learn(Duration::ZERO);
        assert!(patience.accepts(1, ticket(5)) && !patience.accepts(0, ticket(6)));
        assert!(patience.accepts(2, ticket(3).sure()));
        patience.learn(SMALL * 2);
        assert_eq!(patience.length.get(), LONGEST / 2);
        patience.learn(SMALL * 4);
        assert!(patience.accepts(1, ticket(4)) && patience.asks());
    }
}
