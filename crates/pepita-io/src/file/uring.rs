#![expect(unsafe_code, reason = "hands the memory of requests to the kernel")]
//! A lane over a ring of its own, or over that of its thread (see `shared.rs`).
//!
//! # Invariants
//! * held: a slot keeps its job, and so the request with its memory, and its bounce buffer, from the push of an
//!   entry until that entry's completion was seen. Whoever cannot wait for that leaks both.

use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use pepita_sys::blk_mq::Request;
use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::{
    IORING_ASYNC_CANCEL_ALL, IORING_ASYNC_CANCEL_ANY, IORING_FSYNC_DATASYNC, IoUringCqe,
    IoUringSqe, Iovec,
};

use super::backing::{Backing, bell};
use super::job::{Bounce, Job, Memory, Step};
use crate::ring::{Ring, RingConfig, Wait};
use crate::shared::SharedRing;

/// A cancellation's number, which is no slot's.
const NOBODY: u32 = u32::MAX;

/// How long a dropped lane waits for what the kernel has.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Times that a lane with nothing in flight asks a kernel that has no memory.
const SUBMIT_RETRIES: u32 = 100;

/// Discards a part of a block device (Linux 6.12); `addr` is its offset and `addr3` its length.
/// `include/uapi/linux/blkdev.h`
const BLOCK_URING_CMD_DISCARD: u32 = 0x12 << 8;

/// A lane over a ring.
#[derive(Debug)]
pub(super) struct UringLane<'d> {
    backing: &'d Backing,
    ring: LaneRing,
    /// As many as entries fit into the submission queue, at most; each has one at a time.
    slots: Box<[Slot]>,
    /// Numbers of the slots without a job.
    free: Vec<u16>,
    /// Those whose job goes on.
    again: Vec<u16>,
    /// The ring is not entered any more; no entry is with the kernel.
    is_broken: bool,
}

/// Whose ring a lane is on.
#[derive(Debug)]
enum LaneRing {
    Own {
        ring: Ring,
        /// Readable when something has completed. The ring's own descriptor does not tell: work that is deferred
        /// to the thread (`IORING_SETUP_DEFER_TASKRUN`) rings an eventfd, and wakes nobody who polls the ring.
        bell: OwnedFd,
    },
    /// The thread's, which hands over and waits.
    Shared {
        ring: SharedRing,
        mail: Vec<IoUringCqe>,
    },
}

impl LaneRing {
    fn new(depth: u16) -> Result<Self> {
        if let Some(ring) = SharedRing::current() {
            let mail = Vec::with_capacity(depth.into());
            return Ok(Self::Shared { ring, mail });
        }
        let mut ring = RingConfig::new(depth.into()).build().map_err(|error| {
            let errno = KernelError::from(error).to_errno();
            KernelError::from_errno("io_uring_setup (Engine::Threads does without)", errno)
        })?;
        let bell = bell()?;
        ring.register_eventfd(bell.as_raw_fd())?;
        Ok(Self::Own { ring, bell })
    }

    /// Adds the entry number `number`.
    ///
    /// # Safety
    /// * As [`Ring::push`].
    #[inline]
    unsafe fn push(&mut self, entry: IoUringSqe, number: u32) -> std::result::Result<(), Errno> {
        match self {
            Self::Own { ring, .. } => {
                let entry = entry.user_data(number.into());
                // SAFETY: the caller's duty. A slot has one entry, and there is room for one of each.
                unsafe { ring.push(entry) }.map_err(|_| Errno::EIO)
            }
            Self::Shared { ring, .. } => {
                // SAFETY: the caller's duty.
                unsafe { ring.push(entry, number) }.map_err(KernelError::to_errno)
            }
        }
    }

    /// Calls `each` with the completions that are there.
    #[inline]
    fn take(&mut self, mut each: impl FnMut(IoUringCqe)) {
        match self {
            Self::Own { ring, .. } => ring.completions().for_each(each),
            Self::Shared { ring, mail } => {
                ring.take(mail);
                for cqe in mail.drain(..) {
                    each(cqe);
                }
            }
        }
    }

    /// Has the kernel cancel the entries with the `numbers`.
    fn cancel(&mut self, numbers: impl Iterator<Item = u16>) {
        match self {
            Self::Own { ring, .. } => {
                let flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
                let cancel = IoUringSqe::cancel(0, flags).user_data(NOBODY.into());
                // SAFETY: the entry leads nowhere.
                let _ = unsafe { ring.push(cancel) };
            }
            Self::Shared { ring, .. } => {
                for number in numbers {
                    let cancel = IoUringSqe::cancel(ring.user_data(number.into()), 0);
                    // SAFETY: the entry leads nowhere.
                    let _ = unsafe { ring.push(cancel, NOBODY) };
                }
            }
        }
    }

