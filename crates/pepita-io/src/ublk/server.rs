//! A device, served: [`Server`] says how, and [`Disk`] is the disk.

use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pepita_sys::blk_mq::BlockDevice;
use pepita_sys::error::KernelError;
use pepita_sys::ublk::{
    UBLK_F_UNPRIVILEGED_DEV, UBLK_F_USER_COPY, UBLK_F_ZONED, UblksrvCtrlDevInfo,
};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::channel::Channel;
use super::control::Control;
use super::device::{Device, DeviceOptions, Live, Prepared, check_waiting};
use super::error::UblkError;
use super::node::Node;
use super::swap::{lock_memory, set_io_flusher};
use super::thread::{QueueThread, Stopper, told};

/// How long threads have to begin, or to end once their device has been stopped.
const THREADS_LIMIT: Duration = Duration::from_secs(15);

/// How a device is served.
///
/// ```no_run
/// use pepita_io::FileDevice;
/// use pepita_io::ublk::Server;
///
/// let disk = Server::new().id(7).depth(128).serve(FileDevice::open("disk.img")?)?;
/// assert_eq!(disk.path(), std::path::Path::new("/dev/ublkb7"));
/// disk.delete()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Server {
    options: DeviceOptions,
    request_limit: Option<Duration>,
    is_for_swap: bool,
}

impl Server {
    /// One queue of 64 requests of at most 512 KiB, which may take 30 seconds each; the driver chooses the id.
    pub fn new() -> Self {
        Self::default()
    }

    /// The disk is `/dev/ublkb` and this number.
    pub const fn id(mut self, id: u32) -> Self {
        self.options.id = Some(id);
        self
    }

    /// As many queues, each with a thread; at most one for each CPU.
    pub const fn queues(mut self, queues: u16) -> Self {
        self.options.queues = queues;
        self
    }

    /// As many requests in flight for each queue.
    pub const fn depth(mut self, depth: u16) -> Self {
        self.options.depth = depth;
        self
    }

    /// The most bytes of a request.
    pub const fn max_io_bytes(mut self, bytes: u32) -> Self {
        self.options.max_io_bytes = bytes;
        self
    }

    /// Further `UBLK_F_` flags to ask for: see [`DeviceOptions::flags`].
    pub const fn flags(mut self, flags: u64) -> Self {
        self.options.flags = flags;
        self
    }

    /// The device is this user's, and needs no `CAP_SYS_ADMIN`: see [`DeviceOptions::flags`].
    pub const fn unprivileged(mut self) -> Self {
        self.options.flags |= UBLK_F_UNPRIVILEGED_DEV;
        self
    }

    /// How long a request may take: see [`QueueThread::request_limit`].
    pub const fn request_limit(mut self, limit: Duration) -> Self {
        self.request_limit = Some(limit);
        self
    }

    /// The disk may be swap: locks all memory of this process until its end ([`lock_memory`]), and has the kernel
    /// not wait for swap when the threads of the queues ask for memory ([`set_io_flusher`]). What a device gets in
    /// between is its own affair: memory that it takes while the kernel has none may not come, and threads of its own
    /// are flushers too if the thread was one that made them.
    pub const fn swap(mut self) -> Self {
        self.is_for_swap = true;
        self
    }

