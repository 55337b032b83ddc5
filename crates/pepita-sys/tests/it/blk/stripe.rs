#![expect(unsafe_code, reason = "makes requests of parts of a request's memory")]
//! A device over several others: makes a request for each part of a request, which ends when the last of
//! them does.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pepita_sys::blk_mq::{
    BlockDevice, Completion, CompletionVtable, DeviceId, Geometry, Lane, Request, RequestOp,
    RequestParts, SECTOR_SIZE, Segment, Segments,
};
use pepita_sys::error::{Errno, Result};

/// Sectors that go to one member before the next one has its turn.
const CHUNK: u64 = 16;

pub(crate) struct Stripe<D> {
    members: Vec<D>,
}

impl<D: BlockDevice> Stripe<D> {
    /// Over `members`, which are alike and have whole chunks.
    pub(crate) fn new(members: Vec<D>) -> Self {
        Self { members }
    }
}

/// A part of a range: the member, its first sector, count of sectors.
type Part = (usize, u64, u32);

/// The parts of `request`, which is inside of `members` members.
fn parts(request: &Request, members: u64) -> Vec<Part> {
    let sectors = u64::from(request.nr_sectors());
    let (mut at, end) = (request.sector(), request.sector() + sectors);
    let mut parts = Vec::new();
    while at < end {
        let (chunk, offset) = (at / CHUNK, at % CHUNK);
        let count = (CHUNK - offset).min(end - at);
        let member = usize::try_from(chunk % members).expect("few members");
        let count32 = u32::try_from(count).expect("below a chunk");
        parts.push((member, chunk / members * CHUNK + offset, count32));
        at += count;
    }
    parts
}

impl<D: BlockDevice> BlockDevice for Stripe<D> {
    type Lane<'d>
        = StripeLane<D::Lane<'d>>
    where
        D: 'd;

    fn geometry(&self) -> Geometry {
        let member = self.members[0].geometry();
        Geometry {
            capacity_sectors: member.capacity_sectors * self.members.len() as u64,
            discard: None,
            ..member
        }
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("stripe")
    }

    fn open_lane(&self, depth: u16) -> Result<Self::Lane<'_>> {
        let lanes = self.members.iter().map(|member| member.open_lane(depth));
        let (readable, pipe) = std::io::pipe().expect("a pipe");
        Ok(StripeLane {
            capacity: self.geometry().capacity_sectors,
            depth: usize::from(depth),
            waiting: Vec::new(),
            lanes: lanes.collect::<Result<_>>()?,
            readable,
            common: Arc::new(Common {
                pipe,
                rung: AtomicBool::new(false),
                in_flight: AtomicUsize::new(0),
            }),
        })
    }
}

/// What the requests in flight share with their lane.
struct Common {
    pipe: PipeWriter,
    rung: AtomicBool,
    in_flight: AtomicUsize,
}

/// A request, and what its parts need.
struct Parent {
    request: Mutex<Option<Request>>,
    left: AtomicUsize,
    /// The number of an error, or 0.
    failed: AtomicI32,
    lists: Vec<Vec<Segment>>,
    common: Arc<Common>,
}

static PART: CompletionVtable = CompletionVtable::new(part_ended);

unsafe fn part_ended(context: *const (), _tag: u16, result: std::result::Result<(), Errno>) {
    // SAFETY: *callable*: `start` gave a reference away for this call.
    let parent = unsafe { Arc::from_raw(context.cast::<Parent>()) };
    if let Err(errno) = result {
        parent.failed.store(errno.raw(), Ordering::Relaxed);
    }
    if parent.left.fetch_sub(1, Ordering::AcqRel) == 1 {
        let request = parent.request.lock().expect("no panic").take();
        let failed = parent.failed.load(Ordering::Relaxed);
        let result = match failed {
            0 => Ok(()),
            number => Err(Errno::from_raw(number)),
        };
        parent.common.in_flight.fetch_sub(1, Ordering::AcqRel);
        request.expect("it ends once").complete(result);
    }
    // A member has room, which the lane's thread may wait for.
    if !parent.common.rung.swap(true, Ordering::SeqCst) {
        (&parent.common.pipe)
            .write_all(&[1])
            .expect("room for a byte");
    }
}

