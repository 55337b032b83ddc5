//! [`Space`]: the configuration space of a function. PCI Local Bus 3.0, 6.1; virtio 1.3, 4.1.2 and 4.1.4

use std::ops::Range;

use super::{NOTIFY_MULTIPLIER, bar};

const BYTES: usize = 256;

/// Who makes virtio devices, and the number of one with the virtio number 0. virtio 1.3, 4.1.2
const VENDOR_ID: u16 = 0x1af4;
const DEVICE_ID_BASE: u32 = 0x1040;

/// Offsets of the header.
const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const REVISION: usize = 0x08;
const CLASS: usize = 0x09;
const BAR: usize = 0x10;
const SUBSYSTEM_VENDOR_ID: usize = 0x2c;
const SUBSYSTEM_ID: usize = 0x2e;
const CAPABILITIES: usize = 0x34;
const INTERRUPT_LINE: usize = 0x3c;
const INTERRUPT_PIN: usize = 0x3d;

/// Bits of the command register: memory can be reached, the device reaches memory, no interrupt line.
const COMMAND_MEMORY: u8 = 2;
const COMMAND_MASTER: u8 = 4;
/// In its second byte.
const COMMAND_NO_LINE: u8 = 4;

/// Bits of the status register: the line is wanted; there are capabilities.
const STATUS_LINE: u8 = 1 << 3;
const STATUS_CAPABILITIES: u8 = 1 << 4;

/// A BAR of memory, with an address of 64 bits.
const BAR_MEMORY_64: u8 = 4;

/// Where capabilities are.
const MSIX: usize = 0x40;
/// The second byte of its control: enabled, and all masked.
const MSIX_CONTROL: usize = MSIX + 3;
const MSIX_ENABLED: u8 = 0x80;
const MSIX_MASKED: u8 = 0x40;
/// The first of virtio's; the last one is the window.
const VIRTIO: usize = 0x50;

const MSIX_ID: u8 = 0x11;
const VENDOR_SPECIFIC_ID: u8 = 0x09;

/// Kinds of capabilities. virtio 1.3, 4.1.4
const COMMON_CFG: u8 = 1;
const NOTIFY_CFG: u8 = 2;
const ISR_CFG: u8 = 3;
const DEVICE_CFG: u8 = 4;
const PCI_CFG: u8 = 5;

/// 256 bytes, and which of their bits a guest may write.
#[derive(Debug)]
pub(super) struct Space {
    bytes: [u8; BYTES],
    writable: [u8; BYTES],
    /// Where the capability is through which a guest reaches the BAR. virtio 1.3, 4.1.4.9
    window: usize,
}

