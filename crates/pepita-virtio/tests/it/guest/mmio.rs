//! The driver's way to registers in memory. virtio 1.3, 4.2

use std::sync::Arc;

use pepita_virtio::{Area, Device, GuestRam, Mmio, VirtQueue};

use super::{Bus, Host, Signals};

pub(crate) struct MmioBus {
    pub(crate) mmio: Mmio,
    signals: Arc<Signals>,
}

impl MmioBus {
    pub(crate) fn new(device: Box<dyn Device>, ram: &GuestRam, signals: &Arc<Signals>) -> Self {
        let told = Arc::clone(signals);
        let bus = Self {
            mmio: Mmio::new(device, ram.clone(), move |signal| told.push(signal)),
            signals: Arc::clone(signals),
        };
        assert_eq!([bus.read(0), bus.read(4)], [0x7472_6976, 2]);
        bus
    }

    pub(crate) fn read(&self, offset: u64) -> u32 {
        let mut word = [0; 4];
        self.mmio.read(offset, &mut word);
        u32::from_le_bytes(word)
    }

    pub(crate) fn write(&self, offset: u64, word: u32) {
        self.mmio.write(offset, &word.to_le_bytes());
    }
}

impl Bus for MmioBus {
    fn device_id(&self) -> u32 {
        self.read(0x008)
    }

    fn status(&self) -> u8 {
        u8::try_from(self.read(0x070)).expect("8 bits")
    }

    fn set_status(&self, status: u8) {
        self.write(0x070, status.into());
    }

    fn offered(&self, word: u32) -> u32 {
        self.write(0x014, word);
        self.read(0x010)
    }

    fn accept(&self, word: u32, bits: u32) {
        self.write(0x024, word);
        self.write(0x020, bits);
    }

    fn queue_size_max(&self, queue: u16) -> u16 {
        self.write(0x030, queue.into());
        u16::try_from(self.read(0x034)).expect("16 bits")
    }

    fn set_queue_size(&self, queue: u16, size: u16) {
        self.write(0x030, queue.into());
        self.write(0x038, size.into());
    }

    fn set_queue(&self, queue: u16, registers: &VirtQueue) {
        self.set_queue_size(queue, registers.size());
        for (area, offset) in Area::ALL.into_iter().zip([0x080, 0x090, 0x0a0]) {
            let address = registers.address(area).to_le_bytes();
            self.mmio.write(offset, &address[..4]);
            self.mmio.write(offset + 4, &address[4..]);
        }
    }

    fn enable_queue(&self, queue: u16) {
        self.write(0x030, queue.into());
        self.write(0x044, 1);
    }

    fn is_enabled(&self, queue: u16) -> bool {
        self.write(0x030, queue.into());
        self.read(0x044) == 1
    }

    fn reset_queue(&self, queue: u16) {
        self.write(0x030, queue.into());
        self.write(0x0c0, 1);
        assert_eq!(self.read(0x0c0), 0, "the reset is over");
    }

    fn notify(&self, queue: u16) {
        self.write(0x050, queue.into());
    }

    fn generation(&self) -> u32 {
        self.read(0x0fc)
    }

    fn read_config(&self, offset: u64, into: &mut [u8]) {
        self.mmio.read(0x100 + offset, into);
    }

    fn write_config(&self, offset: u64, from: &[u8]) {
        self.mmio.write(0x100 + offset, from);
    }

    fn interrupts(&self) -> (bool, bool) {
        self.signals.take();
        let reasons = self.read(0x060);
        self.write(0x064, reasons);
        (reasons & 1 != 0, reasons & 2 != 0)
    }

    fn host(&self) -> Host<'_> {
        Host::Mmio(&self.mmio)
    }
}
