//! [`Control`]: what a driver does with a device, whatever the transport: status, features, queues, configuration.
//!
//! What a driver must not do has no effect. What it has set up is checked once, when it says that it is ready, or enables a
//! queue that was stopped; it may write what it likes until then, and nothing behind.

use super::{
    Activation, Busy, Device, Interrupt, STATUS_ACKNOWLEDGE, STATUS_DRIVER, STATUS_DRIVER_OK,
    STATUS_FAILED, STATUS_FEATURES_OK, STATUS_NEEDS_RESET, VIRTIO_F_RING_RESET, VIRTIO_F_VERSION_1,
};
use crate::format::{Area, RingFeatures};
use crate::memory::GuestRam;
use crate::queue::VirtQueue;

/// The bits of the status that a driver sets, each with the one that has to be there first. virtio 1.3, 3.1.1
const STEPS: [(u8, u8); 4] = [
    (STATUS_ACKNOWLEDGE, 0),
    (STATUS_DRIVER, STATUS_ACKNOWLEDGE),
    (STATUS_FEATURES_OK, STATUS_DRIVER),
    (STATUS_DRIVER_OK, STATUS_FEATURES_OK),
];

/// A queue, as the driver sees it.
#[derive(Debug)]
struct Queue {
    registers: VirtQueue,
    /// The device has it.
    is_running: bool,
    /// The driver may set it up, although it has said that it is ready: the queue was stopped.
    is_stopped: bool,
}

/// A device and what its driver has done with it.
pub(super) struct Control {
    device: Box<dyn Device>,
    ram: GuestRam,
    interrupt: Interrupt,
    /// What the driver has accepted.
    features: u64,
    /// It has accepted bits above 63, which nobody offers.
    has_accepted_unknown: bool,
    status: u8,
    queues: Box<[Queue]>,
    generation: u32,
}

impl Control {
    pub(super) fn new(device: Box<dyn Device>, ram: GuestRam, interrupt: Interrupt) -> Self {
        let queues = device.queue_sizes().iter().map(|size| Queue {
            registers: VirtQueue::with_size(*size),
            is_running: false,
            is_stopped: false,
        });
        Self {
            queues: queues.collect(),
            device,
            ram,
            interrupt,
            features: 0,
            has_accepted_unknown: false,
            status: 0,
            generation: 0,
        }
    }

    pub(super) fn device(&self) -> &dyn Device {
        &*self.device
    }

    pub(super) const fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// The 32 bits that are offered from bit 32 · `word` on.
    pub(super) fn offered(&self, word: u32) -> u32 {
        let all = self.device.features() | VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET;
        half(all, word)
    }

    /// The 32 bits that the driver has accepted from bit 32 · `word` on.
    pub(super) fn accepted(&self, word: u32) -> u32 {
        half(self.features, word)
    }

    /// The driver accepts 32 bits, from bit 32 · `word` on. Once features are agreed on, they stay.
    pub(super) fn accept(&mut self, word: u32, bits: u32) {
        if self.status & STATUS_FEATURES_OK != 0 {
            return;
        }
        match word {
            0 | 1 => set_half(&mut self.features, word, bits),
            _ => self.has_accepted_unknown |= bits != 0,
        }
    }

    pub(super) fn status(&self) -> u8 {
        if self.interrupt.is_reset_needed() {
            self.status | STATUS_NEEDS_RESET
        } else {
            self.status
        }
    }

    /// The driver writes its status. virtio 1.3, 2.1
    pub(super) fn set_status(&mut self, value: u8) {
        if value == 0 {
            self.reset();
            return;
        }
        let value = value & !STATUS_NEEDS_RESET;
        // A bit cannot be cleared, and who has given up, or was told to reset, has to.
        if self.status & !value != 0 {
            return;
        }
        for (bit, before) in STEPS {
            let is_over = self.status() & (STATUS_FAILED | STATUS_NEEDS_RESET) != 0;
            if value & bit & !self.status == 0 || self.status & before != before || is_over {
                continue;
            }
            match bit {
                STATUS_FEATURES_OK if !self.are_features_right() => {}
                STATUS_DRIVER_OK => self.start(),
                _ => self.status |= bit,
            }
        }
        self.status |= value & STATUS_FAILED;
    }

