//! How long and with which signals a thread waits for completions.

use core::time::Duration;

use pepita_sys::io_uring::{IoUringGeteventsArg, Timespec};

/// Bytes of a signal set.
const SIGNAL_SET_BYTES: u32 = 8;

/// How long to wait, beside the count of completions. Without settings, for ever.
///
/// Source: io_uring_enter(2), `struct io_uring_getevents_arg`.
#[derive(Debug, Clone, Copy, Default)]
#[must_use]
pub struct Wait {
    timeout: Option<Duration>,
    min_wait: Option<Duration>,
    signals: Option<u64>,
}

impl Wait {
    /// For ever.
    pub const fn new() -> Self {
        Self {
            timeout: None,
            min_wait: None,
            signals: None,
        }
    }

    /// Gives up after `timeout`.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits for the whole count for `min_wait`, in microseconds, and after that for any one completion
    /// (Linux 6.12).
    pub const fn min_wait(mut self, min_wait: Duration) -> Self {
        self.min_wait = Some(min_wait);
        self
    }

    /// Has `signals` blocked, and no others, while it waits: bit `n - 1` is signal `n`. As ppoll(2).
    pub const fn signals(mut self, signals: u64) -> Self {
        self.signals = Some(signals);
        self
    }

    pub(super) const fn needs_min_timeout(&self) -> bool {
        self.min_wait.is_some()
    }

    /// Calls `enter` with the kernel's structure, which leads to values that live as long as the call.
    pub(super) fn with_arg<T>(&self, enter: impl FnOnce(&IoUringGeteventsArg) -> T) -> T {
        let ts = self.timeout.map(Timespec::from);
        let min_wait = self.min_wait.unwrap_or_default();
        enter(&IoUringGeteventsArg {
            sigmask: address(self.signals.as_ref()),
            sigmask_sz: SIGNAL_SET_BYTES,
            min_wait_usec: u32::try_from(min_wait.as_micros()).unwrap_or(u32::MAX),
            ts: address(ts.as_ref()),
        })
    }
}

/// The address of a value, or 0.
fn address<T>(value: Option<&T>) -> u64 {
    value.map_or(0, |value| {
        core::ptr::from_ref(value).expose_provenance() as u64
    })
}
