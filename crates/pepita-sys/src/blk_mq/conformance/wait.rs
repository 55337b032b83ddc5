#![expect(unsafe_code, reason = "waits for descriptors, which std cannot")]
//! Waiting until a descriptor is readable, or long enough.

use std::time::{Duration, Instant};

use crate::error::Errno;
use crate::io_uring::Timespec;
use crate::syscall::raw;

/// `__NR_ppoll`
const PPOLL: usize = if cfg!(target_arch = "aarch64") {
    73
} else {
    271
};

/// There is data to read. `include/uapi/asm-generic/poll.h`
const POLLIN: i16 = 1;

/// `struct pollfd`. `include/uapi/asm-generic/poll.h`
#[repr(C)]
struct PollFd {
    fd: i32,
    events: i16,
    revents: i16,
}

/// Waits until one of `fds` is readable, of which a negative one never is, and says which are. ppoll(2)
pub(super) fn readable(fds: [i32; 2], deadline: Instant) -> Result<[bool; 2], Errno> {
    let mut polled = fds.map(|fd| PollFd {
        fd,
        events: POLLIN,
        revents: 0,
    });
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::from(left);
        let (fds, timeout) = (polled.as_mut_ptr(), &raw const timeout);
        let (fds, timeout) = (fds.expose_provenance(), timeout.expose_provenance());
        // SAFETY: two entries and a time, which live as long as the call; no signal mask.
        match unsafe { raw::syscall5(PPOLL, fds, polled.len(), timeout, 0, 0) } {
            Ok(_) => return Ok(polled.map(|fd| fd.revents != 0)),
            Err(Errno::EINTR) if left > Duration::ZERO => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(all(test, not(pepita_loom)))]
mod tests {
    use core::mem::{offset_of, size_of};
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn the_call_is_the_c_librarys() {
        assert_eq!(libc::SYS_ppoll, i64::try_from(PPOLL).expect("small"));
        assert_eq!(POLLIN, libc::POLLIN);
        assert_eq!(size_of::<PollFd>(), size_of::<libc::pollfd>());
        assert_eq!(offset_of!(PollFd, events), offset_of!(libc::pollfd, events));
        assert_eq!(
            offset_of!(PollFd, revents),
            offset_of!(libc::pollfd, revents)
        );
    }

    #[test]
    fn what_is_readable_is_seen_and_what_is_not_is_not() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let now = Instant::now();
        assert_eq!(readable([reader.as_raw_fd(), -1], now), Ok([false; 2]));
        writer.write_all(&[1]).expect("room for a byte");
        let fds = [-1, reader.as_raw_fd()];
        assert_eq!(readable(fds, now), Ok([false, true]));
    }
}
