//! [`DmaError`].

use core::fmt;

use super::mask::DmaMask;
use pepita_sys::error::Errno;

/// Why memory cannot be given to a device, or not like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DmaError {
    /// No bytes were asked for.
    Nothing,
    /// The platform has no such memory: free, contiguous for the device, and within its reach.
    NoMemory {
        /// How many bytes were asked for.
        bytes: usize,
        /// What the device reaches.
        mask: DmaMask,
    },
    /// The memory is not made of so few segments.
    Segments {
        /// How many the list can hold.
        max: usize,
    },
    /// Bytes outside of a buffer.
    Bounds {
        /// Where they begin.
        offset: usize,
        /// How many they are.
        bytes: usize,
        /// How many the buffer has.
        len: usize,
    },
    /// The platform could not say where the memory is for a device.
    Platform {
        /// The system's error number.
        errno: Errno,
    },
}

impl DmaError {
    /// The error number that a system call would give.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::Nothing | Self::Segments { .. } => Errno::EINVAL,
            Self::NoMemory { .. } => Errno::ENOMEM,
            Self::Bounds { .. } => Errno::EFAULT,
            Self::Platform { errno } => *errno,
        }
    }
}

impl fmt::Display for DmaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(f, "a buffer of 0 bytes"),
            Self::NoMemory { bytes, mask } => write!(
                f,
                "no {bytes} bytes that a device with {mask} of address sees in a row"
            ),
            Self::Segments { max } => write!(f, "the memory has more than {max} segments"),
            Self::Bounds { offset, bytes, len } => {
                write!(
                    f,
                    "{bytes} bytes at {offset} are outside of a buffer of {len}"
                )
            }
            Self::Platform { errno } => {
                write!(f, "the place of the memory is not known: {errno}")
            }
        }
    }
}

impl core::error::Error for DmaError {}
