//! What a request asks for.

use core::fmt;
use core::ops::{BitOr, BitOrAssign};

/// What a request does. `Documentation/block`, zbc(7)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestOp {
    /// Reads sectors.
    Read,
    /// Writes sectors.
    Write,
    /// Makes durable what was written before.
    Flush,
    /// Says that sectors are not needed any more; what they hold then is undefined.
    Discard,
    /// Discards sectors so that nobody can read them again.
    SecureErase,
    /// Makes sectors zero.
    WriteZeroes,
    /// Opens the zone that begins at the sector. Its count of sectors means nothing.
    ZoneOpen,
    /// Closes such a zone.
    ZoneClose,
    /// Moves such a zone's write pointer to its end.
    ZoneFinish,
    /// Writes at the write pointer of the zone that begins at the sector, and tells where that was:
    /// [`Request::complete_at`](super::Request::complete_at).
    ZoneAppend,
    /// Empties the zone that begins at the sector. Its count of sectors means nothing.
    ZoneReset,
    /// Empties all zones that have a write pointer. It has no range.
    ZoneResetAll,
    /// Reports zones from the one with the sector on, as many as its count of sectors says: each as
    /// [`Zone::BYTES`](super::Zone::BYTES) bytes, and zeroes where there are none any more.
    ZoneReport,
}

impl RequestOp {
    /// Whether the request brings data from the device to the caller.
    #[must_use]
    pub const fn reads_data(self) -> bool {
        matches!(self, Self::Read | Self::ZoneReport)
    }

    /// Whether the request brings data from the caller to the device.
    #[must_use]
    pub const fn writes_data(self) -> bool {
        matches!(self, Self::Write | Self::ZoneAppend)
    }

    /// Whether the device is another one afterwards, so that a read-only device refuses.
    #[must_use]
    pub const fn changes_device(self) -> bool {
        !matches!(self, Self::Read | Self::Flush | Self::ZoneReport)
    }

    /// Whether only zoned devices know it.
    #[must_use]
    pub const fn is_zone_op(self) -> bool {
        matches!(
            self,
            Self::ZoneOpen
                | Self::ZoneClose
                | Self::ZoneFinish
                | Self::ZoneAppend
                | Self::ZoneReset
                | Self::ZoneResetAll
                | Self::ZoneReport
        )
    }
}

/// How a request is done. Unknown bits are kept.
///
/// ```
/// use pepita_sys::blk_mq::RequestFlags;
///
/// let flags = RequestFlags::FUA | RequestFlags::META;
/// assert!(flags.contains(RequestFlags::FUA) && !flags.contains(RequestFlags::NOWAIT));
/// assert_eq!(format!("{flags:?}"), "RequestFlags(FUA | META)");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct RequestFlags(u32);

/// The flags and their names.
const NAMES: [(RequestFlags, &str); 6] = [
    (RequestFlags::FUA, "FUA"),
    (RequestFlags::META, "META"),
    (RequestFlags::SYNC, "SYNC"),
    (RequestFlags::NOWAIT, "NOWAIT"),
    (RequestFlags::NOUNMAP, "NOUNMAP"),
    (RequestFlags::SWAP, "SWAP"),
];

impl RequestFlags {
    /// None.
    pub const NONE: Self = Self(0);
    /// What is written is durable when the request completes.
    pub const FUA: Self = Self(1 << 0);
    /// Metadata of a file system.
    pub const META: Self = Self(1 << 1);
    /// Somebody waits for it.
    pub const SYNC: Self = Self(1 << 2);
    /// Fails with `EAGAIN` instead of waiting for room.
    pub const NOWAIT: Self = Self(1 << 3);
    /// Zeroed sectors keep their space.
    pub const NOUNMAP: Self = Self(1 << 4);
    /// From or to swap: the device must not wait for memory.
    pub const SWAP: Self = Self(1 << 5);

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Flags of bits, unknown ones included.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Whether all of `flags` are set.
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl BitOr for RequestFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for RequestFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for RequestFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestFlags(")?;
        let mut unnamed = self.0;
        let mut separator = "";
        for (flag, name) in NAMES {
            if self.contains(flag) {
                write!(f, "{separator}{name}")?;
                unnamed &= !flag.0;
                separator = " | ";
            }
        }
        if unnamed != 0 {
            write!(f, "{separator}{unnamed:#x}")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn flags_together_contain_each_and_no_more(a: RequestFlags, b: RequestFlags) {
            let mut both = a;
            both |= b;
            prop_assert_eq!(both, b | a);
            prop_assert!(both.contains(a) && both.contains(b) && both.contains(RequestFlags::NONE));
            prop_assert_eq!(a.contains(b), both == a);
            prop_assert_eq!(RequestFlags::from_bits(both.bits()), both);
        }

        #[test]
        fn no_operation_moves_data_both_ways_or_changes_the_device_by_reading(op: RequestOp) {
            prop_assert!(!(op.reads_data() && op.writes_data()));
            prop_assert!(!op.reads_data() || !op.changes_device());
            prop_assert!(!op.writes_data() || op.changes_device());
        }
    }

    #[test]
    fn unknown_flags_are_kept_and_shown() {
        let flags = RequestFlags::from_bits(1 << 31) | RequestFlags::SWAP;
        assert_eq!(flags.bits(), 1 << 31 | 1 << 5);
        assert_eq!(std::format!("{flags:?}"), "RequestFlags(SWAP | 0x80000000)");
        assert_eq!(std::format!("{:?}", RequestFlags::NONE), "RequestFlags()");
    }

    #[test]
    fn data_flows_one_way_or_not_at_all() {
        use RequestOp::{Discard, Flush, Read, Write, ZoneAppend, ZoneReport, ZoneReset};
        for (op, reads, writes, changes, zone) in [
            (Read, true, false, false, false),
            (Write, false, true, true, false),
            (Flush, false, false, false, false),
            (Discard, false, false, true, false),
            (ZoneAppend, false, true, true, true),
            (ZoneReport, true, false, false, true),
            (ZoneReset, false, false, true, true),
        ] {
            let is = (
                op.reads_data(),
                op.writes_data(),
                op.changes_device(),
                op.is_zone_op(),
            );
            assert_eq!(is, (reads, writes, changes, zone), "{op:?}");
        }
    }
}