    /// Makes a disk of `device`. One with zones is asked for with `UBLK_F_ZONED` and `UBLK_F_USER_COPY`.
    ///
    /// # Errors
    /// [`UblkError::Zones`] where the device has zones and the kernel's ublk knows none, [`UblkError::QueueMemory`]
    /// where there is no memory for requests; as [`Control::open`], [`Device::add`], [`Device::set_params`],
    /// [`QueueThread::attach`] and [`Device::start`], and for [swap](Self::swap) as [`lock_memory`] and
    /// [`set_io_flusher`]. There is no disk then.
    pub fn serve<D: BlockDevice + 'static>(&self, device: D) -> Result<Disk, UblkError> {
        let control = Control::open()?;
        let geometry = device.geometry();
        let mut options = self.options;
        if geometry.zones.is_some() {
            options.flags |= UBLK_F_ZONED | UBLK_F_USER_COPY;
        }
        let added = Device::add(&control, &options)?;
        let prepared = added.set_params(&geometry)?;
        let threads = self.threads(&control, prepared.info(), device)?;
        threads.start(prepared)
    }

    /// Makes `device` serve the disk `id`, whose server is gone. It has the queues that it has.
    ///
    /// # Errors
    /// As [`Self::serve`] and [`Device::recover`]. The disk waits on then.
    pub fn recover<D: BlockDevice + 'static>(&self, id: u32, device: D) -> Result<Disk, UblkError> {
        let control = Control::open()?;
        let geometry = device.geometry();
        let info = check_waiting(&control, id, &geometry)?;
        // What may fail is done before the driver forgets the last server.
        let threads = self.threads(&control, &info, device)?;
        match Device::take_over(&control, &info, &geometry) {
            Ok(prepared) => threads.start(prepared),
            Err(error) => {
                threads.leave(id);
                Err(error)
            }
        }
    }

    /// Threads for the queues of the device of `info`, which have opened their lanes of `device`.
    fn threads<D: BlockDevice + 'static>(
        &self,
        control: &Control,
        info: &UblksrvCtrlDevInfo,
        device: D,
    ) -> Result<Threads, UblkError> {
        if self.is_for_swap {
            lock_memory()?;
        }
        let (tell, told) = mpsc::channel();
        let mut threads = Threads {
            channels: Vec::new(),
            stoppers: Vec::new(),
            handles: Vec::new(),
            ready: 0,
            running: 0,
            is_leaving: false,
            told,
            error: None,
        };
        let made = self.spawn(&mut threads, control, info, device, tell);
        let ready = made.and_then(|()| threads.wait_until(info.dev_id, |threads| threads.ready));
        match ready {
            Ok(()) => Ok(threads),
            Err(error) => {
                threads.leave(info.dev_id);
                Err(error)
            }
        }
    }

    fn spawn<D: BlockDevice + 'static>(
        &self,
        threads: &mut Threads,
        control: &Control,
        info: &UblksrvCtrlDevInfo,
        device: D,
        tell: Sender<Word>,
    ) -> Result<(), UblkError> {
        let device = Arc::new(device);
        for queue_id in 0..info.nr_hw_queues {
            let (give, channel) = mpsc::channel();
            let job = Job {
                control: control.clone(),
                info: *info,
                queue_id,
                cpus: control.queue_affinity(info.dev_id, queue_id)?,
                channel,
                device: Arc::clone(&device),
                limit: self.request_limit,
                is_for_swap: self.is_for_swap,
                tell: tell.clone(),
            };
            let named = format!("ublk{}q{queue_id}", info.dev_id);
            let thread = thread::Builder::new().name(named).spawn(|| job.run());
            let thread = thread.map_err(|error| KernelError::from_errno("clone", error.into()))?;
            threads.channels.push(give);
            threads.handles.push(thread);
            threads.running += 1;
        }
        Ok(())
    }
}

/// What a thread tells.
enum Word {
    /// It has opened its lane.
    Ready,
    /// Its queue has been fetched.
    Begun(Stopper),
    /// It has failed, and answers with errors.
    Failed(UblkError),
    /// It is at its end.
    Ended,
}

/// One queue's thread.
struct Job<D> {
    /// Open already: there may be no descriptor left when it is wanted.
    control: Control,
    info: UblksrvCtrlDevInfo,
    queue_id: u16,
    cpus: Vec<usize>,
    /// Brings the channel once there is one; it is over when nobody does.
    channel: Receiver<Channel>,
    device: Arc<D>,
    limit: Option<Duration>,
    is_for_swap: bool,
    tell: Sender<Word>,
}

impl<D: BlockDevice> Job<D> {
    fn run(self) {
        pin(&self.cpus);
        let mut has_begun = false;
        let served = panic::catch_unwind(AssertUnwindSafe(|| self.serve(&mut has_begun)));
        let served = served.unwrap_or_else(|panic| {
            Err(UblkError::Panicked {
                message: told(&*panic),
            })
        });
        let Self {
            control,
            info,
            device,
            tell,
            ..
        } = self;
        if let Err(error) = served {
            let _ = tell.send(Word::Failed(error));
            // Before that there is nobody who needs its answers, and a disk that waits for a server waits on.
            if has_begun {
                let _ = control.stop(info.dev_id);
            }
        }
        drop(device);
        let _ = tell.send(Word::Ended);
    }

