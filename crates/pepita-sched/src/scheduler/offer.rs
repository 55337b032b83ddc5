//! [`Offer`]: the one frame of a worker that others may take.
//!
//! # Protocol
//! The word is 0, or a ticket that was never there before. The owner alone stores tickets, over a 0.
//! Who exchanges the ticket for 0 has the frame: the owner, who takes it back, or a thief. The ticket's
//! number is the place of the frame in the owner's list; its generation tells it from later frames at
//! the same place, so that a thief that looked a while ago gets that very frame or none.
//!
//! # What has to hold
//! * *Once*: of all who exchange a ticket, one succeeds, since a ticket comes once.
//! * *Seen*: the thief sees what the owner wrote into the frame: the store releases, the exchange acquires.

#[cfg(not(all(test, pepita_loom)))]
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(all(test, pepita_loom))]
use loom::sync::atomic::{AtomicU64, Ordering};

/// Bits of a ticket that hold the place, and the mark of a sure frame.
const PLACE_BITS: u32 = 16;

/// Set for a frame that is worth the way, whatever others before it were.
const SURE: u64 = 1 << (PLACE_BITS - 1);

/// A frame that was seen on offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

impl Ticket {
    /// The `generation`-th offer of a worker, counted from 1: the frame at `place`.
    pub(super) fn new(generation: u64, place: usize) -> Self {
        debug_assert!(generation > 0 && (place as u64) < SURE);
        Self(generation << PLACE_BITS | place as u64)
    }

    /// The same, for a frame that is worth the way to another worker.
    pub(super) fn sure(self) -> Self {
        Self(self.0 | SURE)
    }

    pub(super) fn is_sure(self) -> bool {
        self.0 & SURE != 0
    }

    /// Where the frame is in its owner's list.
    pub(super) fn place(self) -> usize {
        usize::try_from(self.0 & (SURE - 1)).unwrap_or(usize::MAX)
    }
}

#[derive(Debug)]
pub(super) struct Offer(AtomicU64);

impl Offer {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Puts a frame up; the owner calls this, after it saw none.
    pub(super) fn put(&self, ticket: Ticket) {
        self.0.store(ticket.0, Ordering::Release);
    }

    /// What is on offer.
    pub(super) fn look(&self) -> Option<Ticket> {
        let word = self.0.load(Ordering::Acquire);
        (word != 0).then_some(Ticket(word))
    }

    /// Takes it, if it is still there.
    pub(super) fn take(&self, ticket: Ticket) -> bool {
        let taken = self
            .0
            .compare_exchange(ticket.0, 0, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok()
    }
}

#[cfg(all(test, pepita_loom))]
mod models {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// Owner and two thieves want one frame: one of them has it, and sees what is in it; else loom fails.
    #[test]
    fn loom_a_frame_is_had_once_by_who_sees_it_whole() {
        loom::model(|| {
            let shared = Arc::new((Offer::new(), UnsafeCell::new(())));
            let thief = |shared: Arc<(Offer, UnsafeCell<()>)>| {
                thread::spawn(move || {
                    let taken = shared.0.look().is_some_and(|ticket| shared.0.take(ticket));
                    if taken {
                        shared.1.with_mut(|_| ());
                    }
                    taken
                })
            };
            let thieves = [thief(shared.clone()), thief(shared.clone())];
            shared.1.with_mut(|_| ());
            let ticket = Ticket::new(1, 3);
            shared.0.put(ticket);
            let mut holders = 0;
            if shared.0.take(ticket) {
                shared.1.with_mut(|_| ());
                holders += 1;
            }
            for thief in thieves {
                holders += usize::from(thief.join().unwrap());
            }
            assert_eq!(holders, 1);
        });
    }

    /// chili's waiter once took a later job for the one it had looked at: a place is used again.
    #[test]
    fn loom_a_ticket_of_an_earlier_frame_takes_no_later_one() {
        loom::model(|| {
            let offer = Arc::new(Offer::new());
            let (first, second) = (Ticket::new(1, 0), Ticket::new(2, 0));
            offer.put(first);
            let thief = thread::spawn({
                let offer = offer.clone();
                move || offer.take(first)
            });
            let taken_back = offer.take(first);
            if taken_back {
                offer.put(second);
            }
            let stolen = thief.join().unwrap();
            assert_ne!(stolen, taken_back);
            assert_eq!(offer.look(), taken_back.then_some(second));
        });
    }
}
