//! What a server of swap needs: memory that stays, and memory that comes without input and output.
//!
//! The kernel swaps when it has no memory left. A server that then waits for a page of its own waits for the kernel,
//! which waits for the server. So all memory of the process is locked, by mlockall(2), and not piece by piece: beside
//! rings, tags and notes, a thread needs its stack, the heap, and the code of the program and its libraries, which
//! are pages of files that the kernel drops first; and what else a device reaches, nobody here knows. Pages are made
//! present at once (no `MCL_ONFAULT`), since one that is locked when it is first touched is asked for at the
//! worst time.

use pepita_sys::error::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, configure_io_flusher_behavior, getrlimit};

use super::error::UblkError;

/// Locks all memory of this process, what it has and what it will have, until its end. mlockall(2)
///
/// [`Server::swap`](super::Server::swap) does it; others that serve swap by [`QueueThread`](super::QueueThread)s do it
/// themselves, before they make the devices.
///
/// # Errors
/// [`UblkError::MemoryLimit`] without `CAP_IPC_LOCK` where `RLIMIT_MEMLOCK` is below what the process has; what else
/// the kernel says.
pub fn lock_memory() -> Result<(), UblkError> {
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).map_err(|error| {
        UblkError::MemoryLimit {
            mapped_bytes: mapped_bytes(),
            limit_bytes: getrlimit(Resource::Memlock).current,
            errno: Errno::from_raw(error.raw_os_error()),
        }
    })
}

/// Makes this thread one that the kernel does not send to swap or write back pages when it asks for memory, and so the
/// threads that it makes from now on. `PR_SET_IO_FLUSHER`, prctl(2)
///
/// [`Server::swap`](super::Server::swap) does it for the threads of queues.
///
/// # Errors
/// [`UblkError::Flusher`] without `CAP_SYS_RESOURCE`.
pub fn set_io_flusher() -> Result<(), UblkError> {
    configure_io_flusher_behavior(true).map_err(|error| UblkError::Flusher {
        errno: Errno::from_raw(error.raw_os_error()),
    })
}

/// Bytes that this process has mapped; 0 where nobody says. proc_pid_statm(5)
fn mapped_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').next().and_then(|word| word.parse().ok());
    let page = rustix::param::page_size() as u64;
    pages.map_or(0, |pages: u64| pages.saturating_mul(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mapped_is_counted_in_bytes() {
        assert!(mapped_bytes() > 1 << 20);
    }
}