    /// Serves the queue until it is over.
    fn serve(&self, has_begun: &mut bool) -> Result<(), UblkError> {
        if self.is_for_swap {
            set_io_flusher()?;
        }
        let mut thread = QueueThread::new(self.info.queue_depth.into())?;
        if let Some(limit) = self.limit {
            thread.request_limit(limit);
        }
        let lane = thread.open(&self.info, &*self.device)?;
        let _ = self.tell.send(Word::Ready);
        let Ok(channel) = self.channel.recv() else {
            return Ok(());
        };
        let attached = thread.attach_opened(&channel, self.queue_id, lane);
        drop(channel);
        attached?;
        *has_begun = true;
        if self.tell.send(Word::Begun(thread.stopper())).is_err() {
            // Nobody waits for it any more, or could send it away.
            return Ok(());
        }
        let Err(error) = thread.run() else {
            return Ok(());
        };
        let _ = self.tell.send(Word::Failed(error));
        let id = self.info.dev_id;
        // The device is stopped from elsewhere, since stopping it wants this thread's answers.
        let (control, stopper) = (&self.control, thread.stopper());
        thread::scope(|scope| {
            scope.spawn(|| {
                if control.stop(id).is_err() {
                    // Without its threads the driver fails what comes by itself.
                    stopper.leave();
                }
            });
            thread.refuse()
        })
    }
}

/// Keeps this thread on the CPUs whose requests it serves. Where it may not be there, it is elsewhere, and slower.
fn pin(cpus: &[usize]) {
    let mut set = CpuSet::new();
    for cpu in cpus.iter().filter(|cpu| **cpu < CpuSet::MAX_CPU) {
        set.set(*cpu);
    }
    let _ = sched_setaffinity(None, &set);
}

/// The threads of a device.
#[derive(Debug)]
struct Threads {
    /// Where they wait for their channel, before they begin.
    channels: Vec<Sender<Channel>>,
    stoppers: Vec<Stopper>,
    handles: Vec<JoinHandle<()>>,
    /// Count of those that have opened their lanes.
    ready: usize,
    /// Count of those that have not ended.
    running: usize,
    is_leaving: bool,
    told: Receiver<Word>,
    /// The first that was told.
    error: Option<UblkError>,
}

impl Threads {
    /// Has them fetch, and starts the device.
    fn start(mut self, prepared: Device<Prepared>) -> Result<Disk, UblkError> {
        let id = prepared.id();
        let begun = self.begin(&prepared);
        let (prepared, error) = match begun {
            Err(error) => (prepared, error),
            Ok(()) => match prepared.start_or_back() {
                Err(back) => *back,
                Ok(device) => {
                    return Ok(Disk {
                        control: device.control(),
                        node: device.node(),
                        device: Some(device),
                        threads: self,
                    });
                }
            },
        };
        // They give back the descriptors that it may take to delete the device.
        self.leave(id);
        drop(prepared);
        Err(error)
    }

    fn begin(&mut self, prepared: &Device<Prepared>) -> Result<(), UblkError> {
        let channel = prepared.channel()?;
        for give in std::mem::take(&mut self.channels) {
            // One that is not there is missed below.
            let _ = give.send(channel.clone());
        }
        drop(channel);
        self.wait_until(prepared.id(), |threads| threads.stoppers.len())
    }

    /// Sends them away. A device that waited has nobody's commands then, and waits on.
    fn leave(mut self, id: u32) {
        self.is_leaving = true;
        self.channels.clear();
        self.stoppers.iter().for_each(Stopper::leave);
        let _ = self.wait_until_ended(id);
        if self.running == 0 {
            // The driver lets the next server in when the threads of the last one are no more.
            for handle in self.handles {
                let _ = handle.join();
            }
        }
    }

    /// Hears one word more, until `deadline`, if there is one; false if none came.
    fn hear(&mut self, deadline: Option<Instant>) -> bool {
        let word = match deadline {
            None => self.told.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                self.told.recv_timeout(left)
            }
        };
        match word {
            Ok(Word::Ready) => self.ready += 1,
            Ok(Word::Begun(stopper)) => {
                if self.is_leaving {
                    stopper.leave();
                }
                self.stoppers.push(stopper);
            }
            Ok(Word::Failed(error)) => {
                self.error.get_or_insert(error);
            }
            Ok(Word::Ended) => self.running -= 1,
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => self.running = 0,
        }
        true
    }

    /// Waits until all threads are so far.
    fn wait_until(&mut self, id: u32, so_far: fn(&Self) -> usize) -> Result<(), UblkError> {
        let threads = self.running;
        let limit = THREADS_LIMIT;
        let deadline = Instant::now() + limit;
        while so_far(self) < threads {
            let heard = self.hear(Some(deadline));
            if let Some(error) = self.error.take() {
                return Err(error);
            }
            if !heard || self.running < threads {
                let threads = threads - so_far(self);
                return Err(UblkError::Hangs { id, threads, limit });
            }
        }
        Ok(())
    }

    fn hurry(&self) {
        self.stoppers.iter().for_each(Stopper::hurry);
    }

    /// Waits until all threads are at their end.
    fn wait_until_ended(&mut self, id: u32) -> Result<(), UblkError> {
        let limit = THREADS_LIMIT;
        let deadline = Instant::now() + limit;
        while self.running > 0 {
            if !self.hear(Some(deadline)) {
                let threads = self.running;
                return Err(UblkError::Hangs { id, threads, limit });
            }
        }
        self.error.take().map_or(Ok(()), Err)
    }
}

