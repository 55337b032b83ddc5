//! Why a file is no device.

use std::fmt;
use std::path::PathBuf;

use pepita_sys::error::{Errno, KernelError};

use crate::ring::SetupError;

/// Why there is no [`FileDevice`](super::FileDevice).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileDeviceError {
    /// The file could not be opened.
    Open {
        /// Its path.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// Somebody else has locked the file; see [`FileOptions::locked`](super::FileOptions::locked).
    Locked {
        /// Its path.
        path: PathBuf,
    },
    /// It is neither a regular file nor a block device.
    Kind,
    /// It is a block device whose zones have to be written in order. Read-only, it can be had.
    Zoned,
    /// It was opened in a way that a device cannot use.
    OpenedWith {
        /// The `O_` flag.
        flag: &'static str,
    },
    /// Its file system has no `O_DIRECT`.
    NoDirect,
    /// Its logical blocks cannot be of this size.
    BlockSize {
        /// Bytes that were asked for, or that the file wants.
        bytes: u32,
        /// The least that the file takes.
        min: u32,
    },
    /// io_uring is not to be had; [`Engine::Threads`](super::Engine::Threads) does without.
    Uring(SetupError),
    /// There was no thread to be had.
    Threads(Errno),
    /// Another answer of the kernel.
    Kernel(KernelError),
}

impl fmt::Display for FileDeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, errno } => {
                write!(f, "cannot open {}: {errno}", path.display())?;
                f.write_str(match *errno {
                    Errno::EBUSY => " (a block device that is mounted, or that others use)",
                    Errno::EINVAL => " (does its file system have O_DIRECT?)",
                    _ => "",
                })
            }
            Self::Locked { path } => write!(
                f,
                "{} is locked by another program, which may be serving it too",
                path.display()
            ),
            Self::Kind => f.write_str("neither a regular file nor a block device"),
            Self::Zoned => f.write_str(
                "a zoned block device, which is not written anywhere; it can be had read-only",
            ),
            Self::OpenedWith { flag } => write!(f, "a file that was opened with {flag}"),
            Self::NoDirect => {
                f.write_str("the file was not opened with O_DIRECT, or has no such thing")
            }
            Self::BlockSize { bytes, min } => write!(
                f,
                "logical blocks of {bytes} bytes: a power of two from {min} to 4096 is needed"
            ),
            Self::Uring(error) => write!(f, "{error}; Engine::Threads needs no io_uring"),
            Self::Threads(errno) => write!(f, "no thread for the device: {errno}"),
            Self::Kernel(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FileDeviceError {}

impl From<KernelError> for FileDeviceError {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error)
    }
}

impl From<FileDeviceError> for KernelError {
    fn from(error: FileDeviceError) -> Self {
        match error {
            FileDeviceError::Open { errno, .. } => Self::from_errno("open", errno),
            FileDeviceError::Locked { .. } => Self::from_errno("flock", Errno::EWOULDBLOCK),
            FileDeviceError::Kind => Self::from_errno("fstat", Errno::ENODEV),
            FileDeviceError::Zoned => Self::from_errno("open a device", Errno::EOPNOTSUPP),
            FileDeviceError::OpenedWith { .. }
            | FileDeviceError::NoDirect
            | FileDeviceError::BlockSize { .. } => Self::from_errno("open a device", Errno::EINVAL),
            FileDeviceError::Uring(error) => error.into(),
            FileDeviceError::Threads(errno) => Self::from_errno("clone", errno),
            FileDeviceError::Kernel(error) => error,
        }
    }
}
