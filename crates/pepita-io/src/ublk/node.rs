//! [`Node`]: the device file that tells a device from the next one of its number.

use super::control::{Control, channel_path};
use super::error::UblkError;

/// Which device a number meant when it was looked at. The driver gives a number anew as soon as nobody has its last
/// device open, and each device has a file of its own in `/dev`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    id: u32,
    /// Inode of the device file, which the kernel's file system of devices counts up; `None` without such a file.
    inode: Option<u64>,
}

impl Node {
    /// The device that is `id` now.
    pub(super) fn of(id: u32) -> Self {
        Self {
            id,
            inode: inode(id),
        }
    }

    pub(super) const fn id(self) -> u32 {
        self.id
    }

    /// Stops the device: see [`Control::stop`].
    ///
    /// # Errors
    /// As there; [`UblkError::NoDevice`] where the number is another's now.
    pub(super) fn stop(self, control: &Control) -> Result<(), UblkError> {
        self.check()?;
        control.stop(self.id)
    }

    /// Stops and deletes the device: see [`Control::delete`].
    ///
    /// # Errors
    /// As [`Self::stop`].
    pub(super) fn delete(self, control: &Control) -> Result<(), UblkError> {
        self.check()?;
        control.delete(self.id)
    }

    fn check(self) -> Result<(), UblkError> {
        match (self.inode, inode(self.id)) {
            (Some(then), Some(now)) if then != now => Err(UblkError::NoDevice { id: self.id }),
            // Where there is no file, the driver says whether there is a device.
            _ => Ok(()),
        }
    }
}

fn inode(id: u32) -> Option<u64> {
    let file = rustix::fs::stat(channel_path(id));
    file.ok().map(|file| file.st_ino)
}
