//! [`Packed`]: the device's side of a packed ring. virtio 1.3, 2.8

use std::sync::atomic::Ordering;

use super::{Collector, Taken, indirect};
use crate::error::QueueError;
use crate::event::{Position, Suppression};
use crate::format::{
    EVENT_DESC, EVENT_DISABLE, EVENT_ENABLE, PackedDesc, RingFeatures, VIRTQ_DESC_F_AVAIL,
    VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_USED, VIRTQ_DESC_F_WRITE, Words,
    packed_word,
};
use crate::memory::Kept;
use crate::shared::fence;

/// The flags that say whose turn it is.
const TURN: u16 = VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED;

#[derive(Debug)]
pub(super) struct Packed {
    ring: Kept,
    /// What the driver wants to hear.
    driver_event: Kept,
    /// What the device does.
    device_event: Kept,
    size: u16,
    features: RingFeatures,
    /// The next descriptor that may be available.
    next_available: Position,
    /// Where the next used descriptor goes.
    next_used: Position,
}

/// The flags of an available descriptor in a round.
#[inline]
const fn available(wrap: bool) -> u16 {
    if wrap {
        VIRTQ_DESC_F_AVAIL
    } else {
        VIRTQ_DESC_F_USED
    }
}

impl Packed {
    pub(super) fn new(
        [ring, driver_event, device_event]: [Kept; 3],
        size: u16,
        features: RingFeatures,
        position: Position,
    ) -> Self {
        Self {
            ring,
            driver_event,
            device_event,
            size,
            features,
            next_available: position,
            next_used: position,
        }
    }

    /// Where the next buffer to be taken begins.
    pub(super) const fn position(&self) -> Position {
        self.next_available
    }

    /// The descriptor at `at`, if it is available. Length, id and flags are one word, so they are of one moment;
    /// what was written before them is visible after them.
    #[inline]
    fn look(&self, at: Position) -> Option<PackedDesc> {
        let words = self.ring.descriptor_word_first(usize::from(at.offset()));
        let desc = PackedDesc::from_words(words);
        (desc.flags & TURN == available(at.wrap())).then_some(desc)
    }

    #[inline]
    pub(super) fn take(
        &mut self,
        collector: &mut Collector<'_>,
    ) -> Result<Option<Taken>, QueueError> {
        let start = self.next_available;
        let Some(first) = self.look(start) else {
            return Ok(None);
        };
        let (id, count) = if first.flags & VIRTQ_DESC_F_INDIRECT != 0 {
            if !self.features.indirect {
                return Err(QueueError::IndirectNotNegotiated);
            }
            if first.flags & VIRTQ_DESC_F_NEXT != 0 {
                return Err(QueueError::IndirectInChain);
            }
            let table = indirect::table(collector.ram, first.addr, first.len)?;
            indirect::walk_packed(table, self.size, collector)?;
            (first.id, 1)
        } else {
            collector.add(first.addr, first.len, first.flags)?;
            if first.flags & VIRTQ_DESC_F_NEXT == 0 {
                (first.id, 1)
            } else {
                self.walk(start, collector)?
            }
        };
        let size = self.size;
        if id >= size {
            return Err(QueueError::Id { id, size });
        }
        self.next_available = start.after(count, size);
        Ok(Some(Taken { id, count }))
    }

    /// The descriptors behind the one at `start`: up to the ring's end, then from its beginning, each of the two by
    /// one look at the bounds. Gives the buffer's id, and its descriptors.
    #[inline]
    fn walk(
        &self,
        start: Position,
        collector: &mut Collector<'_>,
    ) -> Result<(u16, u16), QueueError> {
        let (first, size) = (usize::from(start.offset()), self.size);
        let mut stretch = self
            .ring
            .descriptors(first + 1, usize::from(size) - first - 1);
        let mut turn = available(start.wrap());
        let mut count = 1;
        loop {
            let Some(words) = stretch.next() else {
                if count == size {
                    return Err(QueueError::TooLong { size });
                }
                stretch = self.ring.descriptors(0, first);
                turn = available(!start.wrap());
                continue;
            };
            let desc = PackedDesc::from_words(words);
            if desc.flags & (TURN | VIRTQ_DESC_F_INDIRECT) != turn {
                return Err(self.refused(start.after(count, size), desc.flags));
            }
            collector.add(desc.addr, desc.len, desc.flags)?;
            count += 1;
            if desc.flags & VIRTQ_DESC_F_NEXT == 0 {
                return Ok((desc.id, count));
            }
        }
    }

    /// Why a descriptor at `at` cannot go on a list.
    #[cold]
    fn refused(&self, at: Position, flags: u16) -> QueueError {
        if flags & TURN != available(at.wrap()) {
            let index = at.offset();
            QueueError::PartialList { index }
        } else if self.features.indirect {
            QueueError::IndirectInChain
        } else {
            QueueError::IndirectNotNegotiated
        }
    }

    /// Writes a used descriptor where the buffer's first one would be if buffers were used in their order.
    #[inline]
    pub(super) fn publish(&mut self, taken: Taken, written: u32) -> u32 {
        let at = self.next_used;
        let turn = if at.wrap() { TURN } else { 0 };
        let write = if written > 0 { VIRTQ_DESC_F_WRITE } else { 0 };
        let used = PackedDesc {
            addr: 0,
            len: written,
            id: taken.id,
            flags: turn | write,
        };
        let Words { word, .. } = used.to_words();
        self.ring
            .store64(packed_word(at.offset()), word, Ordering::Release);
        self.next_used = at.after(taken.count, self.size);
        taken.count.into()
    }

    #[inline]
    pub(super) fn needs_notification(&self, added: u32) -> bool {
        // As in a split ring.
        fence(Ordering::SeqCst);
        let wish = Suppression(self.driver_event.load32(0, Ordering::Relaxed));
        wish.is_due(self.next_used, added, self.size, self.features.event_index)
    }

    pub(super) fn disable_kicks(&self) {
        self.wish(EVENT_DISABLE);
    }

    pub(super) fn enable_kicks(&self) -> bool {
        self.wish(if self.features.event_index {
            EVENT_DESC
        } else {
            EVENT_ENABLE
        });
        fence(Ordering::SeqCst);
        self.look(self.next_available).is_some()
    }

    fn wish(&self, flags: u16) {
        let wish = Suppression::new(self.next_available, flags);
        self.device_event.store32(0, wish.0, Ordering::Relaxed);
    }
}
