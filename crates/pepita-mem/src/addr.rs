//! Addresses that cannot be mixed up: [`PhysAddr`], [`VirtAddr`], [`DmaAddr`], [`Pfn`].

use core::fmt;

use crate::page::{PAGE_SHIFT, PAGE_SIZE, PageSize};
use pepita_sys::error::Errno;

/// A number that no address of its kind can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddrError {
    /// A physical address with a bit at or above [`PhysAddr::BITS`].
    Phys {
        /// What was asked for.
        addr: u64,
    },
    /// A virtual address whose upper bits do not repeat bit 56.
    Virt {
        /// What was asked for.
        addr: u64,
    },
    /// A frame number whose address would be beyond [`PhysAddr::BITS`].
    Pfn {
        /// What was asked for.
        number: u64,
    },
}

impl AddrError {
    /// The error number that a system call would give: `EFAULT`.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        Errno::EFAULT
    }
}

impl fmt::Display for AddrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phys { addr } => write!(
                f,
                "physical address {addr:#x} has more than {} bits",
                PhysAddr::BITS
            ),
            Self::Virt { addr } => write!(
                f,
                "virtual address {addr:#x} is not the sign extension of {} bits",
                VirtAddr::BITS
            ),
            Self::Pfn { number } => write!(
                f,
                "frame number {number:#x} has more than {} bits",
                Pfn::BITS
            ),
        }
    }
}

impl core::error::Error for AddrError {}

/// A byte address of 64 bits; `$truncate` says which numbers are addresses of its kind, and `$gap`
/// whether numbers between two addresses are none.
macro_rules! byte_address {
    ($(#[$doc:meta])* $Name:ident, truncate = $truncate:expr, gap = $gap:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $Name(u64);

        impl $Name {
            const fn of(addr: u64) -> Option<Self> {
                if $truncate(addr) == addr { Some(Self(addr)) } else { None }
            }

            /// The number.
            #[must_use]
            pub const fn as_u64(self) -> u64 {
                self.0
            }

            /// The address `bytes` above; none where there is no such address.
            #[must_use]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(addr) if !$gap(self.0, addr) => Self::of(addr),
                    _ => None,
                }
            }

            /// The address `bytes` below; none where there is no such address.
            #[must_use]
            pub const fn checked_sub(self, bytes: u64) -> Option<Self> {
                match self.0.checked_sub(bytes) {
                    Some(addr) if !$gap(self.0, addr) => Self::of(addr),
                    _ => None,
                }
            }

            /// How many bytes it is above `lower`; none if it is below.
            #[must_use]
            pub const fn checked_bytes_from(self, lower: Self) -> Option<u64> {
                self.0.checked_sub(lower.0)
            }

            /// Whether a page of `size` begins here.
            #[must_use]
            pub const fn is_aligned(self, size: PageSize) -> bool {
                self.0 & (size.bytes() - 1) == 0
            }

            /// The beginning of the page of `size` that this address is in.
            #[must_use]
            pub const fn align_down(self, size: PageSize) -> Self {
                Self(self.0 & !(size.bytes() - 1))
            }

            /// The first beginning of a page of `size` at or above this address; none where there is
            /// no such address.
            #[must_use]
            pub const fn checked_align_up(self, size: PageSize) -> Option<Self> {
                self.checked_add(self.0.wrapping_neg() & (size.bytes() - 1))
            }

            /// How far into its frame of [`PAGE_SIZE`] it is, in bytes.
            #[must_use]
            pub const fn page_offset(self) -> u64 {
                self.0 & (PAGE_SIZE as u64 - 1)
            }
        }

        impl fmt::Debug for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($Name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::LowerHex for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }
    };
}

byte_address! {
    /// A byte address in physical memory, as the CPU sends it out.
    ///
    /// It has at most 52 bits, which is what page tables of x86-64 and aarch64 hold.
    ///
    /// ```
    /// use pepita_mem::{PageSize, PhysAddr};
    ///
    /// let addr = PhysAddr::new(0x1234);
    /// assert_eq!(addr.align_down(PageSize::SIZE_4K), PhysAddr::new(0x1000));
    /// assert_eq!(addr.checked_add(0xdcc), Some(PhysAddr::new(0x2000)));
    /// assert!(PhysAddr::try_new(1 << 52).is_err());
    /// ```
    /// A physical address is not a virtual one:
    /// ```compile_fail,E0308
    /// use pepita_mem::{PhysAddr, VirtAddr};
    /// let addr: VirtAddr = PhysAddr::new(0x1000);
    /// ```
    ///
    /// Source: Intel SDM vol. 3A, 4.1.4 (MAXPHYADDR ≤ 52); Arm ARM, FEAT_LPA.
    PhysAddr, truncate = low_52_bits, gap = none_between
}

