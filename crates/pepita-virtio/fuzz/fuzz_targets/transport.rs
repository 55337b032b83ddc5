//! Accesses of a hostile driver to the registers of a device, on each transport.
#![no_main]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libfuzzer_sys::fuzz_target;
use pepita_virtio::{
    GuestRam, Mmio, Pci, STATUS_ACKNOWLEDGE, STATUS_DRIVER, STATUS_DRIVER_OK, STATUS_FEATURES_OK,
    VirtioRng,
};

/// The guest's memory, small, so that addresses of few bits lead into it.
const BYTES: usize = 0x4000;

/// A status has no bit without those before it.
fn check(status: u8) {
    let steps = [
        (STATUS_DRIVER, STATUS_ACKNOWLEDGE),
        (STATUS_FEATURES_OK, STATUS_DRIVER),
        (STATUS_DRIVER_OK, STATUS_FEATURES_OK),
    ];
    for (bit, before) in steps {
        assert!(
            status & bit == 0 || status & before != 0,
            "status {status:#x}"
        );
    }
}

/// What there is to be reached: at an offset, so many bytes; of a space that PCI has beside its BAR, perhaps.
trait Bus {
    fn access(&self, is_space: bool, offset: u64, write: Option<&[u8]>, len: usize);
    fn status(&self) -> u8;
}

impl Bus for Mmio {
    fn access(&self, _: bool, offset: u64, write: Option<&[u8]>, len: usize) {
        match write {
            Some(bytes) => self.write(offset, bytes),
            None => self.read(offset, &mut [0; 8][..len]),
        }
    }

    fn status(&self) -> u8 {
        let mut word = [0; 4];
        self.read(0x070, &mut word);
        word[0]
    }
}

impl Bus for Pci {
    fn access(&self, is_space: bool, offset: u64, write: Option<&[u8]>, len: usize) {
        let place = u16::try_from(offset % 0x110).expect("small");
        match (is_space, write) {
            (true, Some(bytes)) => self.write_config(place, bytes),
            (true, None) => self.read_config(place, &mut [0; 8][..len]),
            (false, Some(bytes)) => self.write(offset, bytes),
            (false, None) => self.read(offset, &mut [0; 8][..len]),
        }
    }

    fn status(&self) -> u8 {
        let mut byte = [0];
        self.read(0x14, &mut byte);
        byte[0]
    }
}

fuzz_target!(|data: &[u8]| {
    let Some(([is_pci], data)) = data.split_first_chunk() else {
        return;
    };
    let (picture, accesses) = data.split_at(data.len() / 2);
    let ram = GuestRam::zeroed(BYTES);
    let picture = &picture[..picture.len().min(BYTES)];
    ram.write(0, picture).expect("it fits");
    let told = Arc::new(AtomicBool::new(false));
    let bell = Arc::clone(&told);
    let signal = move |_| bell.store(true, Ordering::Relaxed);
    let device = Box::new(VirtioRng::new());
    let bus: Box<dyn Bus> = if is_pci & 1 == 0 {
        Box::new(Mmio::new(device, ram, signal))
    } else {
        Box::new(Pci::new(device, ram, signal))
    };
    for [kind, low, high, value @ ..] in accesses.as_chunks::<7>().0 {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(value);
        let len = 1 << (kind >> 2 & 3);
        let write = (kind & 1 != 0).then_some(&bytes[..len]);
        let offset = u64::from(u16::from_le_bytes([*low, *high]));
        let before = bus.status();
        bus.access(kind & 2 != 0, offset, write, len);
        let status = bus.status();
        check(status);
        // Nobody is told of anything by a device whose driver is not ready.
        let is_told = told.swap(false, Ordering::Relaxed);
        assert!(!is_told || (status | before) & STATUS_DRIVER_OK != 0);
    }
});
