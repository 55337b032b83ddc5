//! A device, served: [`Server`] says how, and [`Disk`] is the disk.

use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use pepita_sys::blk_mq::BlockDevice;
use pepita_sys::error::KernelError;
use pepita_sys::ublk::UblksrvCtrlDevInfo;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::channel::Channel;
use super::control::Control;
use super::device::{Device, DeviceOptions, Live, Prepared};
use super::error::UblkError;
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

    /// How long a request may take: see [`QueueThread::request_limit`].
    pub const fn request_limit(mut self, limit: Duration) -> Self {
        self.request_limit = Some(limit);
        self
    }

    /// Makes a disk of `device`.
    ///
    /// # Errors
    /// As [`Control::open`], [`Device::add`], [`Device::set_params`], [`QueueThread::attach`] and
    /// [`Device::start`]. There is no disk then.
    pub fn serve<D: BlockDevice + 'static>(&self, device: D) -> Result<Disk, UblkError> {
        let control = Control::open()?;
        let added = Device::add(&control, &self.options)?;
        let prepared = added.set_params(&device.geometry())?;
        self.start(prepared, device)
    }

    /// Makes `device` serve the disk `id`, whose server is gone. It has the queues that it has.
    ///
    /// # Errors
    /// As [`Self::serve`] and [`Device::recover`]. The disk waits on then.
    pub fn recover<D: BlockDevice + 'static>(&self, id: u32, device: D) -> Result<Disk, UblkError> {
        let control = Control::open()?;
        let prepared = Device::recover(&control, id, &device.geometry())?;
        self.start(prepared, device)
    }

    fn start<D: BlockDevice + 'static>(
        &self,
        prepared: Device<Prepared>,
        device: D,
    ) -> Result<Disk, UblkError> {
        let channel = prepared.channel()?;
        let (tell, told) = mpsc::channel();
        let device = Arc::new(device);
        let mut threads = Threads {
            stoppers: Vec::new(),
            running: 0,
            told,
            error: None,
        };
        for queue_id in 0..prepared.info().nr_hw_queues {
            let job = Job {
                queue_id,
                cpus: prepared.queue_affinity(queue_id)?,
                channel: channel.clone(),
                device: Arc::clone(&device),
                limit: self.request_limit,
                tell: tell.clone(),
            };
            let named = format!("ublk{}q{queue_id}", prepared.id());
            let thread = thread::Builder::new().name(named).spawn(|| job.run());
            thread.map_err(|error| KernelError::from_errno("clone", error.into()))?;
            threads.running += 1;
        }
        drop((channel, tell));
        let begun = threads.wait_until_begun(prepared.id());
        match begun.and_then(|()| prepared.start()) {
            Ok(device) => Ok(Disk {
                device: Some(device),
                threads,
            }),
            Err(error) => Err(error),
        }
    }
}

/// What a thread tells.
enum Word {
    /// Its queue has been fetched.
    Begun(Stopper),
    /// It has failed, and answers with errors.
    Failed(UblkError),
    /// It is at its end.
    Ended,
}

/// One queue's thread.
struct Job<D> {
    queue_id: u16,
    cpus: Vec<usize>,
    channel: Channel,
    device: Arc<D>,
    limit: Option<Duration>,
    tell: Sender<Word>,
}

impl<D: BlockDevice> Job<D> {
    fn run(self) {
        let Self {
            queue_id,
            cpus,
            channel,
            device,
            limit,
            tell,
        } = self;
        pin(&cpus);
        let id = channel.info().dev_id;
        let served = panic::catch_unwind(AssertUnwindSafe(|| {
            serve(queue_id, channel, &*device, limit, &tell)
        }));
        let served = served.unwrap_or_else(|panic| {
            Err(UblkError::Panicked {
                message: told(&*panic),
            })
        });
        if let Err(error) = served {
            let _ = tell.send(Word::Failed(error));
            let _ = Control::open().and_then(|control| control.stop(id));
        }
        drop(device);
        let _ = tell.send(Word::Ended);
    }
}

/// Serves a queue until it is over.
fn serve<D: BlockDevice>(
    queue_id: u16,
    channel: Channel,
    device: &D,
    limit: Option<Duration>,
    tell: &Sender<Word>,
) -> Result<(), UblkError> {
    let id = channel.info().dev_id;
    let mut thread = QueueThread::new(channel.info().queue_depth.into())?;
    if let Some(limit) = limit {
        thread.request_limit(limit);
    }
    let attached = thread.attach(&channel, queue_id, device);
    drop(channel);
    attached?;
    let _ = tell.send(Word::Begun(thread.stopper()));
    let Err(error) = thread.run() else {
        return Ok(());
    };
    let _ = tell.send(Word::Failed(error));
    // The device is stopped from elsewhere, since stopping it wants this thread's answers.
    thread::scope(|scope| {
        scope.spawn(|| Control::open().and_then(|control| control.stop(id)));
        thread.refuse()
    })
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
    stoppers: Vec<Stopper>,
    /// Count of those that have not ended.
    running: usize,
    told: Receiver<Word>,
    /// The first that was told.
    error: Option<UblkError>,
}

impl Threads {
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
            Ok(Word::Begun(stopper)) => self.stoppers.push(stopper),
            Ok(Word::Failed(error)) => {
                self.error.get_or_insert(error);
            }
            Ok(Word::Ended) => self.running -= 1,
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => self.running = 0,
        }
        true
    }

    /// Waits until all threads have fetched.
    fn wait_until_begun(&mut self, id: u32) -> Result<(), UblkError> {
        let threads = self.running;
        let limit = THREADS_LIMIT;
        let deadline = Instant::now() + limit;
        while self.stoppers.len() < threads {
            let heard = self.hear(Some(deadline));
            if let Some(error) = self.error.take() {
                return Err(error);
            }
            if !heard || self.running < threads {
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

/// A disk that this process serves.
///
/// Dropping it stops and deletes it, and waits for that as long as it takes to be sure: requests in flight have five
/// seconds to end.
#[derive(Debug)]
pub struct Disk {
    /// There until it is deleted.
    device: Option<Device<Live>>,
    threads: Threads,
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
        self.device.as_ref().map_or(u32::MAX, Device::id)
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
        if stopped.is_err() {
            // What hangs would hang again.
            device.leave();
            return stopped;
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
