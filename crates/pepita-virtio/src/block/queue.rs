//! [`BlockQueue`]: one queue of a disk, and the lane that does its work.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use pepita_sys::blk_mq::{
    DeviceId, Geometry, Lane, Request, RequestFlags, RequestOp, RequestParts, WriteCache,
};
use pepita_sys::error::Errno;

use super::flight::{self, Board, Flight};
use super::request::{Ask, Status};
use crate::device::ActiveQueue;
use crate::error::QueueError;
use crate::limit::RateLimiter;

/// Buffers that are taken before answers are given: a driver goes on with the first while the last are served.
const TURN: usize = 32;

/// What a queue knows of its disk.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) geometry: Geometry,
    pub(super) id: DeviceId,
    pub(super) queue_id: u16,
    pub(super) is_write_back: Arc<AtomicBool>,
    /// Of all queues together.
    pub(super) limiter: Option<Arc<Mutex<RateLimiter>>>,
}

impl Front {
    /// When a request may begin, if not now.
    fn rest(&self) -> Option<Instant> {
        let limiter = self.limiter.as_ref()?;
        let mut limiter = limiter.lock().unwrap_or_else(PoisonError::into_inner);
        limiter.check(Instant::now()).err()
    }

    /// A request of so many bytes has begun.
    fn spend(&self, bytes: u64) {
        if let Some(limiter) = &self.limiter {
            let mut limiter = limiter.lock().unwrap_or_else(PoisonError::into_inner);
            limiter.spend(bytes);
        }
    }
}

/// A queue of a disk, which the thread serves that has it.
///
/// [`VirtioBlock`](super::VirtioBlock) has one on a thread for each queue.
#[derive(Debug)]
pub(super) struct BlockQueue<L> {
    /// Before what it needs: its drop ends the requests that it has.
    lane: L,
    queue: ActiveQueue,
    flight: Flight,
    /// What becomes of each slot when its request ends.
    then: Box<[Then]>,
    /// Requests that the lane had no room for.
    kept: VecDeque<Request>,
    /// Buffers stay with the driver until then.
    rests_until: Option<Instant>,
    front: Front,
}

/// What follows the end of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The answer, with so many bytes written when all went well.
    Answer(u32),
    /// First a flush, since the driver has no cache.
    Flush,
}

impl<L: Lane> BlockQueue<L> {
    pub(super) fn new(queue: ActiveQueue, lane: L, front: Front, board: Arc<Board>) -> Self {
        let size = usize::from(queue.size());
        Self {
            flight: Flight::new(&queue, board),
            then: vec![Then::Answer(0); size].into_boxed_slice(),
            kept: VecDeque::with_capacity(size),
            rests_until: None,
            queue,
            lane,
            front,
        }
    }

