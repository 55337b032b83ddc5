//! [`Books`]: what the driver knows about its descriptors, in memory that no device reaches.

use super::{DeviceFault, Element, Used};
use crate::format::VIRTQ_DESC_F_WRITE;

/// What a driver keeps for each descriptor of a queue.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slot {
    /// The next free one, or the next of the same buffer.
    next: u16,
    /// The last descriptor of the buffer that begins here.
    last: u16,
    /// How many it has; 0 where none begins that the device has.
    count: u16,
    /// Bytes of it that the device may write.
    writable: u64,
}

/// The elements of a buffer, readable ones first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Elements<'e> {
    readable: &'e [Element],
    writable: &'e [Element],
}

impl<'e> Elements<'e> {
    pub(super) const fn new(readable: &'e [Element], writable: &'e [Element]) -> Self {
        Self { readable, writable }
    }

    pub(super) const fn len(self) -> usize {
        self.readable.len() + self.writable.len()
    }

    /// Their count: a buffer has no more than the queue has descriptors.
    pub(super) fn count(self) -> u16 {
        u16::try_from(self.len()).expect("at most the queue's size")
    }

    pub(super) fn bytes(self) -> u64 {
        total(self.readable) + self.writable_bytes()
    }

    fn writable_bytes(self) -> u64 {
        total(self.writable)
    }

    /// With the flag that says who writes.
    pub(super) fn iter(self) -> impl Iterator<Item = (Element, u16)> + 'e {
        let readable = self.readable.iter().map(|element| (*element, 0));
        let writable = self.writable.iter();
        readable.chain(writable.map(|element| (*element, VIRTQ_DESC_F_WRITE)))
    }
}

fn total(elements: &[Element]) -> u64 {
    elements.iter().map(|element| u64::from(element.len)).sum()
}

/// Which descriptors are free, and which buffers the device has.
///
/// A buffer is known by the number of its first slot. In order, slots are taken and given back like places of a
/// ring; otherwise they are a list, of which the one that came back last goes first.
#[derive(Debug)]
pub(super) struct Books<'a> {
    slots: &'a mut [Slot],
    size: u16,
    /// Descriptors that are free.
    free: u16,
    /// The next slot to be taken.
    next: u16,
    /// Buffers that the device has.
    in_flight: u16,
    in_order: bool,
    /// In order: the buffer that comes back next.
    oldest: u16,
    /// In order: buffers up to this one are used, by one entry, which says so much about the last.
    batch: Option<(u16, u32)>,
}

impl<'a> Books<'a> {
    pub(super) fn new(slots: &'a mut [Slot], size: u16, in_order: bool) -> Self {
        for (slot, index) in slots.iter_mut().zip(0..size) {
            *slot = Slot {
                next: if index + 1 < size { index + 1 } else { 0 },
                ..Slot::default()
            };
        }
        Self {
            slots,
            size,
            free: size,
            next: 0,
            in_flight: 0,
            in_order,
            oldest: 0,
            batch: None,
        }
    }

    pub(super) const fn size(&self) -> u16 {
        self.size
    }

    pub(super) const fn free(&self) -> u16 {
        self.free
    }

    pub(super) const fn in_flight(&self) -> u16 {
        self.in_flight
    }

    /// Whether an entry has said more than was taken of it.
    pub(super) const fn has_batch(&self) -> bool {
        self.batch.is_some()
    }

    /// The next slot to be taken.
    pub(super) const fn next(&self) -> u16 {
        self.next
    }

    /// The slot behind `index`.
    pub(super) fn after(&self, index: u16) -> u16 {
        self.slots[usize::from(index)].next
    }

    /// Takes the slots from `next` to `last` for a buffer of `count` descriptors.
    pub(super) fn take(&mut self, last: u16, count: u16, elements: Elements<'_>) -> u16 {
        let id = self.next;
        self.next = self.after(last);
        self.free -= count;
        self.in_flight += 1;
        let slot = &mut self.slots[usize::from(id)];
        slot.last = last;
        slot.count = count;
        slot.writable = elements.writable_bytes();
        id
    }

    /// The slot of the last descriptor of a list that begins at `next`, in order.
    pub(super) const fn last_in_order(&self, count: u16) -> u16 {
        let last = self.next + (count - 1);
        if last < self.size {
            last
        } else {
            last - self.size
        }
    }

    pub(super) const fn is_in_order(&self) -> bool {
        self.in_order
    }

    /// The device has used a buffer, as `entry` says; it is asked only if the entry before has not said it. Gives
    /// the count of the buffer's descriptors too.
    pub(super) fn settle(
        &mut self,
        entry: impl FnOnce() -> (u32, u32),
    ) -> Result<(Used, u16), DeviceFault> {
        let (last, written) = match self.batch.take() {
            Some(batch) => batch,
            None => {
                let (id, written) = entry();
                (self.known(id)?, written)
            }
        };
        let id = if self.in_order { self.oldest } else { last };
        let slot = self.slots[usize::from(id)];
        let written = if id == last {
            if u64::from(written) > slot.writable {
                let writable = slot.writable;
                return Err(DeviceFault::Written {
                    id,
                    written,
                    writable,
                });
            }
            u64::from(written)
        } else {
            self.batch = Some((last, written));
            slot.writable
        };
        self.give_back(id, slot);
        let used = Used { id, written };
        Ok((used, slot.count))
    }

    /// The number of a buffer that the device has.
    fn known(&self, id: u32) -> Result<u16, DeviceFault> {
        let known = u16::try_from(id).ok().filter(|id| {
            let slot = self.slots.get(usize::from(*id));
            slot.is_some_and(|slot| slot.count > 0)
        });
        known.ok_or(DeviceFault::Id { id })
    }

    fn give_back(&mut self, id: u16, slot: Slot) {
        self.slots[usize::from(id)].count = 0;
        self.free += slot.count;
        self.in_flight -= 1;
        if self.in_order {
            self.oldest = self.after(slot.last);
        } else {
            self.slots[usize::from(slot.last)].next = self.next;
            self.next = id;
        }
    }
}
