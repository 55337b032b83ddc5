#![expect(
    unsafe_code,
    reason = "makes requests, and vouches for their memory and completions"
)]
//! [`Front`]: the suite's own front end. Each request has memory of its own, with bytes around the segments
//! that a device has to leave alone, and a request that does not come back keeps it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::mem;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::string::String;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::vec::Vec;
use std::{boxed::Box, format, vec};

use super::super::{
    Completion, CompletionVtable, Lane, Request, RequestFlags, RequestOp, RequestParts, Segment,
};
use super::wait;
use crate::error::Errno;

/// What to ask a device for.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) op: RequestOp,
    pub(super) flags: RequestFlags,
    pub(super) sector: u64,
    pub(super) nr_sectors: u32,
    /// Where in the request's memory its segments lie, in their order.
    pub(super) places: Vec<Range<usize>>,
    /// What they hold at first, as one.
    pub(super) data: Vec<u8>,
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (op, sector, nr_sectors) = (self.op, self.sector, self.nr_sectors);
        let (flags, segments) = (self.flags, self.places.len());
        write!(
            f,
            "{op:?} of {nr_sectors} sectors from {sector} on, {flags:?}, {segments} segments"
        )
    }
}

/// How a request ended.
pub(super) struct Ended {
    pub(super) ask: Ask,
    pub(super) result: Result<(), Errno>,
    /// What the segments hold, as one.
    pub(super) data: Vec<u8>,
}

/// What is heard of completions.
#[derive(Debug)]
struct Heard {
    ends: Mutex<Vec<(u16, Result<(), Errno>)>>,
    /// Rings, since an end may come from any thread.
    bell: PipeWriter,
    /// Whether it has, and nobody has answered: the pipe is never full.
    rung: AtomicBool,
}

/// A lock that a panic elsewhere does not close.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

static VTABLE: CompletionVtable = CompletionVtable::new(hear);

unsafe fn hear(context: *const (), tag: u16, result: Result<(), Errno>) {
    // SAFETY: *callable*: [`Front::request`] has given a reference away for this call.
    let heard = unsafe { Arc::from_raw(context.cast::<Heard>()) };
    lock(&heard.ends).push((tag, result));
    if !heard.rung.swap(true, Ordering::SeqCst) {
        let _ = (&heard.bell).write(&[1]);
    }
}

/// The memory of one request.
///
/// # Invariants
/// * *lent*: from the making of the request to its end nobody but the device reaches `arena`, which is
///   reached by its address alone.
struct Memory {
    arena: NonNull<[u8]>,
    segments: Vec<Segment>,
    before: Vec<u8>,
    ask: Ask,
}

// SAFETY: it owns what it points to.
unsafe impl Send for Memory {}

impl Memory {
    /// What lies around the segments.
    const GUARD: u8 = 0xa5;

    fn new(ask: Ask) -> Self {
        let end = ask.places.iter().map(|place| place.end).max().unwrap_or(0);
        let mut bytes = vec![Self::GUARD; end + 64];
        let mut data = ask.data.as_slice();
        for place in &ask.places {
            let (here, behind) = data.split_at(place.len());
            bytes[place.clone()].copy_from_slice(here);
            data = behind;
        }
        let before = bytes.clone();
        let arena = NonNull::from(Box::leak(bytes.into_boxed_slice()));
        let base = arena.cast::<u8>().as_ptr();
        let segment = |place: &Range<usize>| {
            let place = place.clone();
            Segment::new(base.wrapping_add(place.start), place.len())
        };
        let segments = ask.places.iter().map(segment).collect();
        Self {
            arena,
            segments,
            before,
            ask,
        }
    }

    /// What became of it, after its request's end.
    fn into_ended(self, result: Result<(), Errno>) -> Result<Ended, String> {
        // SAFETY: *lent*: the request has ended.
        let after = unsafe { self.arena.as_ref() };
        let mut want = self.before.clone();
        let mut data = Vec::new();
        for place in &self.ask.places {
            data.extend_from_slice(&after[place.clone()]);
            if self.ask.op.reads_data() {
                want[place.clone()].copy_from_slice(&after[place.clone()]);
            }
        }
        let ask = self.ask.clone();
        if want == after {
            return Ok(Ended { ask, result, data });
        }
        let touched = want.iter().zip(after).position(|(want, is)| want != is);
        Err(format!(
            "it wrote to byte {} of the memory of {ask}, which it was to leave alone",
            touched.unwrap_or(0)
        ))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: *lent*: requests that have not ended are never dropped (see [`Front`]'s drop).
        drop(unsafe { Box::from_raw(self.arena.as_ptr()) });
    }
}

/// What the requests of a front end need.
type Kept = (Arc<Heard>, BTreeMap<u16, Memory>);

/// What belongs to requests that never came back: it stays out of use.
static LOST: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

/// A front end that is used by one thread.
pub(super) struct Front {
    heard: Arc<Heard>,
    bell: PipeReader,
    in_flight: BTreeMap<u16, Memory>,
    next_tag: u16,
    patience: Duration,
}

impl Front {
    pub(super) fn new(patience: Duration) -> Result<Self, String> {
        let (bell, rings) = std::io::pipe().map_err(|error| format!("no pipe: {error}"))?;
        let heard = Heard {
            ends: Mutex::default(),
            bell: rings,
            rung: AtomicBool::new(false),
        };
        Ok(Self {
            heard: Arc::new(heard),
            bell,
            in_flight: BTreeMap::new(),
            next_tag: 0,
            patience,
        })
    }