byte_address! {
    /// A byte address in a virtual address space; no pointer: nothing is reached through it.
    ///
    /// It is the sign extension of its low 57 bits, which holds for every paging mode of x86-64
    /// and aarch64.
    ///
    /// ```
    /// use pepita_mem::VirtAddr;
    ///
    /// let kernel = VirtAddr::new(0xffff_8000_0000_0000);
    /// assert_eq!(VirtAddr::new_truncate(0x01ff_8000_0000_0000), kernel);
    /// let value = 7;
    /// assert_eq!(VirtAddr::from_ptr(&value).as_u64(), (&raw const value).addr() as u64);
    /// ```
    ///
    /// Source: Intel SDM vol. 3A, 4.5 (57-bit linear addresses); Arm ARM, FEAT_LVA3.
    VirtAddr, truncate = sign_extend_57_bits, gap = signs_differ
}

byte_address! {
    /// A byte address as a device sees memory: a bus address, behind an IOMMU if there is one.
    ///
    /// It equals the physical address only where the platform says so, and is not one here:
    /// ```compile_fail,E0308
    /// use pepita_mem::{DmaAddr, PhysAddr};
    /// let addr: DmaAddr = PhysAddr::new(0x1000);
    /// ```
    DmaAddr, truncate = all_bits, gap = none_between
}

/// Constructors of an address that not every number is.
macro_rules! checked_constructors {
    ($Name:ident, $error:ident, truncate = $truncate:expr) => {
        impl $Name {
            /// The address of this number.
            ///
            /// # Panics
            /// If no address has it; see [`try_new`](Self::try_new).
            #[must_use]
            pub const fn new(addr: u64) -> Self {
                match Self::of(addr) {
                    Some(addr) => addr,
                    None => panic!(concat!("no ", stringify!($Name), " has this number")),
                }
            }

            /// The address of this number.
            ///
            /// # Errors
            #[doc = concat!("[`AddrError::", stringify!($error), "`] if no address has it.")]
            pub const fn try_new(addr: u64) -> Result<Self, AddrError> {
                match Self::of(addr) {
                    Some(addr) => Ok(addr),
                    None => Err(AddrError::$error { addr }),
                }
            }

            /// The address that the low bits of this number say; the others are ignored.
            #[must_use]
            pub const fn new_truncate(addr: u64) -> Self {
                Self($truncate(addr))
            }
        }
    };
}

checked_constructors!(PhysAddr, Phys, truncate = low_52_bits);
checked_constructors!(VirtAddr, Virt, truncate = sign_extend_57_bits);

impl DmaAddr {
    /// The address of this number: a device may send out any.
    #[must_use]
    pub const fn new(addr: u64) -> Self {
        Self(addr)
    }
}

const fn low_52_bits(addr: u64) -> u64 {
    addr & ((1 << PhysAddr::BITS) - 1)
}

const fn sign_extend_57_bits(addr: u64) -> u64 {
    let unused = 64 - VirtAddr::BITS;
    ((addr << unused).cast_signed() >> unused).cast_unsigned()
}

const fn all_bits(addr: u64) -> u64 {
    addr
}

const fn none_between(_: u64, _: u64) -> bool {
    false
}

const fn signs_differ(a: u64, b: u64) -> bool {
    (a ^ b) >> 63 != 0
}

impl PhysAddr {
    /// How many bits an address has at most.
    pub const BITS: u32 = 52;
}

impl VirtAddr {
    /// How many bits decide; the others repeat the highest of them.
    pub const BITS: u32 = 57;

    /// The address of `pointer`, without the tag that aarch64 may keep in the top byte.
    #[must_use]
    pub fn from_ptr<T: ?Sized>(pointer: *const T) -> Self {
        Self::new_truncate(pointer.addr() as u64)
    }
}

