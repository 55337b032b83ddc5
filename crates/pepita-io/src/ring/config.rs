//! How a ring is made.

use core::time::Duration;

use pepita_sys::error::{Errno, KernelError};
use pepita_sys::io_uring::*;
use pepita_sys::syscall::{self, AT_FDCWD, O_CLOEXEC, O_RDONLY};

use super::Ring;
use super::calls;
use super::entry::{CqEntry, SqEntry};
use super::error::{Refusal, SetupError};

/// The most entries that a submission queue has (`IORING_MAX_ENTRIES`).
const SQ_ENTRIES_MAX: u32 = 32_768;
/// The most entries that a completion queue has (`IORING_MAX_CQ_ENTRIES`).
const CQ_ENTRIES_MAX: u32 = 2 * SQ_ENTRIES_MAX;

/// What a ring does without, from the newest down, until the kernel takes it.
///
/// Linux 6.1 takes all but the first.
const FALLBACKS: [u32; 4] = [
    IORING_SETUP_NO_SQARRAY,
    IORING_SETUP_DEFER_TASKRUN,
    IORING_SETUP_SINGLE_ISSUER,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
];

/// What was asked for, and must be had: flag, what it is called, the first kernel with it.
const ASKED: [(u32, &str, &str); 7] = [
    (IORING_SETUP_SQE128, "entries of 128 bytes", "5.19"),
    (IORING_SETUP_CQE32, "completions of 32 bytes", "5.19"),
    (IORING_SETUP_CQE_MIXED, "completions of mixed sizes", "6.18"),
    (IORING_SETUP_SQPOLL, "a polling thread", "5.1"),
    (IORING_SETUP_IOPOLL, "polled completions", "5.1"),
    (
        IORING_SETUP_HYBRID_IOPOLL,
        "polling that sleeps first",
        "6.13",
    ),
    (IORING_SETUP_ATTACH_WQ, "shared workers", "5.6"),
];

/// How a [`Ring`] is made.
///
/// Without further settings, a ring has one submitting thread, runs completions when that thread asks for
/// them, and takes entries in their order. A kernel that lacks one of these gets a ring without it; a
/// setting that was asked for by name is never left out.
///
/// ```
/// use pepita_io::ring::RingConfig;
///
/// let ring = RingConfig::new(64).cq_entries(1024).build()?;
/// assert_eq!((ring.sq_capacity(), ring.cq_capacity()), (64, 1024));
/// # Ok::<(), pepita_io::ring::SetupError>(())
/// ```
///
/// Source: io_uring_setup(2).
#[derive(Debug, Clone)]
#[must_use]
pub struct RingConfig {
    sq_entries: u32,
    cq_entries: Option<u32>,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle_ms: u32,
    wq_fd: u32,
}

impl RingConfig {
    /// A ring with room for `sq_entries` submissions, rounded up to a power of two, and for twice as many
    /// completions.
    pub const fn new(sq_entries: u32) -> Self {
        Self {
            sq_entries,
            cq_entries: None,
            flags: 0,
            sq_thread_cpu: 0,
            sq_thread_idle_ms: 0,
            wq_fd: 0,
        }
    }

    /// Room for `cq_entries` completions, rounded up to a power of two.
    ///
    /// Completions that do not fit wait in the kernel, at a price: multishot operations end, and each
    /// needs an allocation.
    pub const fn cq_entries(mut self, cq_entries: u32) -> Self {
        self.cq_entries = Some(cq_entries);
        self
    }

    /// A kernel thread takes submissions by itself, and sleeps after `idle` without any; it takes a CPU.
    /// `idle` is counted in milliseconds; 0 is one second.
    pub fn sq_poll(mut self, idle: Duration) -> Self {
        self.flags |= IORING_SETUP_SQPOLL;
        self.sq_thread_idle_ms = u32::try_from(idle.as_millis()).unwrap_or(u32::MAX);
        self
    }

    /// That thread stays on `cpu`.
    pub const fn sq_poll_cpu(mut self, cpu: u32) -> Self {
        self.flags |= IORING_SETUP_SQ_AFF;
        self.sq_thread_cpu = cpu;
        self
    }

    /// Completions are polled for at the device instead of waited for: for files opened with `O_DIRECT` on
    /// a device with polled queues, and nothing else.
    pub const fn io_poll(mut self) -> Self {
        self.flags |= IORING_SETUP_IOPOLL;
        self
    }

    /// As [`Self::io_poll`], with a sleep before the device is expected to be ready (Linux 6.13).
    pub const fn hybrid_io_poll(mut self) -> Self {
        self.flags |= IORING_SETUP_IOPOLL | IORING_SETUP_HYBRID_IOPOLL;
        self
    }

    /// Shares the worker threads of `ring`, and its polling thread if both have one.
    pub const fn share_workers<S: SqEntry, C: CqEntry>(mut self, ring: &Ring<S, C>) -> Self {
        self.flags |= IORING_SETUP_ATTACH_WQ;
        self.wq_fd = ring.fd().cast_unsigned();
        self
    }

