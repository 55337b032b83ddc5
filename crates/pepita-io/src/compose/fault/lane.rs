//! The lane of a device with faults.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use pepita_sys::blk_mq::{BlockDevice, Lane, Request, RequestOp, SECTOR_SHIFT, Segments};
use pepita_sys::error::{Errno, KernelError, Result};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::super::below::Below;
use super::super::parent::Part;
use super::FaultDevice;
use super::plan::FaultAction;

/// A lane of a [`FaultDevice`].
pub struct FaultLane<'d, D: BlockDevice> {
    device: &'d FaultDevice<D>,
    /// Requests that come later, by their time and a number.
    late: BTreeMap<(Instant, u64), Request>,
    number: u64,
    hung: Vec<Request>,
    depth: usize,
    /// It hears of the end of every request, so that what comes late finds room in a lane that was full.
    below: Below<D::Lane<'d>>,
    timer: OwnedFd,
}

impl<'d, D: BlockDevice> FaultLane<'d, D> {
    pub(super) fn new(device: &'d FaultDevice<D>, depth: u16) -> Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(|errno| {
            KernelError::from_errno("timerfd_create", Errno::from_raw(errno.raw_os_error()))
        })?;
        let lane = device.device.open_lane(depth)?;
        let below = Below::new(vec![lane], Some(timer.as_fd()))?;
        let mut bells = device.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.retain(|bell| bell.strong_count() > 0);
        bells.push(Arc::downgrade(below.bell()));
        drop(bells);
        Ok(Self {
            device,
            late: BTreeMap::new(),
            number: 0,
            hung: Vec::new(),
            depth: depth.max(1).into(),
            below,
            timer,
        })
    }

    /// Does `request` as a whole.
    fn pass(&mut self, request: Request) {
        let sectors = request.nr_sectors();
        self.begin_parts(request, sectors, Ok(()));
    }

    /// Does the first `sectors` sectors of `request`, and ends it by `end`.
    fn tear(&mut self, request: Request, sectors: u32, end: std::result::Result<(), Errno>) {
        let block = self.device.device.geometry().block_sectors();
        let sectors = sectors.min(request.nr_sectors());
        let sectors = sectors - sectors % block;
        if sectors == 0 {
            request.complete(end);
        } else {
            self.begin_parts(request, sectors, end);
        }
    }

    fn begin_parts(&mut self, request: Request, sectors: u32, end: std::result::Result<(), Errno>) {
        let mut parent = self.below.parent();
        if let Some(parent) = Arc::get_mut(&mut parent) {
            let bytes = usize::try_from(u64::from(sectors) << SECTOR_SHIFT).unwrap_or(usize::MAX);
            let front = Segments::new(request.segments()).split_to(bytes);
            parent.list.extend(front.into_iter().flatten());
            parent.parts.push(Part {
                member: 0,
                sector: request.sector(),
                nr_sectors: sectors,
                list: 0..parent.list.len(),
            });
        }
        self.below.start(parent, request, end);
    }

    /// Sets the timer to the first request that comes late.
    fn arm(&self) {
        let Some(((time, _), _)) = self.late.first_key_value() else {
            return;
        };
        let left = time.saturating_duration_since(Instant::now());
        // 0 would be no time.
        let left = left.max(std::time::Duration::from_nanos(1));
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let it_value = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let time = Itimerspec {
            it_interval: zero,
            it_value,
        };
        // Of a descriptor of ours and a time that can be, the kernel has nothing to say.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &time);
    }

    /// Begins what is due, or all.
    fn begin(&mut self, all: bool) {
        let now = Instant::now();
        while let Some(entry) = self.late.first_entry() {
            if !all && entry.key().0 > now {
                break;
            }
            let request = entry.remove();
            self.pass(request);
        }
        self.arm();
    }
}

impl<D: BlockDevice> Lane for FaultLane<'_, D> {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        if self.below.is_full(self.depth) {
            return Err(request);
        }
        let is_healed = self.device.is_healed();
        let Some(action) = (!is_healed)
            .then(|| self.device.plan.of(&request))
            .flatten()
        else {
            self.pass(request);
            return Ok(());
        };
        let can_tear = matches!(request.op(), RequestOp::Write | RequestOp::WriteZeroes);
        match action {
            FaultAction::Error(errno) => request.complete(Err(errno)),
            FaultAction::Delay(delay) => {
                self.number += 1;
                let time = Instant::now()
                    .checked_add(delay)
                    .unwrap_or_else(Instant::now);
                self.late.insert((time, self.number), request);
                self.arm();
            }
            FaultAction::Torn { sectors, error } if can_tear => {
                self.tear(request, sectors, error.map_or(Ok(()), Err));
            }
            FaultAction::Lose if request.op() != RequestOp::Read => request.complete(Ok(())),
            FaultAction::Hang => {
                self.hung.push(request);
                if self.device.is_healed() {
                    // It was healed meanwhile, which rang before this was there.
                    self.below.bell().ring();
                }
            }
            FaultAction::Torn { .. } | FaultAction::Lose => self.pass(request),
        }
        Ok(())
    }

    fn commit(&mut self) {
        self.below.commit();
    }

    fn poll(&mut self) {
        let is_time = self.below.poll();
        let is_healed = self.device.is_healed();
        if is_time {
            let _ = rustix::io::read(&self.timer, &mut [0; 8]);
        }
        if is_time || is_healed {
            self.begin(is_healed);
        }
        if is_healed {
            for request in std::mem::take(&mut self.hung) {
                self.pass(request);
            }
        }
        self.below.commit();
    }

    fn descriptor(&self) -> Option<i32> {
        self.below.descriptor()
    }
}

impl<D: BlockDevice> std::fmt::Debug for FaultLane<'_, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultLane")
            .field("late", &self.late.len())
            .field("hung", &self.hung.len())
            .finish_non_exhaustive()
    }
}
