#![expect(unsafe_code, reason = "pushes the commands of queues")]
//! The thread of queues: [`QueueThread`].
//!
//! # Invariants
//! * tags-memory: a command leads to the memory of its tag, or to what is nobody's; a queue keeps both until the
//!   driver has said that the tag is over, or leaks them.

mod wakes;

use std::any::Any;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use pepita_sys::blk_mq::{BlockDevice, Lane};
use pepita_sys::error::Errno;
use pepita_sys::io_uring::{IORING_CQE_F_MORE, IoUringCqe, Timespec};
use pepita_sys::ublk::UblksrvCtrlDevInfo;

use super::channel::Channel;
use super::ends::{Desk, Memory, OwnDesk};
use super::error::UblkError;
use super::queue::{Arrived, Queue};
use crate::shared::ThreadRing;

/// Ticks of a request's time limit.
const TICKS: u32 = 4;

/// How long requests have when a thread is asked to stop.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// How long a request may take, unless something else is said.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// In `user_data`, what else than a command completes: bits 32 and up, which are 0 for commands.
const BELL: u64 = 1 << 32;
const LANE: u64 = 2 << 32;
const TICK: u64 = 3 << 32;
const STOP_TICK: u64 = 4 << 32;
const KIND_MASK: u64 = 0xff << 32;

/// The most queues of a thread.
const QUEUES_MAX: usize = 1 << 16;

/// A thread that serves queues: of one device or of many, each through a lane of its own, all on one ring.
///
/// It stays on the thread that made it. [`Server`](super::Server) makes one for each queue; many devices on one
/// thread are served so, here by [`AnyDevice`](crate::AnyDevice) of several kinds:
///
/// ```no_run
/// use pepita_io::ublk::{Control, Device, DeviceOptions, QueueThread};
/// use pepita_io::{AnyDevice, AnyLane, NullDevice, RamDevice};
/// use pepita_sys::blk_mq::BlockDevice;
///
/// let devices = [AnyDevice::new(RamDevice::new(2048)), AnyDevice::new(NullDevice::new(2048))];
/// let control = Control::open()?;
/// let mut prepared = Vec::new();
/// for device in &devices {
///     let added = Device::add(&control, &DeviceOptions::default())?;
///     prepared.push(added.set_params(&device.geometry())?);
/// }
/// let mut thread: QueueThread<AnyLane<'_>> = QueueThread::new(128)?; // tags of all queues together
/// for (prepared, device) in prepared.iter().zip(&devices) {
///     thread.attach(&prepared.channel()?, 0, device)?;
/// }
/// // Another thread starts the devices, and stops them in the end.
/// let starter = std::thread::spawn(|| {
///     let live: Result<Vec<_>, _> = prepared.into_iter().map(Device::start).collect();
///     live.map(|live| live.iter().for_each(|device| println!("{}", device.path().display())))
/// });
/// thread.run()?;
/// starter.join().expect("no panic")?;
/// # Ok::<(), pepita_io::ublk::UblkError>(())
/// ```
///
/// # Time
/// A request that takes longer than the [limit](Self::request_limit) is answered with `EIO`, whatever the device
/// goes on to do. Its tag and its memory are out of use until the device lets go of it: requests that come with
/// this tag fail too.
///
/// The limit does not reach into a device that keeps the thread itself, against the contract of [`Lane`]: the
/// driver takes answers from this thread only.
///
/// # Dropping it
/// Whatever has not ended then, the driver fails. Memory that it may still write to is leaked.
#[derive(Debug)]
pub struct QueueThread<L: Lane> {
    queues: Vec<Option<Queue<L>>>,
    desk: OwnDesk,
    ring: ThreadRing,
    /// Completions of this turn, and how many of them are done; the rest is, also when a lane panics.
    batch: Vec<IoUringCqe>,
    done: usize,
    /// Numbers of queues with something to do for their lanes in this turn.
    listed: Vec<u16>,
    called: Vec<u16>,
    /// Answers that have no note: number of the queue, tag, answer.
    answers: VecDeque<(u16, u16, i32)>,
    /// Count of queues that are not over.
    live: usize,
    /// Ticks since the beginning, counted while somebody has a request.
    now: u32,
    is_ticking: bool,
    is_stopping: bool,
    is_refusing: bool,
    has_bell: bool,
    tick: Box<Timespec>,
    stop_tick: Box<Timespec>,
    /// What has to be told when all is over.
    error: Option<UblkError>,
}

