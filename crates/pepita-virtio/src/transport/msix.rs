//! [`Msix`]: vectors, their table, and what waits for a mask to go. PCI Local Bus 3.0, 6.8.2; virtio 1.3, 4.1.5.1.2

use super::Message;

/// No vector. virtio 1.3, 4.1.5.1.2
pub(super) const NO_VECTOR: u16 = 0xffff;

/// Bytes of an entry of the table.
const ENTRY_BYTES: usize = 16;

#[derive(Debug, Clone, Copy)]
struct Entry {
    message: Message,
    is_masked: bool,
    /// It was to be sent while a mask was there.
    is_pending: bool,
}

/// The vectors of a device, and which event has which.
#[derive(Debug)]
pub(super) struct Msix {
    table: Box<[Entry]>,
    pub(super) is_enabled: bool,
    /// All vectors are masked.
    pub(super) is_masked: bool,
    config: u16,
    queues: Box<[u16]>,
}

/// What a vector is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Config,
    Queue(u16),
}

impl Msix {
    /// `vectors` vectors, all masked, for a device of `queues` queues.
    pub(super) fn new(vectors: u16, queues: u16) -> Self {
        let entry = Entry {
            message: Message {
                address: 0,
                data: 0,
            },
            is_masked: true,
            is_pending: false,
        };
        Self {
            table: vec![entry; vectors.into()].into_boxed_slice(),
            is_enabled: false,
            is_masked: false,
            config: NO_VECTOR,
            queues: vec![NO_VECTOR; queues.into()].into_boxed_slice(),
        }
    }

    /// The device was reset: no event has a vector. The table is the bus's, and stays.
    pub(super) fn reset(&mut self) {
        self.config = NO_VECTOR;
        self.queues.fill(NO_VECTOR);
        for entry in &mut self.table {
            entry.is_pending = false;
        }
    }

    fn place(&mut self, event: Event) -> Option<&mut u16> {
        match event {
            Event::Config => Some(&mut self.config),
            Event::Queue(index) => self.queues.get_mut(usize::from(index)),
        }
    }

    /// The vector of an event.
    pub(super) fn vector(&mut self, event: Event) -> u16 {
        self.place(event).map_or(NO_VECTOR, |vector| *vector)
    }

    /// Gives an event a vector; none, if there is no such vector.
    pub(super) fn set_vector(&mut self, event: Event, vector: u16) {
        let is_there = usize::from(vector) < self.table.len();
        if let Some(place) = self.place(event) {
            *place = if is_there { vector } else { NO_VECTOR };
        }
    }

    /// The message of an event, if it can be sent now.
    pub(super) fn raise(&mut self, event: Event) -> Option<Message> {
        let vector = self.vector(event);
        let is_masked = self.is_masked;
        let entry = self.table.get_mut(usize::from(vector))?;
        entry.is_pending = is_masked || entry.is_masked;
        (!entry.is_pending).then_some(entry.message)
    }

    /// A message that waited for a mask to go, and can be sent now.
    pub(super) fn take_pending(&mut self) -> Option<Message> {
        if !self.is_enabled || self.is_masked {
            return None;
        }
        let mut waiting = self.table.iter_mut();
        let entry = waiting.find(|entry| entry.is_pending && !entry.is_masked)?;
        entry.is_pending = false;
        Some(entry.message)
    }

    /// The word of the table at `offset`; zero behind its end.
    pub(super) fn read_table(&self, offset: usize) -> u32 {
        let Some(entry) = self.table.get(offset / ENTRY_BYTES) else {
            return 0;
        };
        let [low, high] = [0, 32].map(|shift| {
            let half = entry.message.address >> shift & u64::from(u32::MAX);
            u32::try_from(half).unwrap_or_default()
        });
        match offset % ENTRY_BYTES {
            0 => low,
            4 => high,
            8 => entry.message.data,
            _ => entry.is_masked.into(),
        }
    }

    pub(super) fn write_table(&mut self, offset: usize, word: u32) {
        let Some(entry) = self.table.get_mut(offset / ENTRY_BYTES) else {
            return;
        };
        let address = entry.message.address;
        match offset % ENTRY_BYTES {
            // Messages are whole words.
            0 => entry.message.address = address >> 32 << 32 | u64::from(word & !3),
            4 => entry.message.address = address & u64::from(u32::MAX) | u64::from(word) << 32,
            8 => entry.message.data = word,
            _ => entry.is_masked = word & 1 != 0,
        }
    }

    /// 32 bits of the array that says which vectors wait, from bit 8 · `offset` on.
    pub(super) fn pending(&self, offset: usize) -> u32 {
        let waiting = self.table.iter().skip(offset * 8).take(32).zip(0..);
        waiting.fold(0, |bits, (entry, bit)| {
            bits | u32::from(entry.is_pending) << bit
        })
    }
}