    /// The descriptor of the lane.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        flight::descriptor(&self.lane)
    }

    /// Takes some buffers, and answers what has ended; `is_lane_ready` says that the lane's descriptor is readable. Says
    /// whether it did something, so that there may be more.
    pub(super) fn turn(&mut self, is_lane_ready: bool) -> Result<bool, QueueError> {
        if is_lane_ready {
            self.lane.poll();
        }
        let mut is_busy = self.answer();
        self.hand_on();
        let taken = self.take();
        self.lane.commit();
        is_busy |= self.answer();
        Ok(taken? || is_busy)
    }

    /// Whether the driver wants to hear of what was answered.
    pub(super) fn needs_notification(&mut self) -> bool {
        self.queue.needs_notification()
    }

    pub(super) fn disable_kicks(&mut self) {
        self.queue.disable_kicks();
    }

    /// When buffers may be taken again, if a limit keeps them from being taken now.
    pub(super) const fn rests_until(&self) -> Option<Instant> {
        self.rests_until
    }

    /// Whether the thread may sleep: a buffer that comes from now on is told of by a kick, unless the queue rests, and an
    /// end rings.
    pub(super) fn may_sleep(&mut self) -> bool {
        (self.rests_until.is_some() || !self.queue.enable_kicks()) && self.flight.may_sleep()
    }

    /// Submits what the lane had no room for.
    fn hand_on(&mut self) {
        while let Some(request) = self.kept.pop_front() {
            if let Err(request) = self.lane.submit(request) {
                self.kept.push_front(request);
                break;
            }
        }
    }

    fn submit(&mut self, request: Request) {
        if !self.kept.is_empty() {
            self.kept.push_back(request);
        } else if let Err(request) = self.lane.submit(request) {
            self.kept.push_back(request);
        }
    }

    /// Takes buffers while the lane has room; whether there was one.
    fn take(&mut self) -> Result<bool, QueueError> {
        self.rests_until = None;
        for count in 0..TURN {
            if !self.kept.is_empty() {
                return Ok(count > 0);
            }
            self.rests_until = self.front.rest();
            if self.rests_until.is_some() {
                return Ok(count > 0);
            }
            let Some(tag) = self.flight.take_free() else {
                return Ok(count > 0);
            };
            match self.queue.pop(self.flight.chain(tag)) {
                Ok(true) => self.begin(tag),
                none => {
                    self.flight.give_back(tag);
                    none?;
                    return Ok(count > 0);
                }
            }
        }
        Ok(true)
    }

    /// What is asked for in the buffer of slot `tag`.
    #[inline]
    fn begin(&mut self, tag: u16) {
        let ask = Ask::of(self.flight.chain(tag));
        self.front.spend(ask.data_bytes());
        match ask {
            Ask::Request {
                op,
                flags,
                sector,
                nr_sectors,
            } => self.begin_request(tag, op, flags, sector, nr_sectors),
            Ask::Id => {
                let id = self.front.id;
                let written = self.flight.chain(tag).write(0, id.bytes());
                self.end(tag, written.map_err(Status::from), 21);
            }
            Ask::Wrong(status) => self.end(tag, Err(status), 0),
            Ask::Mute => {
                // It is given back as it came: there is nowhere to say that it was wrong.
                let _ = self.queue.complete(self.flight.chain(tag), 0);
                self.flight.give_back(tag);
            }
        }
    }

    #[inline]
    fn begin_request(
        &mut self,
        tag: u16,
        op: RequestOp,
        flags: RequestFlags,
        sector: u64,
        nr_sectors: u32,
    ) {
        let written = match op {
            // All of it, and the status.
            RequestOp::Read => self.flight.chain(tag).writable_len(),
            _ => 1,
        };
        let (flags, is_flushed) = self.durable(op, flags);
        self.then[usize::from(tag)] = if is_flushed {
            Then::Flush
        } else {
            Then::Answer(u32::try_from(written).unwrap_or(u32::MAX))
        };
        let parts = RequestParts {
            op,
            flags,
            queue_id: self.front.queue_id,
            sector,
            nr_sectors,
            segments: &[],
        };
        let geometry = &self.front.geometry;
        match self.flight.request(tag, &parts, geometry) {
            Ok(request) => self.submit(request),
            Err(errno) => self.end(tag, Err(errno.into()), 0),
        }
    }

    /// How an operation becomes durable where the driver has no cache: by a flag, or by a flush behind it.
    fn durable(&self, op: RequestOp, flags: RequestFlags) -> (RequestFlags, bool) {
        let changes = matches!(op, RequestOp::Write | RequestOp::WriteZeroes);
        if !changes || self.front.is_write_back.load(Ordering::Relaxed) {
            return (flags, false);
        }
        match self.front.geometry.write_cache {
            WriteCache::WriteThrough => (flags, false),
            WriteCache::WriteBackWithFua if op == RequestOp::Write => {
                (flags | RequestFlags::FUA, false)
            }
            WriteCache::WriteBack | WriteCache::WriteBackWithFua => (flags, true),
        }
    }

    /// Answers what has ended; whether something had.
    fn answer(&mut self) -> bool {
        let mut has_ended = false;
        while let Some((tag, result)) = self.flight.take_ended() {
            has_ended = true;
            match (self.then[usize::from(tag)], result) {
                (Then::Flush, Ok(())) => {
                    let flags = RequestFlags::NONE;
                    self.begin_request(tag, RequestOp::Flush, flags, 0, 0);
                    // It may be the last one of the batch.
                    self.lane.commit();
                }
                (Then::Answer(written), Ok(())) => self.end(tag, Ok(()), written),
                (_, Err(errno)) => self.end(tag, Err(errno.into()), 0),
            }
        }
        has_ended
    }

    /// Writes the status, and gives the buffer back.
    #[inline]
    fn end(&mut self, tag: u16, result: Result<(), Status>, written: u32) {
        let chain = self.flight.chain(tag);
        let (status, written) = match result {
            Ok(()) => (Status::Ok, written),
            // What lies before the status was perhaps not written, so that nothing can be said of it.
            Err(status) => (status, u32::from(chain.writable_len() == 1)),
        };
        if let Some(at) = chain.writable_len().checked_sub(1) {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            let _ = chain.write(at, &[status as u8]);
        }
        // A queue that has failed is silent, and takes it back all the same.
        let _ = self.queue.complete(chain, written);
        self.flight.give_back(tag);
    }
}

impl From<pepita_sys::blk_mq::ShortData> for Status {
    fn from(_: pepita_sys::blk_mq::ShortData) -> Self {
        Errno::EINVAL.into()
    }
}
