//! [`Slot`]: what a page of the device is, and its lock, in one word.

use crate::objects::ObjectId;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{spin_loop, yield_now};

/// Tries before a thread that waits for a slot lets others run: the holder may wait for its CPU.
const SPINS: u32 = 64;

const LOCKED: u64 = 1 << 63;
const KIND_SHIFT: u32 = 32;

/// What a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// It was never written, or discarded; it reads as zeroes.
    Nothing,
    /// Each 4 bytes are this.
    Filled(u32),
    /// An object's data. The page is one of its users.
    Object(ObjectId),
}

impl Content {
    const fn to_bits(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Filled(word) => (1 << KIND_SHIFT) | word as u64,
            Self::Object(id) => (2 << KIND_SHIFT) | id.0 as u64,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    const fn from_bits(bits: u64) -> Self {
        match (bits & !LOCKED) >> KIND_SHIFT {
            1 => Self::Filled(bits as u32),
            2 => Self::Object(ObjectId(bits as u32)),
            _ => Self::Nothing,
        }
    }
}

/// A page of the device.
#[derive(Debug, Default)]
pub(crate) struct Slot(AtomicU64);

impl Slot {
    /// Waits until nobody else has the slot. Locks are held for some microseconds at most; who has one takes no
    /// other slot's.
    pub(crate) fn lock(&self) -> Locked<'_> {
        let mut tries = 0;
        loop {
            let bits = self.0.load(Ordering::Relaxed);
            let (set, seen) = (Ordering::Acquire, Ordering::Relaxed);
            if bits & LOCKED == 0
                && self
                    .0
                    .compare_exchange_weak(bits, bits | LOCKED, set, seen)
                    .is_ok()
            {
                return Locked {
                    slot: &self.0,
                    content: Content::from_bits(bits),
                };
            }
            tries += 1;
            if tries < SPINS {
                spin_loop();
            } else {
                yield_now();
            }
        }
    }
}

/// A slot that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Locked<'s> {
    slot: &'s AtomicU64,
    content: Content,
}

impl Locked<'_> {
    pub(crate) const fn content(&self) -> Content {
        self.content
    }

    /// Changes what the page is, and says what it was: its object, if there was one, is the caller's to release.
    pub(crate) const fn replace(&mut self, content: Content) -> Content {
        std::mem::replace(&mut self.content, content)
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.slot.store(self.content.to_bits(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn each_content_comes_back() {
        let slot = Slot::default();
        let all = [
            Content::Filled(0),
            Content::Filled(u32::MAX),
            Content::Object(ObjectId(0)),
            Content::Object(ObjectId(u32::MAX)),
            Content::Nothing,
        ];
        let mut last = Content::Nothing;
        for content in all {
            assert_eq!(slot.lock().replace(content), last);
            last = content;
        }
        assert_eq!(slot.lock().content(), Content::Nothing);
    }

    #[test]
    fn one_thread_at_a_time_has_a_slot() {
        let slot = Slot::default();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let mut locked = slot.lock();
                        let next = match locked.content() {
                            Content::Filled(count) => count + 1,
                            _ => 1,
                        };
                        locked.replace(Content::Filled(next));
                    }
                });
            }
        });
        assert_eq!(slot.lock().content(), Content::Filled(20_000));
    }
}
