//! A host for devices that the kernel's own driver uses: the driver sets queues up by VDUSE, and what it has set up is
//! written into the registers of a [`Mmio`] transport.

use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::{fs, io};

use pepita_virtio::{
    Device, GuestRam, Mmio, STATUS_ACKNOWLEDGE, STATUS_DRIVER, STATUS_DRIVER_OK,
    STATUS_FEATURES_OK, STATUS_NEEDS_RESET, Signal,
};
use rustix::event::{EventfdFlags, eventfd};

use crate::vduse::{Request, Vduse, wait_for_any};

/// Addresses go through the kernel's mapping of devices, as VDUSE wants it. virtio 1.3, 6
const VIRTIO_F_ACCESS_PLATFORM: u64 = 1 << 33;

/// Registers of the transport. virtio 1.3, 4.2.2
const DEVICE_ID: u64 = 0x08;
const DEVICE_FEATURES: u64 = 0x10;
const DEVICE_FEATURES_SEL: u64 = 0x14;
const DRIVER_FEATURES: u64 = 0x20;
const DRIVER_FEATURES_SEL: u64 = 0x24;
const QUEUE_SEL: u64 = 0x30;
const QUEUE_SIZE_MAX: u64 = 0x34;
const QUEUE_SIZE: u64 = 0x38;
const QUEUE_READY: u64 = 0x44;
const INTERRUPT_STATUS: u64 = 0x60;
const INTERRUPT_ACK: u64 = 0x64;
const STATUS: u64 = 0x70;
const QUEUE_AREAS: [u64; 3] = [0x80, 0x90, 0xa0];
const CONFIG: u64 = 0x100;

fn read(mmio: &Mmio, register: u64) -> u32 {
    let mut word = [0; 4];
    mmio.read(register, &mut word);
    u32::from_le_bytes(word)
}

fn write(mmio: &Mmio, register: u64, word: u32) {
    mmio.write(register, &word.to_le_bytes());
}

/// Makes a device, whenever the driver has reset the one before.
type Make = Arc<dyn Fn() -> Box<dyn Device> + Send + Sync>;

/// What a device is, as its registers say.
struct Kind {
    id: u32,
    features: u64,
    config: Vec<u8>,
    queues: u32,
    queue_size: u16,
}

impl Kind {
    fn of(make: &Make, config_bytes: usize) -> Self {
        let mmio = Mmio::new(make(), GuestRam::zeroed(1 << 16), |_| {});
        let half = |word| {
            write(&mmio, DEVICE_FEATURES_SEL, word);
            u64::from(read(&mmio, DEVICE_FEATURES))
        };
        let features = half(0) | half(1) << 32;
        let mut config = vec![0; config_bytes];
        mmio.read(CONFIG, &mut config);
        let size = |queue| {
            write(&mmio, QUEUE_SEL, queue);
            read(&mmio, QUEUE_SIZE_MAX)
        };
        let queues = (0..).find(|queue| size(*queue) == 0).expect("an end");
        Self {
            id: read(&mmio, DEVICE_ID),
            features,
            config,
            queues,
            queue_size: u16::try_from(size(0)).expect("a size of a queue"),
        }
    }
}

/// A device that the kernel's driver has.
pub(crate) struct Host {
    name: &'static str,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<io::Result<()>>>,
    /// How often the driver has reset a device that it had used.
    pub(crate) resets: Arc<AtomicU32>,
}

impl Host {
    /// Gives the device to the kernel's driver, with those of its features that are among `features`; waits until the
    /// driver has taken it.
    pub(crate) fn begin(
        name: &'static str,
        features: u64,
        config_bytes: usize,
        make: impl Fn() -> Box<dyn Device> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let make: Make = Arc::new(make);
        let kind = Kind::of(&make, config_bytes);
        let vduse = Vduse::create(
            name,
            kind.id,
            kind.features & features | VIRTIO_F_ACCESS_PLATFORM,
            &kind.config,
            kind.queues,
            kind.queue_size,
        )?;
        let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let (stop, resets) = (Arc::new(event()?), Arc::new(AtomicU32::new(0)));
        let server = Server {
            vduse,
            make,
            kicks: (0..kind.queues)
                .map(|_| event())
                .collect::<Result<_, _>>()?,
            line: Arc::new(event()?),
            status: 0,
            mmio: None,
            resets: Arc::clone(&resets),
        };
        let stopped = Arc::clone(&stop);
        let host = Self {
            name,
            stop,
            thread: Some(thread::spawn(move || server.run(&stopped))),
            resets,
        };
        vdpa(&["dev", "add", "name", name, "mgmtdev", "vduse"])?;
        Ok(host)
    }

    /// The name of the device on the bus of virtio devices.
    pub(crate) fn device(&self) -> String {
        let bus = format!("/sys/bus/vdpa/devices/{}", self.name);
        named(&bus, "virtio").expect("the driver's bus has it")
    }

    /// The path of the disk that the driver has made of it, if it has.
    pub(crate) fn disk(&self) -> Option<String> {
        let blocks = format!("/sys/bus/virtio/devices/{}/block", self.device());
        named(&blocks, "vd").map(|name| format!("/dev/{name}"))
    }
}

/// The first entry of a folder whose name begins so.
fn named(folder: &str, with: &str) -> Option<String> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let mut names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.find(|name| name.starts_with(with))
}

