//! [`Split`]: the driver's side of a split ring. virtio 1.3, 2.7

use core::sync::atomic::Ordering;

use super::{Books, DeviceFault, Element, Elements, Used};
use crate::Shared;
use crate::event;
use crate::format::{
    NO_NOTIFICATION, RingFeatures, VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VirtqDesc, Words,
    split,
};
use crate::shared::fence;

#[derive(Debug)]
pub(super) struct Split<'a> {
    table: Shared<'a>,
    available: Shared<'a>,
    used: Shared<'a>,
    size: u16,
    event_index: bool,
    /// Where the next available buffer goes.
    next_available: u16,
    /// The next used buffer.
    next_used: u16,
}

/// Writes a descriptor, which is nobody's business until an index is moved.
fn write(table: Shared<'_>, index: u16, element: Element, flags: u16, next: u16) {
    let Element { addr, len } = element;
    let desc = VirtqDesc {
        addr,
        len,
        flags,
        next,
    };
    let Words { address, word } = desc.to_words();
    let offset = usize::from(index) * Words::BYTES;
    table.store64(offset, address, Ordering::Relaxed);
    table.store64(offset + 8, word, Ordering::Relaxed);
}

impl<'a> Split<'a> {
    pub(super) const fn new(
        [table, available, used]: [Shared<'a>; 3],
        size: u16,
        features: RingFeatures,
    ) -> Self {
        Self {
            table,
            available,
            used,
            size,
            event_index: features.event_index,
            next_available: 0,
            next_used: 0,
        }
    }

    const fn slot(&self, index: u16) -> u16 {
        index & (self.size - 1)
    }

    pub(super) fn add(&mut self, books: &mut Books<'_>, elements: Elements<'_>) -> (u16, u32) {
        let count = elements.count();
        let mut index = books.next();
        let mut last = index;
        for ((element, flags), left) in elements.iter().zip((0..count).rev()) {
            let next = books.after(index);
            let flags = if left > 0 {
                flags | VIRTQ_DESC_F_NEXT
            } else {
                flags
            };
            write(self.table, index, element, flags, next);
            last = index;
            index = next;
        }
        let id = books.take(last, count, elements);
        self.offer(id)
    }

    pub(super) fn add_indirect(
        &mut self,
        books: &mut Books<'_>,
        table: Shared<'_>,
        elements: Elements<'_>,
    ) -> (u16, u32) {
        let count = elements.count();
        for ((element, flags), index) in elements.iter().zip(0..count) {
            let is_last = index + 1 == count;
            let flags = if is_last {
                flags
            } else {
                flags | VIRTQ_DESC_F_NEXT
            };
            write(
                table,
                index,
                element,
                flags,
                if is_last { 0 } else { index + 1 },
            );
        }
        let head = books.next();
        let len = Words::table_bytes(count);
        let element = Element::new(table.address(), len);
        write(self.table, head, element, VIRTQ_DESC_F_INDIRECT, 0);
        let id = books.take(head, 1, elements);
        self.offer(id)
    }

    /// Shows the device the buffer that begins at `head`.
    fn offer(&mut self, head: u16) -> (u16, u32) {
        let slot = split::head(self.slot(self.next_available));
        self.available.store16(slot, head, Ordering::Relaxed);
        self.next_available = self.next_available.wrapping_add(1);
        self.available
            .store16(split::INDEX, self.next_available, Ordering::Release);
        (head, 1)
    }

    pub(super) fn needs_kick(&self, added: u32) -> bool {
        // The index is visible before the device's wish is read: the device does it the other way round, so one
        // of the two sees the other.
        fence(Ordering::SeqCst);
        if self.event_index {
            let event = self
                .used
                .load16(split::avail_event(self.size), Ordering::Relaxed);
            event::split_is_due(event, self.next_available, added, self.size)
        } else {
            self.used.load16(split::FLAGS, Ordering::Relaxed) & NO_NOTIFICATION == 0
        }
    }

    pub(super) fn take_used(&mut self, books: &mut Books<'_>) -> Result<Option<Used>, DeviceFault> {
        let (next, in_flight) = (self.next_used, books.in_flight());
        let index = self.used.load16(split::INDEX, Ordering::Acquire);
        let waiting = index.wrapping_sub(next);
        if waiting > in_flight || waiting == 0 && books.has_batch() {
            return Err(DeviceFault::Index {
                index,
                next,
                in_flight,
            });
        }
        if waiting == 0 {
            return Ok(None);
        }
        let element = split::element(self.slot(next));
        let (used, _) = books.settle(|| {
            let id = self.used.load32(element, Ordering::Relaxed);
            (id, self.used.load32(element + 4, Ordering::Relaxed))
        })?;
        self.next_used = next.wrapping_add(1);
        Ok(Some(used))
    }

    pub(super) fn disable_notifications(&self) {
        // With the event index, the device notifies once and no more until the index is moved.
        if !self.event_index {
            let flags = NO_NOTIFICATION;
            self.available
                .store16(split::FLAGS, flags, Ordering::Relaxed);
        }
    }

    pub(super) fn enable_notifications(&self) -> bool {
        if self.event_index {
            let event = split::used_event(self.size);
            self.available
                .store16(event, self.next_used, Ordering::Relaxed);
        } else {
            self.available.store16(split::FLAGS, 0, Ordering::Relaxed);
        }
        // The wish is visible before the index is read: the device does it the other way round.
        fence(Ordering::SeqCst);
        self.used.load16(split::INDEX, Ordering::Relaxed) != self.next_used
    }
}
