//! A guest without a processor: memory, a device on a bus, and a driver that reaches it by the bus alone.

mod mmio;
pub(crate) mod pci;

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use pepita_virtio::{
    Device, DriverQueue, Element, GuestRam, RingFeatures, STATUS_ACKNOWLEDGE, STATUS_DRIVER,
    STATUS_DRIVER_OK, STATUS_FEATURES_OK, Signal, Slot, Used, VIRTIO_F_VERSION_1, VirtQueue,
};

pub(crate) use mmio::MmioBus;
pub(crate) use pci::PciBus;

/// Where the rings of queues are, a piece for each.
const RINGS: u64 = 0;
const RING_BYTES: u64 = 0x2_0000;
/// Where buffers are.
pub(crate) const DATA: u64 = 0x10_0000;
/// Where the memory ends.
pub(crate) const END: u64 = 0x40_0000;

/// What a driver does with a transport.
pub(crate) trait Bus {
    fn device_id(&self) -> u32;
    fn status(&self) -> u8;
    fn set_status(&self, status: u8);
    /// The 32 bits of features that are offered from bit 32 · `word` on.
    fn offered(&self, word: u32) -> u32;
    fn accept(&self, word: u32, bits: u32);
    fn queue_size_max(&self, queue: u16) -> u16;
    fn set_queue_size(&self, queue: u16, size: u16);
    /// Tells all of a queue but that it is enabled.
    fn set_queue(&self, queue: u16, registers: &VirtQueue);
    fn enable_queue(&self, queue: u16);
    fn is_enabled(&self, queue: u16) -> bool;
    fn reset_queue(&self, queue: u16);
    fn notify(&self, queue: u16);
    fn generation(&self) -> u32;
    fn read_config(&self, offset: u64, into: &mut [u8]);
    fn write_config(&self, offset: u64, from: &[u8]);
    /// What the driver was told since the last time: that buffers are used, that the configuration has changed.
    fn interrupts(&self) -> (bool, bool);
    fn host(&self) -> Host<'_>;
}

/// What the host's event loop calls.
#[derive(Clone, Copy)]
pub(crate) enum Host<'a> {
    Mmio(&'a pepita_virtio::Mmio),
    Pci(&'a pepita_virtio::Pci),
}

impl Host<'_> {
    pub(crate) fn kick(self, queue: u16) -> bool {
        match self {
            Self::Mmio(mmio) => mmio.kick(queue),
            Self::Pci(pci) => pci.kick(queue),
        }
    }

    pub(crate) fn poll(self) {
        match self {
            Self::Mmio(mmio) => mmio.poll(),
            Self::Pci(pci) => pci.poll(),
        }
    }

    pub(crate) fn descriptor(self) -> Option<i32> {
        match self {
            Self::Mmio(mmio) => mmio.descriptor(),
            Self::Pci(pci) => pci.descriptor(),
        }
    }
}

/// The transports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Mmio,
    Pci,
}

pub(crate) const TRANSPORTS: [Transport; 2] = [Transport::Mmio, Transport::Pci];

/// What the interrupt controller has got.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    list: Mutex<Vec<Signal>>,
    condition: Condvar,
    /// Rung too, where somebody waits by a descriptor; whether it has rung.
    bell: OnceLock<(PipeWriter, Arc<AtomicBool>)>,
}

/// Readable from a signal on until it is [quiet](Self::quiet).
pub(crate) struct Bell {
    reader: PipeReader,
    has_rung: Arc<AtomicBool>,
}

impl Bell {
    pub(crate) fn quiet(&mut self) {
        if self.has_rung.load(Ordering::SeqCst) {
            self.reader.read_exact(&mut [0]).expect("it has rung");
            self.has_rung.store(false, Ordering::SeqCst);
        }
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.reader.as_raw_fd()
    }
}

impl Signals {
    fn push(&self, signal: Signal) {
        let list = self.list.lock();
        list.unwrap_or_else(PoisonError::into_inner).push(signal);
        self.condition.notify_all();
        if let Some((writer, has_rung)) = self.bell.get()
            && !has_rung.swap(true, Ordering::SeqCst)
        {
            let mut writer = writer;
            writer.write_all(&[1]).expect("somebody listens");
        }
    }

    /// A descriptor that tells of signals from now on.
    pub(crate) fn bell(&self) -> Bell {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let has_rung = Arc::new(AtomicBool::new(false));
        let kept = self.bell.set((writer, Arc::clone(&has_rung)));
        assert!(kept.is_ok(), "one bell");
        Bell { reader, has_rung }
    }

    pub(crate) fn take(&self) -> Vec<Signal> {
        std::mem::take(&mut *self.list.lock().expect("no panic"))
    }

    /// Waits until there is something to take.
    pub(crate) fn wait(&self) {
        let list = self.list.lock().expect("no panic");
        let patience = Duration::from_secs(60);
        let waited = self
            .condition
            .wait_timeout_while(list, patience, |list| list.is_empty());
        assert!(
            !waited.expect("no panic").1.timed_out(),
            "an interrupt comes"
        );
    }
}

/// Memory of guests that are gone, for those that come.
static FREE: Mutex<Vec<&'static GuestRam>> = Mutex::new(Vec::new());

