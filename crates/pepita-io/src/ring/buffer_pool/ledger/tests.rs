//! The ledger against a kernel and a program that note the owner of each byte.

use std::collections::{BTreeSet, VecDeque};
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// Who may touch a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Kernel,
    Program,
}

#[derive(Debug, Clone)]
enum Step {
    /// Brings up to so many bytes, into one buffer or several.
    Bring { bytes: u32, bundle: bool },
    /// Takes one of the completions of before; of incremental buffers, the first.
    Take(usize),
    /// Ends without bytes, having moved past the buffer or not.
    Fail { past: bool },
    /// Drops one of the pieces.
    Drop(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..40_u32, any::<bool>()).prop_map(|(bytes, bundle)| Step::Bring { bytes, bundle }),
        4 => any::<usize>().prop_map(Step::Take),
        1 => any::<bool>().prop_map(|past| Step::Fail { past }),
        4 => any::<usize>().prop_map(Step::Drop),
    ];
    prop::collection::vec(step, 0..300)
}

/// Bytes of a buffer.
const LEN: u32 = 8;

struct Model {
    ledger: Ledger,
    buffer_use: BufferUse,
    owners: Vec<[Owner; LEN as usize]>,
    /// What the kernel has not moved past: buffer, bytes used.
    ring: VecDeque<(u16, u32)>,
    head: u16,
    /// Completions that were not taken: the first buffer, what they bring, and whether its last buffer is
    /// used on.
    completions: Vec<(u16, Vec<Piece>, bool)>,
    pieces: Vec<Piece>,
}

impl Model {
    fn new(count: u16, first: u16, buffer_use: BufferUse) -> Self {
        let mut model = Self {
            ledger: Ledger::new(count, LEN, buffer_use),
            buffer_use,
            owners: vec![[Owner::Kernel; LEN as usize]; usize::from(count)],
            ring: VecDeque::new(),
            head: first,
            completions: Vec::new(),
            pieces: Vec::new(),
        };
        for bid in 0..count {
            model.add(bid);
        }
        model
    }

    /// The ledger says that `bid` is free.
    fn add(&mut self, bid: u16) {
        assert!(self.ring.iter().all(|(other, _)| *other != bid));
        assert!(self.pieces.iter().all(|piece| piece.bid != bid));
        let in_ring = u16::try_from(self.ring.len()).expect("few");
        self.ledger.add(bid, self.head.wrapping_add(in_ring));
        self.ring.push_back((bid, 0));
        self.owners[usize::from(bid)] = [Owner::Kernel; LEN as usize];
    }

    fn move_on(&mut self) {
        self.ring.pop_front();
        self.head = self.head.wrapping_add(1);
    }

    /// What the kernel does with `bytes`, and what it says of them.
    fn bring(&mut self, bytes: u32, bundle: bool) -> Option<(u16, Vec<Piece>, bool)> {
        let (first, _) = *self.ring.front()?;
        let (mut left, mut pieces, mut more) = (bytes, Vec::new(), false);
        while left > 0 {
            let Some((bid, used)) = self.ring.front_mut() else {
                break;
            };
            let len = left.min(LEN - *used);
            pieces.push(Piece {
                bid: *bid,
                start: *used,
                len,
            });
            *used += len;
            left -= len;
            more = match self.buffer_use {
                BufferUse::Once => false,
                BufferUse::Incremental { min_left } => *used < LEN && LEN - *used >= min_left,
            };
            if !more {
                self.move_on();
            }
            if !bundle {
                break;
            }
        }
        Some((first, pieces, more))
    }

