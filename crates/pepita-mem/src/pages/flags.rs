//! [`AllocFlags`].

use core::ops::BitOr;

use crate::addr::PhysAddr;
use crate::page::PAGE_SHIFT;

/// Which frames an allocation may have: those whose bytes all have addresses of so many bits.
///
/// Two of them together mean the stricter one.
/// ```
/// use pepita_mem::AllocFlags;
///
/// assert_eq!(AllocFlags::DMA | AllocFlags::DMA32, AllocFlags::DMA);
/// assert_eq!(AllocFlags::NONE.with_address_bits(32), AllocFlags::DMA32);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AllocFlags {
    address_bits: u8,
}

impl AllocFlags {
    /// Any frame.
    pub const NONE: Self = Self::of_bits(PhysAddr::BITS);
    /// Below 16 MiB, which is what ISA devices reach.
    pub const DMA: Self = Self::of_bits(24);
    /// Below 4 GiB, which is what devices with 32 address lines reach.
    pub const DMA32: Self = Self::of_bits(32);

    const fn of_bits(bits: u32) -> Self {
        Self {
            address_bits: bits.to_le_bytes()[0],
        }
    }

    /// Restricts to addresses of `bits` bits; more than [`PhysAddr::BITS`] is no restriction.
    #[must_use]
    pub const fn with_address_bits(self, bits: u32) -> Self {
        if bits < self.address_bits() {
            Self::of_bits(bits)
        } else {
            self
        }
    }

    /// How many bits the addresses may have, at most [`PhysAddr::BITS`].
    #[must_use]
    pub const fn address_bits(self) -> u32 {
        self.address_bits as u32
    }

    /// The number of the first frame that is not allowed.
    pub(crate) const fn end_frame(self) -> u64 {
        (1 << self.address_bits) >> PAGE_SHIFT
    }
}

impl Default for AllocFlags {
    fn default() -> Self {
        Self::NONE
    }
}

impl BitOr for AllocFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with_address_bits(other.address_bits())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn flags_together_allow_what_each_of_them_allows(a: AllocFlags, b: AllocFlags) {
            prop_assert_eq!((a | b).end_frame(), a.end_frame().min(b.end_frame()));
            prop_assert_eq!((a | b, a | AllocFlags::NONE), (b | a, a));
        }
    }
}
