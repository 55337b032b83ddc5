//! [`Split`]: the device's side of a split ring. virtio 1.3, 2.7

use std::sync::atomic::Ordering;

use super::{Collector, Taken, indirect};
use crate::error::QueueError;
use crate::event;
use crate::format::{
    NO_NOTIFICATION, RingFeatures, VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VirtqDesc, split,
};
use crate::memory::Kept;
use crate::shared::fence;

#[derive(Debug)]
pub(super) struct Split {
    table: Kept,
    available: Kept,
    used: Kept,
    size: u16,
    features: RingFeatures,
    /// The next buffer to be taken.
    next_available: u16,
    /// Up to where the driver has made buffers available, as last seen.
    seen_available: u16,
    /// Where the next used buffer goes.
    next_used: u16,
}

impl Split {
    pub(super) fn new(
        [table, available, used]: [Kept; 3],
        size: u16,
        features: RingFeatures,
        position: u16,
    ) -> Self {
        Self {
            table,
            available,
            used,
            size,
            features,
            next_available: position,
            seen_available: position,
            next_used: position,
        }
    }

    /// The index of the next buffer to be taken.
    pub(super) const fn position(&self) -> u16 {
        self.next_available
    }

    /// Position `index` of a ring.
    #[inline]
    const fn slot(&self, index: u16) -> u16 {
        index & (self.size - 1)
    }

    #[inline]
    pub(super) fn take(
        &mut self,
        collector: &mut Collector<'_>,
    ) -> Result<Option<Taken>, QueueError> {
        if self.next_available == self.seen_available && !self.look()? {
            return Ok(None);
        }
        let slot = split::head(self.slot(self.next_available));
        let head = self.available.load16(slot, Ordering::Relaxed);
        let size = self.size;
        if head >= size {
            return Err(QueueError::Head { head, size });
        }
        self.next_available = self.next_available.wrapping_add(1);
        self.walk(head, collector)?;
        Ok(Some(Taken { id: head, count: 1 }))
    }

    /// Looks whether the driver has made more available.
    fn look(&mut self) -> Result<bool, QueueError> {
        let (next, size) = (self.next_available, self.size);
        let index = self.available.load16(split::INDEX, Ordering::Acquire);
        if index.wrapping_sub(next) > size {
            return Err(QueueError::AvailIndex { index, next, size });
        }
        self.seen_available = index;
        Ok(index != next)
    }

    #[inline]
    fn walk(&self, head: u16, collector: &mut Collector<'_>) -> Result<(), QueueError> {
        let size = self.size;
        let mut index = head;
        let mut steps = Steps::new(head, size);
        loop {
            let words = self.table.descriptor(usize::from(index));
            let desc = VirtqDesc::from_words(words);
            if desc.flags & VIRTQ_DESC_F_INDIRECT != 0 {
                if !self.features.indirect {
                    return Err(QueueError::IndirectNotNegotiated);
                }
                if desc.flags & VIRTQ_DESC_F_NEXT != 0 {
                    return Err(QueueError::IndirectInChain);
                }
                let table = indirect::table(collector.ram, desc.addr, desc.len)?;
                return indirect::walk_split(table, steps.left, self.features, size, collector);
            }
            collector.add(desc.addr, desc.len, desc.flags)?;
            if desc.flags & VIRTQ_DESC_F_NEXT == 0 {
                return Ok(());
            }
            let next = desc.next;
            if next >= size {
                return Err(QueueError::Next {
                    next,
                    entries: size,
                });
            }
            if self.features.in_order && next != self.slot(index + 1) {
                return Err(QueueError::OutOfOrder { index, next });
            }
            steps.step(next)?;
            index = next;
        }
    }

    #[inline]
    pub(super) fn publish(&mut self, taken: Taken, written: u32) -> u32 {
        let element = split::element(self.slot(self.next_used));
        self.used
            .store32(element, taken.id.into(), Ordering::Relaxed);
        self.used.store32(element + 4, written, Ordering::Relaxed);
        self.next_used = self.next_used.wrapping_add(1);
        self.used
            .store16(split::INDEX, self.next_used, Ordering::Release);
        1
    }

    #[inline]
    pub(super) fn needs_notification(&self, added: u32) -> bool {
        // The index of the used ring is visible before the driver's wish is read: the driver does it the other
        // way round, so one of the two sees the other.
        fence(Ordering::SeqCst);
        if self.features.event_index {
            let offset = split::used_event(self.size);
            let event = self.available.load16(offset, Ordering::Relaxed);
            event::split_is_due(event, self.next_used, added, self.size)
        } else {
            let flags = self.available.load16(split::FLAGS, Ordering::Relaxed);
            flags & NO_NOTIFICATION == 0
        }
    }

    pub(super) fn disable_kicks(&self) {
        // With the event index, the driver kicks once and no more until the index is moved.
        if !self.features.event_index {
            let flags = NO_NOTIFICATION;
            self.used.store16(split::FLAGS, flags, Ordering::Relaxed);
        }
    }

    pub(super) fn enable_kicks(&self) -> bool {
        if self.features.event_index {
            let event = split::avail_event(self.size);
            self.used
                .store16(event, self.next_available, Ordering::Relaxed);
        } else {
            self.used.store16(split::FLAGS, 0, Ordering::Relaxed);
        }
        // The wish is visible before the index is read: the driver does it the other way round.
        fence(Ordering::SeqCst);
        self.available.load16(split::INDEX, Ordering::Relaxed) != self.next_available
    }
}

/// How far a walk over a table may still go. A loop is found after at most three times its length, by Brent's
/// way: the walk comes by a mark, which is moved after 1, 2, 4 … steps.
pub(super) struct Steps {
    head: u16,
    size: u16,
    /// Descriptors that may still follow this one, and this one.
    pub(super) left: u16,
    mark: u16,
    since_mark: u16,
    patience: u16,
}

impl Steps {
    #[inline]
    pub(super) const fn new(head: u16, size: u16) -> Self {
        Self {
            head,
            size,
            left: size,
            mark: head,
            since_mark: 0,
            patience: 1,
        }
    }

    /// From the second table on, with what is left of the first.
    #[inline]
    pub(super) const fn within(size: u16, left: u16) -> Self {
        Self {
            left,
            ..Self::new(0, size)
        }
    }

    /// The walk goes on to descriptor `next`.
    #[inline]
    pub(super) fn step(&mut self, next: u16) -> Result<(), QueueError> {
        if next == self.mark {
            return Err(QueueError::Loop { head: self.head });
        }
        self.left -= 1;
        if self.left == 0 {
            return Err(QueueError::TooLong { size: self.size });
        }
        self.since_mark += 1;
        if self.since_mark == self.patience {
            self.mark = next;
            self.since_mark = 0;
            self.patience = self.patience.saturating_mul(2);
        }
        Ok(())
    }
}
