//! Whose a character device is: the driver makes it root's, and udev gives it to who has asked for it.

use std::path::Path;
use std::time::{Duration, Instant};

use pepita_sys::error::{Errno, KernelError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, access, inotify};

use super::control::channel_path;
use super::error::UblkError;

/// Waits until this user may use the character device `id`, for `limit`.
pub(super) fn wait(id: u32, limit: Duration) -> Result<(), UblkError> {
    let path = channel_path(id);
    let failed = |operation: &'static str| {
        move |errno: rustix::io::Errno| {
            KernelError::from_errno(operation, Errno::from_raw(errno.raw_os_error()))
        }
    };
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let watch = inotify::init(flags).map_err(failed("inotify_init1"))?;
    // The directory, since the node may come late too.
    let events = inotify::WatchFlags::CREATE | inotify::WatchFlags::ATTRIB;
    inotify::add_watch(&watch, "/dev", events).map_err(failed("inotify_add_watch"))?;
    let deadline = Instant::now() + limit;
    loop {
        if is_ours(Path::new(&path)) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(UblkError::NotOurs { id });
        }
        let timeout = Timespec::try_from(left).ok();
        let _ = poll(&mut [PollFd::new(&watch, PollFlags::IN)], timeout.as_ref());
        let _ = rustix::io::read(&watch, &mut [0; 4096]);
    }
}

/// Whether this user may read and write `path`, as the driver checks it.
fn is_ours(path: &Path) -> bool {
    access(path, Access::READ_OK | Access::WRITE_OK).is_ok()
}
