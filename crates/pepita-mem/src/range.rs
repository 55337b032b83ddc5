//! Ranges without an end that overflows: [`PhysRange`], [`PfnRange`].

use core::fmt;

use pepita_sys::error::Errno;

use crate::addr::{Pfn, PhysAddr};
use crate::page::{PAGE_SHIFT, PAGE_SIZE};
/// A range that would reach beyond the last address of its kind, or end before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RangeError {
    /// The range passes the last physical address.
    Phys {
        /// Where it begins.
        start: PhysAddr,
        /// How many bytes it was to have.
        bytes: u64,
    },
    /// The range passes the last frame.
    Pfn {
        /// Where it begins.
        start: Pfn,
        /// How many frames it was to have.
        frames: u64,
    },
}

impl RangeError {
    /// The error number that a system call would give: `ERANGE`.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        Errno::ERANGE
    }
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phys { start, bytes } => write!(
                f,
                "{bytes} bytes from {start} pass the end of physical memory, {} bits",
                PhysAddr::BITS
            ),
            Self::Pfn { start, frames } => write!(
                f,
                "{frames} frames from frame {start} pass the last one, {} bits",
                Pfn::BITS
            ),
        }
    }
}

impl core::error::Error for RangeError {}

/// Bytes of physical memory: a start and a length.
///
/// ```
/// use pepita_mem::{PfnRange, Pfn, PhysAddr, PhysRange};
///
/// let memory = PhysRange::new(PhysAddr::new(0x1800), 0x2800);
/// // Whole frames inside of it, and frames that hold any of it.
/// assert_eq!(memory.frames_inside(), PfnRange::new(Pfn::new(2), 2));
/// assert_eq!(memory.frames_touched(), PfnRange::new(Pfn::new(1), 3));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PhysRange {
    start: PhysAddr,
    bytes: u64,
}

impl PhysRange {
    /// `bytes` bytes from `start`.
    ///
    /// # Panics
    /// If they pass the last physical address.
    #[must_use]
    pub const fn new(start: PhysAddr, bytes: u64) -> Self {
        match Self::try_new(start, bytes) {
            Ok(range) => range,
            Err(_) => panic!("the range passes the last physical address"),
        }
    }

    /// `bytes` bytes from `start`.
    ///
    /// # Errors
    /// [`RangeError::Phys`] if they pass the last physical address.
    pub const fn try_new(start: PhysAddr, bytes: u64) -> Result<Self, RangeError> {
        if bytes > (1 << PhysAddr::BITS) - start.as_u64() {
            Err(RangeError::Phys { start, bytes })
        } else {
            Ok(Self { start, bytes })
        }
    }

    /// The first address, if the range is not empty.
    #[must_use]
    pub const fn start(self) -> PhysAddr {
        self.start
    }

    /// How many bytes it has.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    /// Whether it has no byte.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.bytes == 0
    }

    /// Whether `addr` is one of its bytes.
    #[must_use]
    pub const fn contains(self, addr: PhysAddr) -> bool {
        match addr.checked_bytes_from(self.start) {
            Some(offset) => offset < self.bytes,
            None => false,
        }
    }

    /// Whether the two have a byte in common.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        let (a, b) = (self.start.as_u64(), other.start.as_u64());
        !self.is_empty() && !other.is_empty() && a < b + other.bytes && b < a + self.bytes
    }

    /// The frames that lie wholly inside.
    #[must_use]
    pub const fn frames_inside(self) -> PfnRange {
        let first = self.start.as_u64().div_ceil(PAGE_SIZE as u64);
        let end = (self.start.as_u64() + self.bytes) >> PAGE_SHIFT;
        PfnRange::spanning(first, end)
    }

    /// The frames that hold at least one of its bytes.
    #[must_use]
    pub const fn frames_touched(self) -> PfnRange {
        let first = self.start.as_u64() >> PAGE_SHIFT;
        if self.is_empty() {
            return PfnRange::spanning(first, first);
        }
        let end = (self.start.as_u64() + self.bytes).div_ceil(PAGE_SIZE as u64);
        PfnRange::spanning(first, end)
    }
}

impl fmt::Debug for PhysRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PhysRange({:#x} + {:#x})", self.start, self.bytes)
    }
}

/// Page frames that follow each other: a start and a count.
///
/// ```
/// use pepita_mem::{Pfn, PfnRange};
///
/// let low = PfnRange::new(Pfn::new(0x100), 0x100);
/// assert!(low.contains(Pfn::new(0x1ff)) && !low.contains(Pfn::new(0x200)));
/// assert_eq!(low.iter().count(), 0x100);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PfnRange {
    start: Pfn,
    frames: u64,
}

impl PfnRange {
    /// `frames` frames from `start`.
    ///
    /// # Panics
    /// If they pass the last frame.
    #[must_use]
    pub const fn new(start: Pfn, frames: u64) -> Self {
        match Self::try_new(start, frames) {
            Ok(range) => range,
            Err(_) => panic!("the range passes the last frame"),
        }
    }

    /// `frames` frames from `start`.
    ///
    /// # Errors
    /// [`RangeError::Pfn`] if they pass the last frame.
    pub const fn try_new(start: Pfn, frames: u64) -> Result<Self, RangeError> {
        if frames > (1 << Pfn::BITS) - start.as_u64() {
            Err(RangeError::Pfn { start, frames })
        } else {
            Ok(Self { start, frames })
        }
    }

