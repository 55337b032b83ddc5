//! Files and block devices of the host as a block device.

mod backing;
mod calls;
mod error;
mod job;
mod options;
mod threads;
mod uring;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use pepita_sys::blk_mq::{BlockDevice, DeviceId, Geometry, Lane, Request};
use pepita_sys::error::Result;

use backing::Backing;
pub(crate) use backing::bell;
pub use error::FileDeviceError;
pub use options::{Engine, FileOptions};
use threads::{Pool, ThreadLane};
use uring::UringLane;

/// The most requests in flight of a lane, which is the most tags of a hardware queue.
const DEPTH_MAX: u16 = 4096;

/// A regular file, or a block device of the host, as a block device.
///
/// ```
/// use pepita_io::FileDevice;
/// use pepita_sys::blk_mq::BlockDevice;
///
/// let image = tempfile::NamedTempFile::new()?;
/// image.as_file().set_len(1 << 20)?;
/// let device = FileDevice::open(image.path())?;
/// assert_eq!(device.geometry().capacity_sectors, 2048);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What the operations are
/// * A *read* or *write* hands the request's segments to the kernel as they are. With `O_DIRECT`, segments that
///   are not aligned as the file wants go through 128 KiB of memory of the lane's, piece by piece.
/// * A *flush* is fdatasync(2), and a write with `FUA` has `RWF_DSYNC`.
/// * A *discard* punches a hole into a file, and is a discard of a block device. Where neither is known,
///   [`Geometry::discard`] is `None`.
/// * *Writing zeroes* frees the space, or with `NOUNMAP` keeps it; a file system that cannot do it has zeroes
///   written.
///
/// # The file
/// Its size when it was opened, in whole logical blocks, is the device's capacity, until
/// [`update_capacity`](Self::update_capacity). Where the file has become shorter, reads fail with `EIO`.
pub struct FileDevice {
    backing: Arc<Backing>,
    /// `None` where each lane has a ring.
    pool: Option<Pool>,
}

impl FileDevice {
    /// The file at `path`, to be read and written through the page cache, by io_uring.
    ///
    /// # Errors
    /// As [`FileOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> std::result::Result<Self, FileDeviceError> {
        FileOptions::new().open(path)
    }

    /// Looks at the file's size again, which is the device's capacity from now on, in sectors.
    ///
    /// # Errors
    /// What lseek(2) says.
    pub fn update_capacity(&self) -> Result<u64> {
        self.backing.update_capacity()
    }
}

impl BlockDevice for FileDevice {
    type Lane<'d> = FileLane<'d>;

    fn geometry(&self) -> Geometry {
        self.backing.geometry()
    }

    /// The numbers of the file system and the inode, or of the block device.
    fn id(&self) -> DeviceId {
        self.backing.id()
    }

    fn open_lane(&self, depth: u16) -> Result<FileLane<'_>> {
        let depth = depth.clamp(1, DEPTH_MAX);
        let lane = match &self.pool {
            Some(pool) => Kind::Threads(ThreadLane::new(pool, &self.backing, depth)?),
            None => Kind::Uring(Box::new(UringLane::new(&self.backing, depth)?)),
        };
        Ok(FileLane { lane })
    }
}

impl fmt::Debug for FileDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileDevice")
            .field("id", &self.backing.id())
            .field("geometry", &self.backing.geometry())
            .finish_non_exhaustive()
    }
}

/// A lane of a [`FileDevice`]: a ring of its own, or that of a [`ublk`](crate::ublk) thread that opens it, or a place
/// to hear from the device's threads.
///
/// Dropping it cancels what has not begun, and waits for the rest. What the kernel does not give back within
/// five seconds, as on a disk that hangs, is leaked.
pub struct FileLane<'d> {
    lane: Kind<'d>,
}

enum Kind<'d> {
    Uring(Box<UringLane<'d>>),
    Threads(ThreadLane<'d>),
}

impl Lane for FileLane<'_> {
    #[inline]
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        match &mut self.lane {
            Kind::Uring(lane) => lane.submit(request),
            Kind::Threads(lane) => lane.submit(request),
        }
    }

    #[inline]
    fn commit(&mut self) {
        match &mut self.lane {
            Kind::Uring(lane) => lane.commit(),
            Kind::Threads(lane) => lane.commit(),
        }
    }

    #[inline]
    fn poll(&mut self) {
        match &mut self.lane {
            Kind::Uring(lane) => lane.poll(),
            Kind::Threads(lane) => lane.poll(),
        }
    }

    fn descriptor(&self) -> Option<i32> {
        Some(match &self.lane {
            Kind::Uring(lane) => lane.descriptor(),
            Kind::Threads(lane) => lane.descriptor(),
        })
    }
}

impl fmt::Debug for FileLane<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileLane").finish_non_exhaustive()
    }
}
