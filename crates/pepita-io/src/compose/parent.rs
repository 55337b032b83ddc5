#![expect(unsafe_code, reason = "makes requests of parts of a request's memory")]
//! A request that is done in parts: [`Parent`] holds it until the last part has ended.
//!
//! # Invariants
//! * held: each part has a count of its parent, which keeps the request, whose memory it is about, and the list that
//!   the part's segments are in, and memory of its own that they may be about; none of them changes, and nobody
//!   looks at that memory, while a part has not ended.

use std::ops::Range;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pepita_sys::blk_mq::{
    Completion, CompletionVtable, Request, RequestFlags, RequestOp, RequestParts, Segment,
};
use pepita_sys::error::Errno;

use super::below::Bell;
use crate::buf::AlignedBuf;

/// A part of a request, for one of the devices below.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Number of the device.
    pub(super) member: usize,
    /// Its first sector there.
    pub(super) sector: u64,
    /// Count of sectors.
    pub(super) nr_sectors: u32,
    /// Its segments in the list.
    pub(super) list: Range<usize>,
}

/// A request and its parts.
pub(super) struct Parent {
    request: Mutex<Option<Request>>,
    /// Count of parts that have not ended.
    left: AtomicU32,
    /// The number of the first error, or 0.
    failed: AtomicI32,
    /// How the request ends when no part fails.
    end: Result<(), Errno>,
    /// The lane ends the request, once it has done something with what was read.
    is_noted: bool,
    /// Memory of the parts, where it is not the request's. Nobody reaches it while there are parts.
    buffer: Mutex<AlignedBuf>,
    /// To be filled before [`Parent::start`].
    pub(super) parts: Vec<Part>,
    /// The segments of all parts.
    pub(super) list: Vec<Segment>,
    bell: Arc<Bell>,
}

/// The alignment of a parent's own memory: what `O_DIRECT` wants of any disk.
const BUFFER_ALIGN: usize = 4096;

static PART: CompletionVtable = CompletionVtable::new(part_ended);

/// Notes the end of a part.
///
/// # Safety
/// * held: `context` is a count of a parent, given away for this call.
unsafe fn part_ended(context: *const (), _tag: u16, result: Result<(), Errno>) {
    // SAFETY: held.
    let parent = unsafe { Arc::from_raw(context.cast::<Parent>()) };
    if let Err(errno) = result {
        let number = errno.raw().max(1);
        let first = parent
            .failed
            .compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
        let _ = first;
    }
    if parent.left.fetch_sub(1, Ordering::AcqRel) == 1 {
        if parent.is_noted {
            parent.bell.note(Arc::clone(&parent));
        } else {
            parent.complete(|_| Ok(()));
        }
    }
    parent.bell.ring_if_awaited();
}

impl Parent {
    pub(super) fn new(bell: Arc<Bell>) -> Self {
        Self {
            request: Mutex::new(None),
            left: AtomicU32::new(0),
            failed: AtomicI32::new(0),
            end: Ok(()),
            is_noted: false,
            buffer: Mutex::new(AlignedBuf::zeroed(0, BUFFER_ALIGN)),
            parts: Vec::new(),
            list: Vec::new(),
            bell,
        }
    }

    /// Has the parts be about memory of this parent's own, `len` bytes, which `fill` fills. The last of them is noted,
    /// for the lane to end the request by [`Self::finish`].
    pub(super) fn use_buffer(
        &mut self,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let buffer = self
            .buffer
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if buffer.len() < len {
            *buffer = AlignedBuf::zeroed(len, BUFFER_ALIGN);
        }
        fill(&mut buffer[..len])?;
        self.list.push(Segment::new(buffer.as_mut_ptr(), len));
        self.is_noted = true;
        Ok(())
    }

    /// Ends the request, whose last part has ended, after `work` at the request and the parent's memory, if no part
    /// has failed.
    pub(super) fn finish(&self, work: impl FnOnce(&Request, &mut [u8]) -> Result<(), Errno>) {
        self.complete(|request| {
            let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
            let len = Segment::total_len(&self.list);
            work(request, &mut buffer[..len])
        });
    }

    /// Makes it as new.
    pub(super) fn clear(&mut self) {
        self.parts.clear();
        self.list.clear();
        self.is_noted = false;
    }

    /// Takes `request`, which ends as the first part that fails does, or else by `end`. Each part is done with
    /// `op` by `hand_over`.
    pub(super) fn start(
        this: &mut Arc<Self>,
        request: Request,
        end: Result<(), Errno>,
        mut hand_over: impl FnMut(usize, Request),
    ) {
        let (op, flags, queue_id) = (request.op(), request.flags(), request.queue_id());
        // Whoever else has a count would have it used for another request: then this one is refused, by its drop.
        let Some(parent) = Arc::get_mut(this) else {
            return;
        };
        *parent.left.get_mut() = u32::try_from(parent.parts.len()).unwrap_or(u32::MAX);
        *parent.failed.get_mut() = 0;
        parent.end = end;
        let place = parent.request.get_mut();
        *place.unwrap_or_else(PoisonError::into_inner) = Some(request);
        this.bell.begins();
        for part in &this.parts {
            hand_over(part.member, this.request_of(part, op, flags, queue_id));
        }
    }

    fn request_of(
        self: &Arc<Self>,
        part: &Part,
        op: RequestOp,
        flags: RequestFlags,
        queue_id: u16,
    ) -> Request {
        let parts = RequestParts {
            op,
            flags,
            queue_id,
            sector: part.sector,
            nr_sectors: part.nr_sectors,
            segments: &self.list[part.list.clone()],
        };
        let context = Arc::into_raw(Arc::clone(self)).cast();
        // SAFETY: *callable*: held; a parent is for any thread.
        let completion = unsafe { Completion::new(context, &PART, 0) };
        // SAFETY: *backed*, *listed*: held.
        unsafe { Request::new(&parts, completion) }
    }

    /// Ends the request, after `last` if no part has failed.
    fn complete(&self, last: impl FnOnce(&Request) -> Result<(), Errno>) {
        let request = self.request.lock();
        let request = request.unwrap_or_else(PoisonError::into_inner).take();
        let result = match (self.failed.load(Ordering::Relaxed), &request) {
            (0, Some(request)) => last(request).and(self.end),
            (number, _) => Err(Errno::from_raw(number)),
        };
        // Before the end, after which the front end may fill the lane again.
        self.bell.ended();
        if let Some(request) = request {
            request.complete(result);
        }
    }
}

impl std::fmt::Debug for Parent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parent")
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}
