//! The driver's way to a device on a PCI bus: it finds everything by the capabilities. virtio 1.3, 4.1

use std::sync::Arc;

use pepita_virtio::{Area, Device, GuestRam, Message, Pci, Signal, VirtQueue};

use super::{Bus, Host, Signals};

/// Where the guest's interrupt controller takes messages.
pub(crate) const MESSAGES: u64 = 0xfee0_0000;

pub(crate) struct PciBus {
    pub(crate) pci: Pci,
    signals: Arc<Signals>,
    common: u64,
    notify: u64,
    multiplier: u64,
    config: Option<u64>,
}

/// A capability: where it is, its kind, and the offset in the BAR.
fn capabilities(pci: &Pci) -> Vec<(u16, u8, u8, u64)> {
    let mut found = Vec::new();
    let [mut at] = read_space(pci, 0x34);
    while at != 0 {
        let place = u16::from(at);
        let [id, next, _, kind] = read_space(pci, place);
        let offset = u32::from_le_bytes(read_space(pci, place + 8));
        found.push((place, id, kind, offset.into()));
        at = next;
    }
    found
}

pub(crate) fn read_space<const N: usize>(pci: &Pci, offset: u16) -> [u8; N] {
    let mut bytes = [0; N];
    pci.read_config(offset, &mut bytes);
    bytes
}

impl PciBus {
    pub(crate) fn new(device: Box<dyn Device>, ram: &GuestRam, signals: &Arc<Signals>) -> Self {
        let told = Arc::clone(signals);
        let pci = Pci::new(device, ram.clone(), move |signal| told.push(signal));
        let all = capabilities(&pci);
        let find = |wanted: u8| {
            let mut virtio = all.iter().filter(|(_, id, ..)| *id == 0x09);
            virtio.find(|(_, _, kind, _)| *kind == wanted)
        };
        let offset = |wanted| find(wanted).map(|found| found.3);
        let notify = find(2).expect("a place for notifications");
        let multiplier = u32::from_le_bytes(read_space(&pci, notify.0 + 16));
        let bus = Self {
            common: offset(1).expect("a common structure"),
            notify: notify.3,
            multiplier: multiplier.into(),
            config: offset(4),
            pci,
            signals: Arc::clone(signals),
        };
        // Memory and messages; vector 0 tells of the configuration, and each queue has one behind.
        bus.pci.write_config(0x04, &6_u16.to_le_bytes());
        let msix = all.iter().find(|(_, id, ..)| *id == 0x11);
        let msix = msix.expect("there are messages").0;
        let [low, high] = read_space(&bus.pci, msix + 2);
        let table: [u8; 4] = read_space(&bus.pci, msix + 4);
        let table = u64::from(u32::from_le_bytes(table) & !7);
        for vector in 0..=u64::from(u16::from_le_bytes([low, high]) & 0x7ff) {
            let entry = table + vector * 16;
            bus.pci.write(entry, &MESSAGES.to_le_bytes());
            bus.pci.write(entry + 8, &vector.to_le_bytes()); // and not masked
        }
        bus.pci.write_config(msix + 2, &0x8000_u16.to_le_bytes());
        bus
    }

    pub(crate) fn read<const N: usize>(&self, field: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.pci.read(self.common + field, &mut bytes);
        bytes
    }

    pub(crate) fn read16(&self, field: u64) -> u16 {
        u16::from_le_bytes(self.read(field))
    }

    pub(crate) fn write(&self, field: u64, bytes: &[u8]) {
        self.pci.write(self.common + field, bytes);
    }

    pub(crate) fn select(&self, queue: u16) {
        self.write(0x16, &queue.to_le_bytes());
    }
}

impl Bus for PciBus {
    fn device_id(&self) -> u32 {
        let id = u16::from_le_bytes(read_space(&self.pci, 2));
        u32::from(id) - 0x1040
    }

    fn status(&self) -> u8 {
        let [status] = self.read(0x14);
        status
    }

    fn set_status(&self, status: u8) {
        self.write(0x14, &[status]);
        if status == 0 {
            self.write(0x10, &0_u16.to_le_bytes());
            assert_eq!(self.read16(0x10), 0, "the configuration has its vector");
        }
    }

    fn offered(&self, word: u32) -> u32 {
        self.write(0x00, &word.to_le_bytes());
        u32::from_le_bytes(self.read(0x04))
    }

    fn accept(&self, word: u32, bits: u32) {
        self.write(0x08, &word.to_le_bytes());
        self.write(0x0c, &bits.to_le_bytes());
    }

    fn queue_size_max(&self, queue: u16) -> u16 {
        self.select(queue);
        self.read16(0x18)
    }

    fn set_queue_size(&self, queue: u16, size: u16) {
        self.select(queue);
        self.write(0x18, &size.to_le_bytes());
    }

    fn set_queue(&self, queue: u16, registers: &VirtQueue) {
        self.set_queue_size(queue, registers.size());
        for (area, field) in Area::ALL.into_iter().zip([0x20, 0x28, 0x30]) {
            let address = registers.address(area).to_le_bytes();
            self.write(field, &address[..4]);
            self.write(field + 4, &address[4..]);
        }
        let vector = queue + 1;
        self.write(0x1a, &vector.to_le_bytes());
        assert_eq!(self.read16(0x1a), vector, "the queue has its vector");
    }

    fn enable_queue(&self, queue: u16) {
        self.select(queue);
        self.write(0x1c, &1_u16.to_le_bytes());
    }

    fn is_enabled(&self, queue: u16) -> bool {
        self.select(queue);
        self.read16(0x1c) == 1
    }

    fn reset_queue(&self, queue: u16) {
        self.select(queue);
        self.write(0x3a, &1_u16.to_le_bytes());
        assert_eq!(self.read16(0x3a), 0, "the reset is over");
    }

    fn notify(&self, queue: u16) {
        self.select(queue);
        let at = self.notify + u64::from(self.read16(0x1e)) * self.multiplier;
        self.pci.write(at, &queue.to_le_bytes());
    }

    fn generation(&self) -> u32 {
        let [generation] = self.read(0x15);
        generation.into()
    }

    fn read_config(&self, offset: u64, into: &mut [u8]) {
        let config = self.config.expect("the device has a configuration");
        self.pci.read(config + offset, into);
    }

    fn write_config(&self, offset: u64, from: &[u8]) {
        let config = self.config.expect("the device has a configuration");
        self.pci.write(config + offset, from);
    }

    fn interrupts(&self) -> (bool, bool) {
        let mut told = (false, false);
        for signal in self.signals.take() {
            match signal {
                Signal::Message(Message { address, data }) => {
                    assert_eq!(address, MESSAGES);
                    told.0 |= data > 0;
                    told.1 |= data == 0;
                }
                Signal::Line(_) => panic!("there are messages"),
            }
        }
        told
    }

    fn host(&self) -> Host<'_> {
        Host::Pci(&self.pci)
    }
}
