//! [`Pci`]: a device on a PCI bus. virtio 1.3, 4.1

mod common;
mod space;

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::control::Control;
use super::msix::Msix;
use super::{Device, Interrupt, Signal};
use crate::memory::GuestRam;
use common::Common;
use space::Space;

/// Where things are in the BAR; each has a page.
mod bar {
    use std::ops::Range;

    pub(super) const BYTES: u32 = 0x8000;
    pub(super) const COMMON: Range<u32> = 0..0x40;
    pub(super) const ISR: Range<u32> = 0x1000..0x1001;
    pub(super) const DEVICE: Range<u32> = 0x2000..0x3000;
    pub(super) const NOTIFY: Range<u32> = 0x3000..0x4000;
    pub(super) const MSIX_TABLE: Range<u32> = 0x4000..0x5000;
    pub(super) const MSIX_PENDING: Range<u32> = 0x5000..0x6000;
}

/// Bytes between the places where two queues are notified.
const NOTIFY_MULTIPLIER: u32 = 4;
/// So that each queue has such a place.
const QUEUES_MAX: u16 = 1024;
/// As many as the table has room for.
const VECTORS_MAX: u16 = 256;

/// A device on a PCI bus: 256 bytes of configuration space, and one BAR of memory, 64 bits wide, with 32 KiB. Messages
/// (MSI-X) are there for each queue and the configuration, and an interrupt line (INTA) for drivers without them.
///
/// The host calls [`read_config`](Self::read_config) and [`write_config`](Self::write_config) for accesses to the
/// configuration space, [`read`](Self::read) and [`write`](Self::write) for those to the BAR, which is
/// where [`bar`](Self::bar) says; and what the [`Device`] wants of an event loop, as with [`Mmio`](crate::Mmio).
///
/// ```
/// use pepita_virtio::{GuestRam, Pci, VirtioRng};
///
/// let pci = Pci::new(Box::new(VirtioRng::new()), GuestRam::zeroed(1 << 16), |signal| println!("{signal:?}"));
/// let mut ids = [0; 4];
/// pci.read_config(0, &mut ids);
/// assert_eq!(ids, [0xf4, 0x1a, 0x44, 0x10]); // virtio's, an entropy source
///
/// // The firmware asks for the BAR's size, then places it, and lets it be reached.
/// pci.write_config(0x10, &u32::MAX.to_le_bytes());
/// pci.read_config(0x10, &mut ids);
/// assert_eq!(u32::from_le_bytes(ids), !0x7fff | 4);
/// pci.write_config(0x10, &0xc000_0000_u32.to_le_bytes());
/// pci.write_config(0x14, &0_u32.to_le_bytes());
/// assert_eq!(pci.bar(), None);
/// pci.write_config(0x04, &2_u16.to_le_bytes());
/// assert_eq!(pci.bar(), Some(0xc000_0000));
/// ```
#[derive(Debug)]
pub struct Pci {
    function: Mutex<Function>,
}

#[derive(Debug)]
struct Function {
    space: Space,
    common: Common,
    control: Control,
}

impl Pci {
    /// Bytes of the BAR.
    pub const BAR_BYTES: u64 = bar::BYTES as u64;

    /// The device on a bus, for a guest with the memory `ram`. `signal` is called when the line is to change, or a message to
    /// be sent, perhaps with locks held: it calls nothing of the transport.
    ///
    /// # Panics
    /// When a size of the device's queues is none, or there are more than 1,024.
    #[must_use]
    pub fn new(
        device: Box<dyn Device>,
        ram: GuestRam,
        signal: impl Fn(Signal) + Send + Sync + 'static,
    ) -> Self {
        let queues = device.queue_sizes().len();
        let queues = u16::try_from(queues).unwrap_or(u16::MAX);
        assert!(
            queues <= QUEUES_MAX,
            "a place for each queue's notifications"
        );
        let vectors = VECTORS_MAX.min(queues + 1);
        let interrupt = Interrupt::new(Some(Msix::new(vectors, queues)), signal);
        let space = Space::new(device.id(), vectors, !device.config().is_empty());
        Self {
            function: Mutex::new(Function {
                space,
                common: Common::default(),
                control: Control::new(device, ram, interrupt),
            }),
        }
    }

    fn function(&self) -> MutexGuard<'_, Function> {
        let function = self.function.lock();
        function.unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the BAR is in the guest's memory, if it can be reached there.
    #[must_use]
    pub fn bar(&self) -> Option<u64> {
        self.function().space.bar()
    }

    /// The guest reads 1, 2 or 4 bytes of the configuration space.
    pub fn read_config(&self, offset: u16, into: &mut [u8]) {
        self.function().read_space(offset, into);
    }

    /// The guest writes 1, 2 or 4 bytes of the configuration space.
    pub fn write_config(&self, offset: u16, from: &[u8]) {
        let started = self.function().write_space(offset, from);
        self.finish(started);
    }

    /// The guest reads `into.len()` bytes of the BAR, from `offset` on.
    pub fn read(&self, offset: u64, into: &mut [u8]) {
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        self.function().read(offset, into);
    }

    /// The guest writes `from` to the BAR, at `offset`.
    ///
    /// The device is reset, and its queues are kicked, before this returns. Whose host binds the places of
    /// notifications to eventfds never kicks here.
    pub fn write(&self, offset: u64, from: &[u8]) {
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        let started = self.function().write(offset, from);
        self.finish(started);
    }