/// Where the books of drivers are, which live for ever.
static BOOKS: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// Gives a guest's memory back when the device is gone.
struct Home(&'static GuestRam);

impl Home {
    fn new() -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = usize::try_from(END).expect("small");
        let Some(ram) = free else {
            return Self(Box::leak(Box::new(GuestRam::zeroed(bytes))));
        };
        ram.write(0, &vec![0; bytes]).expect("there is memory");
        Self(ram)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(self.0);
    }
}

/// The guest, and what its driver knows.
pub(crate) struct Guest {
    pub(crate) ram: &'static GuestRam,
    pub(crate) bus: Box<dyn Bus>,
    pub(crate) signals: Arc<Signals>,
    pub(crate) queues: Vec<DriverQueue<'static>>,
    /// After the device.
    _home: Home,
}

impl Guest {
    /// A guest whose driver has done nothing yet.
    pub(crate) fn new(transport: Transport, device: Box<dyn Device>) -> Self {
        let home = Home::new();
        let ram = home.0;
        let signals = Arc::new(Signals::default());
        let bus: Box<dyn Bus> = match transport {
            Transport::Mmio => Box::new(MmioBus::new(device, ram, &signals)),
            Transport::Pci => Box::new(PciBus::new(device, ram, &signals)),
        };
        Self {
            ram,
            bus,
            signals,
            queues: Vec::new(),
            _home: home,
        }
    }

    /// A guest whose driver is ready, with those of `features` that are offered, and all queues.
    pub(crate) fn ready(transport: Transport, device: Box<dyn Device>, features: u64) -> Self {
        let mut guest = Self::new(transport, device);
        guest.init(features);
        guest
    }

    pub(crate) fn offered(&self) -> u64 {
        u64::from(self.bus.offered(1)) << 32 | u64::from(self.bus.offered(0))
    }

    pub(crate) fn accept(&self, features: u64) {
        for (word, bits) in [(0, features), (1, features >> 32)] {
            let bits = u32::try_from(bits & u64::from(u32::MAX)).expect("32 bits");
            self.bus.accept(word, bits);
        }
    }

    /// Up to the queues: virtio 1.3, 3.1.1, steps 1 to 6. Gives the features that are agreed on.
    pub(crate) fn negotiate(&self, features: u64) -> u64 {
        let bus = &*self.bus;
        bus.set_status(0);
        assert_eq!(bus.status(), 0, "the device was reset");
        bus.set_status(STATUS_ACKNOWLEDGE);
        bus.set_status(STATUS_ACKNOWLEDGE | STATUS_DRIVER);
        let features = self.offered() & (features | VIRTIO_F_VERSION_1);
        self.accept(features);
        let agreed = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK;
        bus.set_status(agreed);
        assert_eq!(bus.status(), agreed, "the features are agreed on");
        features
    }

    /// virtio 1.3, 3.1.1
    pub(crate) fn init(&mut self, features: u64) {
        let features = self.negotiate(features);
        self.queues.clear();
        for index in 0.. {
            let size = self.bus.queue_size_max(index);
            if size == 0 {
                break;
            }
            let queue = self.new_queue(index, size, RingFeatures::from_bits(features));
            self.queues.push(queue);
        }
        let ready = self.bus.status() | STATUS_DRIVER_OK;
        self.bus.set_status(ready);
        assert_eq!(self.bus.status(), ready, "the device has begun");
    }

    /// A queue of `size` descriptors, which the device is told of.
    pub(crate) fn new_queue(
        &self,
        index: u16,
        size: u16,
        features: RingFeatures,
    ) -> DriverQueue<'static> {
        let slots = vec![Slot::default(); size.into()].leak();
        let mut books = BOOKS.lock().unwrap_or_else(PoisonError::into_inner);
        books.push(slots.as_ptr().addr());
        let bytes = DriverQueue::bytes(size, features);
        let ring = self
            .ram
            .shared(RINGS + u64::from(index) * RING_BYTES, bytes);
        let queue = DriverQueue::new(ring.expect("there is memory"), slots, features);
        self.bus.set_queue(index, &queue.registers());
        self.bus.enable_queue(index);
        assert!(self.bus.is_enabled(index));
        queue
    }

    /// Adds a buffer to a queue and kicks, if that is wanted.
    pub(crate) fn add(&mut self, queue: u16, readable: &[Element], writable: &[Element]) -> u16 {
        let driver = &mut self.queues[usize::from(queue)];
        let id = driver.add(readable, writable).expect("there is room");
        if driver.needs_kick() {
            self.bus.notify(queue);
        }
        id
    }

    /// What the device is done with.
    pub(crate) fn take(&mut self, queue: u16) -> Option<Used> {
        let driver = &mut self.queues[usize::from(queue)];
        driver.take_used().expect("the device does nothing wrong")
    }

    /// Waits for a buffer that the device is done with.
    pub(crate) fn wait(&mut self, queue: u16) -> Used {
        loop {
            if let Some(used) = self.take(queue) {
                return used;
            }
            let driver = &mut self.queues[usize::from(queue)];
            if !driver.enable_notifications() {
                self.signals.wait();
                self.bus.interrupts();
            }
        }
    }

    pub(crate) fn write(&self, addr: u64, bytes: &[u8]) {
        self.ram.write(addr, bytes).expect("there is memory");
    }

    pub(crate) fn read<const N: usize>(&self, addr: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.ram.read(addr, &mut bytes).expect("there is memory");
        bytes
    }
}
