//! How rings lie in memory: descriptors, flags, sizes and offsets. virtio 1.3, 2.7 and 2.8.

use core::fmt;

/// The next descriptor belongs to this one's buffer. virtio 1.3, 2.7.5 and 2.8.6
pub const VIRTQ_DESC_F_NEXT: u16 = 1;
/// The device writes this element; else it reads it. virtio 1.3, 2.7.5 and 2.8.3
pub const VIRTQ_DESC_F_WRITE: u16 = 2;
/// The element is a table of descriptors. virtio 1.3, 2.7.5.3 and 2.8.7
pub const VIRTQ_DESC_F_INDIRECT: u16 = 4;
/// Equal to the driver's wrap counter when the driver has made the descriptor available. virtio 1.3, 2.8.1
pub const VIRTQ_DESC_F_AVAIL: u16 = 1 << 7;
/// Unequal to it then; equal to the device's when the device has used the descriptor. virtio 1.3, 2.8.1
pub const VIRTQ_DESC_F_USED: u16 = 1 << 15;

/// Bit 0 of a split ring's flags: the other side wants no notification. virtio 1.3, 2.7.7 and 2.7.10
pub(crate) const NO_NOTIFICATION: u16 = 1;

/// Values of a packed ring's event suppression. virtio 1.3, 2.8.10
pub(crate) const EVENT_ENABLE: u16 = 0;
pub(crate) const EVENT_DISABLE: u16 = 1;
pub(crate) const EVENT_DESC: u16 = 2;
/// The bits of these values.
pub(crate) const EVENT_MASK: u16 = 3;
/// The wrap counter of an event's position.
pub(crate) const EVENT_WRAP: u16 = 1 << 15;

/// The largest queue. virtio 1.3, 2.7 and 2.8
pub const QUEUE_SIZE_MAX: u16 = 32_768;

/// The most bytes of a buffer. virtio 1.3, 2.7.5.2
pub const BUFFER_BYTES_MAX: u64 = 1 << 32;

/// A descriptor of a split ring: `struct virtq_desc`. virtio 1.3, 2.7.5
///
/// ```
/// use pepita_virtio::{VIRTQ_DESC_F_NEXT, VirtqDesc};
///
/// let desc = VirtqDesc { addr: 0x1000, len: 512, flags: VIRTQ_DESC_F_NEXT, next: 7 };
/// let bytes = desc.to_bytes();
/// assert_eq!(bytes, [0, 0x10, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 1, 0, 7, 0]);
/// assert_eq!(VirtqDesc::from_bytes(bytes), desc);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VirtqDesc {
    /// Where the element begins, as the device knows it.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
    /// `VIRTQ_DESC_F_*`.
    pub flags: u16,
    /// The next descriptor, if the flags say that there is one.
    pub next: u16,
}

impl VirtqDesc {
    /// As it stands in memory.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.to_words().to_bytes()
    }

    /// From memory.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self::from_words(Words::from_bytes(bytes))
    }

    #[inline]
    pub(crate) const fn from_words(words: Words) -> Self {
        Self {
            addr: words.address,
            len: words.len(),
            flags: words.third(),
            next: words.fourth(),
        }
    }

    #[inline]
    pub(crate) const fn to_words(self) -> Words {
        Words::new(self.addr, self.len, self.flags, self.next)
    }
}

/// A descriptor of a packed ring: `struct pvirtq_desc`. virtio 1.3, 2.8.13
///
/// ```
/// use pepita_virtio::{PackedDesc, VIRTQ_DESC_F_AVAIL};
///
/// let desc = PackedDesc { addr: 0x1000, len: 512, id: 7, flags: VIRTQ_DESC_F_AVAIL };
/// let bytes = desc.to_bytes();
/// assert_eq!(bytes, [0, 0x10, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 7, 0, 0x80, 0]);
/// assert_eq!(PackedDesc::from_bytes(bytes), desc);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PackedDesc {
    /// Where the element begins, as the device knows it.
    pub addr: u64,
    /// Bytes; of a used descriptor, how many the device has written.
    pub len: u32,
    /// Which buffer; only the last descriptor of one says it.
    pub id: u16,
    /// `VIRTQ_DESC_F_*`.
    pub flags: u16,
}

impl PackedDesc {
    /// As it stands in memory.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.to_words().to_bytes()
    }

    /// From memory.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self::from_words(Words::from_bytes(bytes))
    }

    #[inline]
    pub(crate) const fn from_words(words: Words) -> Self {
        Self {
            addr: words.address,
            len: words.len(),
            id: words.third(),
            flags: words.fourth(),
        }
    }

    #[inline]
    pub(crate) const fn to_words(self) -> Words {
        Words::new(self.addr, self.len, self.id, self.flags)
    }
}

/// A descriptor as the two words that it is read and written by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) address: u64,
    /// Length, and two fields of 16 bits whose order depends on the ring's kind.
    pub(crate) word: u64,
}

impl Words {
    pub(crate) const BYTES: usize = 16;

    /// The bytes of a table of `count` descriptors.
    pub(crate) fn table_bytes(count: u16) -> u32 {
        u32::from(count) * 16
    }

