//! [`Patience`]: how long a worker without work leaves small joins alone.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::offer::Ticket;

/// Frames that take less are not worth the way to another worker, which costs both some hundred nanoseconds.
const SMALL: Duration = Duration::from_micros(3);

const SHORTEST: Duration = Duration::from_micros(2);
const LONGEST: Duration = Duration::from_micros(64);

/// Grows with each small frame that was taken, and is over with a large one. While it lasts, only a frame that stays on
/// offer is taken: its owner is still at the first half of that join, so the second is likely to take as long.
#[derive(Debug, Default)]
pub(super) struct Patience {
    length: Cell<Duration>,
    seen: Cell<Option<(usize, Ticket, Instant)>>,
    asked: Cell<Option<Instant>>,
}

impl Patience {
    /// Whether the frame that `board` offers is to be taken.
    pub(super) fn accepts(&self, board: usize, ticket: Ticket) -> bool {
        let length = self.length.get();
        if length.is_zero() {
            return true;
        }
        let now = Instant::now();
        match self.seen.get() {
            Some((its, same, since)) if its == board && same == ticket => now - since >= length,
            _ => {
                self.seen.set(Some((board, ticket, now)));
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
        self.seen.set(None);
        self.asked.set(None);
    }
}

#[cfg(all(test, not(pepita_loom)))]
mod tests {
    use super::*;

    #[test]
    fn small_frames_make_patient_and_a_large_one_ends_that() {
        let patience = Patience::default();
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
        patience.learn(SMALL * 2);
        assert_eq!(patience.length.get(), LONGEST / 2);
        patience.learn(SMALL * 4);
        assert!(patience.accepts(1, ticket(4)) && patience.asks());
    }
}
