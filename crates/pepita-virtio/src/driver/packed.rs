//! [`Packed`]: the driver's side of a packed ring. virtio 1.3, 2.8

use core::sync::atomic::Ordering;

use super::{Books, DeviceFault, Element, Elements, Used};
use crate::Shared;
use crate::event::{Position, Suppression};
use crate::format::{
    EVENT_DESC, EVENT_DISABLE, EVENT_ENABLE, PackedDesc, RingFeatures, VIRTQ_DESC_F_AVAIL,
    VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_USED, Words, packed_word,
};
use crate::shared::fence;

#[derive(Debug)]
pub(super) struct Packed<'a> {
    ring: Shared<'a>,
    driver_event: Shared<'a>,
    device_event: Shared<'a>,
    size: u16,
    event_index: bool,
    /// Where the next available descriptor goes.
    next_available: Position,
    /// Where the next used descriptor is.
    next_used: Position,
}

fn words(element: Element, id: u16, flags: u16) -> Words {
    let Element { addr, len } = element;
    let desc = PackedDesc {
        addr,
        len,
        id,
        flags,
    };
    desc.to_words()
}

impl<'a> Packed<'a> {
    pub(super) const fn new(
        [ring, driver_event, device_event]: [Shared<'a>; 3],
        size: u16,
        features: RingFeatures,
    ) -> Self {
        Self {
            ring,
            driver_event,
            device_event,
            size,
            event_index: features.event_index,
            next_available: Position::START,
            next_used: Position::START,
        }
    }

    /// Writes the descriptor at `at`; available as soon as its second word is there.
    fn write(&self, at: Position, element: Element, id: u16, flags: u16, order: Ordering) {
        let turn = if at.wrap() {
            VIRTQ_DESC_F_AVAIL
        } else {
            VIRTQ_DESC_F_USED
        };
        let Words { address, word } = words(element, id, flags | turn);
        let offset = packed_word(at.offset());
        self.ring.store64(offset - 8, address, Ordering::Relaxed);
        self.ring.store64(offset, word, order);
    }

    pub(super) fn add(&mut self, books: &mut Books<'_>, elements: Elements<'_>) -> (u16, u32) {
        let count = elements.count();
        let id = self.take_id(books, count, elements);
        let mut at = self.next_available;
        let mut first = None;
        for ((element, flags), left) in elements.iter().zip((0..count).rev()) {
            let flags = if left > 0 {
                flags | VIRTQ_DESC_F_NEXT
            } else {
                flags
            };
            if first.is_none() {
                first = Some((element, flags));
            } else {
                self.write(at, element, id, flags, Ordering::Relaxed);
            }
            at = at.after(1, self.size);
        }
        // The first one goes last, so that the device sees all or none.
        if let Some((element, flags)) = first {
            self.write(self.next_available, element, id, flags, Ordering::Release);
        }
        self.next_available = at;
        (id, count.into())
    }

    pub(super) fn add_indirect(
        &mut self,
        books: &mut Books<'_>,
        table: Shared<'_>,
        elements: Elements<'_>,
    ) -> (u16, u32) {
        let count = elements.count();
        for ((element, flags), index) in elements.iter().zip(0..count) {
            let Words { address, word } = words(element, 0, flags);
            let offset = packed_word(index);
            table.store64(offset - 8, address, Ordering::Relaxed);
            table.store64(offset, word, Ordering::Relaxed);
        }
        let id = self.take_id(books, 1, elements);
        let len = Words::table_bytes(count);
        let element = Element::new(table.address(), len);
        let at = self.next_available;
        self.write(at, element, id, VIRTQ_DESC_F_INDIRECT, Ordering::Release);
        self.next_available = at.after(1, self.size);
        (id, 1)
    }

    /// In order, a buffer's id is the place of its first descriptor; otherwise any that is free.
    fn take_id(&self, books: &mut Books<'_>, count: u16, elements: Elements<'_>) -> u16 {
        let last = if books.is_in_order() {
            books.last_in_order(count)
        } else {
            books.next()
        };
        books.take(last, count, elements)
    }

    pub(super) fn needs_kick(&self, added: u32) -> bool {
        // As in a split ring.
        fence(Ordering::SeqCst);
        let wish = Suppression(self.device_event.load32(0, Ordering::Relaxed));
        wish.is_due(self.next_available, added, self.size, self.event_index)
    }

    /// The used descriptor at `next_used`, if there is one.
    fn look(&self, order: Ordering) -> Option<PackedDesc> {
        let word = self
            .ring
            .load64(packed_word(self.next_used.offset()), order);
        let desc = PackedDesc::from_words(Words { address: 0, word });
        let [available, used] = [VIRTQ_DESC_F_AVAIL, VIRTQ_DESC_F_USED]
            .map(|flag| (desc.flags & flag != 0) == self.next_used.wrap());
        (available && used).then_some(desc)
    }

    pub(super) fn take_used(&mut self, books: &mut Books<'_>) -> Result<Option<Used>, DeviceFault> {
        let settled = if books.has_batch() {
            books.settle(|| (0, 0))?
        } else {
            // A descriptor that nobody has made available can look used, but only then.
            let Some(desc) = self
                .look(Ordering::Acquire)
                .filter(|_| books.in_flight() > 0)
            else {
                return Ok(None);
            };
            let write = crate::format::VIRTQ_DESC_F_WRITE;
            let written = if desc.flags & write == 0 { 0 } else { desc.len };
            books.settle(|| (desc.id.into(), written))?
        };
        let (used, count) = settled;
        self.next_used = self.next_used.after(count, self.size);
        Ok(Some(used))
    }

    pub(super) fn disable_notifications(&self) {
        self.wish(EVENT_DISABLE);
    }

    pub(super) fn enable_notifications(&self) -> bool {
        self.wish(if self.event_index {
            EVENT_DESC
        } else {
            EVENT_ENABLE
        });
        fence(Ordering::SeqCst);
        self.look(Ordering::Relaxed).is_some()
    }

    fn wish(&self, flags: u16) {
        let wish = Suppression::new(self.next_used, flags);
        self.driver_event.store32(0, wish.0, Ordering::Relaxed);
    }
}
