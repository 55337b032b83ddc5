//! [`VirtioBlock`]: a disk for a guest, of any block device. virtio 1.3, 5.2

mod config;
mod flight;
mod host;
mod queue;
mod request;
mod worker;

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use pepita_sys::blk_mq::{BlockDevice, Geometry, GeometryError, WriteCache};
use pepita_sys::error::{Errno, KernelError};
use rustix::event::{EventfdFlags, eventfd};

use crate::device::ActiveQueue;
use crate::format::{QUEUE_SIZE_MAX, RingFeatures};
use crate::limit::{RateLimiter, RateLimits};
use crate::transport::{Activation, Busy, Device};

pub use config::BlockConfig;
use worker::{Left, Worker};

/// The device's number. virtio 1.3, 5
const ID: u32 = 2;

/// Descriptors of a queue, when nobody says otherwise.
const QUEUE_SIZE: u16 = 256;

/// An eventfd that wakes a queue's thread.
fn bell() -> Result<Arc<OwnedFd>, KernelError> {
    let bell = eventfd(0, EventfdFlags::CLOEXEC);
    bell.map(Arc::new).map_err(|errno| {
        let errno = Errno::from_raw(errno.raw_os_error());
        KernelError::from_errno("eventfd2", errno)
    })
}

/// Why there is no disk of a block device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// It cannot be as it says.
    #[error("the device's geometry cannot be")]
    Geometry(#[source] GeometryError),
    /// It has zones, of which this disk does not tell the driver.
    #[error("the device has zones")]
    Zoned,
    /// A count of queues, or their size.
    #[error("{queues} queues of {size}: 1..=1024 of a power of two in 4..={QUEUE_SIZE_MAX}")]
    Queues {
        /// Count of queues.
        queues: u16,
        /// Descriptors of each.
        size: u16,
    },
    /// There is no eventfd to be had.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl From<BlockError> for KernelError {
    fn from(error: BlockError) -> Self {
        let operation = "making a virtio disk";
        match error {
            BlockError::Geometry(error) => error.into(),
            BlockError::Zoned => Self::from_errno(operation, Errno::EOPNOTSUPP),
            BlockError::Queues { .. } => Self::from_errno(operation, Errno::EINVAL),
            BlockError::Kernel(error) => error,
        }
    }
}

/// A disk for a guest: any [`BlockDevice`], each queue of which has a thread of its own, with a lane of its own.
///
/// The guest's memory goes to the device as it is, without a copy. It reads, writes, flushes, discards and writes zeroes as
/// far as the device does. It is as large as the device was when the disk was made.
///
/// Where the device has a cache, and the driver has not agreed to flush it, or has switched to write-through, a write ends when
/// it is durable.
///
/// A reset ends the requests that the device has, and waits for them. One that it does not give back, as when a kernel
/// hangs, keeps the guest's memory, and the driver is told DEVICE_NEEDS_RESET until it ends.
///
/// ```
/// use std::sync::Arc;
/// use pepita_io::RamDevice;
/// use pepita_virtio::{GuestRam, Mmio, VirtioBlock};
///
/// let device = Arc::new(RamDevice::new(2048));
/// let disk = VirtioBlock::with_queues(device, 2, 128)?;
/// assert_eq!(disk.capacity(), 2048);
///
/// let mmio = Mmio::new(Box::new(disk), GuestRam::zeroed(1 << 20), |_signal| {});
/// let mut sectors = [0; 4];
/// mmio.read(0x100, &mut sectors);
/// assert_eq!(u32::from_le_bytes(sectors), 2048);
/// // The host binds this to the guest's notifications, and no thread stands between.
/// assert!(mmio.kick_descriptor(1).is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct VirtioBlock<D: BlockDevice + 'static> {
    device: Arc<D>,
    geometry: Geometry,
    config: BlockConfig,
    bytes: [u8; BlockConfig::BYTES],
    sizes: Box<[u16]>,
    /// One for each queue: what wakes its thread.
    bells: Box<[Arc<OwnedFd>]>,
    is_write_back: Arc<AtomicBool>,
    /// The driver may switch the cache.
    can_switch: bool,
    limiter: Option<Arc<Mutex<RateLimiter>>>,
    activation: Option<Activation>,
    workers: Box<[Option<Worker>]>,
    /// What threads that have ended could not let go of.
    left: Vec<Left>,
}