    fn take(&mut self, first: u16, want: &[Piece], more: bool) {
        let bytes = want.iter().map(|piece| piece.len).sum();
        let (mut run, last) = self.ledger.take(first, bytes, more).expect("it can be");
        assert_eq!(last, Last::Known);
        for piece in want {
            let (got, rest) = self.ledger.split(run).expect("a piece");
            assert_eq!(got, *piece);
            let bytes = got.start as usize..(got.start + got.len) as usize;
            for owner in &mut self.owners[usize::from(got.bid)][bytes] {
                assert_eq!(std::mem::replace(owner, Owner::Program), Owner::Kernel);
            }
            self.pieces.push(got);
            run = rest;
        }
        assert_eq!(self.ledger.split(run), None);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Bring { bytes, bundle } => {
                let completion = self.bring(bytes, bundle);
                self.completions.extend(completion);
            }
            Step::Take(index) => {
                if self.completions.is_empty() {
                    return;
                }
                let index = match self.buffer_use {
                    BufferUse::Once => index % self.completions.len(),
                    BufferUse::Incremental { .. } => 0,
                };
                let (first, pieces, more) = self.completions.remove(index);
                self.take(first, &pieces, more);
            }
            Step::Fail { past } => {
                // What has come of a buffer goes before its end.
                while !self.completions.is_empty() {
                    self.step(&Step::Take(0));
                }
                let Some((bid, _)) = self.ring.front().copied() else {
                    return;
                };
                if past {
                    self.move_on();
                }
                let (run, last) = self.ledger.take(bid, 0, false).expect("it can be");
                assert_eq!(self.ledger.split(run), None);
                assert_eq!(last, Last::Doubtful(bid));
                if self.ledger.settle(bid, Some(self.head)) {
                    self.add(bid);
                }
            }
            Step::Drop(index) => {
                if self.pieces.is_empty() {
                    return;
                }
                let piece = self.pieces.swap_remove(index % self.pieces.len());
                if self.ledger.release(piece.bid) {
                    self.add(piece.bid);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn no_byte_is_the_kernels_and_the_programs_and_none_is_lost(
        steps in steps(),
        shift in 0..4_u32,
        first in any::<u16>(),
        incremental in any::<bool>(),
        min_left in 0..6_u32,
    ) {
        let buffer_use = if incremental { BufferUse::Incremental { min_left } } else { BufferUse::Once };
        let mut model = Model::new(1 << shift, first, buffer_use);
        for step in &steps {
            model.step(step);
            let untaken = model.completions.iter().flat_map(|(_, pieces, _)| pieces);
            let untaken = untaken.map(|piece| piece.bid);
            let lent: BTreeSet<_> = model.ring.iter().map(|(bid, _)| *bid).chain(untaken).collect();
            prop_assert_eq!(model.ledger.in_ring(), lent.len());
        }
        while !model.completions.is_empty() {
            model.step(&Step::Take(0));
        }
        while !model.pieces.is_empty() {
            model.step(&Step::Drop(0));
        }
        prop_assert_eq!(model.ring.len(), 1 << shift);
    }
}

#[test]
fn a_bundle_that_is_taken_late_is_whole_though_its_places_are_taken_again() {
    let mut ledger = Ledger::new(4, LEN, BufferUse::Once);
    for bid in 0..4 {
        ledger.add(bid, bid);
    }
    // Of the buffers 1 and 2 nothing is heard, while the others go round twice.
    for (bid, position) in [(0, 4), (3, 5), (0, 6), (3, 7)] {
        let (run, last) = ledger.take(bid, 1, false).expect("it can be");
        assert_eq!(last, Last::Known);
        assert!(ledger.split(run).is_some() && ledger.release(bid));
        ledger.add(bid, position);
    }
    let (run, _) = ledger.take(1, LEN + 3, false).expect("it can be");
    let (first, rest) = ledger.split(run).expect("a piece");
    let (second, rest) = ledger.split(rest).expect("another");
    assert_eq!(
        [(first.bid, first.len), (second.bid, second.len)],
        [(1, LEN), (2, 3)]
    );
    assert_eq!(ledger.split(rest), None);
}

#[test]
fn what_cannot_be_is_an_error_and_changes_nothing() {
    let mut ledger = Ledger::new(4, LEN, BufferUse::Once);
    for bid in 0..3 {
        ledger.add(bid, bid);
    }
    for (bid, bytes, want) in [
        (3, 1, BufferError::NotLent { bid: 3 }),
        (4, 1, BufferError::NotLent { bid: 4 }),
        (u16::MAX, 0, BufferError::NotLent { bid: u16::MAX }),
        (2, 9, BufferError::TooLong { bid: 2, bytes: 9 }),
        (0, 25, BufferError::TooLong { bid: 0, bytes: 25 }),
        (
            1,
            u32::MAX,
            BufferError::TooLong {
                bid: 1,
                bytes: u32::MAX,
            },
        ),
    ] {
        assert_eq!(ledger.take(bid, bytes, false), Err(want));
        assert_eq!(ledger.in_ring(), 3);
    }
    assert!(ledger.take(0, 24, false).is_ok());
    assert_eq!(
        ledger.take(0, 1, false),
        Err(BufferError::NotLent { bid: 0 })
    );
}

#[test]
fn a_run_does_not_go_on_in_a_buffer_that_is_begun() {
    let mut ledger = Ledger::new(2, LEN, BufferUse::Incremental { min_left: 1 });
    ledger.add(0, 0);
    ledger.add(1, 1);
    assert!(ledger.take(1, 3, true).is_ok());
    let want = BufferError::TooLong { bid: 0, bytes: 9 };
    assert_eq!(ledger.take(0, 9, true), Err(want));
    assert!(ledger.take(0, 8, false).is_ok());
}

#[test]
fn a_buffer_that_the_kernel_does_not_tell_of_is_not_used_again() {
    let mut ledger = Ledger::new(2, LEN, BufferUse::Once);
    ledger.add(0, 0);
    let taken = ledger.take(0, 0, false).expect("it can be");
    assert_eq!(taken.1, Last::Doubtful(0));
    assert!(!ledger.settle(0, None));
    assert_eq!(
        ledger.take(0, 1, false),
        Err(BufferError::NotLent { bid: 0 })
    );
}

#[test]
fn an_incremental_buffer_that_ends_early_is_doubtful() {
    for (head, free) in [(0, false), (1, true), (u16::MAX, false)] {
        let mut ledger = Ledger::new(2, LEN, BufferUse::Incremental { min_left: 1 });
        ledger.add(0, 0);
        let (run, last) = ledger.take(0, 3, false).expect("it can be");
        assert_eq!(last, Last::Doubtful(0));
        assert!(!ledger.settle(0, Some(head)), "a piece is held");
        assert_eq!(ledger.split(run).map(|(piece, _)| piece.len), Some(3));
        assert_eq!(ledger.release(0), free);
    }
}