/// Asks a [`QueueThread`] from elsewhere to let nothing take long any more: see [`QueueThread::stopper`].
#[derive(Debug, Clone)]
pub struct Stopper {
    desk: Arc<Desk>,
}

impl Stopper {
    /// From now on, requests have 5 seconds at most, so that the device can be stopped. That itself is
    /// [`Control::stop`](super::Control::stop)'s work.
    pub fn hurry(&self) {
        self.desk.stop();
    }

    /// Has the thread leave its queues to the driver, as they are.
    pub(super) fn leave(&self) {
        self.desk.leave();
    }

    /// Has the thread call the function of its [`run_with`](QueueThread::run_with) soon.
    pub fn call(&self) {
        self.desk.call();
    }
}

/// What a queue has of its own before it is attached.
pub(super) struct Opened<L> {
    pub(super) number: u16,
    pub(super) lane: L,
    /// The descriptor of the lane that has to be waited for.
    pub(super) bell: Option<i32>,
    pub(super) memory: Arc<Memory>,
}

impl<L: Lane> QueueThread<L> {
    /// A thread for queues that have `tags` tags together. More can be served, more slowly.
    ///
    /// # Errors
    /// [`UblkError::Ring`], or what the kernel says of an eventfd.
    pub fn new(tags: u32) -> Result<Self, UblkError> {
        // A lane that shares the ring has an entry for each tag too.
        let tags = tags.clamp(1, 8192);
        let ring = ThreadRing::new(2 * tags + 8, 4 * tags + 16)?;
        Ok(Self {
            queues: Vec::new(),
            desk: OwnDesk::new()?,
            ring,
            batch: Vec::new(),
            done: 0,
            listed: Vec::new(),
            called: Vec::new(),
            answers: VecDeque::new(),
            live: 0,
            now: 0,
            is_ticking: false,
            is_stopping: false,
            is_refusing: false,
            has_bell: false,
            tick: Box::new((REQUEST_LIMIT / TICKS).into()),
            stop_tick: Box::new((STOP_LIMIT / TICKS).into()),
            error: None,
        })
    }

    /// How long a request may take: 30 seconds, unless this says something else. It is answered at most a quarter
    /// of that later.
    pub fn request_limit(&mut self, limit: Duration) {
        *self.tick = (limit / TICKS).max(Duration::from_millis(1)).into();
    }