    /// Makes the ring, with entries of 64 bytes and completions of 16.
    ///
    /// # Errors
    /// As [`Self::build_sized`].
    pub fn build(&self) -> Result<Ring, SetupError> {
        self.build_sized()
    }

    /// Makes the ring, with entries and completions of the sizes of `S` and `C`.
    ///
    /// ```
    /// use pepita_io::ring::{Ring, RingConfig};
    /// use pepita_sys::io_uring::{IoUringCqe32, IoUringSqe128};
    ///
    /// let ring: Ring<IoUringSqe128, IoUringCqe32> = RingConfig::new(8).build_sized()?;
    /// # Ok::<(), pepita_io::ring::SetupError>(())
    /// ```
    ///
    /// # Errors
    /// * [`SetupError::Entries`], [`SetupError::Conflict`]: the settings make no ring.
    /// * [`SetupError::Refused`]: this process may not have a ring; it says who refuses.
    /// * [`SetupError::Unsupported`]: the kernel lacks what was asked for.
    /// * [`SetupError::Kernel`]: anything else, such as `EMFILE` or `ENOMEM`.
    pub fn build_sized<S: SqEntry, C: CqEntry>(&self) -> Result<Ring<S, C>, SetupError> {
        self.check()?;
        let asked = self.flags | S::SETUP_FLAG | C::SETUP_FLAG | self.cq_size_flag();
        let mut wanted = asked | optional_flags(asked);
        let mut fallbacks = FALLBACKS.iter();
        loop {
            let mut params = self.params(wanted);
            match calls::setup(self.sq_entries, &mut params) {
                Ok(fd) => return Ok(Ring::new(fd, &params)?),
                Err(Errno::EINVAL) => {}
                Err(errno) => return Err(refused(errno)),
            }
            let Some(less) = fallbacks.find(|less| wanted & **less != 0) else {
                return Err(self.unsupported(asked));
            };
            wanted &= !less;
        }
    }

    const fn cq_size_flag(&self) -> u32 {
        match self.cq_entries {
            Some(_) => IORING_SETUP_CQSIZE,
            None => 0,
        }
    }

    fn params(&self, flags: u32) -> IoUringParams {
        IoUringParams {
            flags,
            cq_entries: self.cq_entries.unwrap_or(0),
            sq_thread_cpu: self.sq_thread_cpu,
            sq_thread_idle: self.sq_thread_idle_ms,
            wq_fd: self.wq_fd,
            ..IoUringParams::default()
        }
    }

    /// What would be `EINVAL` for another reason than an old kernel.
    fn check(&self) -> Result<(), SetupError> {
        let sizes = |queue, entries, min, max| {
            if (min..=max).contains(&entries) {
                return Ok(());
            }
            Err(SetupError::Entries {
                queue,
                entries,
                min,
                max,
            })
        };
        sizes("submission", self.sq_entries, 1, SQ_ENTRIES_MAX)?;
        if let Some(cq_entries) = self.cq_entries {
            sizes("completion", cq_entries, self.sq_entries, CQ_ENTRIES_MAX)?;
        }
        if self.flags & IORING_SETUP_SQ_AFF != 0 && self.flags & IORING_SETUP_SQPOLL == 0 {
            return Err(SetupError::Conflict {
                setting: "a CPU for the polling thread",
                with: "a ring without such a thread",
            });
        }
        Ok(())
    }

    /// Which of the settings a kernel lacks that takes none of the fallbacks.
    fn unsupported(&self, asked: u32) -> SetupError {
        for (flag, what, since) in ASKED {
            let needs = match flag {
                IORING_SETUP_HYBRID_IOPOLL => IORING_SETUP_IOPOLL,
                _ => 0,
            };
            let mut params = self.params(flag | needs);
            if asked & flag != 0 && calls::setup(1, &mut params).is_err() {
                return SetupError::Unsupported { what, since };
            }
        }
        KernelError::from_errno("io_uring_setup", Errno::EINVAL).into()
    }
}

/// What a ring has wherever the kernel knows it and `asked` does not exclude it.
const fn optional_flags(asked: u32) -> u32 {
    let always = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_NO_SQARRAY | IORING_SETUP_SUBMIT_ALL;
    if asked & IORING_SETUP_SQPOLL != 0 {
        // The polling thread completes, and there is no one to be interrupted.
        return always;
    }
    always | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG
}

/// An error of the set-up that no other flags would change.
fn refused(errno: Errno) -> SetupError {
    match errno {
        Errno::ENOSYS => SetupError::Refused(Refusal::Absent),
        Errno::EPERM => SetupError::Refused(match io_uring_disabled() {
            Some(b'1') => Refusal::SysctlForUnprivileged,
            Some(b'2') => Refusal::SysctlForAll,
            _ => Refusal::Filter,
        }),
        errno => KernelError::from_errno("io_uring_setup", errno).into(),
    }
}

/// The digit in `kernel.io_uring_disabled`, which Linux has since 6.6.
fn io_uring_disabled() -> Option<u8> {
    let path = c"/proc/sys/kernel/io_uring_disabled";
    let file = syscall::openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0).ok()?;
    let mut text = [0];
    (file.read(&mut text).ok()? == 1).then_some(text[0])
}
