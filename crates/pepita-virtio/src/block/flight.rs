#![expect(
    unsafe_code,
    reason = "vouches for the memory of requests, and for what their ends call"
)]
//! [`Flight`]: the requests of a queue that a lane has, and the notes of those that have ended.
//!
//! Each request has a slot with the driver's buffer, which keeps the guest's memory. A request may end inside a call of its lane
//! or on any thread: the end is a note, and rings when the queue's thread sleeps.
//!
//! # Invariants
//! * *board-lives*: each request has a count of the [`Board`], which its end gives back, after all else.
//! * *open-lane*: a lane's descriptor is open as long as the lane, which is what its trait says.
//! * *slot-rests*: from the making of a request to its note nobody changes its slot's chain and list; and both live so long:
//!   the flight keeps them, and leaves them on the board, which goes with the last request.

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pepita_sys::blk_mq::{
    Completion, CompletionVtable, Geometry, Lane, Request, RequestOp, RequestParts, Segment,
    Segments,
};
use pepita_sys::error::Errno;

use super::request::HEADER;
use crate::device::{ActiveQueue, Chain};

/// Wakes who waits for an eventfd.
pub(super) fn ring(bell: &OwnedFd) {
    // A counter that is full has rung.
    let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
}

/// The descriptor of a lane, if it has one.
pub(super) fn descriptor<L: Lane>(lane: &L) -> Option<BorrowedFd<'_>> {
    // SAFETY: *open-lane*, which is borrowed as long.
    lane.descriptor()
        .map(|fd| unsafe { BorrowedFd::borrow_raw(fd) })
}

/// How a request ended.
type Note = (u16, Result<(), Errno>);

/// Where ends are noted.
pub(super) struct Board {
    state: Mutex<State>,
    bell: Arc<OwnedFd>,
}

struct State {
    notes: Vec<Note>,
    /// The queue's thread sleeps, or is about to.
    is_asleep: bool,
    /// What the requests need that outlive their queue.
    _left: Box<[Slot]>,
}

impl Board {
    /// For the requests of a queue of `size` descriptors. Who sleeps is woken by `bell`.
    pub(super) fn new(size: u16, bell: Arc<OwnedFd>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                notes: Vec::with_capacity(size.into()),
                is_asleep: false,
                _left: Box::default(),
            }),
            bell,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static TABLE: CompletionVtable = CompletionVtable::new(note);

/// Notes the end of a request.
///
/// # Safety
/// * *board-lives*: `board` is a count of a [`Board`], for this call.
unsafe fn note(board: *const (), tag: u16, result: Result<(), Errno>) {
    // SAFETY: *board-lives*.
    let board = unsafe { Arc::from_raw(board.cast::<Board>()) };
    let mut state = board.state();
    state.notes.push((tag, result));
    if std::mem::take(&mut state.is_asleep) {
        ring(&board.bell);
    }
}

/// What a request has.
struct Slot {
    chain: Chain,
    /// Its data, where that is not a part of the chain's own list.
    list: Vec<Segment>,
    /// A request of it is under way.
    is_out: bool,
}

/// The slots of a queue.
pub(super) struct Flight {
    board: Arc<Board>,
    slots: Box<[Slot]>,
    /// Slots without a buffer; the last one was used last.
    free: Vec<u16>,
    /// Notes that were taken off the board.
    ended: Vec<Note>,
}

impl Flight {
    /// A slot for each descriptor of `queue`.
    pub(super) fn new(queue: &ActiveQueue, board: Arc<Board>) -> Self {
        let size = queue.size();
        let slots = (0..size).map(|_| Slot {
            chain: queue.chain(),
            list: Vec::new(),
            is_out: false,
        });
        Self {
            board,
            slots: slots.collect(),
            free: (0..size).rev().collect(),
            ended: Vec::with_capacity(size.into()),
        }
    }

    /// A slot that nobody has.
    pub(super) fn take_free(&mut self) -> Option<u16> {
        self.free.pop()
    }

    /// The slot has no buffer any more.
    pub(super) fn give_back(&mut self, tag: u16) {
        self.free.push(tag);
    }

    /// The buffer of a slot.
    ///
    /// # Panics
    /// When a request of it is under way.
    #[inline]
    pub(super) fn chain(&mut self, tag: u16) -> &mut Chain {
        let slot = &mut self.slots[usize::from(tag)];
        assert!(!slot.is_out, "the slot is at rest");
        &mut slot.chain
    }

    /// A request of `parts` about the buffer of slot `tag`, with that one's data, if `geometry` has it.
    ///
    /// # Errors
    /// What the driver is told instead.
    ///
    /// # Panics
    /// When a request of it is under way.
    #[inline]
    pub(super) fn request(
        &mut self,
        tag: u16,
        parts: &RequestParts<'_>,
        geometry: &Geometry,
    ) -> Result<Request, Errno> {
        let slot = &mut self.slots[usize::from(tag)];
        assert!(!slot.is_out, "the slot is at rest");
        let segments = slot.data(parts.op)?;
        let parts = RequestParts { segments, ..*parts };
        geometry.check(&parts)?;
        let context = Arc::into_raw(Arc::clone(&self.board)).cast();
        // SAFETY: *callable*: *board-lives*, by the count of the line above; `note` is for any thread.
        let completion = unsafe { Completion::new(context, &TABLE, tag) };
        // SAFETY: *backed*, *listed*: *slot-rests*; the chain keeps the guest's memory, of which its
        // segments are.
        let request = unsafe { Request::new(&parts, completion) };
        slot.is_out = true;
        Ok(request)
    }

    /// A request that has ended; its slot is at rest.
    #[inline]
    pub(super) fn take_ended(&mut self) -> Option<Note> {
        if self.ended.is_empty() {
            std::mem::swap(&mut self.ended, &mut self.board.state().notes);
        }
        let (tag, result) = self.ended.pop()?;
        self.slots[usize::from(tag)].is_out = false;
        Some((tag, result))
    }

    /// Whether the thread may sleep: nothing has ended, and what ends from now on rings.
    pub(super) fn may_sleep(&self) -> bool {
        let mut state = self.board.state();
        state.is_asleep = self.ended.is_empty() && state.notes.is_empty();
        state.is_asleep
    }
}

impl Slot {
    /// The part of the buffer that is the data of an operation: behind the header, or before the status.
    #[inline]
    fn data(&mut self, op: RequestOp) -> Result<&[Segment], Errno> {
        let Self { chain, list, .. } = self;
        let (all, skip, len) = if op.writes_data() {
            let all = chain.readable();
            // As most drivers have it: the header has a descriptor of its own, and so has the status.
            if let Some((header, data)) = all.split_first()
                && header.len() == HEADER
            {
                return Ok(data);
            }
            (all, HEADER, chain.readable_len().checked_sub(HEADER as u64))
        } else if op.reads_data() {
            let all = chain.writable();
            if let Some((status, data)) = all.split_last()
                && status.len() == 1
            {
                return Ok(data);
            }
            (all, 0, chain.writable_len().checked_sub(1))
        } else {
            return Ok(&[]);
        };
        let len = len.and_then(|len| usize::try_from(len).ok());
        let mut segments = Segments::new(all);
        segments.split_to(skip)?;
        let segments = segments.split_to(len.ok_or(Errno::EINVAL)?)?;
        list.clear();
        list.extend(segments);
        Ok(list)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.board.state()._left = std::mem::take(&mut self.slots);
    }
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight")
            .field("free", &self.free.len())
            .finish_non_exhaustive()
    }
}