/// The number of a physical page frame of [`PAGE_SIZE`] bytes.
///
/// ```
/// use pepita_mem::{Pfn, PhysAddr};
///
/// let pfn = Pfn::from_addr(PhysAddr::new(0x1234));
/// assert_eq!((pfn, pfn.to_addr()), (Pfn::new(1), PhysAddr::new(0x1000)));
/// ```
/// A frame number is not an address:
/// ```compile_fail,E0308
/// use pepita_mem::{Pfn, PhysAddr};
/// let addr: PhysAddr = Pfn::new(1);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Pfn(u64);

impl Pfn {
    /// How many bits a number has at most: every frame has a [`PhysAddr`].
    pub const BITS: u32 = PhysAddr::BITS - PAGE_SHIFT;

    /// The frame of this number.
    ///
    /// # Panics
    /// If it has more than [`Pfn::BITS`].
    #[must_use]
    pub const fn new(number: u64) -> Self {
        match Self::try_new(number) {
            Ok(pfn) => pfn,
            Err(_) => panic!("no Pfn has this number"),
        }
    }

    /// The frame of this number.
    ///
    /// # Errors
    /// [`AddrError::Pfn`] if it has more than [`Pfn::BITS`].
    pub const fn try_new(number: u64) -> Result<Self, AddrError> {
        if number >> Self::BITS == 0 {
            Ok(Self(number))
        } else {
            Err(AddrError::Pfn { number })
        }
    }

    /// The frame that holds `addr`.
    #[must_use]
    pub const fn from_addr(addr: PhysAddr) -> Self {
        Self(addr.0 >> PAGE_SHIFT)
    }

    /// The address of the frame's first byte.
    #[must_use]
    pub const fn to_addr(self) -> PhysAddr {
        PhysAddr(self.0 << PAGE_SHIFT)
    }

    /// The number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The frame `frames` above; none if there is no such frame.
    #[must_use]
    pub const fn checked_add(self, frames: u64) -> Option<Self> {
        match self.0.checked_add(frames) {
            Some(number) if number >> Self::BITS == 0 => Some(Self(number)),
            _ => None,
        }
    }

    /// The frame `frames` below; none if there is no such frame.
    #[must_use]
    pub const fn checked_sub(self, frames: u64) -> Option<Self> {
        match self.0.checked_sub(frames) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// How many frames it is above `lower`; none if it is below.
    #[must_use]
    pub const fn checked_frames_from(self, lower: Self) -> Option<u64> {
        self.0.checked_sub(lower.0)
    }
}

impl fmt::Debug for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pfn({:#x})", self.0)
    }
}

impl fmt::Display for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What holds for each kind of byte address.
    macro_rules! laws {
        ($Name:ident, $addr:ident, $size:ident, $bytes:ident) => {
            let down = $addr.align_down($size);
            prop_assert!(
                $Name::of(down.as_u64()).is_some(),
                "{:?} is an address",
                down
            );
            prop_assert!(down.is_aligned($size) && down <= $addr);
            prop_assert!($addr.as_u64() - down.as_u64() < $size.bytes());
            if let Some(up) = $addr.checked_align_up($size) {
                prop_assert!(up.is_aligned($size) && up >= $addr);
                prop_assert_eq!(up == down, $addr.is_aligned($size));
            }
            if let Some(above) = $addr.checked_add($bytes) {
                prop_assert!(
                    $Name::of(above.as_u64()).is_some(),
                    "{:?} is an address",
                    above
                );
                prop_assert_eq!(above.checked_sub($bytes), Some($addr));
                prop_assert_eq!(above.checked_bytes_from($addr), Some($bytes));
            }
        };
    }

    proptest! {
        #[test]
        fn alignment_and_sums_of_addresses_are_addresses(
            phys: PhysAddr, virt: VirtAddr, dma: DmaAddr, size: PageSize, bytes: u64,
        ) {
            laws!(PhysAddr, phys, size, bytes);
            laws!(VirtAddr, virt, size, bytes);
            laws!(DmaAddr, dma, size, bytes);
        }

        #[test]
        fn a_frame_and_an_offset_make_an_address(addr: PhysAddr) {
            let pfn = Pfn::from_addr(addr);
            prop_assert_eq!(pfn.to_addr().checked_add(addr.page_offset()), Some(addr));
            prop_assert_eq!(Pfn::try_new(pfn.as_u64()), Ok(pfn));
        }
    }