    /// Hands over what was pushed, and waits for a completion.
    fn wait(&mut self, wait: &Wait) -> Result<()> {
        match self {
            Self::Own { ring, .. } => ring.submit_and_wait_for(1, wait).map(drop),
            Self::Shared { ring, .. } => ring.wait(wait),
        }
    }
}

#[derive(Debug, Default)]
struct Slot {
    job: Option<Job>,
    bounce: Bounce,
}

impl<'d> UringLane<'d> {
    pub(super) fn new(backing: &'d Backing, depth: u16) -> Result<Self> {
        Ok(Self {
            backing,
            ring: LaneRing::new(depth)?,
            slots: (0..depth).map(|_| Slot::default()).collect(),
            free: (0..depth).rev().collect(),
            again: Vec::with_capacity(depth.into()),
            is_broken: false,
        })
    }

    #[inline]
    pub(super) fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        let Some(number) = self.free.pop() else {
            return Err(request);
        };
        let job = match Job::start(request, self.backing) {
            Some(job) if self.is_broken => {
                job.complete(Err(Errno::EIO));
                None
            }
            job => job,
        };
        if job.is_none() {
            self.free.push(number);
        } else {
            self.slots[usize::from(number)].job = job;
            self.push(number);
        }
        Ok(())
    }

    /// Hands over what was pushed, unless the thread does.
    #[inline]
    pub(super) fn commit(&mut self) {
        let mut retries = 0;
        while let LaneRing::Own { ring, .. } = &mut self.ring
            && !self.is_broken
        {
            match ring.submit().map_err(KernelError::to_errno) {
                Ok(_) => return,
                Err(Errno::EINTR) => {}
                // What is with the kernel will make room, and its completion brings us here again.
                Err(Errno::EAGAIN | Errno::EBUSY | Errno::ENOMEM) if self.has_entered() => return,
                Err(Errno::EAGAIN | Errno::EBUSY | Errno::ENOMEM) if retries < SUBMIT_RETRIES => {
                    retries += 1;
                    std::thread::yield_now();
                }
                Err(_) if self.has_entered() => return,
                Err(_) => self.give_up(),
            }
        }
    }

    #[inline]
    pub(super) fn poll(&mut self) {
        if let LaneRing::Own { bell, .. } = &self.ring {
            // First the bell: what completes from here on rings again.
            let _ = rustix::io::read(bell, &mut [0; 8]);
        }
        // Brings up what has completed, and sends what waits.
        self.commit();
        self.reap();
        if !self.again.is_empty() {
            self.go_on();
        }
    }

    pub(super) fn descriptor(&self) -> i32 {
        match &self.ring {
            LaneRing::Own { bell, .. } => bell.as_raw_fd(),
            LaneRing::Shared { ring, .. } => ring.fd(),
        }
    }

    /// Pushes the entry of a slot's next step; a job that has none ends.
    #[inline]
    fn push(&mut self, number: u16) {
        let slot = &mut self.slots[usize::from(number)];
        let Some(job) = &slot.job else { return };
        let pushed = job.step(&mut slot.bounce).and_then(|step| {
            let entry = entry(self.backing.fd(), step);
            // SAFETY: held: the step's memory is the request's, which is *backed* and *listed* until the
            // job completes, or the bounce buffer's; the file is open as long as the device.
            unsafe { self.ring.push(entry, number.into()) }
        });
        if let Err(errno) = pushed {
            self.end(number, Err(errno));
        }
    }

    /// Ends a slot's job, of which no entry is with the kernel.
    #[inline]
    fn end(&mut self, number: u16, result: std::result::Result<(), Errno>) {
        if let Some(job) = self.slots[usize::from(number)].job.take() {
            self.free.push(number);
            job.complete(result);
        }
    }

    /// Takes completions, ends the jobs that are done, and notes the others in `again`.
    #[inline]
    fn reap(&mut self) {
        let Self {
            backing,
            ring,
            slots,
            free,
            again,
            ..
        } = self;
        ring.take(|cqe| {
            let Ok(number) = u16::try_from(cqe.user_data) else {
                return;
            };
            let Some(slot) = slots.get_mut(usize::from(number)) else {
                return;
            };
            let Some(mut job) = slot.job.take() else {
                return;
            };
            match job.advance(count(cqe), backing, &slot.bounce) {
                Some(result) => {
                    free.push(number);
                    job.complete(result);
                }
                None => {
                    slot.job = Some(job);
                    again.push(number);
                }
            }
        });
    }

    #[cold]
    fn go_on(&mut self) {
        while let Some(number) = self.again.pop() {
            self.push(number);
        }
        self.commit();
    }

    /// Count of slots with a job.
    fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether the kernel has entries that have not completed.
    fn has_entered(&mut self) -> bool {
        let in_flight = self.in_flight();
        match &mut self.ring {
            LaneRing::Own { ring, .. } => {
                in_flight > (ring.sq_capacity() - ring.sq_room()) as usize
            }
            // Whoever enters knows.
            LaneRing::Shared { .. } => in_flight > 0,
        }
    }

    /// Ends everything; the kernel has no entry, and gets none any more.
    #[cold]
    fn give_up(&mut self) {
        self.is_broken = true;
        for number in 0..self.slots.len() {
            #[expect(clippy::cast_possible_truncation, reason = "there are at most 4096")]
            self.end(number as u16, Err(Errno::EIO));
        }
    }

    /// Cancels what is in flight, and waits for its end.
    fn drain(&mut self) {
        let deadline = Instant::now() + DRAIN_LIMIT;
        self.commit();
        while self.in_flight() > 0 && !self.is_broken {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let with_job = self
                .slots
                .iter()
                .enumerate()
                .filter(|(_, slot)| slot.job.is_some());
            let numbers = with_job.filter_map(|(number, _)| u16::try_from(number).ok());
            self.ring.cancel(numbers);
            // The cancellation itself completes; what it does not reach takes its time.
            let wait = Wait::new().timeout(left.min(Duration::from_millis(10)));
            match self.ring.wait(&wait) {
                Ok(()) => {}
                Err(error) => match error.to_errno() {
                    Errno::EINTR | Errno::ETIME | Errno::EAGAIN | Errno::EBUSY => {}
                    _ => return,
                },
            }
            self.reap();
            while let Some(number) = self.again.pop() {
                self.end(number, Err(Errno::EIO));
            }
        }
    }
}