/// Stops a [`Disk`] of this process from any thread: see [`Disk::stopper`].
#[derive(Debug, Clone)]
pub struct DiskStopper {
    /// Open already: there may be no descriptor left when it is wanted.
    control: Control,
    node: Node,
    stoppers: Vec<Stopper>,
}

impl DiskStopper {
    /// Stops the disk; one that is gone stays so, whoever has its number now. Requests in flight have five seconds to
    /// end; then they are errors.
    ///
    /// # Errors
    /// As [`Control::stop`].
    pub fn stop(&self) -> Result<(), UblkError> {
        self.stoppers.iter().for_each(Stopper::hurry);
        match self.node.stop(&self.control) {
            Err(UblkError::NoDevice { .. }) => Ok(()),
            stopped => stopped,
        }
    }
}

/// A disk that this process serves.
///
/// Dropping it stops and deletes it, and waits for that as long as it takes to be sure: requests in flight have five
/// seconds to end.
#[derive(Debug)]
pub struct Disk {
    /// There until it is deleted.
    device: Option<Device<Live>>,
    threads: Threads,
    control: Control,
    node: Node,
}

impl Disk {
    /// Where the disk is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.device.as_ref().map(Device::path).unwrap_or_default()
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.node.id()
    }

    /// What the driver made of what was asked for.
    #[must_use]
    pub fn info(&self) -> UblksrvCtrlDevInfo {
        self.device
            .as_ref()
            .map(|device| *device.info())
            .unwrap_or_default()
    }

    /// The `UBLK_F_` flags that were asked for and that the driver does not know.
    #[must_use]
    pub fn cleared_flags(&self) -> u64 {
        self.device.as_ref().map_or(0, Device::cleared_flags)
    }

    /// What stops the disk from elsewhere, while this thread [waits](Self::wait).
    #[must_use]
    pub fn stopper(&self) -> DiskStopper {
        DiskStopper {
            control: self.control.clone(),
            node: self.node,
            stoppers: self.threads.stoppers.clone(),
        }
    }

    /// Waits until the disk is stopped by somebody else, and deletes it.
    ///
    /// # Errors
    /// Why its threads failed, if they did; what deleting says.
    pub fn wait(mut self) -> Result<(), UblkError> {
        while self.threads.running > 0 {
            self.threads.hear(None);
        }
        self.end()
    }

    /// Stops the disk and deletes it. Who has it open gets errors from then on.
    ///
    /// # Errors
    /// Why its threads failed, if they did; [`UblkError::TimedOut`] or [`UblkError::Hangs`] where the code of the
    /// device keeps a thread, which keeps the driver: it goes on when the thread does, or this process ends.
    pub fn delete(mut self) -> Result<(), UblkError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), UblkError> {
        let Some(device) = self.device.take() else {
            return Ok(());
        };
        self.threads.hurry();
        let stopped = match device.stop() {
            // Somebody has deleted it.
            Err(UblkError::NoDevice { .. }) => Ok(()),
            stopped => stopped,
        };
        match stopped {
            Ok(()) => {}
            Err(UblkError::TimedOut { .. }) => {
                // What hangs would hang again.
                device.leave();
                return stopped;
            }
            // It could not be asked for, as without descriptors. Threads that go give theirs back.
            Err(_) => {
                self.threads.is_leaving = true;
                self.threads.stoppers.iter().for_each(Stopper::leave);
            }
        }
        let ended = self.threads.wait_until_ended(device.id());
        device.delete().and(ended)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // There is nobody to hear of an error.
        let _ = self.end();
    }
}