    /// What asks this thread to hurry.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper {
            desk: Arc::clone(self.desk.shared()),
        }
    }

    /// Serves queue `queue_id` of the channel's device by `device`, of which it opens a lane. The driver gets the
    /// commands of all tags.
    ///
    /// # Errors
    /// What the device says when it opens a lane; [`UblkError::Limit`], [`UblkError::Queue`] where the driver takes
    /// no commands, as when somebody else serves the queue; what else the kernel says.
    pub fn attach<'d, D>(
        &mut self,
        channel: &Channel,
        queue_id: u16,
        device: &'d D,
    ) -> Result<(), UblkError>
    where
        D: BlockDevice<Lane<'d> = L>,
    {
        let opened = self.open(channel.info(), device)?;
        self.attach_opened(channel, queue_id, opened)
    }

    /// Opens a lane of `device` for the queue that is to be attached next, of the device of `info`.
    pub(super) fn open<'d, D>(
        &self,
        info: &UblksrvCtrlDevInfo,
        device: &'d D,
    ) -> Result<Opened<L>, UblkError>
    where
        D: BlockDevice<Lane<'d> = L>,
    {
        let free = self.queues.iter().position(Option::is_none);
        let index = free.unwrap_or(self.queues.len());
        let most = QUEUES_MAX as u64 - 1;
        UblkError::check("the count of queues", index as u64, 0, most)?;
        let number = u16::try_from(index).unwrap_or(u16::MAX);
        let (depth, bytes) = (info.queue_depth, info.max_io_buf_bytes as usize);
        let lane = self.ring.open(number, || device.open_lane(depth))?;
        // Its entries go along with ours; else its descriptor is waited for by an entry.
        let bell = lane.descriptor().filter(|fd| *fd != self.ring.fd());
        let memory = Memory::new(&self.desk, number, depth, bytes);
        let memory = memory.map_err(|error| UblkError::QueueMemory {
            bytes: u64::from(info.max_io_buf_bytes) * u64::from(depth),
            errno: error.to_errno(),
        })?;
        Ok(Opened {
            number,
            lane,
            bell,
            memory,
        })
    }

    /// As [`attach`](Self::attach), by a lane that is there. No code of the device runs.
    pub(super) fn attach_opened(
        &mut self,
        channel: &Channel,
        queue_id: u16,
        opened: Opened<L>,
    ) -> Result<(), UblkError> {
        let number = opened.number;
        let index = usize::from(number);
        self.hear_bell()?;
        let mut queue = Queue::new(&mut self.desk, channel, queue_id, opened)?;
        let depth = queue.depth();
        if index == self.queues.len() {
            self.queues.push(None);
        }
        self.live += 1;
        for tag in 0..depth {
            let entry = queue.fetch(tag);
            // SAFETY: tags-memory.
            if let Err(error) = unsafe { self.ring.push(entry) } {
                self.queues[index] = Some(queue);
                return Err(error.into());
            }
        }
        self.queues[index] = Some(queue);
        self.arm_lane(number)?;
        self.ring.with(|ring| ring.submit())?;
        self.take_up();
        self.error.take().map_or(Ok(()), Err)
    }

    /// Serves until all queues are over, which they are when their devices have been stopped.
    ///
    /// # Errors
    /// [`UblkError::Queue`] where the driver refused a command, [`UblkError::Kernel`] where the ring does not work or a
    /// lane's descriptor is none, [`UblkError::Panicked`] where a device did. The queues are not over then:
    /// [`refuse`](Self::refuse) answers what comes until they are.
    pub fn run(&mut self) -> Result<(), UblkError> {
        while self.live > 0 && !self.desk.shared().is_leaving() {
            let turned = panic::catch_unwind(AssertUnwindSafe(|| self.turn()));
            turned.unwrap_or_else(|panic| {
                Err(UblkError::Panicked {
                    message: told(&*panic),
                })
            })?;
        }
        Ok(())
    }

    /// As [`run`](Self::run), and calls `visit` on this thread, between requests, at the beginning and after each
    /// [`Stopper::call`]: to [attach](Self::attach) queues of more devices, while those that are there go on. It waits
    /// for that also when no queue is there, until `visit` says `Break`; then it goes on as `run`.
    ///
    /// Devices outlive the thread, also those that come later: they have their places before it begins, such as
    /// [`OnceLock`](std::sync::OnceLock)s, or stay for ever.
    ///
    /// # Errors
    /// As [`run`](Self::run), and what `visit` says.
    pub fn run_with(
        &mut self,
        mut visit: impl FnMut(&mut Self) -> Result<ControlFlow<()>, UblkError>,
    ) -> Result<(), UblkError> {
        self.hear_bell()?;
        let mut is_called = true;
        loop {
            if is_called && visit(self)?.is_break() {
                return self.run();
            }
            let turned = panic::catch_unwind(AssertUnwindSafe(|| self.turn()));
            turned.unwrap_or_else(|panic| {
                Err(UblkError::Panicked {
                    message: told(&*panic),
                })
            })?;
            is_called = self.desk.shared().take_call();
        }
    }

    /// Closes all lanes, answers what is out and what comes with `EIO`, and returns when all queues are over: for
    /// after an error, until the devices are stopped by somebody else.
    ///
    /// # Errors
    /// Where the ring does not work.
    pub fn refuse(&mut self) -> Result<(), UblkError> {
        self.is_refusing = true;
        for number in 0..self.queues.len() {
            let Some(queue) = &mut self.queues[number] else {
                continue;
            };
            let lane = queue.lane.take();
            queue.bell = None;
            // A device that panicked may do so again. What the lane ends now is noted.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(lane)));
            queue.kept.clear();
        }
        self.finish_batch();
        self.desk.take_others();
        self.answer_all()?;
        self.give_up(true);
        while self.live > 0 && !self.desk.shared().is_leaving() {
            match self.turn() {
                Ok(()) | Err(UblkError::Queue { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends what was answered, waits, and does what has come.
    #[inline]
    fn turn(&mut self) -> Result<(), UblkError> {
        self.answer_all()?;
        // What has ended may have made room in a lane, which nothing else tells.
        while !self.listed.is_empty() {
            self.serve_lanes()?;
            self.answer_all()?;
        }
        if !self.is_ticking && self.is_anybody_out() {
            self.arm_tick()?;
        }
        match self.ring.with(|ring| ring.submit_and_wait(1)) {
            Ok(_) => {}
            Err(error) => match error.to_errno() {
                // What completed meanwhile makes room.
                Errno::EINTR | Errno::EAGAIN | Errno::EBUSY => {}
                _ => return Err(error.into()),
            },
        }
        self.take_up();
        self.serve_lanes()?;
        self.error.take().map_or(Ok(()), Err)
    }

    /// Whether somebody has a request when the thread goes to sleep.
    #[inline]
    fn is_anybody_out(&self) -> bool {
        self.queues.iter().flatten().any(|queue| queue.out() > 0)
    }

    /// Takes the completions that are there.
    #[inline]
    fn take_up(&mut self) {
        self.finish_batch();
        self.ring.take(&mut self.batch, &mut self.called);
        self.done = 0;
        self.finish_batch();
        while let Some(number) = self.called.pop() {
            self.list(number, true);
        }
    }

    #[inline]
    fn finish_batch(&mut self) {
        while let Some(cqe) = self.batch.get(self.done).copied() {
            self.done += 1;
            if cqe.user_data & KIND_MASK == 0 {
                self.arrived(cqe);
            } else {
                self.happened(cqe);
            }
        }
    }

    /// A command has completed.
    #[inline(always)]
    fn arrived(&mut self, cqe: IoUringCqe) {
        let [t0, t1, q0, q1, ..] = cqe.user_data.to_le_bytes();
        let (number, tag) = (u16::from_le_bytes([q0, q1]), u16::from_le_bytes([t0, t1]));
        let Some(Some(queue)) = self.queues.get_mut(usize::from(number)) else {
            return;
        };
        match queue.arrived(tag, cqe.res, self.now) {
            Ok(request) => {
                queue.submit(request);
                if !queue.is_listed {
                    queue.is_listed = true;
                    self.listed.push(number);
                }
            }
            Err(arrived) => self.arrived_without_request(number, tag, arrived),
        }
    }

    /// A command has completed, and is not a request for the lane.
    #[cold]
    fn arrived_without_request(&mut self, number: u16, tag: u16, arrived: Arrived) {
        let Some(Some(queue)) = self.queues.get_mut(usize::from(number)) else {
            return;
        };
        match arrived {
            Arrived::Answer(answer) => self.answers.push_back((number, tag, answer)),
            Arrived::Asks => {
                let entry = queue.get_data(tag);
                // SAFETY: tags-memory.
                if let Err(error) = unsafe { self.ring.push(entry) } {
                    self.error.get_or_insert(error.into());
                }
            }
            Arrived::Over => self.list(number, false),
            Arrived::Broken(errno) => {
                let queue_id = queue.queue_id();
                self.list(number, false);
                self.error
                    .get_or_insert(UblkError::Queue { queue_id, errno });
            }
        }
    }

    /// Something else has completed.
    #[cold]
    fn happened(&mut self, cqe: IoUringCqe) {
        let [n0, n1, ..] = cqe.user_data.to_le_bytes();
        let result = match cqe.user_data & KIND_MASK {
            BELL => {
                self.desk.take_others();
                // A tag that is free again serves what comes behind it in this batch.
                let mut result = self.answer_all();
                if self.desk.shared().is_stopping() && !self.is_stopping {
                    self.is_stopping = true;
                    result = result.and(self.arm_stop_tick());
                }
                if cqe.flags & IORING_CQE_F_MORE == 0 {
                    result = result.and(self.arm_bell());
                }
                result
            }
            LANE => self.lane_rang(u16::from_le_bytes([n0, n1]), cqe.res),
            TICK => {
                self.is_ticking = false;
                self.ticked()
            }
            STOP_TICK => self.ticked().and_then(|()| self.arm_stop_tick()),
            _ => Ok(()),
        };
        if let Err(error) = result {
            self.error.get_or_insert(error);
        }
    }

    /// Notes that there is something to do for the queue `number`.
    fn list(&mut self, number: u16, is_called: bool) {
        let Some(Some(queue)) = self.queues.get_mut(usize::from(number)) else {
            return;
        };
        queue.is_called |= is_called;
        if !queue.is_listed {
            queue.is_listed = true;
            self.listed.push(number);
        }
    }

    /// Lets the lanes do what is to be done, and lets go of the queues that are over.
    #[inline]
    fn serve_lanes(&mut self) -> Result<(), UblkError> {
        while let Some(number) = self.listed.pop() {
            let Some(Some(queue)) = self.queues.get_mut(usize::from(number)) else {
                continue;
            };
            queue.is_listed = false;
            let is_called = std::mem::take(&mut queue.is_called);
            if let Some(lane) = &mut queue.lane {
                lane.commit();
                if is_called {
                    lane.poll();
                }
                if !queue.kept.is_empty() {
                    queue.hand_on();
                }
            }
            if queue.is_over() {
                self.close(number);
            } else if is_called {
                self.arm_lane(number)?;
            }
        }
        Ok(())
    }

    #[cold]
    fn close(&mut self, number: u16) {
        if let Some(queue) = self.queues[usize::from(number)].take() {
            self.live -= 1;
            let _ = panic::catch_unwind(AssertUnwindSafe(|| queue.close(&mut self.desk)));
        }
    }

    /// Answers what has ended.
    #[inline]
    fn answer_all(&mut self) -> Result<(), UblkError> {
        while let Some((number, tag, answer)) = self.answers.pop_front() {
            if let Some(Some(queue)) = self.queues.get_mut(usize::from(number)) {
                let entry = queue.commit(tag, answer);
                // SAFETY: tags-memory.
                unsafe { self.ring.push(entry) }?;
            }
        }
        while let Some(note) = self.desk.take() {
            let Some(Some(queue)) = self.queues.get_mut(usize::from(note.queue)) else {
                continue;
            };
            if let Some(answer) = queue.noted(note.tag, note.result) {
                let entry = queue.commit(note.tag, answer);
                // SAFETY: tags-memory.
                unsafe { self.ring.push(entry) }?;
            }
            if !queue.kept.is_empty() {
                self.list(note.queue, false);
            }
        }
        Ok(())
    }

    /// A tick has passed: what took too long is answered.
    #[cold]
    fn ticked(&mut self) -> Result<(), UblkError> {
        self.now = self.now.wrapping_add(1);
        // What has ended is not late.
        self.desk.take_others();
        self.answer_all()?;
        self.give_up(false);
        Ok(())
    }

    #[cold]
    fn give_up(&mut self, all: bool) {
        for (number, place) in (0_u16..).zip(&mut self.queues) {
            let mut late = Vec::new();
            if let Some(queue) = place {
                queue.give_up(self.now, all, &mut late);
            }
            let answer = -Errno::EIO.raw();
            self.answers
                .extend(late.into_iter().map(|tag| (number, tag, answer)));
        }
    }
}

impl<L: Lane> Drop for QueueThread<L> {
    fn drop(&mut self) {
        for queue in self.queues.iter_mut().filter_map(Option::take) {
            let desk = &mut self.desk;
            let _ = panic::catch_unwind(AssertUnwindSafe(|| queue.close(desk)));
        }
    }
}

/// What a panic says.
pub(super) fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a word").to_owned()
}