impl Drop for UringLane<'_> {
    fn drop(&mut self) {
        self.drain();
        if self.in_flight() > 0 {
            for slot in &mut self.slots {
                // held: the kernel may have them.
                mem::forget(mem::take(slot));
            }
        }
    }
}

/// The entry of `step` on the file `fd`.
#[inline]
fn entry(fd: i32, step: Step<'_>) -> IoUringSqe {
    match step {
        Step::Read { into, offset } => match into {
            Memory::One(segment) => {
                IoUringSqe::read(fd, segment.base(), length(segment.len()), offset)
            }
            // A segment has the layout of an iovec.
            Memory::List(list) => IoUringSqe::readv(
                fd,
                list.as_ptr().cast::<Iovec>(),
                length(list.len()),
                offset,
                0,
            ),
        },
        Step::Write {
            from,
            offset,
            durable,
        } => {
            let mut entry = match from {
                Memory::One(segment) => {
                    IoUringSqe::write(fd, segment.base(), length(segment.len()), offset)
                }
                Memory::List(list) => {
                    let list = (list.as_ptr().cast::<Iovec>(), length(list.len()));
                    IoUringSqe::writev(fd, list.0, list.1, offset, 0)
                }
            };
            entry.op_flags = if durable {
                libc::RWF_DSYNC.cast_unsigned()
            } else {
                0
            };
            entry
        }
        Step::Sync => IoUringSqe::fsync(fd, IORING_FSYNC_DATASYNC),
        Step::Punch { offset, len } => allocate(fd, libc::FALLOC_FL_PUNCH_HOLE, offset, len),
        Step::ZeroRange { offset, len } => allocate(fd, libc::FALLOC_FL_ZERO_RANGE, offset, len),
        Step::Discard { offset, len } => {
            let mut entry = IoUringSqe::uring_cmd(fd, BLOCK_URING_CMD_DISCARD, [0; 16]);
            (entry.addr, entry.addr3) = (offset, len);
            entry
        }
    }
}

fn allocate(fd: i32, mode: i32, offset: u64, len: u64) -> IoUringSqe {
    let mode = mode | libc::FALLOC_FL_KEEP_SIZE;
    IoUringSqe::fallocate(fd, mode.cast_unsigned(), offset, len)
}

/// A length as an entry has it; what does not fit is done later.
fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(0x7fff_f000)
}

/// What a completion says: a count, or an error.
fn count(cqe: IoUringCqe) -> std::result::Result<usize, Errno> {
    match usize::try_from(cqe.res) {
        Ok(count) => Ok(count),
        Err(_) => Err(Errno::of_result(cqe.res).unwrap_or(Errno::EIO)),
    }
}
