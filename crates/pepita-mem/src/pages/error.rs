//! What can go wrong with page frames.

use core::fmt;

use crate::addr::Pfn;
use crate::range::PfnRange;
use pepita_sys::error::Errno;

/// An allocator that cannot be made from what it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetupError {
    /// There are no frames, or more than one allocator keeps.
    Frames {
        /// How many there are.
        frames: u64,
        /// How many there may be.
        max: u64,
    },
    /// There is not one state for each frame.
    States {
        /// How many were lent.
        lent: usize,
        /// How many are needed.
        needed: usize,
    },
    /// There are fewer words than the sets of free blocks need.
    Words {
        /// How many were lent.
        lent: usize,
        /// How many are needed.
        needed: usize,
    },
    /// Zones overlap, or do not come in the order of their addresses.
    ZoneOrder {
        /// The zone that begins too early.
        zone: PfnRange,
    },
}

impl SetupError {
    /// The error number that a system call would give: `EINVAL`.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        Errno::EINVAL
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frames { frames, max } => {
                write!(f, "{frames} frames are not in 1..={max}")
            }
            Self::States { lent, needed } => {
                write!(f, "{lent} frame states were lent, {needed} are needed")
            }
            Self::Words { lent, needed } => {
                write!(f, "{lent} words were lent, {needed} are needed")
            }
            Self::ZoneOrder { zone } => {
                write!(f, "zone {zone} begins before the zone ahead of it ends")
            }
        }
    }
}

impl core::error::Error for SetupError {}

/// Frames that an allocator cannot take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddError {
    /// The range is not wholly inside the allocator's.
    Outside {
        /// What was to be added.
        range: PfnRange,
        /// What the allocator keeps.
        managed: PfnRange,
    },
    /// A frame of the range belongs to the allocator already.
    Present {
        /// The first such frame.
        pfn: Pfn,
    },
}

impl AddError {
    /// The error number that a system call would give: `EINVAL`.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        Errno::EINVAL
    }
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside { range, managed } => {
                write!(f, "frames {range} are not wholly inside {managed}")
            }
            Self::Present { pfn } => write!(f, "frame {pfn} was added already"),
        }
    }
}

impl core::error::Error for AddError {}

/// No frames that would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AllocError {
    /// No frames were asked for.
    Nothing,
    /// There is no free run of so many frames that the alignment and the flags allow.
    Exhausted {
        /// How many frames were asked for.
        frames: u64,
        /// How many bits their addresses may have.
        address_bits: u32,
        /// How many frames are free, anywhere.
        free: u64,
    },
}

impl AllocError {
    /// The error number that a system call would give: `EINVAL` or `ENOMEM`.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::Nothing => Errno::EINVAL,
            Self::Exhausted { .. } => Errno::ENOMEM,
        }
    }
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(f, "an allocation of 0 frames"),
            Self::Exhausted {
                frames,
                address_bits,
                free,
            } => write!(
                f,
                "no {frames} free frames in a row below 2^{address_bits} bytes, {free} are free in all"
            ),
        }
    }
}

impl core::error::Error for AllocError {}

/// Frames that were not allocated like this; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FreeError {
    /// The allocator never had this frame.
    Foreign {
        /// The frame.
        pfn: Pfn,
    },
    /// The frame is free.
    AlreadyFree {
        /// The frame.
        pfn: Pfn,
    },
    /// The frame is allocated, but the allocation begins elsewhere.
    NotTheStart {
        /// The frame.
        pfn: Pfn,
    },
    /// An allocation begins here, of another size.
    WrongSize {
        /// The frame.
        pfn: Pfn,
        /// How many frames were to be freed.
        given: u64,
        /// How many the allocation has.
        allocated: u64,
    },
}

impl FreeError {
    /// The error number that a system call would give: `EFAULT` for a frame of others, else `EINVAL`.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::Foreign { .. } => Errno::EFAULT,
            _ => Errno::EINVAL,
        }
    }
}

impl fmt::Display for FreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign { pfn } => write!(f, "frame {pfn} does not belong to this allocator"),
            Self::AlreadyFree { pfn } => write!(f, "frame {pfn} is free already"),
            Self::NotTheStart { pfn } => {
                write!(f, "frame {pfn} is inside an allocation, not its start")
            }
            Self::WrongSize {
                pfn,
                given,
                allocated,
            } => write!(
                f,
                "the allocation at frame {pfn} has {allocated} frames, {given} were to be freed"
            ),
        }
    }
}

impl core::error::Error for FreeError {}
