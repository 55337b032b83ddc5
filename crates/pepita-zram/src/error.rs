//! [`ZramError`].

use pepita_sys::blk_mq::GeometryError;
use pepita_sys::error::{Errno, KernelError};

use crate::store::StoreError;

/// Why a device does not do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ZramError {
    /// A device of no bytes, or of more pages than there are numbers.
    #[error("a device of {pages} pages: 1 to {max} are possible")]
    Size {
        /// Pages that were asked for.
        pages: u64,
        /// The most.
        max: u64,
    },
    /// The page is behind the end.
    #[error("page {page} of a device of {pages} pages")]
    PastEnd {
        /// Its number.
        page: u64,
        /// Pages of the device.
        pages: u64,
    },
    /// The memory limit would be passed. What is stored stays.
    #[error("the memory limit of {limit_bytes} bytes is reached")]
    MemLimit {
        /// The limit.
        limit_bytes: u64,
    },
    /// The host has no memory. What is stored stays.
    #[error("no memory for a page: {errno}")]
    NoMemory {
        /// What the system said.
        errno: Errno,
    },
    /// There is no backing device.
    #[error("the device has no backing device: make it by `ZramDevice::with_backing`")]
    NoBacking,
    /// The backing device refuses to be one, or failed.
    #[error("the backing device: {errno}")]
    Backing {
        /// What it said: `EROFS` and `EINVAL` if pages cannot be written to it one by one.
        errno: Errno,
    },
    /// The backing device is described as none can be, or has logical blocks that are larger than a page.
    #[error("the backing device: {reason}")]
    BackingGeometry {
        /// What is wrong with it.
        reason: GeometryError,
    },
    /// Objects have as many older dictionaries as there can be.
    #[error("{max} dictionaries are in use: compress idle pages again, then older ones go")]
    Dictionaries {
        /// The most.
        max: usize,
    },
    /// What is stored for the page is not what was written.
    #[error(
        "page {page} is corrupt: what is stored does not have the checksum that it was stored with"
    )]
    Corrupt {
        /// Its number.
        page: u64,
    },
}

/// Why something ended before its end, and what was done until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("after {done} objects: {error}")]
pub struct Unfinished {
    /// Objects that it was done with.
    pub done: u64,
    /// What hindered it, the last time.
    #[source]
    pub error: ZramError,
}

impl Unfinished {
    /// `done`, or with it the error that there was.
    pub(crate) const fn unless(error: Option<ZramError>, done: u64) -> Result<u64, Self> {
        match error {
            None => Ok(done),
            Some(error) => Err(Self { done, error }),
        }
    }
}

/// Without what was done.
impl From<Unfinished> for ZramError {
    fn from(ended: Unfinished) -> Self {
        ended.error
    }
}

impl ZramError {
    /// The error number: `ENOSPC` where memory ends, limit or not, which swap takes for a page that has to stay
    /// where it was; `EBADMSG` for a corrupt page.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::Size { .. } | Self::NoBacking | Self::BackingGeometry { .. } => Errno::EINVAL,
            Self::PastEnd { .. } => Errno::EIO,
            Self::MemLimit { .. } | Self::NoMemory { .. } => Errno::ENOSPC,
            Self::Backing { errno } => *errno,
            Self::Dictionaries { .. } => Errno::EBUSY,
            Self::Corrupt { .. } => Errno::EBADMSG,
        }
    }

    pub(crate) const fn of_store(error: StoreError, limit_bytes: Option<u64>) -> Self {
        match (error, limit_bytes) {
            (StoreError::Limit, Some(limit_bytes)) => Self::MemLimit { limit_bytes },
            (StoreError::Limit, None) => Self::NoMemory {
                errno: Errno::ENOMEM,
            },
            (StoreError::Host(errno), _) => Self::NoMemory { errno },
        }
    }
}

/// As [`ZramError::errno`].
impl From<ZramError> for Errno {
    fn from(error: ZramError) -> Self {
        error.errno()
    }
}

/// With the number that [`ZramError::errno`] says.
impl From<ZramError> for KernelError {
    fn from(error: ZramError) -> Self {
        let operation = match error {
            ZramError::Size { .. } => "making a zram device",
            ZramError::Corrupt { .. } => "reading a zram page",
            ZramError::MemLimit { .. } | ZramError::NoMemory { .. } => "writing a zram page",
            ZramError::PastEnd { .. } => "reaching a zram page",
            ZramError::Dictionaries { .. } => "training a dictionary of zram",
            ZramError::NoBacking
            | ZramError::Backing { .. }
            | ZramError::BackingGeometry { .. } => "a backing device of zram",
        };
        Self::from_errno(operation, error.errno())
    }
}

impl From<ZramError> for std::io::Error {
    fn from(error: ZramError) -> Self {
        KernelError::from(error).into()
    }
}
