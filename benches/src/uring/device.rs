#![expect(unsafe_code, reason = "plays a front end of a device")]
//! The same random reads through a file's device and a lane of it.

use std::cell::RefCell;

use anyhow::{Result, anyhow, ensure};
use pepita_io::{FileDevice, FileOptions};
use pepita_sys::blk_mq::{
    BlockDevice, Completion, CompletionVtable, Lane, Request, RequestFlags, RequestOp,
    RequestParts, Segment,
};
use pepita_sys::error::Errno;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::BorrowedFd;

use super::reads::{BLOCK, BLOCKS, Cache, open};
use crate::case::Contender;
use crate::stats::Random;
use crate::timing::per_second;

/// Slots whose requests have ended, with their results.
type Ends = RefCell<Vec<(u16, std::result::Result<(), Errno>)>>;

static TABLE: CompletionVtable = CompletionVtable::new(note);

unsafe fn note(context: *const (), tag: u16, result: std::result::Result<(), Errno>) {
    // SAFETY: buffers-live: the list is leaked; a lane over a ring ends its requests on its own thread.
    let ends = unsafe { &*context.cast::<Ends>() };
    ends.borrow_mut().push((tag, result));
}

/// Keeps reads in flight until all are done, and waits by the lane's descriptor.
///
/// # Invariants
/// * buffers-live: buffers, segments and the list of ends are leaked.
pub(super) struct DeviceReads {
    device: FileDevice,
    buffers: &'static mut memmap2::MmapMut,
    segments: &'static [[Segment; 1]],
    ends: &'static Ends,
    cache: Cache,
    depth: u16,
    random: Random,
}

impl DeviceReads {
    pub(super) fn new(cache: Cache, depth: u16) -> Result<Self> {
        let file = open(cache)?;
        let device = FileOptions::new().from_file(file)?;
        let bytes = usize::from(depth) * BLOCK;
        let buffers = Box::leak(Box::new(memmap2::MmapMut::map_anon(bytes)?));
        let base = buffers.as_mut_ptr();
        let segment = |slot| [Segment::new(base.wrapping_add(slot * BLOCK), BLOCK)];
        let segments: Vec<_> = (0..depth.into()).map(segment).collect();
        Ok(Self {
            device,
            buffers,
            segments: segments.leak(),
            ends: Box::leak(Box::default()),
            cache,
            depth,
            random: Random::new(1),
        })
    }

    /// As the bare rings do: the count of wrong blocks.
    fn run(&mut self, count: usize) -> Result<u64> {
        let mut lane = self.device.open_lane(self.depth)?;
        let mut free: Vec<u16> = (0..self.depth).collect();
        let mut in_block = vec![0_u64; self.depth.into()];
        let (mut to_start, mut to_end, mut wrong) = (count, count, 0);
        while to_end > 0 {
            while to_start > 0 {
                let Some(slot) = free.pop() else { break };
                let block = self.random.below(BLOCKS) as u64;
                in_block[usize::from(slot)] = block;
                let parts = RequestParts {
                    op: RequestOp::Read,
                    flags: RequestFlags::NONE,
                    queue_id: 0,
                    sector: block * 8,
                    nr_sectors: 8,
                    segments: &self.segments[usize::from(slot)],
                };
                let context = std::ptr::from_ref(self.ends).cast();
                // SAFETY: *callable*: buffers-live.
                let completion = unsafe { Completion::new(context, &TABLE, slot) };
                // SAFETY: *backed*, *listed*: buffers-live.
                let request = unsafe { Request::new(&parts, completion) };
                let taken = lane.submit(request);
                taken.map_err(|_| anyhow!("a lane of {} is full", self.depth))?;
                to_start -= 1;
            }
            lane.commit();
            lane.poll();
            while self.ends.borrow().is_empty() {
                wait(&lane)?;
                lane.poll();
            }
            for (slot, result) in self.ends.borrow_mut().drain(..) {
                let from = usize::from(slot) * BLOCK;
                let (head, _) = self.buffers[from..].split_first_chunk().expect("a block");
                let right =
                    result.is_ok() && u64::from_le_bytes(*head) == in_block[usize::from(slot)];
                wrong += u64::from(!right);
                free.push(slot);
                to_end -= 1;
            }
        }
        Ok(wrong)
    }
}

/// Sleeps until the lane has something to do.
fn wait(lane: &impl Lane) -> Result<()> {
    let fd = lane.descriptor().expect("it has one");
    // SAFETY: the lane keeps it open.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], None)?;
    Ok(())
}

impl Contender for DeviceReads {
    fn answer(&mut self) -> Result<String> {
        let wrong = self.run(self.cache.reads())?;
        Ok(format!("{wrong} wrong blocks"))
    }

    fn round(&mut self) -> Result<f64> {
        let count = self.cache.reads();
        per_second(count, || {
            let wrong = self.run(count)?;
            ensure!(wrong == 0, "{wrong} wrong blocks");
            Ok(())
        })
    }
}