    /// From `first` to before `end`, both within the frames that exist; empty if `end` is not above.
    const fn spanning(first: u64, end: u64) -> Self {
        if end > first {
            Self::new(Pfn::new(first), end - first)
        } else {
            Self::new(Pfn::new(0), 0)
        }
    }

    /// The first frame, if the range is not empty.
    #[must_use]
    pub const fn start(self) -> Pfn {
        self.start
    }

    /// How many frames it has.
    #[must_use]
    pub const fn frames(self) -> u64 {
        self.frames
    }

    /// How many bytes it has.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.frames << PAGE_SHIFT
    }

    /// Whether it has no frame.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.frames == 0
    }

    /// The number of the frame after the last; not a [`Pfn`], for it may be one too large.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.start.as_u64() + self.frames
    }

    /// Whether `pfn` is one of its frames.
    #[must_use]
    pub const fn contains(self, pfn: Pfn) -> bool {
        match pfn.checked_frames_from(self.start) {
            Some(offset) => offset < self.frames,
            None => false,
        }
    }

    /// Whether all frames of `other` are among its own.
    #[must_use]
    pub const fn contains_range(self, other: Self) -> bool {
        other.is_empty()
            || (other.start.as_u64() >= self.start.as_u64() && other.end() <= self.end())
    }

    /// Whether the two have a frame in common.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        !self.is_empty()
            && !other.is_empty()
            && self.start.as_u64() < other.end()
            && other.start.as_u64() < self.end()
    }

    /// The bytes of all frames.
    #[must_use]
    pub const fn to_bytes(self) -> PhysRange {
        PhysRange::new(self.start.to_addr(), self.bytes())
    }

    /// Its frames, from the first.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Pfn> {
        (self.start.as_u64()..self.end()).map(Pfn::new)
    }
}

impl fmt::Debug for PfnRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PfnRange({self})")
    }
}

impl fmt::Display for PfnRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start.as_u64(), self.end())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_inside_are_touched_and_frames_touched_hold_the_range(range: PhysRange, at: PhysAddr) {
            let (inside, touched) = (range.frames_inside(), range.frames_touched());
            prop_assert!(touched.contains_range(inside) || inside.is_empty());
            prop_assert!(inside.bytes() <= range.bytes() && range.bytes() <= touched.bytes());
            for addr in [at, range.start()] {
                let pfn = Pfn::from_addr(addr);
                prop_assert!(!range.contains(addr) || touched.contains(pfn));
                prop_assert!(!inside.contains(pfn) || range.contains(addr));
            }
        }

        #[test]
        fn ranges_overlap_where_a_start_of_one_is_in_the_other(a: PfnRange, b: PfnRange) {
            let shared = !a.is_empty() && !b.is_empty()
                && (a.contains(b.start()) || b.contains(a.start()));
            prop_assert_eq!((a.overlaps(b), b.overlaps(a)), (shared, shared));
            prop_assert!(!a.contains_range(b) || b.is_empty() || a.overlaps(b));
            prop_assert!(a.contains_range(a));
        }
    }

    fn pfns(start: u64, frames: u64) -> PfnRange {
        PfnRange::new(Pfn::new(start), frames)
    }

    #[test]
    fn a_range_may_end_with_the_last_frame_and_not_beyond() {
        let last = Pfn::new((1 << Pfn::BITS) - 1);
        assert_eq!(PfnRange::new(last, 1).end(), 1 << Pfn::BITS);
        let error = PfnRange::try_new(last, 2).unwrap_err();
        assert_eq!(
            error.to_string(),
            "2 frames from frame 0xffffffffff pass the last one, 40 bits"
        );
        assert_eq!(
            PfnRange::new(last, 1).to_bytes().frames_inside(),
            PfnRange::new(last, 1)
        );
        assert!(PhysRange::try_new(last.to_addr(), 4097).is_err());
        assert!(PhysRange::try_new(PhysAddr::new(1), u64::MAX).is_err());
    }

    #[test]
    fn ranges_overlap_when_they_share_a_frame() {
        for (a, b, want) in [
            (pfns(0, 4), pfns(4, 4), false),
            (pfns(0, 5), pfns(4, 4), true),
            (pfns(2, 1), pfns(0, 8), true),
            (pfns(2, 0), pfns(0, 8), false),
        ] {
            assert_eq!((a.overlaps(b), b.overlaps(a)), (want, want), "{a} {b}");
            assert_eq!(a.to_bytes().overlaps(b.to_bytes()), want, "{a} {b}");
        }
        assert!(pfns(0, 8).contains_range(pfns(4, 4)) && !pfns(0, 8).contains_range(pfns(4, 5)));
    }

    #[test]
    fn frames_inside_are_whole_and_frames_touched_are_all() {
        for (start, bytes, inside, touched) in [
            (0, 0, (0, 0), (0, 0)),
            (1, 0, (0, 0), (0, 0)),
            (0, 4096, (0, 1), (0, 1)),
            (1, 4096, (0, 0), (0, 2)),
            (4095, 4098, (1, 1), (0, 3)),
            (8191, 1, (0, 0), (1, 1)),
        ] {
            let range = PhysRange::new(PhysAddr::new(start), bytes);
            assert_eq!(range.frames_inside(), pfns(inside.0, inside.1), "{range:?}");
            assert_eq!(range.frames_touched().frames(), touched.1, "{range:?}");
        }
    }
}