pub(crate) struct StripeLane<L> {
    capacity: u64,
    depth: usize,
    /// Parts that a full member gave back. They end before the lanes do, which end the rest.
    waiting: Vec<(usize, Request)>,
    lanes: Vec<L>,
    readable: PipeReader,
    common: Arc<Common>,
}

impl<L: Lane> StripeLane<L> {
    /// The requests of `parts`, each with its share of the request's memory.
    fn start(&mut self, request: Request, parts: &[Part]) {
        let mut data = Segments::new(request.segments());
        let list = |(_, _, nr_sectors): &Part| -> Vec<Segment> {
            let bytes = usize::try_from(u64::from(*nr_sectors) * SECTOR_SIZE).expect("small");
            // None where the operation has no data.
            data.split_to(bytes)
                .map(Iterator::collect)
                .unwrap_or_default()
        };
        let lists = parts.iter().map(list).collect();
        let (op, flags, queue_id) = (request.op(), request.flags(), request.queue_id());
        let parent = Arc::new(Parent {
            request: Mutex::new(Some(request)),
            left: AtomicUsize::new(parts.len()),
            failed: AtomicI32::new(0),
            lists,
            common: Arc::clone(&self.common),
        });
        self.common.in_flight.fetch_add(1, Ordering::AcqRel);
        for ((member, sector, nr_sectors), segments) in parts.iter().zip(&parent.lists) {
            let part = RequestParts {
                op,
                flags,
                queue_id,
                sector: *sector,
                nr_sectors: *nr_sectors,
                segments,
            };
            let context = Arc::into_raw(Arc::clone(&parent)).cast();
            // SAFETY: *callable*: the reference lives until `part_ended` drops it; a parent is for any
            // thread.
            let completion = unsafe { Completion::new(context, &PART, 0) };
            // SAFETY: *backed*, *listed*: the parent has the list, and the request whose memory it is,
            // until the last part has ended.
            let part = unsafe { Request::new(&part, completion) };
            self.hand_over(*member, part);
        }
    }

    fn hand_over(&mut self, member: usize, part: Request) {
        let full = self.lanes[member].submit(part).err();
        self.waiting.extend(full.map(|part| (member, part)));
    }
}

impl<L: Lane> Lane for StripeLane<L> {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        if self.common.in_flight.load(Ordering::Acquire) >= self.depth {
            return Err(request);
        }
        let sectors = u64::from(request.nr_sectors());
        let end = request.sector().checked_add(sectors);
        match request.op() {
            RequestOp::Flush => {
                let all: Vec<Part> = (0..self.lanes.len()).map(|member| (member, 0, 0)).collect();
                self.start(request, &all);
            }
            RequestOp::Read | RequestOp::Write | RequestOp::WriteZeroes => {
                if end.is_none_or(|end| end > self.capacity) {
                    request.complete(Err(Errno::EIO));
                } else if sectors == 0 {
                    request.complete(Ok(()));
                } else {
                    let parts = parts(&request, self.lanes.len() as u64);
                    self.start(request, &parts);
                }
            }
            _ => request.complete(Err(Errno::EOPNOTSUPP)),
        }
        Ok(())
    }

    fn commit(&mut self) {
        self.lanes.iter_mut().for_each(Lane::commit);
    }

    fn poll(&mut self) {
        if self.common.rung.load(Ordering::SeqCst) {
            let _ = self.readable.read(&mut [0]).expect("it has rung");
            self.common.rung.store(false, Ordering::SeqCst);
        }
        for (member, part) in std::mem::take(&mut self.waiting) {
            self.hand_over(member, part);
        }
        self.commit();
    }

    fn descriptor(&self) -> Option<i32> {
        Some(self.readable.as_raw_fd())
    }
}