impl Space {
    /// For the device with virtio's number `id`.
    pub(super) fn new(id: u32, vectors: u16, has_config: bool) -> Self {
        let mut space = Self {
            bytes: [0; BYTES],
            writable: [0; BYTES],
            window: 0,
        };
        let device_id = u16::try_from(DEVICE_ID_BASE + id).unwrap_or(u16::MAX);
        space.put(0, &VENDOR_ID.to_le_bytes());
        space.put(2, &device_id.to_le_bytes());
        space.put(STATUS, &[STATUS_CAPABILITIES]);
        space.put(REVISION, &[1]);
        let class = match id {
            1 => [0, 0, 2],    // network, Ethernet
            2 => [0, 0x80, 1], // mass storage, other
            _ => [0, 0, 0xff], // none of the classes
        };
        space.put(CLASS, &class);
        space.put(BAR, &[BAR_MEMORY_64]);
        space.put(SUBSYSTEM_VENDOR_ID, &VENDOR_ID.to_le_bytes());
        space.put(SUBSYSTEM_ID, &device_id.to_le_bytes());
        space.put(CAPABILITIES, &[MSIX.to_le_bytes()[0]]);
        space.put(INTERRUPT_PIN, &[1]); // INTA
        space.may_write(COMMAND, &[COMMAND_MEMORY | COMMAND_MASTER, COMMAND_NO_LINE]);
        space.may_write(INTERRUPT_LINE, &[0xff]);
        // A guest writes ones, and reads back those that are part of the address.
        space.may_write(BAR, &(!u64::from(bar::BYTES - 1)).to_le_bytes());
        space.put_msix(vectors);
        space.put_virtio(has_config);
        space
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn may_write(&mut self, at: usize, bits: &[u8]) {
        self.writable[at..at + bits.len()].copy_from_slice(bits);
    }

    /// PCI Local Bus 3.0, 6.8.2
    fn put_msix(&mut self, vectors: u16) {
        self.put(MSIX, &[MSIX_ID, VIRTIO.to_le_bytes()[0]]);
        self.put(MSIX + 2, &(vectors - 1).to_le_bytes());
        // The low bits are the number of the BAR.
        self.put(MSIX + 4, &bar::MSIX_TABLE.start.to_le_bytes());
        self.put(MSIX + 8, &bar::MSIX_PENDING.start.to_le_bytes());
        self.may_write(MSIX_CONTROL, &[MSIX_ENABLED | MSIX_MASKED]);
    }

    /// virtio 1.3, 4.1.4
    fn put_virtio(&mut self, has_config: bool) {
        let multiplier = NOTIFY_MULTIPLIER.to_le_bytes();
        let parts: [(u8, Range<u32>, &[u8]); 5] = [
            (COMMON_CFG, bar::COMMON, &[]),
            (NOTIFY_CFG, bar::NOTIFY, &multiplier),
            (ISR_CFG, bar::ISR, &[]),
            (DEVICE_CFG, bar::DEVICE, &[]),
            (PCI_CFG, 0..0, &[0; 4]),
        ];
        let mut at = VIRTIO;
        for (kind, part, extra) in parts {
            if kind == DEVICE_CFG && !has_config {
                continue;
            }
            let len = 16 + extra.len();
            let next = if kind == PCI_CFG { 0 } else { at + len };
            let [next, ..] = next.to_le_bytes();
            let [len_byte, ..] = len.to_le_bytes();
            self.put(at, &[VENDOR_SPECIFIC_ID, next, len_byte, kind]);
            self.put(at + 8, &part.start.to_le_bytes());
            self.put(at + 12, &(part.end - part.start).to_le_bytes());
            self.put(at + 16, extra);
            if kind == PCI_CFG {
                self.window = at;
                self.may_write(at + 4, &[0xff]);
                self.may_write(at + 8, &[0xff; 12]);
            }
            at += len;
        }
    }

    /// Whether the bus has such an access: 1, 2 or 4 bytes, aligned, inside.
    pub(super) fn is_access(at: usize, len: usize) -> bool {
        matches!(len, 1 | 2 | 4) && at.is_multiple_of(len) && at + len <= BYTES
    }

    pub(super) fn read(&self, at: usize, into: &mut [u8], is_line_wanted: bool) {
        into.copy_from_slice(&self.bytes[at..at + into.len()]);
        if is_line_wanted && (at..at + into.len()).contains(&STATUS) {
            into[STATUS - at] |= STATUS_LINE;
        }
    }

    pub(super) fn write(&mut self, at: usize, from: &[u8]) {
        let places = self.bytes.iter_mut().zip(self.writable).skip(at);
        for ((byte, writable), new) in places.zip(from) {
            *byte = *byte & !writable | new & writable;
        }
    }

    /// Where the BAR is, if memory can be reached.
    pub(super) fn bar(&self) -> Option<u64> {
        let bytes = self.bytes[BAR..].first_chunk()?;
        let address = u64::from_le_bytes(*bytes) & !u64::from(bar::BYTES - 1);
        (self.bytes[COMMAND] & COMMAND_MEMORY != 0).then_some(address)
    }

    pub(super) const fn is_line_off(&self) -> bool {
        self.bytes[COMMAND + 1] & COMMAND_NO_LINE != 0
    }

    /// Whether messages are enabled, and whether all are masked.
    pub(super) const fn msix(&self) -> (bool, bool) {
        let control = self.bytes[MSIX_CONTROL];
        (control & MSIX_ENABLED != 0, control & MSIX_MASKED != 0)
    }

    /// What an access at `at` reaches in the BAR: the offset there, and the length; nothing unless it is to the data of
    /// the window, which has to lead to something.
    pub(super) fn window(&self, at: usize) -> Option<(u32, usize)> {
        if at != self.window + 16 || self.bytes[self.window + 4] != 0 {
            return None;
        }
        let [offset, len] = [8, 12].map(|field| {
            let bytes = self.bytes[self.window + field..].first_chunk();
            bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
        });
        let is_access = matches!(len, 1 | 2 | 4) && offset.is_multiple_of(len);
        is_access.then_some((offset, usize::try_from(len).ok()?))
    }

    pub(super) fn window_data(&self) -> [u8; 4] {
        let bytes = self.bytes[self.window + 16..].first_chunk();
        bytes.copied().unwrap_or_default()
    }

    pub(super) fn set_window_data(&mut self, data: &[u8]) {
        self.put(self.window + 16, data);
    }
}