    const K4: PageSize = PageSize::SIZE_4K;

    #[test]
    fn a_physical_address_has_52_bits() {
        let top = (1 << 52) - 1;
        assert_eq!(PhysAddr::try_new(top).map(PhysAddr::as_u64), Ok(top));
        let error = PhysAddr::try_new(1 << 52).unwrap_err();
        assert_eq!(
            error.to_string(),
            "physical address 0x10000000000000 has more than 52 bits"
        );
        assert_eq!(PhysAddr::new_truncate(u64::MAX), PhysAddr::new(top));
    }

    #[test]
    fn a_virtual_address_is_a_sign_extension() {
        for (addr, is_address) in [
            (0, true),
            ((1 << 56) - 1, true),
            (1 << 56, false),
            (u64::MAX, true),
            (0xff00_0000_0000_0000, true),
            (0xfeff_ffff_ffff_ffff, false),
        ] {
            assert_eq!(VirtAddr::try_new(addr).is_ok(), is_address, "{addr:#x}");
        }
    }

    #[test]
    fn arithmetic_stops_at_the_ends_and_at_the_gap() {
        let top = PhysAddr::new((1 << 52) - 1);
        assert_eq!(top.checked_add(1), None);
        assert_eq!(top.checked_align_up(K4), None);
        assert_eq!(PhysAddr::new(0).checked_sub(1), None);
        let below = VirtAddr::new((1 << 56) - 1);
        let above = VirtAddr::new(0xff00_0000_0000_0000);
        assert_eq!(below.checked_add(1), None);
        assert_eq!(below.checked_add(above.as_u64() - below.as_u64()), None);
        assert_eq!(above.checked_sub(1), None);
        assert_eq!(above.checked_sub(above.as_u64()), None);
        assert_eq!(VirtAddr::new(u64::MAX).checked_add(1), None);
        assert_eq!(DmaAddr::new(u64::MAX).checked_align_up(K4), None);
        let half = DmaAddr::new(1 << 63);
        assert_eq!(half.checked_sub(1).unwrap().checked_add(1), Some(half));
    }

    #[test]
    fn alignment_goes_down_and_up_to_a_page() {
        for (addr, down, up) in [
            (0, 0, 0),
            (1, 0, 0x1000),
            (0xfff, 0, 0x1000),
            (0x1000, 0x1000, 0x1000),
            (0x1001, 0x1000, 0x2000),
        ] {
            let (addr, down, up) = (PhysAddr::new(addr), PhysAddr::new(down), PhysAddr::new(up));
            assert_eq!(
                (addr.align_down(K4), addr.checked_align_up(K4)),
                (down, Some(up))
            );
            assert_eq!(addr.is_aligned(K4), addr == down);
            assert_eq!(addr.page_offset(), addr.checked_bytes_from(down).unwrap());
        }
        let huge = VirtAddr::new(0xffff_8000_0020_0001);
        assert_eq!(
            huge.align_down(PageSize::SIZE_2M),
            VirtAddr::new(0xffff_8000_0020_0000)
        );
        assert_eq!(
            huge.checked_align_up(PageSize::SIZE_2M),
            Some(VirtAddr::new(0xffff_8000_0040_0000))
        );
    }

    #[test]
    fn every_frame_has_an_address_and_back() {
        let last = Pfn::new((1 << 40) - 1);
        assert_eq!(Pfn::from_addr(last.to_addr()), last);
        assert_eq!(last.checked_add(1), None);
        assert_eq!(
            Pfn::try_new(1 << 40),
            Err(AddrError::Pfn { number: 1 << 40 })
        );
        assert_eq!(Pfn::new(5).checked_sub(6), None);
        assert_eq!(Pfn::new(6).checked_frames_from(Pfn::new(4)), Some(2));
        assert_eq!(
            format!("{last:?} {:?}", PhysAddr::new(16)),
            "Pfn(0xffffffffff) PhysAddr(0x10)"
        );
    }
}
