#![expect(unsafe_code, reason = "makes requests of the memory of tags")]
//! A queue of a device, on its thread: which tag is where, and what the driver is told.
//!
//! A tag is with the driver, which waits for a request or has one for us; or with us, answered by a commit that also
//! gives it back. A request that takes too long is answered without its token. The driver has no commit that keeps
//! the tag from being used again, so from then on it gets memory that is nobody's, and requests of that tag fail
//! until the token is back.

use std::collections::VecDeque;
use std::sync::Arc;

use pepita_sys::blk_mq::{Geometry, Lane, Request, RequestFlags, RequestOp, RequestParts};
use pepita_sys::error::Errno;
use pepita_sys::io_uring::IoUringSqe;
use pepita_sys::ublk::{
    UBLK_IO_RES_ABORT, UBLK_IO_RES_NEED_GET_DATA, UBLK_IO_RES_OK, UBLK_U_IO_FETCH_REQ,
    UBLK_U_IO_NEED_GET_DATA, UblkIoCmd, UblkIoDesc,
};

use super::channel::{Channel, Descriptors};
use super::ends::{Memory, OwnDesk};
use super::error::UblkError;
use super::params;
use super::thread::Opened;

/// Ticks that a request may be out: between four and five of them have passed when it is too late.
const TICKS: u32 = 5;

/// Where a tag is.
#[derive(Debug, Clone, Copy, Default)]
struct Tag {
    /// What a success is answered with.
    bytes: u32,
    /// Bytes to give to the driver after a success, where it does not fetch them.
    gives: u32,
    /// The sector that the driver is told with the answer to an append; 0 with any other.
    sector: u64,
    /// The tick at which its request was made.
    since: u32,
    /// The driver has it.
    is_fetching: bool,
    /// There is a request of it somewhere.
    is_out: bool,
    /// That request is an append.
    is_append: bool,
    /// That request has been answered.
    is_late: bool,
    /// The driver has it with memory that is nobody's.
    has_scrap: bool,
    /// The driver wants no more of it.
    is_over: bool,
}

/// What becomes of a tag that the driver has given us, if it is no request for the lane.
pub(super) enum Arrived {
    /// An answer for the driver: bytes, or an error number with its sign turned.
    Answer(i32),
    /// The driver asks where the data of a write goes.
    Asks,
    /// The tag is over.
    Over,
    /// The driver does what it should not.
    Broken(Errno),
}

/// A queue and its lane.
pub(super) struct Queue<L> {
    /// Gone before everything else.
    pub(super) lane: Option<L>,
    /// Requests that the lane had no room for.
    pub(super) kept: VecDeque<Request>,
    /// What the entries of this queue are told by.
    number: u16,
    queue_id: u16,
    tags: Box<[Tag]>,
    /// Count of tags that are over.
    over: u16,
    /// Count of requests that have not ended.
    out: u32,
    geometry: Geometry,
    /// The driver leaves the copying to us.
    is_user_copy: bool,
    descriptors: Descriptors,
    memory: Arc<Memory>,
    /// The descriptor of the lane that has to be waited for.
    pub(super) bell: Option<i32>,
    /// There is something for the lane to do in this turn.
    pub(super) is_listed: bool,
    /// The lane's descriptor was readable, or its box has got something.
    pub(super) is_called: bool,
    /// Kept open.
    channel: Channel,
}

impl<L: Lane> Queue<L> {
    pub(super) fn new(
        desk: &mut OwnDesk,
        channel: &Channel,
        queue_id: u16,
        opened: Opened<L>,
    ) -> Result<Self, UblkError> {
        let info = channel.info();
        let most = u64::from(info.nr_hw_queues).saturating_sub(1);
        UblkError::check("the number of a queue", queue_id.into(), 0, most)?;
        let depth = info.queue_depth;
        let descriptors = channel.descriptors(queue_id)?;
        desk.reserve(depth);
        let Opened {
            number,
            lane,
            bell,
            memory,
        } = opened;
        Ok(Self {
            lane: Some(lane),
            kept: VecDeque::with_capacity(depth.into()),
            number,
            queue_id,
            tags: vec![Tag::default(); depth.into()].into(),
            over: 0,
            out: 0,
            geometry: *channel.geometry(),
            is_user_copy: channel.is_user_copy(),
            descriptors,
            memory,
            bell,
            is_listed: false,
            is_called: false,
            channel: channel.clone(),
        })
    }

