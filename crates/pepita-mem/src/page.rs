//! Sizes of pages: [`PAGE_SIZE`], [`PageSize`], [`Order`].

use core::fmt;

use pepita_sys::error::Errno;

use crate::addr::PhysAddr;

/// Bytes of a page frame, the unit of everything that counts pages here: 4096.
///
/// It is the base page of x86-64 and of most aarch64 kernels. Mappings ask the host for its own
/// page size, which may be larger.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;

/// The binary logarithm of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;

/// A size that is no [`PageSize`], or an exponent that is no [`Order`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SizeError {
    /// The size is not a power of two from [`PAGE_SIZE`] to [`PageSize::BYTES_MAX`].
    PageSize {
        /// What was asked for.
        bytes: u64,
    },
    /// The order is above [`Order::MAX`].
    Order {
        /// What was asked for.
        order: u32,
    },
}

impl SizeError {
    /// The error number that a system call would give: `EINVAL`.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        Errno::EINVAL
    }
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PageSize { bytes } => write!(
                f,
                "page size {bytes} is not a power of two from {PAGE_SIZE} to 2^{} bytes",
                PhysAddr::BITS
            ),
            Self::Order { order } => {
                write!(f, "order {order} is above {}", Order::MAX.get())
            }
        }
    }
}

impl core::error::Error for SizeError {}

/// Bytes of a page as the hardware maps it: a power of two, at least [`PAGE_SIZE`], at most all memory that
/// there can be.
///
/// ```
/// use pepita_mem::{PAGE_SIZE, PageSize};
///
/// assert_eq!(PageSize::SIZE_2M.frames(), 512);
/// assert_eq!(PageSize::try_new(PAGE_SIZE as u64), Ok(PageSize::SIZE_4K));
/// assert!(PageSize::try_new(5000).is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize {
    shift: u8,
}

impl PageSize {
    /// The base page of x86-64, and of aarch64 with its 4 KiB granule.
    pub const SIZE_4K: Self = Self { shift: 12 };
    /// The base page of aarch64 with its 16 KiB granule.
    pub const SIZE_16K: Self = Self { shift: 14 };
    /// The base page of aarch64 with its 64 KiB granule.
    pub const SIZE_64K: Self = Self { shift: 16 };
    /// The smaller huge page of x86-64, and of aarch64 with its 4 KiB granule.
    pub const SIZE_2M: Self = Self { shift: 21 };
    /// The larger huge page of x86-64, and of aarch64 with its 4 KiB granule.
    pub const SIZE_1G: Self = Self { shift: 30 };

    /// The largest size: all physical addresses.
    pub const BYTES_MAX: u64 = 1 << PhysAddr::BITS;

    /// The page size of `bytes`.
    ///
    /// # Errors
    /// [`SizeError::PageSize`] if it is not a power of two, below [`PAGE_SIZE`] or above
    /// [`BYTES_MAX`](Self::BYTES_MAX).
    pub const fn try_new(bytes: u64) -> Result<Self, SizeError> {
        if bytes.is_power_of_two() && bytes >= PAGE_SIZE as u64 && bytes <= Self::BYTES_MAX {
            Ok(Self {
                shift: bytes.trailing_zeros().to_le_bytes()[0],
            })
        } else {
            Err(SizeError::PageSize { bytes })
        }
    }

    /// How many bytes it has.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        1 << self.shift
    }

    /// The binary logarithm of [`bytes`](Self::bytes).
    #[must_use]
    pub const fn shift(self) -> u32 {
        self.shift as u32
    }

    /// How many frames of [`PAGE_SIZE`] it has.
    #[must_use]
    pub const fn frames(self) -> u64 {
        1 << (self.shift() - PAGE_SHIFT)
    }
}

impl fmt::Debug for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageSize({self})")
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shift {
            30.. => write!(f, "{} GiB", self.bytes() >> 30),
            20.. => write!(f, "{} MiB", self.bytes() >> 20),
            _ => write!(f, "{} KiB", self.bytes() >> 10),
        }
    }
}

/// The binary logarithm of a block's frames: order 0 is one frame, order 10 is 1024 (4 MiB).
///
/// ```
/// use pepita_mem::Order;
///
/// assert_eq!(Order::new(3).frames(), 8);
/// assert_eq!(Order::for_frames(5), Some(Order::new(3)));
/// assert_eq!(Order::for_frames(1025), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Order(u8);