impl<D: BlockDevice + 'static> VirtioBlock<D> {
    /// A disk with one queue of 256 descriptors.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn new(device: Arc<D>) -> Result<Self, BlockError> {
        Self::with_queues(device, 1, QUEUE_SIZE)
    }

    /// A disk with `queues` queues of `size` descriptors.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn with_queues(device: Arc<D>, queues: u16, size: u16) -> Result<Self, BlockError> {
        let geometry = device.geometry();
        geometry.validate().map_err(BlockError::Geometry)?;
        if geometry.zones.is_some() {
            return Err(BlockError::Zoned);
        }
        let sizes = size.is_power_of_two() && (4..=QUEUE_SIZE_MAX).contains(&size);
        if !sizes || queues == 0 || queues > 1024 {
            return Err(BlockError::Queues { queues, size });
        }
        let bells = (0..queues).map(|_| bell());
        let config = BlockConfig::new(&geometry, queues, size);
        Ok(Self {
            bells: bells.collect::<Result<_, _>>()?,
            workers: (0..queues).map(|_| None).collect(),
            sizes: vec![size; queues.into()].into_boxed_slice(),
            is_write_back: Arc::new(AtomicBool::new(config.is_write_back)),
            can_switch: false,
            bytes: config.to_bytes(),
            config,
            geometry,
            device,
            limiter: None,
            activation: None,
            left: Vec::new(),
        })
    }

    /// Holds all queues together to `limits`: bytes that are read and written, and requests of any kind. What goes beyond
    /// stays in the driver's queues until its time. Resets of the guest's do not fill the buckets.
    ///
    /// ```
    /// use std::num::NonZeroU64;
    /// use std::sync::Arc;
    /// use pepita_io::RamDevice;
    /// use pepita_virtio::{Rate, RateLimits, VirtioBlock};
    ///
    /// let bytes = Rate { per_second: NonZeroU64::new(50 << 20).expect("more than 0"), burst: 8 << 20 };
    /// let limits = RateLimits { bytes: Some(bytes), operations: None };
    /// let disk = VirtioBlock::new(Arc::new(RamDevice::new(2048)))?.limited(limits);
    /// assert_eq!(disk.capacity(), 2048);
    /// # Ok::<(), pepita_virtio::BlockError>(())
    /// ```
    #[must_use]
    pub fn limited(mut self, limits: RateLimits) -> Self {
        let limiter = RateLimiter::new(limits, Instant::now());
        self.limiter = Some(Arc::new(Mutex::new(limiter)));
        self
    }

    /// Sectors of 512 bytes.
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        self.config.capacity
    }

    fn has_cache(&self) -> bool {
        self.geometry.write_cache != WriteCache::WriteThrough
    }

    fn set_write_back(&mut self, is_write_back: bool) {
        self.is_write_back.store(is_write_back, Ordering::Relaxed);
        self.config.is_write_back = is_write_back;
        self.bytes = self.config.to_bytes();
    }

    /// Ends a queue's thread.
    fn stop(&mut self, index: usize) {
        if let Some(worker) = self.workers.get_mut(index).and_then(Option::take) {
            self.left.push(worker.stop());
        }
    }

    fn check_left(&mut self) -> Result<(), Busy> {
        self.left.retain(|left| left.buffers() > 0);
        let buffers = self.left.iter().map(Left::buffers).sum();
        if buffers == 0 {
            return Ok(());
        }
        Err(Busy { buffers })
    }
}

impl<D: BlockDevice + 'static> Device for VirtioBlock<D> {
    fn id(&self) -> u32 {
        ID
    }

    fn features(&self) -> u64 {
        let rings = RingFeatures {
            in_order: false,
            ..RingFeatures::ALL
        };
        self.config.features() | rings.to_bits()
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.sizes
    }

    fn config(&self) -> &[u8] {
        &self.bytes
    }

    fn write_config(&mut self, offset: usize, from: &[u8]) {
        // The mode of the cache is all that a driver can write. virtio 1.3, 5.2.6.1
        if let (BlockConfig::WRITEBACK, [mode @ (0 | 1)]) = (offset, from)
            && self.can_switch
        {
            self.set_write_back(*mode == 1);
        }
    }

    fn accept(&mut self, features: u64) -> bool {
        // virtio 1.3, 5.2.5.2 and 5.2.6.2: who does not flush gets writes that are durable.
        self.set_write_back(self.has_cache() && features & config::FLUSH != 0);
        self.can_switch = features & config::CONFIG_WCE != 0;
        true
    }

    fn activate(&mut self, activation: Activation) -> Result<(), KernelError> {
        self.activation = Some(activation);
        Ok(())
    }

    fn start_queue(&mut self, index: u16, queue: ActiveQueue) {
        let Some(activation) = &self.activation else {
            return;
        };
        let at = usize::from(index);
        let front = queue::Front {
            geometry: self.geometry,
            id: self.device.id(),
            queue_id: index,
            is_write_back: Arc::clone(&self.is_write_back),
            limiter: self.limiter.clone(),
        };
        let bell = Arc::clone(&self.bells[at]);
        let interrupt = activation.interrupt.clone();
        let device = Arc::clone(&self.device);
        match Worker::start(device, queue, front, bell, interrupt.clone()) {
            Ok(worker) => self.workers[at] = Some(worker),
            Err(_) => interrupt.needs_reset(),
        }
    }

    fn stop_queue(&mut self, index: u16) -> Result<(), Busy> {
        self.stop(index.into());
        self.check_left()
    }

    fn kick(&mut self, index: u16) -> bool {
        flight::ring(&self.bells[usize::from(index)]);
        false
    }

    fn reset(&mut self) -> Result<(), Busy> {
        for worker in self.workers.iter().flatten() {
            worker.ask_to_stop();
        }
        for index in 0..self.workers.len() {
            self.stop(index);
        }
        self.activation = None;
        self.can_switch = false;
        self.set_write_back(self.has_cache());
        self.check_left()
    }

    fn kick_descriptor(&self, index: u16) -> Option<i32> {
        let bell = self.bells.get(usize::from(index))?;
        Some(bell.as_raw_fd())
    }
}

impl<D: BlockDevice + 'static> Drop for VirtioBlock<D> {
    fn drop(&mut self) {
        // What is left keeps itself.
        let _ = self.reset();
    }
}