    pub(super) const fn queue_id(&self) -> u16 {
        self.queue_id
    }

    /// Count of tags.
    pub(super) fn depth(&self) -> u16 {
        self.channel.info().queue_depth
    }

    /// Count of requests that have not ended.
    #[inline]
    pub(super) const fn out(&self) -> u32 {
        self.out
    }

    /// Whether the driver wants no more of any tag.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        usize::from(self.over) == self.tags.len()
    }

    /// What the entries of `tag` are told by.
    #[inline]
    fn user_data(&self, tag: u16) -> u64 {
        u64::from(self.number) << 16 | u64::from(tag)
    }

    /// The entry that asks for the first request of `tag`.
    pub(super) fn fetch(&mut self, tag: u16) -> IoUringSqe {
        let address = self.lend(tag);
        UblkIoCmd::new(self.queue_id, tag)
            .buffer(address)
            .sqe(UBLK_U_IO_FETCH_REQ, self.channel.fd())
            .user_data(self.user_data(tag))
    }

    /// The entry that answers `tag` with `answer`, and asks for its next request.
    #[inline]
    pub(super) fn commit(&mut self, tag: u16, answer: i32) -> IoUringSqe {
        let address = self.lend(tag);
        UblkIoCmd::completed(self.queue_id, tag, answer)
            .buffer(address)
            .commit_and_fetch(self.channel.fd())
            .user_data(self.user_data(tag))
    }

    /// The entry that says where the data of the write of `tag` goes.
    #[cold]
    pub(super) fn get_data(&mut self, tag: u16) -> IoUringSqe {
        let address = self.lend(tag);
        UblkIoCmd::new(self.queue_id, tag)
            .buffer(address)
            .sqe(UBLK_U_IO_NEED_GET_DATA, self.channel.fd())
            .user_data(self.user_data(tag))
    }

    /// Gives `tag` to the driver; the address of what memory it has there.
    #[inline]
    fn lend(&mut self, tag: u16) -> u64 {
        let state = &mut self.tags[usize::from(tag)];
        state.is_fetching = true;
        if self.is_user_copy {
            // The driver takes none but with an append.
            return std::mem::take(&mut state.sector);
        }
        state.has_scrap = state.is_out;
        if state.is_out {
            self.memory.scrap()
        } else {
            self.memory.address(tag)
        }
    }

    /// Takes the completion of a command of `tag`.
    #[inline(always)]
    pub(super) fn arrived(&mut self, tag: u16, res: i32, now: u32) -> Result<Request, Arrived> {
        let Some(state) = self.tags.get_mut(usize::from(tag)) else {
            return Err(Arrived::Broken(Errno::EPROTO));
        };
        if !state.is_fetching {
            return Err(Arrived::Broken(Errno::EPROTO));
        }
        state.is_fetching = false;
        if res != UBLK_IO_RES_OK {
            return Err(self.ended(tag, res));
        }
        if state.is_out {
            // Its memory is somebody's who does not come back.
            return Err(Arrived::Answer(-Errno::EIO.raw()));
        }
        let has_scrap = state.has_scrap;
        let Some(desc) = self.descriptors.read(tag) else {
            return Err(Arrived::Broken(Errno::EPROTO));
        };
        let Some(op) = params::op(desc.op()) else {
            return Err(Arrived::Answer(-Errno::EOPNOTSUPP.raw()));
        };
        if has_scrap && op.writes_data() {
            // What is to be written went nowhere. None of it is done, says this, and it comes again.
            return Err(Arrived::Answer(0));
        }
        let request = self.request(tag, op, desc, now);
        request.map_err(|errno| Arrived::Answer(-errno.raw()))
    }

    /// Makes a request of what the driver wants of `tag`.
    #[inline(always)]
    fn request(
        &mut self,
        tag: u16,
        op: RequestOp,
        desc: UblkIoDesc,
        now: u32,
    ) -> Result<Request, Errno> {
        let flags = match desc.flags() {
            0 => RequestFlags::NONE,
            flags => params::flags(flags),
        };
        let parts = RequestParts {
            op,
            flags,
            queue_id: self.queue_id,
            sector: desc.start_sector,
            nr_sectors: desc.nr_sectors,
            segments: &[],
        };
        let len = usize::try_from(parts.data_bytes()).unwrap_or(usize::MAX);
        if self.is_user_copy && op.writes_data() {
            self.take_data(tag, len)?;
        }
        let check = |parts: &RequestParts<'_>| self.geometry.check(parts).map_err(Errno::from);
        // SAFETY: one-request: the tag is not out, and the driver has given it to us; kept: by this queue.
        let request = unsafe { self.memory.request(tag, len, &parts, check) }?;
        let state = &mut self.tags[usize::from(tag)];
        // It fits: the tag's memory has as many bytes.
        state.bytes = u32::try_from(len).unwrap_or(0);
        state.since = now;
        state.is_out = true;
        self.out += 1;
        if self.is_user_copy {
            self.prepare_copy(tag, op, desc);
        }
        Ok(request)
    }

    /// Notes what there is to do after a success where we copy. Only there are zones, so nobody else asks for them.
    #[cold]
    fn prepare_copy(&mut self, tag: u16, op: RequestOp, desc: UblkIoDesc) {
        let state = &mut self.tags[usize::from(tag)];
        state.gives = if op.reads_data() { state.bytes } else { 0 };
        state.is_append = op == RequestOp::ZoneAppend;
        if op.is_zone_op() {
            self.prepare_zone_op(tag, op, desc);
        }
    }

    /// Notes what the answer to an operation on zones has besides.
    fn prepare_zone_op(&mut self, tag: u16, op: RequestOp, desc: UblkIoDesc) {
        let state = &mut self.tags[usize::from(tag)];
        match op {
            RequestOp::ZoneAppend => {
                // If it fails, it is where it was to be.
                state.sector = desc.start_sector;
                self.memory.forget_landed(tag);
            }
            // The driver's buffer may have room for more zones than it asks for, and what an answer leaves it asks
            // for again. It takes no more than the buffer has.
            RequestOp::ZoneReport => state.bytes = self.channel.info().max_io_buf_bytes,
            _ => {}
        }
    }

    /// Takes the data of the write of `tag` from the driver.
    #[cold]
    fn take_data(&self, tag: u16, len: usize) -> Result<(), Errno> {
        let take = |bytes: &mut [u8]| self.channel.take_data(self.queue_id, tag, bytes);
        // SAFETY: one-request: the tag is not out, and the driver copies nothing.
        unsafe { self.memory.with_bytes(tag, len, take) }
    }

    /// Gives a request to the lane. Without a lane its end is noted, as `EIO`.
    #[inline(always)]
    pub(super) fn submit(&mut self, request: Request) {
        let Some(lane) = &mut self.lane else { return };
        if !self.kept.is_empty() {
            self.keep(request);
        } else if let Err(request) = lane.submit(request) {
            self.keep(request);
        }
    }

    #[cold]
    fn keep(&mut self, request: Request) {
        self.kept.push_back(request);
    }

    /// A tag that brings no request, with the result `res`.
    #[cold]
    fn ended(&mut self, tag: u16, res: i32) -> Arrived {
        if res == UBLK_IO_RES_NEED_GET_DATA {
            return Arrived::Asks;
        }
        let state = &mut self.tags[usize::from(tag)];
        if !state.is_over {
            state.is_over = true;
            self.over += 1;
        }
        match Errno::of_result(res) {
            _ if res == UBLK_IO_RES_ABORT => Arrived::Over,
            Some(errno) => Arrived::Broken(errno),
            None => Arrived::Broken(Errno::EPROTO),
        }
    }

    /// Submits what the lane had no room for.
    #[cold]
    pub(super) fn hand_on(&mut self) {
        let Some(lane) = &mut self.lane else { return };
        while let Some(request) = self.kept.pop_front() {
            if let Err(request) = lane.submit(request) {
                self.kept.push_front(request);
                break;
            }
        }
        lane.commit();
    }

    /// Takes the end of the request of `tag`: what to answer, if that was not done.
    #[inline]
    pub(super) fn noted(&mut self, tag: u16, result: Result<(), Errno>) -> Option<i32> {
        let state = self.tags.get_mut(usize::from(tag))?;
        state.is_out = false;
        self.out -= 1;
        if std::mem::take(&mut state.is_late) {
            return None;
        }
        Some(match result {
            Ok(()) if self.is_user_copy => self.finish_copy(tag),
            Ok(()) => state.bytes.cast_signed(),
            Err(errno) => -errno.raw().max(1),
        })
    }

    /// Does what there is to do after the success of `tag` where we copy, and says what to answer.
    #[cold]
    fn finish_copy(&mut self, tag: u16) -> i32 {
        let state = &mut self.tags[usize::from(tag)];
        if state.gives > 0 {
            return self.give_data(tag);
        }
        if state.is_append {
            let Some(sector) = self.memory.landed(tag) else {
                return -Errno::EIO.raw();
            };
            state.sector = sector;
        }
        state.bytes.cast_signed()
    }

    /// Gives the data of the read of `tag` to the driver, and says what to answer.
    fn give_data(&self, tag: u16) -> i32 {
        let Tag { gives, bytes, .. } = self.tags[usize::from(tag)];
        let give = |bytes: &mut [u8]| self.channel.give_data(self.queue_id, tag, bytes);
        // SAFETY: one-request: the request has ended, and the driver copies nothing.
        match unsafe { self.memory.with_bytes(tag, gives as usize, give) } {
            Ok(()) => bytes.cast_signed(),
            Err(errno) => -errno.raw(),
        }
    }

    /// Gives up the requests that are out too long at the tick `now`, or all, and lists the tags to answer.
    #[cold]
    pub(super) fn give_up(&mut self, now: u32, all: bool, late: &mut Vec<u16>) {
        let is_late = |tag: &Tag| {
            let is_old = now.wrapping_sub(tag.since) >= TICKS;
            tag.is_out && !tag.is_late && (all || is_old)
        };
        // Those that no lane has end in the usual way.
        let tags = &self.tags;
        let mut dropped = Vec::new();
        self.kept.retain(|request| {
            let tag = request.tag();
            let drops = tags.get(usize::from(tag)).is_some_and(is_late);
            if drops {
                dropped.push(tag);
            }
            !drops
        });
        for (tag, state) in (0_u16..).zip(&mut self.tags) {
            if is_late(state) && !dropped.contains(&tag) {
                state.is_late = true;
                late.push(tag);
            }
        }
    }

    /// Lets go of everything. What the driver may still write to, or a request has, stays.
    pub(super) fn close(mut self, desk: &mut OwnDesk) {
        self.lane = None;
        self.kept.clear();
        let memory = Arc::clone(&self.memory);
        let (is_over, out) = (self.is_over(), self.out);
        drop(self);
        if is_over {
            memory.leave(desk, out);
        } else {
            memory.leak(desk);
        }
    }
}

impl<L> std::fmt::Debug for Queue<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("device", &self.channel.info().dev_id)
            .field("queue_id", &self.queue_id)
            .finish_non_exhaustive()
    }
}
