//! [`MapError`].

use pepita_sys::error::Errno;

use crate::page::PageSize;
use crate::protection::Protection;

/// Why the host does not give memory, or not like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// No bytes were asked for, or more than there are addresses.
    #[error("a mapping of {bytes} bytes")]
    Size {
        /// How many.
        bytes: usize,
    },
    /// The host does not map memory.
    #[error("mapping {bytes} bytes: {errno}")]
    Map {
        /// How many were asked for.
        bytes: usize,
        /// What the system said.
        errno: Errno,
    },
    /// There are not enough free huge pages.
    #[error(
        "mapping {bytes} bytes in huge pages of {size}: {errno}; free ones are in \
         /sys/kernel/mm/hugepages/*/free_hugepages, root makes more by `sysctl vm.nr_hugepages`"
    )]
    HugePages {
        /// How many bytes were asked for.
        bytes: usize,
        /// How large the pages are.
        size: PageSize,
        /// What the system said.
        errno: Errno,
    },
    /// Pages cannot be kept in memory.
    #[error(
        "locking {bytes} bytes in memory: {errno}; the limit is {limit_bytes:?} bytes (`ulimit -l`)"
    )]
    Lock {
        /// How many bytes.
        bytes: usize,
        /// How many bytes this process may lock, if there is a limit.
        limit_bytes: Option<u64>,
        /// What the system said.
        errno: Errno,
    },
    /// The kernel refuses an operation on a mapping.
    #[error("{operation} on a mapping of {bytes} bytes: {errno}")]
    Refused {
        /// The system call, with what it was to do.
        operation: &'static str,
        /// How many bytes the mapping has.
        bytes: usize,
        /// What the system said.
        errno: Errno,
    },
    /// The bytes are outside of the mapping.
    #[error("{bytes} bytes at {offset} are outside of a mapping of {len}")]
    Bounds {
        /// Where they begin.
        offset: usize,
        /// How many they are.
        bytes: usize,
        /// How many bytes the mapping has.
        len: usize,
    },
    /// The mapping's protection does not allow it.
    #[error("a mapping with {has:?} does not allow {needs:?}")]
    Protection {
        /// What it has.
        has: Protection,
        /// What would be needed.
        needs: Protection,
    },
}

/// What rustix calls it, in the type that all of pepita has for it.
pub(super) const fn number(errno: rustix::io::Errno) -> Errno {
    Errno::from_raw(errno.raw_os_error())
}

impl MapError {
    /// The error number that a system call gave, or would give.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::Size { .. } => Errno::EINVAL,
            Self::Bounds { .. } => Errno::EFAULT,
            Self::Protection { .. } => Errno::EACCES,
            Self::Map { errno, .. }
            | Self::HugePages { errno, .. }
            | Self::Lock { errno, .. }
            | Self::Refused { errno, .. } => *errno,
        }
    }
}
