#![expect(unsafe_code, reason = "plays a front end")]
//! A front end for tests: owns the memory of each request until it has ended.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use pepita_sys::blk_mq::{
    Completion, CompletionVtable, Lane, Request, RequestFlags, RequestOp, RequestParts, Segment,
};
use pepita_sys::error::Errno;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::BorrowedFd;

type End = Result<(), Errno>;

/// One request: its memory, which begins `skip` bytes behind a page's border, and how it ended.
pub(crate) struct Asked {
    memory: UnsafeCell<Vec<u8>>,
    start: usize,
    len: usize,
    segment: Segment,
    end: Mutex<Option<End>>,
    /// Where an append is.
    landed: Mutex<Option<u64>>,
    has_ended: AtomicBool,
}

// SAFETY: the memory is the device's until `has_ended`, and is only read from then on.
unsafe impl Sync for Asked {}
// SAFETY: as above.
unsafe impl Send for Asked {}

static VTABLE: CompletionVtable = CompletionVtable::new(ended).with_landed(landed);

unsafe fn landed(context: *const (), _tag: u16, sector: u64) {
    // SAFETY: *callable*: `ended`, which follows, takes the reference.
    let asked = unsafe { &*context.cast::<Asked>() };
    *asked.landed.lock().expect("no panic") = Some(sector);
}

unsafe fn ended(context: *const (), _tag: u16, result: End) {
    // SAFETY: *callable*: `request` gave a reference away for this call.
    let asked = unsafe { Arc::from_raw(context.cast::<Asked>()) };
    *asked.end.lock().expect("no panic") = Some(result);
    asked.has_ended.store(true, Ordering::Release);
}

impl Asked {
    /// How it ended; `None` if it has not.
    pub(crate) fn end(&self) -> Option<End> {
        *self.end.lock().expect("no panic")
    }

    /// Where it landed, for an append that told.
    pub(crate) fn landed(&self) -> Option<u64> {
        *self.landed.lock().expect("no panic")
    }

    /// The memory, after the end.
    pub(crate) fn data(&self) -> &[u8] {
        assert!(self.has_ended.load(Ordering::Acquire), "it is the device's");
        // SAFETY: the request has ended, and nobody writes any more.
        let memory = unsafe { &*self.memory.get() };
        &memory[self.start..self.start + self.len]
    }
}

/// A request with `data`, which begins `skip` bytes behind a page's border.
pub(crate) fn request(
    op: RequestOp,
    flags: RequestFlags,
    sector: u64,
    nr_sectors: u32,
    data: &[u8],
    skip: usize,
) -> (Arc<Asked>, Request) {
    let mut memory = vec![0; data.len() + 4096 + skip];
    let start = memory.as_ptr().align_offset(4096) + skip;
    memory[start..start + data.len()].copy_from_slice(data);
    let segment = Segment::new(memory.as_mut_ptr().wrapping_add(start), data.len());
    let asked = Arc::new(Asked {
        memory: UnsafeCell::new(memory),
        start,
        len: data.len(),
        segment,
        end: Mutex::new(None),
        landed: Mutex::new(None),
        has_ended: AtomicBool::new(false),
    });
    let context = Arc::into_raw(Arc::clone(&asked)).cast();
    // SAFETY: *callable*: the reference is dropped by the call.
    let completion = unsafe { Completion::new(context, &VTABLE, 0) };
    let list = std::slice::from_ref(&asked.segment);
    let parts = RequestParts {
        op,
        flags,
        queue_id: 0,
        sector,
        nr_sectors,
        segments: if data.is_empty() { &[] } else { list },
    };
    // SAFETY: *backed*, *listed*: the reference that the completion has keeps both.
    let request = unsafe { Request::new(&parts, completion) };
    (asked, request)
}

/// Waits until `asked` has ended.
pub(crate) fn wait(lane: &mut dyn Lane, asked: &Asked) -> End {
    lane.commit();
    loop {
        if let Some(end) = asked.end() {
            return end;
        }
        let Some(fd) = lane.descriptor() else {
            // It ends on a thread of somebody's.
            std::thread::yield_now();
            continue;
        };
        // SAFETY: the lane has it open.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => panic!("poll: {errno}"),
        }
        lane.poll();
    }
}

/// Does one request, whose memory is aligned; gives its data back.
pub(crate) fn ask(
    lane: &mut dyn Lane,
    op: RequestOp,
    flags: RequestFlags,
    sector: u64,
    nr_sectors: u32,
    data: &[u8],
) -> Result<Vec<u8>, Errno> {
    let (asked, request) = request(op, flags, sector, nr_sectors, data, 0);
    lane.submit(request).expect("a lane with room");
    wait(lane, &asked)?;
    Ok(asked.data().to_vec())
}

pub(crate) fn read(lane: &mut dyn Lane, sector: u64, nr_sectors: u32) -> Result<Vec<u8>, Errno> {
    let data = vec![0xee; nr_sectors as usize * 512];
    ask(
        lane,
        RequestOp::Read,
        RequestFlags::NONE,
        sector,
        nr_sectors,
        &data,
    )
}

pub(crate) fn write(lane: &mut dyn Lane, sector: u64, data: &[u8]) -> Result<(), Errno> {
    let nr_sectors = u32::try_from(data.len() / 512).expect("few");
    ask(
        lane,
        RequestOp::Write,
        RequestFlags::NONE,
        sector,
        nr_sectors,
        data,
    )
    .map(|_| ())
}

/// Does a request without data.
pub(crate) fn tell(
    lane: &mut dyn Lane,
    op: RequestOp,
    flags: RequestFlags,
    sector: u64,
    nr_sectors: u32,
) -> Result<(), Errno> {
    ask(lane, op, flags, sector, nr_sectors, &[]).map(|_| ())
}
