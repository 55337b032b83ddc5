//! [`Mmio`]: a device as registers in memory. virtio 1.3, 4.2

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::control::Control;
use super::{Device, Interrupt, Signal};
use crate::format::Area;
use crate::memory::GuestRam;

/// "virt".
const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
/// Who made the device: "pepi".
const VENDOR: u32 = 0x6970_6570;

/// Offsets of the registers. virtio 1.3, 4.2.2
mod register {
    pub(super) const MAGIC_VALUE: u64 = 0x000;
    pub(super) const VERSION: u64 = 0x004;
    pub(super) const DEVICE_ID: u64 = 0x008;
    pub(super) const VENDOR_ID: u64 = 0x00c;
    pub(super) const DEVICE_FEATURES: u64 = 0x010;
    pub(super) const DEVICE_FEATURES_SEL: u64 = 0x014;
    pub(super) const DRIVER_FEATURES: u64 = 0x020;
    pub(super) const DRIVER_FEATURES_SEL: u64 = 0x024;
    pub(super) const QUEUE_SEL: u64 = 0x030;
    pub(super) const QUEUE_SIZE_MAX: u64 = 0x034;
    pub(super) const QUEUE_SIZE: u64 = 0x038;
    pub(super) const QUEUE_READY: u64 = 0x044;
    pub(super) const QUEUE_NOTIFY: u64 = 0x050;
    pub(super) const INTERRUPT_STATUS: u64 = 0x060;
    pub(super) const INTERRUPT_ACK: u64 = 0x064;
    pub(super) const STATUS: u64 = 0x070;
    /// Low and high word of each area's address.
    pub(super) const QUEUE_AREAS: [u64; 3] = [0x080, 0x090, 0x0a0];
    /// Length and base of a region of shared memory, of which there is none.
    pub(super) const SHM_LEN_LOW: u64 = 0x0b0;
    pub(super) const SHM_BASE_HIGH: u64 = 0x0bc;
    pub(super) const QUEUE_RESET: u64 = 0x0c0;
    pub(super) const CONFIG_GENERATION: u64 = 0x0fc;
    pub(super) const CONFIG: u64 = 0x100;
}

/// A device as a guest sees it in its memory: registers, and behind them the configuration of the device.
///
/// The host calls [`read`](Self::read) and [`write`](Self::write) for the guest's accesses, on any thread; and what
/// the [`Device`] wants of an event loop: [`kick`](Self::kick) when an eventfd of a queue was written,
/// [`poll`](Self::poll) when [`descriptor`](Self::descriptor) is readable.
///
/// What a driver must not do has no effect: an access of another width than 32 bits to a register reads as zeroes,
/// and changes nothing.
///
/// ```
/// use pepita_virtio::{GuestRam, Mmio, VirtioRng};
///
/// let ram = GuestRam::zeroed(1 << 16);
/// let mmio = Mmio::new(Box::new(VirtioRng::new()), ram, |signal| println!("{signal:?}"));
/// let mut word = [0; 4];
/// mmio.read(0, &mut word);
/// assert_eq!(&word, b"virt");
/// mmio.read(8, &mut word);
/// assert_eq!(word, [4, 0, 0, 0]); // an entropy source
/// ```
#[derive(Debug)]
pub struct Mmio {
    registers: Mutex<Registers>,
    interrupt: Interrupt,
}

#[derive(Debug)]
struct Registers {
    control: Control,
    device_features_sel: u32,
    driver_features_sel: u32,
    queue_sel: u32,
}

impl Mmio {
    /// The device's registers, for a guest with the memory `ram`. `signal` is called when the line is to change, perhaps
    /// with locks held: it calls nothing of the transport.
    ///
    /// # Panics
    /// When a size of the device's queues is none.
    #[must_use]
    pub fn new(
        device: Box<dyn Device>,
        ram: GuestRam,
        signal: impl Fn(Signal) + Send + Sync + 'static,
    ) -> Self {
        let interrupt = Interrupt::new(None, signal);
        let control = Control::new(device, ram, interrupt.clone());
        Self {
            interrupt,
            registers: Mutex::new(Registers {
                control,
                device_features_sel: 0,
                driver_features_sel: 0,
                queue_sel: 0,
            }),
        }
    }