    fn are_features_right(&mut self) -> bool {
        let offered = u64::from(self.offered(1)) << 32 | u64::from(self.offered(0));
        self.features & !offered == 0
            && !self.has_accepted_unknown
            && self.features & VIRTIO_F_VERSION_1 != 0
            && self.device.accept(self.features)
    }

    /// The driver is ready: its queues are checked, all of them before the device gets one.
    fn start(&mut self) {
        self.status |= STATUS_DRIVER_OK;
        self.interrupt.start();
        let rings = RingFeatures::from_bits(self.features);
        let ready = self.queues.iter().zip(0_u16..);
        let ready = ready.filter(|(queue, _)| queue.registers.is_ready());
        let checked = ready.map(|(queue, index)| {
            let queue = queue.registers.activate(&self.ram, rings)?;
            Ok::<_, crate::QueueError>((index, queue))
        });
        let Ok(checked) = checked.collect::<Result<Vec<_>, _>>() else {
            self.interrupt.needs_reset();
            return;
        };
        let activation = Activation {
            ram: self.ram.clone(),
            features: self.features,
            interrupt: self.interrupt.clone(),
        };
        if self.device.activate(activation).is_err() {
            self.interrupt.needs_reset();
            return;
        }
        for (index, queue) in checked {
            self.queues[usize::from(index)].is_running = true;
            self.device.start_queue(index, queue);
        }
    }

    fn reset(&mut self) {
        let reset = self.device.reset();
        self.interrupt.reset();
        self.features = 0;
        self.has_accepted_unknown = false;
        self.status = 0;
        for queue in &mut self.queues {
            queue.registers.reset();
            queue.is_running = false;
            queue.is_stopped = false;
        }
        self.must(reset);
    }

    /// A device that cannot let go of memory is of no use until it can.
    fn must(&self, done: Result<(), Busy>) {
        if done.is_err() {
            self.interrupt.needs_reset();
        }
    }

    /// Whether the driver is ready, and the device goes on.
    fn is_live(&self) -> bool {
        self.status & STATUS_DRIVER_OK != 0 && !self.interrupt.is_reset_needed()
    }

    pub(super) fn nr_queues(&self) -> u16 {
        u16::try_from(self.queues.len()).unwrap_or(u16::MAX)
    }

    /// The registers of queue `index`, if there is one.
    pub(super) fn queue(&self, index: u32) -> Option<&VirtQueue> {
        let index = usize::try_from(index).ok()?;
        self.queues.get(index).map(|queue| &queue.registers)
    }

    /// The registers of queue `index`, if the driver may write them: before it is ready, or once the queue is stopped.
    fn queue_to_set_up(&mut self, index: u32) -> Option<&mut VirtQueue> {
        let is_ready = self.status & STATUS_DRIVER_OK != 0;
        let queue = self.queues.get_mut(usize::try_from(index).ok()?)?;
        (!is_ready || queue.is_stopped).then_some(&mut queue.registers)
    }

    pub(super) fn set_queue_size(&mut self, index: u32, size: u16) {
        if let Some(queue) = self.queue_to_set_up(index) {
            queue.set_size(size);
        }
    }

    /// The driver writes half of an area's address: the low one, or the high one.
    pub(super) fn set_queue_address(&mut self, index: u32, area: Area, word: u32, bits: u32) {
        if let Some(queue) = self.queue_to_set_up(index) {
            let mut address = queue.address(area);
            set_half(&mut address, word, bits);
            queue.set_address(area, address);
        }
    }

