//! How a file becomes a device.

use std::fs::{File, OpenOptions, TryLockError};
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use crate::ring::RingConfig;

use super::FileDevice;
use super::backing::{Backing, errno_of};
use super::error::FileDeviceError;
use super::threads::Pool;

/// Who does the work of a [`FileDevice`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Engine {
    /// The kernel: each lane has a ring of io_uring.
    #[default]
    Uring,
    /// So many threads of the device's, for hosts that refuse io_uring. A request occupies one until it ends.
    Threads(NonZeroUsize),
}

/// How a [`FileDevice`] is opened.
///
/// ```
/// use std::num::NonZeroUsize;
/// use pepita_io::{Engine, FileOptions};
/// use pepita_sys::blk_mq::BlockDevice;
///
/// let image = tempfile::tempfile()?;
/// image.set_len(1 << 20)?;
/// let device = FileOptions::new()
///     .logical_block_size(4096)
///     .engine(Engine::Threads(NonZeroUsize::new(2).unwrap()))
///     .from_file(image)?;
/// assert_eq!(device.geometry().logical_block_size, 4096);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct FileOptions {
    read_only: bool,
    direct: bool,
    locked: bool,
    block_size: Option<u32>,
    engine: Engine,
}

impl FileOptions {
    /// Reading and writing through the page cache, by io_uring, with the smallest blocks that the file takes.
    pub const fn new() -> Self {
        Self {
            read_only: false,
            direct: false,
            locked: false,
            block_size: None,
            engine: Engine::Uring,
        }
    }

    /// Nothing can be changed.
    pub const fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Past the page cache, with `O_DIRECT`. open(2)
    pub const fn direct(mut self) -> Self {
        self.direct = true;
        self
    }

    /// Has [`open`](Self::open) lock a regular file as long as there is the device: against all others that lock it
    /// too, or, read-only, against those that write. flock(2)
    pub const fn locked(mut self) -> Self {
        self.locked = true;
        self
    }

    /// Logical blocks of `bytes` bytes.
    pub const fn logical_block_size(mut self, bytes: u32) -> Self {
        self.block_size = Some(bytes);
        self
    }

    /// Who does the work.
    pub const fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// Opens the file at `path`. A block device that is to be written must not be in use elsewhere, as by a
    /// mount (`O_EXCL`).
    ///
    /// # Errors
    /// * [`FileDeviceError::Open`]: there is no such file, or it cannot be opened like this.
    /// * [`FileDeviceError::Locked`]: somebody has it, and this was to be [`locked`](Self::locked).
    /// * As [`Self::from_file`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<FileDevice, FileDeviceError> {
        let path = path.as_ref();
        let failed = |error: std::io::Error| FileDeviceError::Open {
            path: path.to_owned(),
            errno: errno_of(&error),
        };
        let kind = std::fs::metadata(path).map_err(failed)?.file_type();
        let mut flags = if self.direct { libc::O_DIRECT } else { 0 };
        if kind.is_block_device() && !self.read_only {
            flags |= libc::O_EXCL;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(!self.read_only)
            .custom_flags(flags)
            .open(path);
        let file = file.map_err(failed)?;
        if self.locked && kind.is_file() {
            let locked = match self.read_only {
                true => file.try_lock_shared(),
                false => file.try_lock(),
            };
            locked.map_err(|error| match error {
                TryLockError::WouldBlock => FileDeviceError::Locked {
                    path: path.to_owned(),
                },
                TryLockError::Error(error) => failed(error),
            })?;
        }
        self.from_file(file)
    }

    /// Takes a file that is open. It is past the page cache if it was opened with `O_DIRECT`, and read-only if it
    /// was opened so.
    ///
    /// # Errors
    /// * [`FileDeviceError::Kind`], [`FileDeviceError::OpenedWith`]: it can be no device.
    /// * [`FileDeviceError::NoDirect`]: [`Self::direct`] was asked for, and the file has no `O_DIRECT`.
    /// * [`FileDeviceError::BlockSize`]: it wants larger blocks.
    /// * [`FileDeviceError::Uring`]: io_uring is refused; it says by whom.
    /// * [`FileDeviceError::Threads`], [`FileDeviceError::Kernel`]: anything else.
    pub fn from_file(&self, file: File) -> Result<FileDevice, FileDeviceError> {
        let backing = Arc::new(Backing::new(file, self.read_only, self.block_size)?);
        if self.direct && !backing.is_direct() {
            return Err(FileDeviceError::NoDirect);
        }
        let pool = match self.engine {
            Engine::Uring => {
                // Lanes have rings of their own; whether there are any is told here.
                RingConfig::new(1).build().map_err(FileDeviceError::Uring)?;
                None
            }
            Engine::Threads(count) => Some(Pool::new(&backing, count)?),
        };
        Ok(FileDevice { backing, pool })
    }
}