    fn registers(&self) -> MutexGuard<'_, Registers> {
        let registers = self.registers.lock();
        registers.unwrap_or_else(PoisonError::into_inner)
    }

    /// The guest reads `into.len()` bytes at `offset`.
    pub fn read(&self, offset: u64, into: &mut [u8]) {
        into.fill(0);
        if let Some(offset) = in_config(offset) {
            self.registers().control.read_config(offset, into);
        } else if let Ok(into) = <&mut [u8; 4]>::try_from(into) {
            let word = match offset {
                register::INTERRUPT_STATUS => self.interrupt.reasons().into(),
                _ => self.registers().read(offset),
            };
            *into = word.to_le_bytes();
        }
    }

    /// The guest writes `from` at `offset`.
    ///
    /// The device is reset, and its queues are kicked, before this returns. Whose host binds the register of
    /// notifications to eventfds never kicks here.
    pub fn write(&self, offset: u64, from: &[u8]) {
        if let Some(offset) = in_config(offset) {
            self.registers().control.write_config(offset, from);
            return;
        }
        let Ok(word) = <[u8; 4]>::try_from(from).map(u32::from_le_bytes) else {
            return;
        };
        match offset {
            register::QUEUE_NOTIFY => {
                if let Ok(queue) = u16::try_from(word) {
                    self.finish(queue);
                }
            }
            register::INTERRUPT_ACK => {
                let [reasons, ..] = word.to_le_bytes();
                self.interrupt.acknowledge(reasons);
            }
            _ => {
                let started = self.registers().write(offset, word);
                for queue in started {
                    self.finish(queue);
                }
            }
        }
    }

    /// Kicks until nothing is left; between two turns the lock is free.
    fn finish(&self, queue: u16) {
        while self.kick(queue) {}
    }

    /// There may be buffers in queue `queue`. Says whether it is to be called again: see [`Device::kick`].
    #[must_use = "what is left comes without a kick"]
    pub fn kick(&self, queue: u16) -> bool {
        self.registers().control.kick(queue)
    }

    /// See [`Device::descriptor`].
    #[must_use]
    pub fn descriptor(&self) -> Option<i32> {
        self.registers().control.device().descriptor()
    }

    /// See [`Device::poll`].
    pub fn poll(&self) {
        self.registers().control.poll();
    }

    /// See [`Device::kick_descriptor`].
    #[must_use]
    pub fn kick_descriptor(&self, queue: u16) -> Option<i32> {
        self.registers().control.device().kick_descriptor(queue)
    }
}

/// The offset in the device's configuration, if that is there.
fn in_config(offset: u64) -> Option<usize> {
    usize::try_from(offset.checked_sub(register::CONFIG)?).ok()
}

impl Registers {
    fn read(&self, offset: u64) -> u32 {
        let control = &self.control;
        let queue = control.queue(self.queue_sel);
        match offset {
            register::MAGIC_VALUE => MAGIC,
            register::VERSION => VERSION,
            register::DEVICE_ID => control.device().id(),
            register::VENDOR_ID => VENDOR,
            register::DEVICE_FEATURES => control.offered(self.device_features_sel),
            register::QUEUE_SIZE_MAX => queue.map_or(0, |queue| queue.max_size().into()),
            register::QUEUE_READY => queue.is_some_and(|queue| queue.is_ready()).into(),
            register::STATUS => control.status().into(),
            register::SHM_LEN_LOW..=register::SHM_BASE_HIGH if offset.is_multiple_of(4) => u32::MAX,
            register::CONFIG_GENERATION => control.generation(),
            // The reset of a queue is over when the write returns.
            _ => 0,
        }
    }

    /// Gives the queues that may have begun.
    fn write(&mut self, offset: u64, word: u32) -> Range<u16> {
        let (control, queue) = (&mut self.control, self.queue_sel);
        match offset {
            register::DEVICE_FEATURES_SEL => self.device_features_sel = word,
            register::DRIVER_FEATURES => control.accept(self.driver_features_sel, word),
            register::DRIVER_FEATURES_SEL => self.driver_features_sel = word,
            register::QUEUE_SEL => self.queue_sel = word,
            // What is no 16 bits is no size either.
            register::QUEUE_SIZE => control.set_queue_size(queue, u16::try_from(word).unwrap_or(0)),
            register::QUEUE_READY if word == 0 => control.disable_queue(queue),
            register::QUEUE_READY if word == 1 => {
                control.enable_queue(queue);
                return 0..control.nr_queues();
            }
            register::QUEUE_RESET if word == 1 => control.reset_queue(queue),
            register::STATUS => {
                if let Ok(status) = u8::try_from(word) {
                    control.set_status(status);
                }
                if word == 0 {
                    self.device_features_sel = 0;
                    self.driver_features_sel = 0;
                    self.queue_sel = 0;
                }
                return 0..self.control.nr_queues();
            }
            _ => self.write_area(offset, word),
        }
        0..0
    }

    fn write_area(&mut self, offset: u64, word: u32) {
        for (area, low) in Area::ALL.into_iter().zip(register::QUEUE_AREAS) {
            for (half, at) in [(0, low), (1, low + 4)] {
                if offset == at {
                    self.control
                        .set_queue_address(self.queue_sel, area, half, word);
                }
            }
        }
    }
}