    /// The driver enables a queue.
    pub(super) fn enable_queue(&mut self, index: u32) {
        let Some(registers) = self.queue_to_set_up(index) else {
            return;
        };
        registers.set_ready(true);
        let registers = *registers;
        if !self.is_live() {
            return;
        }
        let rings = RingFeatures::from_bits(self.features);
        let (Ok(queue), Ok(number)) = (registers.activate(&self.ram, rings), u16::try_from(index))
        else {
            self.interrupt.needs_reset();
            return;
        };
        let place = &mut self.queues[usize::from(number)];
        place.is_running = true;
        place.is_stopped = false;
        self.device.start_queue(number, queue);
    }

    /// The driver stops using a queue, which keeps its registers.
    pub(super) fn disable_queue(&mut self, index: u32) {
        let is_started = self.status & STATUS_DRIVER_OK != 0;
        let Ok(number) = u16::try_from(index) else {
            return;
        };
        let Some(queue) = self.queues.get_mut(usize::from(number)) else {
            return;
        };
        queue.registers.set_ready(false);
        if std::mem::take(&mut queue.is_running) {
            queue.is_stopped = is_started;
            let stopped = self.device.stop_queue(number);
            self.must(stopped);
        }
    }

    /// The driver resets a queue. virtio 1.3, 2.6.1
    pub(super) fn reset_queue(&mut self, index: u32) {
        let (features, status) = (self.features, self.status);
        if features & VIRTIO_F_RING_RESET == 0 || status & STATUS_FEATURES_OK == 0 {
            return;
        }
        self.disable_queue(index);
        let queue = usize::try_from(index).ok();
        if let Some(queue) = queue.and_then(|index| self.queues.get_mut(index)) {
            queue.registers.reset();
            queue.is_stopped = status & STATUS_DRIVER_OK != 0;
        }
    }

    /// There may be buffers in queue `index`: see [`Device::kick`].
    pub(super) fn kick(&mut self, index: u16) -> bool {
        let queue = self.queues.get(usize::from(index));
        let is_running = queue.is_some_and(|queue| queue.is_running);
        is_running && self.is_live() && self.device.kick(index)
    }

    pub(super) fn poll(&mut self) {
        self.device.poll();
    }

    /// A number that changes when what was read of the configuration is not what is there. virtio 1.3, 4.1.4.3.1
    pub(super) const fn generation(&self) -> u32 {
        self.generation
    }

    /// Reads the configuration from `offset` on; zeroes behind its end.
    pub(super) fn read_config(&mut self, offset: usize, into: &mut [u8]) {
        if self.interrupt.take_config_new() {
            self.generation = self.generation.wrapping_add(1);
        }
        into.fill(0);
        let rest = self.device.config().get(offset..).unwrap_or_default();
        for (into, from) in into.iter_mut().zip(rest) {
            *into = *from;
        }
    }

    /// Writes what is inside of the configuration.
    pub(super) fn write_config(&mut self, offset: usize, from: &[u8]) {
        let end = offset.saturating_add(from.len());
        if end <= self.device.config().len() {
            self.device.write_config(offset, from);
        }
    }
}

/// The low 32 bits of `all`, or the high ones, or none.
fn half(all: u64, word: u32) -> u32 {
    let bits = match word {
        0 => all & u64::from(u32::MAX),
        1 => all >> 32,
        _ => 0,
    };
    u32::try_from(bits).unwrap_or_default()
}

/// Sets the low 32 bits of `all`, or the high ones.
fn set_half(all: &mut u64, word: u32, bits: u32) {
    let bits = u64::from(bits);
    *all = match word {
        0 => *all >> 32 << 32 | bits,
        _ => *all & u64::from(u32::MAX) | bits << 32,
    };
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("id", &self.device.id())
            .field("status", &self.status)
            .field("features", &self.features)
            .field("queues", &self.queues)
            .finish_non_exhaustive()
    }
}