    /// A request for `ask`.
    pub(super) fn request(&mut self, ask: Ask) -> Request {
        let tag = self.next_tag;
        self.next_tag = tag.wrapping_add(1);
        let memory = Memory::new(ask);
        let context = Arc::into_raw(Arc::clone(&self.heard)).cast();
        // SAFETY: *callable*: the reference is there until `hear` drops it, which any thread may.
        let completion = unsafe { Completion::new(context, &VTABLE, tag) };
        let parts = RequestParts {
            op: memory.ask.op,
            flags: memory.ask.flags,
            queue_id: 0,
            sector: memory.ask.sector,
            nr_sectors: memory.ask.nr_sectors,
            segments: &memory.segments,
        };
        // SAFETY: *backed* and *listed*: `in_flight` has the memory until the request's end was heard, or
        // for ever.
        let request = unsafe { Request::new(&parts, completion) };
        self.in_flight.insert(tag, memory);
        request
    }

    /// Count of requests that have not been returned by [`ended`](Self::ended).
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The requests that have ended since.
    ///
    /// # Errors
    /// When a device wrote where it should not.
    pub(super) fn ended(&mut self) -> Result<Vec<Ended>, String> {
        let ends = mem::take(&mut *lock(&self.heard.ends));
        let memories = ends
            .into_iter()
            .filter_map(|(tag, result)| Some((self.in_flight.remove(&tag)?, result)));
        // All of them are taken out, also behind one that is wrong.
        let ended: Vec<_> = memories
            .map(|(memory, result)| memory.into_ended(result))
            .collect();
        ended.into_iter().collect()
    }

    /// Commits, and waits until everything in flight has ended.
    ///
    /// # Errors
    /// What the lane did wrong.
    pub(super) fn finish<L: Lane + ?Sized>(&mut self, lane: &mut L) -> Result<Vec<Ended>, String> {
        self.wait(lane, |_ended, in_flight| in_flight == 0)
    }

    /// Commits, and waits until the counts of requests that have ended and that have not are `enough`. It
    /// polls the lane only when its descriptor says so.
    fn wait<L: Lane + ?Sized>(
        &mut self,
        lane: &mut L,
        enough: fn(usize, usize) -> bool,
    ) -> Result<Vec<Ended>, String> {
        lane.commit();
        let mut all = self.ended()?;
        let mut deadline = Instant::now() + self.patience;
        while !enough(all.len(), self.in_flight.len()) {
            // Asked before the look at what is there: if this process stood still, the device has not lost
            // anything.
            let late = Instant::now() > deadline;
            let fds = [self.bell.as_raw_fd(), lane.descriptor().unwrap_or(-1)];
            let [rung, readable] = wait::readable(fds, deadline)
                .map_err(|errno| format!("its descriptor cannot be waited for: {errno}"))?;
            if rung {
                // First the bell, then the ends: one that comes between them rings again.
                let _ = self.bell.read(&mut [0]);
                self.heard.rung.store(false, Ordering::SeqCst);
            }
            if readable {
                lane.poll();
            }
            let mut ended = self.ended()?;
            if !ended.is_empty() {
                deadline = Instant::now() + self.patience;
            } else if late || !(rung || readable) {
                return Err(self.lost(readable));
            }
            all.append(&mut ended);
        }
        Ok(all)
    }

    /// What to say of requests that do not end.
    fn lost(&self, readable: bool) -> String {
        let (count, patience) = (self.in_flight.len(), self.patience);
        let why = if readable {
            "its descriptor is readable with nothing to do"
        } else {
            "its descriptor is not readable"
        };
        let first = self
            .in_flight
            .values()
            .next()
            .map(|memory| format!("{}", memory.ask));
        format!(
            "{count} requests have not ended within {patience:?}, and {why}: {}",
            first.unwrap_or_default()
        )
    }

    /// Submits `asks`, waiting where the lane is full, and waits for the end of all.
    ///
    /// # Errors
    /// What the lane did wrong.
    pub(super) fn run<L: Lane + ?Sized>(
        &mut self,
        lane: &mut L,
        asks: impl IntoIterator<Item = Ask>,
    ) -> Result<Vec<Ended>, String> {
        let mut all = Vec::new();
        for ask in asks {
            let mut request = self.request(ask);
            let told = format!("{request:?}");
            while let Err(back) = lane.submit(request) {
                if format!("{back:?}") != told {
                    return Err(format!("a full lane gave back {back:?} instead of {told}"));
                }
                // The one that came back is in flight too, as far as we know.
                if self.in_flight() == 1 {
                    return Err(format!(
                        "a lane without a request in flight is full for {told}"
                    ));
                }
                all.append(&mut self.wait(lane, |ended, _in_flight| ended > 0)?);
                request = back;
            }
        }
        all.append(&mut self.finish(lane)?);
        Ok(all)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.ended();
        if !self.in_flight.is_empty() {
            let lost = (Arc::clone(&self.heard), mem::take(&mut self.in_flight));
            lock(&LOST).push(lost);
        }
    }
}