impl Order {
    /// One frame.
    pub const ZERO: Self = Self(0);
    /// The largest block that a [`PageAllocator`](crate::PageAllocator) gives: 1024 frames, as in
    /// Linux (`MAX_PAGE_ORDER`). Longer runs come from
    /// [`alloc_range`](crate::BuddyAllocator::alloc_range).
    pub const MAX: Self = Self(10);
    /// How many orders there are.
    pub const COUNT: usize = Self::MAX.0 as usize + 1;

    /// The order of this number.
    ///
    /// # Panics
    /// If it is above [`Order::MAX`].
    #[must_use]
    pub const fn new(order: u32) -> Self {
        match Self::try_new(order) {
            Ok(order) => order,
            Err(_) => panic!("the order is above Order::MAX"),
        }
    }

    /// The order of this number.
    ///
    /// # Errors
    /// [`SizeError::Order`] if it is above [`Order::MAX`].
    pub const fn try_new(order: u32) -> Result<Self, SizeError> {
        if order <= Self::MAX.get() {
            Ok(Self(order.to_le_bytes()[0]))
        } else {
            Err(SizeError::Order { order })
        }
    }

    /// The smallest order with at least `frames` frames; none for 0 or more than the largest has.
    #[must_use]
    pub const fn for_frames(frames: u64) -> Option<Self> {
        if frames == 0 || frames > Self::MAX.frames() {
            None
        } else {
            Some(Self(
                frames.next_power_of_two().trailing_zeros().to_le_bytes()[0],
            ))
        }
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0 as u32
    }

    /// How many frames a block of this order has.
    #[must_use]
    pub const fn frames(self) -> u64 {
        1 << self.0
    }

    /// How many bytes a block of this order has.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.frames() << PAGE_SHIFT
    }

    /// The order of the block that two blocks of this one make.
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Every order, from 0 up.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0..=Self::MAX.0).map(Self)
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_order_is_that_of_its_frames_and_no_smaller_one_holds_them(order: Order) {
            prop_assert_eq!(Order::for_frames(order.frames()), Some(order));
            prop_assert_eq!(Order::for_frames(order.frames() / 2), order.get().checked_sub(1).map(Order::new));
        }

        #[test]
        fn a_page_size_is_that_of_its_bytes(size: PageSize) {
            prop_assert_eq!(PageSize::try_new(size.bytes()), Ok(size));
            prop_assert_eq!(size.frames() * PAGE_SIZE as u64, size.bytes());
        }
    }

    #[test]
    fn page_sizes_are_powers_of_two_from_4_kib() {
        for (bytes, want) in [
            (4096, Ok(PageSize::SIZE_4K)),
            (1 << 14, Ok(PageSize::SIZE_16K)),
            (1 << 16, Ok(PageSize::SIZE_64K)),
            (1 << 21, Ok(PageSize::SIZE_2M)),
            (1 << 30, Ok(PageSize::SIZE_1G)),
            (0, Err(SizeError::PageSize { bytes: 0 })),
            (2048, Err(SizeError::PageSize { bytes: 2048 })),
            (4097, Err(SizeError::PageSize { bytes: 4097 })),
            (1 << 53, Err(SizeError::PageSize { bytes: 1 << 53 })),
        ] {
            assert_eq!(PageSize::try_new(bytes), want, "{bytes}");
        }
        assert_eq!(PageSize::try_new(1 << 52).unwrap().bytes(), 1 << 52);
    }

    #[test]
    fn sizes_are_shown_with_their_unit() {
        let shown =
            [PageSize::SIZE_4K, PageSize::SIZE_2M, PageSize::SIZE_1G].map(|size| size.to_string());
        assert_eq!(shown, ["4 KiB", "2 MiB", "1 GiB"]);
        let error = SizeError::Order { order: 11 };
        assert_eq!(
            (error.to_string().as_str(), error.errno().raw()),
            ("order 11 is above 10", 22)
        );
    }

    #[test]
    fn an_order_is_the_smallest_that_holds_the_frames() {
        for (frames, want) in [
            (0, None),
            (1, Some(0)),
            (2, Some(1)),
            (3, Some(2)),
            (512, Some(9)),
            (513, Some(10)),
            (1024, Some(10)),
            (1025, None),
            (u64::MAX, None),
        ] {
            assert_eq!(Order::for_frames(frames).map(Order::get), want, "{frames}");
        }
        assert_eq!(Order::all().map(Order::frames).sum::<u64>(), 2047);
    }

    #[test]
    #[should_panic(expected = "above Order::MAX")]
    fn an_order_above_the_largest_panics_in_new() {
        let _ = Order::new(11);
    }
}
