#![expect(
    unsafe_code,
    reason = "a front end vouches for the memory of its requests"
)]
//! `Flight`: a page that is on its way to a device, or from it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::thread::{self, ThreadId};

use pepita_sys::blk_mq::{
    Completion, CompletionVtable, Lane, Request, RequestFlags, RequestOp, RequestParts, Segment,
};
use pepita_sys::error::Errno;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::{Answer, Job, Transfer};
use crate::block::PAGE_SECTORS;
use crate::page::Page;

/// What a request's completion finds.
///
/// # Invariants
/// * *aloft*: from [`start`] until its completion is called, a flight and its page belong to the request: nobody
///   else reaches them, and nobody frees them.
#[derive(Debug)]
struct Flight {
    page: *mut Page,
    segment: [Segment; 1],
    answer: Sender<Answer>,
    in_flight: Arc<InFlight>,
}

/// Requests that have not ended.
#[derive(Debug)]
pub(super) struct InFlight {
    count: AtomicUsize,
    server: ThreadId,
    /// Wakes the server when one ends on another thread, whether or not its lane has a descriptor, and when there are
    /// more jobs.
    bell: OwnedFd,
}

impl InFlight {
    /// None, of this thread.
    pub(super) fn of_this_thread() -> Result<Arc<Self>, Errno> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        Ok(Arc::new(Self {
            count: AtomicUsize::new(0),
            server: thread::current().id(),
            bell: bell.map_err(|errno| Errno::from_raw(errno.raw_os_error()))?,
        }))
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Sleeps until `lane`, which has been polled since the caller looked, has something to do, or somebody has
    /// [rung](Self::ring) since the caller looked for jobs, or a request has ended on another thread.
    pub(super) fn wait(&self, lane: &impl Lane) {
        let (bell, descriptor) = (self.bell.as_fd(), descriptor_of(lane));
        let both = [bell, descriptor.unwrap_or(bell)];
        let mut fds = both.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        // After a signal the caller looks again.
        let _ = poll(&mut fds, None);
        // It is empty if it has not rung.
        let _ = rustix::io::read(bell, &mut [0; 8]);
    }

    /// Wakes the server, or lets its next sleep end at once.
    pub(super) fn ring(&self) {
        // A counter that is full has rung.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    fn one_has_ended(&self) {
        self.count.fetch_sub(1, Ordering::Release);
        if thread::current().id() != self.server {
            self.ring();
        }
    }
}

static ENDED: CompletionVtable = CompletionVtable::new(ended);

/// Makes the request of a job, and counts it until it ends.
pub(super) fn start(job: Job, in_flight: &Arc<InFlight>) -> Request {
    let page = Box::into_raw(job.page);
    let flight = Box::into_raw(Box::new(Flight {
        page,
        segment: [Segment::new(page.cast(), size_of::<Page>())],
        answer: job.answer,
        in_flight: in_flight.clone(),
    }));
    in_flight.count.fetch_add(1, Ordering::Relaxed);
    // SAFETY: *aloft*: it was made above, and is not freed before the completion, which is made below.
    let segments: &[Segment] = unsafe { &(*flight).segment };
    let parts = RequestParts {
        op: match job.transfer {
            Transfer::In => RequestOp::Read,
            Transfer::Out => RequestOp::Write,
        },
        flags: RequestFlags::NONE,
        queue_id: 0,
        sector: job.block * u64::from(PAGE_SECTORS),
        nr_sectors: PAGE_SECTORS,
        segments,
    };
    // SAFETY: *callable*: the flight is `ended`'s alone (*aloft*), which may run on any thread.
    let completion = unsafe { Completion::new(flight.cast_const().cast(), &ENDED, 0) };
    // SAFETY: *backed*, *listed*: by *aloft* both the page and the list of it stay until the completion.
    unsafe { Request::new(&parts, completion) }
}

/// What tells of the ends of a lane's requests.
fn descriptor_of(lane: &impl Lane) -> Option<BorrowedFd<'_>> {
    let descriptor = lane.descriptor().filter(|number| *number >= 0)?;
    // SAFETY: open-fd: a lane's descriptor is open as long as the lane, which is borrowed.
    Some(unsafe { BorrowedFd::borrow_raw(descriptor) })
}

/// Takes the page back and says how it went.
///
/// # Safety
/// * `context` is a flight that [`start`] has made, and this is its completion.
unsafe fn ended(context: *const (), _tag: u16, result: Result<(), Errno>) {
    // SAFETY: *aloft* ends here, and the flight was a box.
    let flight = unsafe { Box::from_raw(context.cast_mut().cast::<Flight>()) };
    // SAFETY: as above.
    let page = unsafe { Box::from_raw(flight.page) };
    // Nobody may be waiting any more.
    let _ = flight.answer.send((page, result));
    flight.in_flight.one_has_ended();
}