impl Drop for Host {
    fn drop(&mut self) {
        let gone = vdpa(&["dev", "del", self.name]);
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            gone.expect("the driver lets go");
            let ended = ended.expect("a thread").expect("no panic");
            ended.expect("nothing fails");
        }
    }
}

/// Runs vdpa(8).
fn vdpa(args: &[&str]) -> io::Result<()> {
    let done = Command::new("vdpa").args(args).output()?;
    if done.status.success() {
        Ok(())
    } else {
        Err(io::Error::other(String::from_utf8_lossy(&done.stderr)))
    }
}

struct Server {
    vduse: Vduse,
    make: Make,
    kicks: Vec<OwnedFd>,
    /// The line was raised.
    line: Arc<OwnedFd>,
    status: u8,
    /// From the first kick on: only then has the driver mapped all memory.
    mmio: Option<Mmio>,
    resets: Arc<AtomicU32>,
}

impl Server {
    fn run(mut self, stop: &OwnedFd) -> io::Result<()> {
        loop {
            let device = self.mmio.as_ref().and_then(Mmio::descriptor);
            let mut wanted = vec![stop.as_raw_fd(), self.vduse.descriptor()];
            wanted.extend([self.line.as_raw_fd(), device.unwrap_or(-1)]);
            wanted.extend(self.kicks.iter().map(OwnedFd::as_raw_fd));
            let readable = wait_for_any(&wanted)?;
            if readable[0] {
                return Ok(());
            }
            if readable[1] {
                self.answer()?;
            }
            if readable[2] {
                self.interrupt()?;
            }
            if let Some(mmio) = self.mmio.as_ref().filter(|_| readable[3]) {
                mmio.poll();
            }
            for queue in 0..self.kicks.len() {
                if readable[4 + queue] {
                    self.kick(u16::try_from(queue).expect("few queues"))?;
                }
            }
        }
    }

    fn answer(&mut self) -> io::Result<()> {
        let message = self.vduse.receive()?;
        if let Request::Status(status) = message.request {
            if status == 0 {
                // The driver may take its memory back once this is answered.
                if let Some(mmio) = self.mmio.take() {
                    write(&mmio, STATUS, 0);
                    assert_eq!(read(&mmio, STATUS), 0, "the device lets go");
                    self.resets.fetch_add(1, Ordering::Relaxed);
                }
            } else if status & !self.status & STATUS_DRIVER_OK != 0 {
                for (index, kick) in (0..).zip(&self.kicks) {
                    let _ = rustix::io::read(kick, &mut [0; 8]);
                    self.vduse.kicks(index, kick)?;
                }
            }
            self.status = status;
        }
        self.vduse.answer(&message)
    }

    /// Tells the driver, whichever queue it is about.
    fn interrupt(&self) -> io::Result<()> {
        rustix::io::read(&self.line, &mut [0; 8])?;
        let Some(mmio) = &self.mmio else {
            return Ok(());
        };
        let reasons = read(mmio, INTERRUPT_STATUS);
        write(mmio, INTERRUPT_ACK, reasons);
        assert_eq!(read(mmio, STATUS) & u32::from(STATUS_NEEDS_RESET), 0);
        (0..)
            .zip(&self.kicks)
            .try_for_each(|(index, _)| self.vduse.interrupt(index))
    }

    fn kick(&mut self, queue: u16) -> io::Result<()> {
        rustix::io::read(&self.kicks[usize::from(queue)], &mut [0; 8])?;
        if self.mmio.is_none() {
            self.mmio = Some(self.set_up()?);
        }
        if let Some(mmio) = &self.mmio {
            while mmio.kick(queue) {}
        }
        Ok(())
    }

    /// Does with the registers what the driver has done. virtio 1.3, 3.1.1
    fn set_up(&self) -> io::Result<Mmio> {
        let line = Arc::clone(&self.line);
        let signal = move |signal| {
            if signal == Signal::Line(true) {
                let _ = rustix::io::write(&*line, &1_u64.to_ne_bytes());
            }
        };
        let mmio = Mmio::new((self.make)(), self.vduse.ram()?, signal);
        let mut status = 0;
        let mut step = |bit: u8| {
            status |= bit;
            write(&mmio, STATUS, status.into());
            assert_eq!(read(&mmio, STATUS), u32::from(status));
        };
        step(STATUS_ACKNOWLEDGE);
        step(STATUS_DRIVER);
        let features = self.vduse.features()? & !VIRTIO_F_ACCESS_PLATFORM;
        for (word, bits) in [(0, features), (1, features >> 32)] {
            write(&mmio, DRIVER_FEATURES_SEL, word);
            write(&mmio, DRIVER_FEATURES, low(bits));
        }
        step(STATUS_FEATURES_OK);
        for (index, _) in (0..).zip(&self.kicks) {
            let queue = self.vduse.queue(index)?;
            write(&mmio, QUEUE_SEL, index);
            write(&mmio, QUEUE_SIZE, queue.size);
            for (register, address) in QUEUE_AREAS.into_iter().zip(queue.areas) {
                write(&mmio, register, low(address));
                write(&mmio, register + 4, low(address >> 32));
            }
            write(&mmio, QUEUE_READY, queue.is_ready.into());
        }
        step(STATUS_DRIVER_OK);
        Ok(mmio)
    }
}

/// The low 32 bits.
fn low(word: u64) -> u32 {
    u32::try_from(word & u64::from(u32::MAX)).expect("32 bits")
}
