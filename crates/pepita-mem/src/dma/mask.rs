//! [`DmaMask`].

use core::fmt;

use crate::addr::DmaAddr;

/// Which addresses a device can send out: those of so many bits.
///
/// ```
/// use pepita_mem::{DmaAddr, DmaMask};
///
/// let mask = DmaMask::new(32);
/// assert!(mask.reaches(DmaAddr::new(0xffff_f000), 0x1000));
/// assert!(!mask.reaches(DmaAddr::new(0xffff_f000), 0x1001));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DmaMask {
    bits: u8,
}

impl DmaMask {
    /// Every address.
    pub const ALL: Self = Self { bits: 64 };

    /// Addresses of `bits` bits.
    ///
    /// # Panics
    /// If there are more than 64.
    #[must_use]
    pub const fn new(bits: u32) -> Self {
        assert!(bits <= 64, "a device address has at most 64 bits");
        Self {
            bits: bits.to_le_bytes()[0],
        }
    }

    /// How many bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.bits as u32
    }

    /// Whether the device reaches all of the `bytes` bytes from `addr`.
    #[must_use]
    pub const fn reaches(self, addr: DmaAddr, bytes: u64) -> bool {
        addr.as_u64() as u128 + bytes as u128 <= 1 << self.bits
    }
}

impl fmt::Display for DmaMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bits", self.bits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_device_with_more_bits_reaches_more_and_one_with_64_all(
            mask: DmaMask, other: DmaMask, addr: DmaAddr, bytes: u64,
        ) {
            let (less, more) = if mask.bits() < other.bits() { (mask, other) } else { (other, mask) };
            prop_assert!(!less.reaches(addr, bytes) || more.reaches(addr, bytes));
            prop_assert!(!less.reaches(addr, bytes) || less.reaches(addr, bytes / 2));
            prop_assert_eq!(DmaMask::ALL.reaches(addr, bytes), bytes == 0 || addr.checked_add(bytes - 1).is_some());
        }
    }
}
