//! Whether the other side wants to hear of what was done. virtio 1.3, 2.7.7, 2.7.10 and 2.8.10

use crate::format::{EVENT_DESC, EVENT_DISABLE, EVENT_MASK, EVENT_WRAP};

/// Whether a split ring's event index lies among the last `added` entries, of which the last one came just
/// before position `next`. virtio 1.3, 2.7.7.2 and 2.7.10.1
pub(crate) fn split_is_due(event: u16, next: u16, added: u32, size: u16) -> bool {
    if added > u32::from(size) {
        return true;
    }
    u32::from(next.wrapping_sub(event).wrapping_sub(1)) < added
}

/// What the other side of a packed ring wants: its event suppression, read at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Suppression(pub(crate) u32);

impl Suppression {
    pub(crate) const fn new(position: Position, flags: u16) -> Self {
        Self((flags as u32) << 16 | position.0 as u32)
    }

    /// Whether it wants to hear of the last `added` descriptors, which end just before `next`. The reserved
    /// value, and a position without the feature, count as a wish for every notification.
    pub(crate) fn is_due(self, next: Position, added: u32, size: u16, event_index: bool) -> bool {
        let [low, second, third, fourth] = self.0.to_le_bytes();
        let event = Position(u16::from_le_bytes([low, second]));
        let flags = u16::from_le_bytes([third, fourth]) & EVENT_MASK;
        if flags != EVENT_DESC || !event_index {
            return flags != EVENT_DISABLE;
        }
        if added > u32::from(size) {
            return true;
        }
        // Positions of this round, or of the one before.
        let mut at = event.offset();
        if event.wrap() != next.wrap() {
            at = at.wrapping_sub(size);
        }
        u32::from(next.offset().wrapping_sub(at).wrapping_sub(1)) < added
    }
}

/// A place in a packed ring, and the wrap counter there, as they stand in an event suppression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position(pub(crate) u16);

impl Position {
    pub(crate) const START: Self = Self(EVENT_WRAP);

    #[inline]
    pub(crate) const fn offset(self) -> u16 {
        self.0 & !EVENT_WRAP
    }

    #[inline]
    pub(crate) const fn wrap(self) -> bool {
        self.0 & EVENT_WRAP != 0
    }

    /// `count` descriptors further, at most once around.
    #[inline]
    pub(crate) const fn after(self, count: u16, size: u16) -> Self {
        let offset = self.offset() + count;
        if offset < size {
            Self(self.0 + count)
        } else {
            Self((offset - size) | (self.0 & EVENT_WRAP) ^ EVENT_WRAP)
        }
    }
}

#[cfg(all(test, not(pepita_loom)))]
mod tests {
    use super::*;
    use crate::format::EVENT_ENABLE;

    /// Who walks over the entries one by one.
    #[test]
    fn an_event_index_is_due_when_its_entry_is_among_the_new_ones() {
        for next in [0_u16, 1, 5, 255, 256, 32_767, 65_535] {
            for added in 0..=8_u16 {
                for distance in 0..40_u16 {
                    let event = next.wrapping_sub(distance);
                    let walked = (1..=added).any(|back| next.wrapping_sub(back) == event);
                    assert_eq!(
                        split_is_due(event, next, added.into(), 16),
                        walked,
                        "{event} {next} {added}"
                    );
                }
            }
        }
    }

    #[test]
    fn more_entries_than_the_ring_has_are_always_due() {
        assert!(split_is_due(9, 9, 65_536, 16));
        let other = Suppression::new(Position(9), EVENT_DESC);
        assert!(other.is_due(Position(9), 65_536, 16, true));
    }

    #[test]
    fn an_event_of_a_packed_ring_is_due_when_its_descriptor_is_among_the_new_ones() {
        for size in [1_u16, 2, 5, 8] {
            let mut positions = std::vec![Position::START];
            for _ in 1..4 * size {
                positions.push(positions[positions.len() - 1].after(1, size));
            }
            for next in usize::from(size) * 2..positions.len() {
                for (added, event) in
                    (0..=size).flat_map(|added| (0..2 * size).map(move |at| (added, at)))
                {
                    // Two rounds of positions are all that there are.
                    let event = positions[usize::from(event)];
                    let walked =
                        (1..=usize::from(added)).any(|back| positions[next - back] == event);
                    let due = Suppression::new(event, EVENT_DESC).is_due(
                        positions[next],
                        added.into(),
                        size,
                        true,
                    );
                    assert_eq!(
                        due, walked,
                        "{event:?} {:?} {added} of {size}",
                        positions[next]
                    );
                }
            }
        }
    }

    #[test]
    fn a_side_that_asks_for_nothing_sensible_hears_of_everything() {
        let due = |flags, event_index| {
            Suppression::new(Position(0), flags).is_due(Position(5), 1, 8, event_index)
        };
        let cases = [
            EVENT_ENABLE,
            EVENT_DISABLE,
            EVENT_DESC,
            EVENT_MASK,
            0xfffc,
            0xfffd,
        ];
        assert_eq!(
            cases.map(|flags| due(flags, false)),
            [true, false, true, true, true, false]
        );
        assert_eq!(
            cases.map(|flags| due(flags, true)),
            [true, false, false, true, true, false]
        );
    }
}