    /// Where in the BAR queue `queue` is notified, by a write of 16 bits.
    #[must_use]
    pub fn notify_offset(&self, queue: u16) -> u64 {
        u64::from(bar::NOTIFY.start) + u64::from(queue) * u64::from(NOTIFY_MULTIPLIER)
    }

    /// Kicks until nothing is left; between two turns nothing is locked.
    fn finish(&self, queues: Range<u16>) {
        for queue in queues {
            while self.kick(queue) {}
        }
    }

    /// There may be buffers in queue `queue`. Says whether it is to be called again: see [`Device::kick`].
    #[must_use = "what is left comes without a kick"]
    pub fn kick(&self, queue: u16) -> bool {
        self.function().control.kick(queue)
    }

    /// See [`Device::descriptor`].
    #[must_use]
    pub fn descriptor(&self) -> Option<i32> {
        self.function().control.device().descriptor()
    }

    /// See [`Device::poll`].
    pub fn poll(&self) {
        self.function().control.poll();
    }

    /// See [`Device::kick_descriptor`].
    #[must_use]
    pub fn kick_descriptor(&self, queue: u16) -> Option<i32> {
        self.function().control.device().kick_descriptor(queue)
    }
}

/// The offset in a part of the BAR that has all of `len` bytes at `offset`.
fn within(part: &Range<u32>, offset: u32, len: usize) -> Option<usize> {
    let at = offset.checked_sub(part.start)?;
    let end = usize::try_from(at).ok()?.checked_add(len)?;
    (end <= part.len()).then(|| usize::try_from(at).unwrap_or(0))
}

impl Function {
    fn read(&mut self, offset: u32, into: &mut [u8]) {
        into.fill(0);
        let len = into.len();
        if let Some(at) = within(&bar::COMMON, offset, len) {
            self.common.read(&self.control, at, into);
        } else if within(&bar::ISR, offset, len).is_some_and(|_| len == 1) {
            into[0] = self.control.interrupt().take_reasons();
        } else if let Some(at) = within(&bar::DEVICE, offset, len) {
            self.control.read_config(at, into);
        } else if let Some(at) = within(&bar::MSIX_TABLE, offset, len) {
            self.read_words(at, into, Msix::read_table);
        } else if let Some(at) = within(&bar::MSIX_PENDING, offset, len) {
            self.read_words(at, into, Msix::pending);
        }
    }

    /// Reads one or two words about messages. PCI Local Bus 3.0, 6.8.2
    fn read_words(&self, offset: usize, into: &mut [u8], word: fn(&Msix, usize) -> u32) {
        if !offset.is_multiple_of(4) || !matches!(into.len(), 4 | 8) {
            return;
        }
        for (into, step) in into.chunks_mut(4).zip(0..) {
            let word = self
                .control
                .interrupt()
                .msix(|msix| word(msix, offset + 4 * step));
            into.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// Gives the queues that may have begun.
    fn write(&mut self, offset: u32, from: &[u8]) -> Range<u16> {
        let len = from.len();
        if let Some(at) = within(&bar::COMMON, offset, len) {
            return self.common.write(&mut self.control, at, from);
        }
        if let Some(at) = within(&bar::NOTIFY, offset, len) {
            let queue = at / NOTIFY_MULTIPLIER as usize;
            let queue = u16::try_from(queue).unwrap_or(u16::MAX);
            return queue..queue.saturating_add(1);
        }
        if let Some(at) = within(&bar::DEVICE, offset, len) {
            self.control.write_config(at, from);
        } else if let Some(at) = within(&bar::MSIX_TABLE, offset, len) {
            self.write_table(at, from);
        }
        0..0
    }

    fn write_table(&self, offset: usize, from: &[u8]) {
        let words = from.as_chunks::<4>().0;
        if !offset.is_multiple_of(4) || !matches!(from.len(), 4 | 8) {
            return;
        }
        for (word, step) in words.iter().zip(0..) {
            let word = u32::from_le_bytes(*word);
            let interrupt = self.control.interrupt();
            interrupt.msix(|msix| msix.write_table(offset + 4 * step, word));
        }
    }

    fn read_space(&mut self, offset: u16, into: &mut [u8]) {
        into.fill(0);
        let at = usize::from(offset);
        if !Space::is_access(at, into.len()) {
            return;
        }
        if let Some((bar_offset, len)) = self.space.window(at) {
            let mut bytes = [0; 4];
            self.read(bar_offset, &mut bytes[..len]);
            self.space.set_window_data(&bytes[..len]);
        }
        let is_line_wanted = self.control.interrupt().is_line_wanted();
        self.space.read(at, into, is_line_wanted);
    }

    fn write_space(&mut self, offset: u16, from: &[u8]) -> Range<u16> {
        let at = usize::from(offset);
        if !Space::is_access(at, from.len()) {
            return 0..0;
        }
        self.space.write(at, from);
        let interrupt = self.control.interrupt();
        interrupt.set_line_off(self.space.is_line_off());
        let (is_enabled, is_masked) = self.space.msix();
        interrupt.msix(|msix| {
            msix.is_enabled = is_enabled;
            msix.is_masked = is_masked;
        });
        let Some((bar_offset, len)) = self.space.window(at) else {
            return 0..0;
        };
        let bytes = self.space.window_data();
        self.write(bar_offset, &bytes[..len])
    }
}
