#![expect(unsafe_code, reason = "maps what the driver writes, and reads it")]
//! The character device of a device: where its requests come from.
//!
//! # Invariants
//! * mapped-until-drop: see `ring/region.rs`; the driver's pages stay as long as the mapping.
//! * below-depth: a mapping has a descriptor for each tag below its depth.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::Arc;

use pepita_sys::blk_mq::Geometry;
use pepita_sys::error::{Errno, KernelError};
use pepita_sys::ublk::*;

use super::control::channel_path;
use super::error::UblkError;
use crate::ring::Region;

/// The open character device, to be given to the threads that serve its queues. Clones are the same.
///
/// The device cannot be deleted before the last one is gone.
#[derive(Debug, Clone)]
pub struct Channel {
    file: Arc<File>,
    info: UblksrvCtrlDevInfo,
    geometry: Geometry,
}

impl Channel {
    pub(super) fn open(info: &UblksrvCtrlDevInfo, geometry: Geometry) -> Result<Self, UblkError> {
        let mut options = File::options();
        let file = options.read(true).write(true);
        let file = file.open(channel_path(info.dev_id));
        let file = file.map_err(|error| {
            let (operation, errno) = ("open /dev/ublkcN", Errno::from(error));
            match errno {
                Errno::EACCES | Errno::EPERM if info.flags & UBLK_F_UNPRIVILEGED_DEV != 0 => {
                    UblkError::NotOurs { id: info.dev_id }
                }
                Errno::EACCES | Errno::EPERM => UblkError::Permission { operation, errno },
                _ => KernelError::from_errno(operation, errno).into(),
            }
        })?;
        Ok(Self {
            file: Arc::new(file),
            info: *info,
            geometry,
        })
    }

    /// What the device is.
    #[must_use]
    pub const fn info(&self) -> &UblksrvCtrlDevInfo {
        &self.info
    }

    /// What its requests may be.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub(super) fn fd(&self) -> i32 {
        self.file.as_raw_fd()
    }

    /// Whether the server copies the data of requests by [`Self::take_data`] and [`Self::give_data`], and not the
    /// driver.
    pub(super) const fn is_user_copy(&self) -> bool {
        self.info.flags & UBLK_F_USER_COPY != 0
    }

    /// Reads what the write request of `tag` brings.
    pub(super) fn take_data(&self, queue_id: u16, tag: u16, bytes: &mut [u8]) -> Result<(), Errno> {
        let taken = self.file.read_exact_at(bytes, data_offset(queue_id, tag));
        taken.map_err(Errno::from)
    }

    /// Writes what the read request of `tag` wants.
    pub(super) fn give_data(&self, queue_id: u16, tag: u16, bytes: &[u8]) -> Result<(), Errno> {
        let given = self.file.write_all_at(bytes, data_offset(queue_id, tag));
        given.map_err(Errno::from)
    }

    /// Maps the request descriptors of a queue.
    pub(super) fn descriptors(&self, queue_id: u16) -> Result<Descriptors, UblkError> {
        let depth = self.info.queue_depth;
        let page = rustix::param::page_size();
        let bytes =
            |tags: u16| (usize::from(tags) * size_of::<UblkIoDesc>()).next_multiple_of(page);
        let offset =
            UBLKSRV_CMD_BUF_OFFSET + (usize::from(queue_id) * bytes(UBLK_MAX_QUEUE_DEPTH)) as u64;
        let region = Region::map_read_only(self.fd(), bytes(depth), offset)?;
        let first = region.array(0, depth.into())?;
        Ok(Descriptors {
            first,
            depth,
            _region: region,
        })
    }
}

/// Where the data of the request of `tag` begins in the character device.
fn data_offset(queue_id: u16, tag: u16) -> u64 {
    let place = u64::from(queue_id) << UBLK_QID_OFF | u64::from(tag) << UBLK_TAG_OFF;
    UBLKSRV_IO_BUF_OFFSET + place
}

/// What the driver says of the requests of a queue, in memory that it writes at any time.
#[derive(Debug)]
pub(super) struct Descriptors {
    first: NonNull<[u64; 3]>,
    depth: u16,
    /// Dropped after the pointer.
    _region: Region,
}

impl Descriptors {
    /// Reads the descriptor of `tag`, word by word and each once.
    #[inline]
    pub(super) fn read(&self, tag: u16) -> Option<UblkIoDesc> {
        if tag >= self.depth {
            return None;
        }
        let words = self.first.as_ptr().wrapping_add(tag.into()).cast::<u64>();
        // SAFETY: mapped-until-drop, below-depth: the descriptor's first word.
        let first = unsafe { words.read_volatile() };
        // SAFETY: mapped-until-drop, below-depth: its second word.
        let start_sector = unsafe { words.wrapping_add(1).read_volatile() };
        let [o0, o1, o2, o3, n0, n1, n2, n3] = first.to_le_bytes();
        Some(UblkIoDesc {
            op_flags: u32::from_le_bytes([o0, o1, o2, o3]),
            nr_sectors: u32::from_le_bytes([n0, n1, n2, n3]),
            start_sector,
            // The tag's buffer is ours, wherever the driver says that it is.
            addr: 0,
        })
    }
}
