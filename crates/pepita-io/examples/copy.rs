#![expect(
    unsafe_code,
    reason = "a front end vouches for the memory of its requests"
)]
//! Copies a file or a disk through two devices, 1 MiB at a time: `copy FROM TO`. `TO` is there, and as long.

use std::cell::Cell;
use std::error::Error;

use pepita_io::{FileDevice, FileOptions};
use pepita_sys::blk_mq::{
    BlockDevice, Completion, CompletionVtable, Lane, Request, RequestFlags, RequestOp,
    RequestParts, Segment,
};
use pepita_sys::error::{Errno, KernelError};
use rustix::event::{PollFd, PollFlags, poll};

static TABLE: CompletionVtable = CompletionVtable::new(note);

unsafe fn note(context: *const (), _tag: u16, result: Result<(), Errno>) {
    // SAFETY: *callable*: `transfer` waits for this call, with the cell in its frame.
    unsafe { &*context.cast::<Cell<Option<Result<(), Errno>>>>() }.set(Some(result));
}

/// Does one request, and waits for it on `lane`, which completes where it is polled.
fn transfer(
    lane: &mut dyn Lane,
    op: RequestOp,
    sector: u64,
    data: &mut [u8],
) -> Result<(), Box<dyn Error>> {
    let end = Cell::new(None);
    let segments = [Segment::new(data.as_mut_ptr(), data.len())];
    let (flags, nr_sectors) = (RequestFlags::NONE, u32::try_from(data.len() / 512)?);
    let parts = RequestParts {
        op,
        flags,
        queue_id: 0,
        sector,
        nr_sectors,
        segments: &segments,
    };
    // SAFETY: *callable*: this function does not return before the call.
    let completion = unsafe { Completion::new((&raw const end).cast(), &TABLE, 0) };
    // SAFETY: *backed*, *listed*: nor does it touch the data or the list before.
    let request = unsafe { Request::new(&parts, completion) };
    lane.submit(request).map_err(|_| "the lane is full")?;
    lane.commit();
    while end.get().is_none() {
        // SAFETY: the lane keeps it open.
        let fd = unsafe { rustix::fd::BorrowedFd::borrow_raw(lane.descriptor().unwrap_or(-1)) };
        let _ = poll(&mut [PollFd::new(&fd, PollFlags::IN)], None);
        lane.poll();
    }
    let end = end.get().unwrap_or(Err(Errno::EIO));
    Ok(end.map_err(|errno| KernelError::from_errno("transfer", errno))?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<_> = std::env::args_os().skip(1).collect();
    let [from, to] = &paths[..] else {
        return Err("usage: copy FROM TO".into());
    };
    let from = FileOptions::new().read_only().open(from)?;
    let to = FileDevice::open(to)?;
    let (mut reads, mut writes) = (from.open_lane(1)?, to.open_lane(1)?);
    let capacity = from.geometry().capacity_sectors;
    for sector in (0..capacity).step_by(2048) {
        let mut data = vec![0; usize::try_from((capacity - sector).min(2048))? * 512];
        transfer(&mut reads, RequestOp::Read, sector, &mut data)?;
        transfer(&mut writes, RequestOp::Write, sector, &mut data)?;
    }
    transfer(&mut writes, RequestOp::Flush, 0, &mut [])?;
    println!("{capacity} sectors copied");
    Ok(())
}
