//! [`Common`]: the structure that all devices have. virtio 1.3, 4.1.4.3

use std::ops::Range;

use crate::format::{Area, RingFeatures};
use crate::transport::control::Control;
use crate::transport::msix::Event;

/// Offsets of the fields.
mod field {
    pub(super) const DEVICE_FEATURE_SELECT: usize = 0x00;
    pub(super) const DEVICE_FEATURE: usize = 0x04;
    pub(super) const DRIVER_FEATURE_SELECT: usize = 0x08;
    pub(super) const DRIVER_FEATURE: usize = 0x0c;
    pub(super) const CONFIG_MSIX_VECTOR: usize = 0x10;
    pub(super) const NUM_QUEUES: usize = 0x12;
    pub(super) const DEVICE_STATUS: usize = 0x14;
    pub(super) const CONFIG_GENERATION: usize = 0x15;
    pub(super) const QUEUE_SELECT: usize = 0x16;
    pub(super) const QUEUE_SIZE: usize = 0x18;
    pub(super) const QUEUE_MSIX_VECTOR: usize = 0x1a;
    pub(super) const QUEUE_ENABLE: usize = 0x1c;
    pub(super) const QUEUE_NOTIFY_OFF: usize = 0x1e;
    /// The addresses of the three areas.
    pub(super) const QUEUE_AREAS: usize = 0x20;
    pub(super) const QUEUE_AREAS_END: usize = 0x38;
    pub(super) const QUEUE_RESET: usize = 0x3a;
}

/// What a driver has selected. Each field is reached by its own width, addresses by their halves; other accesses read
/// zeroes, and change nothing. virtio 1.3, 4.1.3.1
#[derive(Debug, Default)]
pub(super) struct Common {
    device_feature_select: u32,
    driver_feature_select: u32,
    queue_select: u16,
}

impl Common {
    pub(super) fn read(&self, control: &Control, at: usize, into: &mut [u8]) {
        if let Ok(into) = <&mut [u8; 4]>::try_from(&mut *into) {
            *into = self.read32(control, at).to_le_bytes();
        } else if let Ok(into) = <&mut [u8; 2]>::try_from(&mut *into) {
            *into = self.read16(control, at).to_le_bytes();
        } else if let [into] = into {
            *into = match at {
                field::DEVICE_STATUS => control.status(),
                field::CONFIG_GENERATION => control.generation().to_le_bytes()[0],
                _ => 0,
            };
        }
    }

    fn read32(&self, control: &Control, at: usize) -> u32 {
        match at {
            field::DEVICE_FEATURE_SELECT => self.device_feature_select,
            field::DEVICE_FEATURE => control.offered(self.device_feature_select),
            field::DRIVER_FEATURE_SELECT => self.driver_feature_select,
            field::DRIVER_FEATURE => control.accepted(self.driver_feature_select),
            _ => {
                let queue = control.queue(self.queue_select.into());
                let (Some((area, word)), Some(queue)) = (half_of_area(at), queue) else {
                    return 0;
                };
                let bits = queue.address(area) >> (32 * word) & u64::from(u32::MAX);
                u32::try_from(bits).unwrap_or_default()
            }
        }
    }

    fn read16(&self, control: &Control, at: usize) -> u16 {
        let event = match at {
            field::CONFIG_MSIX_VECTOR => Some(Event::Config),
            field::QUEUE_MSIX_VECTOR => Some(Event::Queue(self.queue_select)),
            _ => None,
        };
        if let Some(event) = event {
            return control.interrupt().msix(|msix| msix.vector(event));
        }
        let queue = control.queue(self.queue_select.into());
        match at {
            field::NUM_QUEUES => control.nr_queues(),
            field::QUEUE_SELECT => self.queue_select,
            field::QUEUE_SIZE => queue.map_or(0, |queue| queue.size()),
            field::QUEUE_ENABLE => queue.is_some_and(|queue| queue.is_ready()).into(),
            field::QUEUE_NOTIFY_OFF => queue.map_or(0, |_| self.queue_select),
            // The reset of a queue is over when the write returns; the rest are fields of features that nobody offers.
            _ => 0,
        }
    }

    /// Gives the queues that may have begun.
    pub(super) fn write(&mut self, control: &mut Control, at: usize, from: &[u8]) -> Range<u16> {
        if let Ok(word) = <[u8; 4]>::try_from(from) {
            self.write32(control, at, u32::from_le_bytes(word));
        } else if let Ok(word) = <[u8; 2]>::try_from(from) {
            return self.write16(control, at, u16::from_le_bytes(word));
        } else if let (field::DEVICE_STATUS, [status]) = (at, from) {
            control.set_status(*status);
            if *status == 0 {
                *self = Self::default();
            }
            return 0..control.nr_queues();
        }
        0..0
    }

    fn write32(&mut self, control: &mut Control, at: usize, word: u32) {
        match at {
            field::DEVICE_FEATURE_SELECT => self.device_feature_select = word,
            field::DRIVER_FEATURE_SELECT => self.driver_feature_select = word,
            field::DRIVER_FEATURE => control.accept(self.driver_feature_select, word),
            _ => {
                if let Some((area, half)) = half_of_area(at) {
                    control.set_queue_address(self.queue_select.into(), area, half, word);
                }
            }
        }
    }

    fn write16(&mut self, control: &mut Control, at: usize, word: u16) -> Range<u16> {
        let queue = u32::from(self.queue_select);
        let interrupt = control.interrupt();
        match at {
            field::CONFIG_MSIX_VECTOR => {
                interrupt.msix(|msix| msix.set_vector(Event::Config, word));
            }
            field::QUEUE_MSIX_VECTOR => {
                let event = Event::Queue(self.queue_select);
                interrupt.msix(|msix| msix.set_vector(event, word));
            }
            field::QUEUE_SELECT => self.queue_select = word,
            // What is read back is a size. virtio 1.3, 4.1.4.3.1
            field::QUEUE_SIZE if word.is_power_of_two() || is_packed(control) => {
                control.set_queue_size(queue, word);
            }
            field::QUEUE_ENABLE if word == 1 => {
                control.enable_queue(queue);
                return 0..control.nr_queues();
            }
            field::QUEUE_RESET if word == 1 => control.reset_queue(queue),
            _ => {}
        }
        0..0
    }
}

fn is_packed(control: &Control) -> bool {
    let accepted = u64::from(control.accepted(1)) << 32;
    RingFeatures::from_bits(accepted).packed
}

/// Which area's address has a half at `at`, and which half.
fn half_of_area(at: usize) -> Option<(Area, u32)> {
    let fields = field::QUEUE_AREAS..field::QUEUE_AREAS_END;
    if !fields.contains(&at) || !at.is_multiple_of(4) {
        return None;
    }
    let at = at - fields.start;
    let word = u32::from(!at.is_multiple_of(8));
    Some((*Area::ALL.get(at / 8)?, word))
}