    #[inline]
    const fn new(address: u64, len: u32, third: u16, fourth: u16) -> Self {
        let word = len as u64 | (third as u64) << 32 | (fourth as u64) << 48;
        Self { address, word }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a field of the word")]
    #[inline]
    const fn len(self) -> u32 {
        self.word as u32
    }

    #[expect(clippy::cast_possible_truncation, reason = "a field of the word")]
    #[inline]
    const fn third(self) -> u16 {
        (self.word >> 32) as u16
    }

    #[inline]
    const fn fourth(self) -> u16 {
        (self.word >> 48) as u16
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.address.to_le_bytes());
        bytes[8..].copy_from_slice(&self.word.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_le_bytes(bytes);
        let [address, word] = [both, both >> 64].map(|half| {
            let mask = u128::from(u64::MAX);
            u64::try_from(half & mask).unwrap_or_default()
        });
        Self { address, word }
    }
}

/// What was negotiated about rings.
///
/// ```
/// use pepita_virtio::RingFeatures;
///
/// let negotiated = 1 << 32 | 1 << 29 | 1 << 28; // VERSION_1, EVENT_IDX, INDIRECT_DESC
/// let features = RingFeatures::from_bits(negotiated);
/// assert!(features.event_index && features.indirect && !features.packed);
/// assert_eq!(features.to_bits(), 1 << 29 | 1 << 28);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RingFeatures {
    /// `VIRTIO_F_INDIRECT_DESC`, bit 28: descriptors may lead to tables.
    pub indirect: bool,
    /// `VIRTIO_F_EVENT_IDX`, bit 29: each side says at which position it wants to be notified.
    pub event_index: bool,
    /// `VIRTIO_F_RING_PACKED`, bit 34.
    pub packed: bool,
    /// `VIRTIO_F_IN_ORDER`, bit 35: buffers are used in the order in which they were made available.
    pub in_order: bool,
}

impl RingFeatures {
    const BITS: [u32; 4] = [28, 29, 34, 35];

    /// All of them.
    pub const ALL: Self = Self {
        indirect: true,
        event_index: true,
        packed: true,
        in_order: true,
    };

    /// From the feature bits of a device; others are ignored. virtio 1.3, 6
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        let [indirect, event_index, packed, in_order] = Self::BITS;
        Self {
            indirect: bits >> indirect & 1 == 1,
            event_index: bits >> event_index & 1 == 1,
            packed: bits >> packed & 1 == 1,
            in_order: bits >> in_order & 1 == 1,
        }
    }

    /// As feature bits.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        let [indirect, event_index, packed, in_order] = Self::BITS;
        (self.indirect as u64) << indirect
            | (self.event_index as u64) << event_index
            | (self.packed as u64) << packed
            | (self.in_order as u64) << in_order
    }
}

/// A part of a queue, each with an address of its own. virtio 1.3, 2.6
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// The table of descriptors, or the packed ring.
    Descriptor,
    /// What the driver writes: the available ring, or the driver's event suppression.
    Driver,
    /// What the device writes: the used ring, or the device's event suppression.
    Device,
}

impl Area {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Descriptor, Self::Driver, Self::Device];

    /// Its bytes in a queue of `size` descriptors. virtio 1.3, 2.7 and 2.8.10.1
    ///
    /// ```
    /// use pepita_virtio::Area;
    ///
    /// assert_eq!(Area::ALL.map(|area| area.bytes(8, false)), [128, 22, 70]);
    /// assert_eq!(Area::ALL.map(|area| area.bytes(8, true)), [128, 4, 4]);
    /// ```
    #[must_use]
    pub const fn bytes(self, size: u16, packed: bool) -> usize {
        let size = size as usize;
        match (self, packed) {
            (Self::Descriptor, _) => size * Words::BYTES,
            (_, true) => 4,
            (Self::Driver, false) => 6 + 2 * size,
            (Self::Device, false) => 6 + 8 * size,
        }
    }

    /// Its address is a multiple of this. virtio 1.3, 2.7 and 2.8.10.1
    #[must_use]
    pub const fn align(self, packed: bool) -> usize {
        match (self, packed) {
            (Self::Descriptor, _) => 16,
            (Self::Driver, false) => 2,
            (Self::Driver, true) | (Self::Device, _) => 4,
        }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Descriptor => "descriptor area",
            Self::Driver => "driver area",
            Self::Device => "device area",
        })
    }
}

/// Offsets in the areas of a split ring.
pub(crate) mod split {
    pub(crate) const FLAGS: usize = 0;
    pub(crate) const INDEX: usize = 2;

    /// A head in the available ring.
    #[inline]
    pub(crate) const fn head(slot: u16) -> usize {
        4 + 2 * slot as usize
    }

    /// An element of the used ring: the head, and four bytes further the length.
    #[inline]
    pub(crate) const fn element(slot: u16) -> usize {
        4 + 8 * slot as usize
    }

    /// Behind the heads: at which used buffer the driver wants to be notified.
    #[inline]
    pub(crate) const fn used_event(size: u16) -> usize {
        head(size)
    }

    /// Behind the elements: at which available buffer the device wants to be notified.
    #[inline]
    pub(crate) const fn avail_event(size: u16) -> usize {
        element(size)
    }
}

/// Offset of the second word of a packed descriptor: length, id and flags.
#[inline]
pub(crate) const fn packed_word(index: u16) -> usize {
    index as usize * Words::BYTES + 8
}

#[cfg(all(test, not(pepita_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_areas_of_a_split_ring_end_with_their_event() {
        for size in [1, 2, 256, QUEUE_SIZE_MAX] {
            assert_eq!(split::used_event(size) + 2, Area::Driver.bytes(size, false));
            assert_eq!(
                split::avail_event(size) + 2,
                Area::Device.bytes(size, false)
            );
        }
    }

    #[test]
    fn feature_bits_that_are_not_about_rings_are_left_out() {
        let all = RingFeatures::from_bits(u64::MAX);
        assert_eq!(all.to_bits(), 1 << 28 | 1 << 29 | 1 << 34 | 1 << 35);
        assert_eq!(
            RingFeatures::from_bits(!all.to_bits()),
            RingFeatures::default()
        );
    }
}
