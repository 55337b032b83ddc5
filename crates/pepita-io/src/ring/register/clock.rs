//! The clock by which a ring's waits are timed.

use pepita_sys::error::Result;
use pepita_sys::io_uring::IoUringClockRegister;

use super::super::{CqEntry, Ring, SqEntry};
use super::operations;

/// A clock. clock_gettime(2)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitClock {
    /// Stands still while the machine sleeps.
    Monotonic,
    /// Goes on while the machine sleeps.
    Boottime,
}

impl<S: SqEntry, C: CqEntry> Ring<S, C> {
    /// Times waits by `clock` (Linux 6.12); without this, by [`WaitClock::Monotonic`].
    ///
    /// # Errors
    /// What io_uring_register(2) says: `EINVAL` on an older kernel.
    pub fn set_wait_clock(&mut self, clock: WaitClock) -> Result<()> {
        let mut arg = IoUringClockRegister {
            clockid: match clock {
                WaitClock::Monotonic => 1,
                WaitClock::Boottime => 7,
            },
            resv: [0; 3],
        };
        operations::CLOCK.call(self.fd(), &mut arg).map(drop)
    }
}
