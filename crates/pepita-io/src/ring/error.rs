//! Why there is no ring, and why an entry was not taken.

use core::fmt;

use pepita_sys::error::{Errno, KernelError};

/// The submission queue has no free slot: submit what is there, and push again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

impl fmt::Display for QueueFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the submission queue is full; submit first")
    }
}

impl core::error::Error for QueueFull {}

impl From<QueueFull> for KernelError {
    /// `EAGAIN`: room comes with the next submission.
    fn from(_: QueueFull) -> Self {
        Self::from_errno("push", Errno::EAGAIN)
    }
}

/// Why there is no ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetupError {
    /// A queue cannot have this size.
    Entries {
        /// `"submission"` or `"completion"`.
        queue: &'static str,
        /// What was asked for.
        entries: u32,
        /// The least possible size.
        min: u32,
        /// The greatest possible size.
        max: u32,
    },
    /// Two settings exclude each other.
    Conflict {
        /// The first.
        setting: &'static str,
        /// What it cannot stand beside.
        with: &'static str,
    },
    /// io_uring is not to be had here.
    Refused(Refusal),
    /// The kernel does not know what was asked for.
    Unsupported {
        /// The flag or feature.
        what: &'static str,
        /// The first kernel that has it.
        since: &'static str,
    },
    /// Another answer of the kernel.
    Kernel(KernelError),
}

/// Who refuses io_uring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// `kernel.io_uring_disabled` is 1, and the process is neither in the group `kernel.io_uring_group` nor
    /// has it `CAP_SYS_ADMIN`.
    SysctlForUnprivileged,
    /// `kernel.io_uring_disabled` is 2: nobody gets a ring.
    SysctlForAll,
    /// `EPERM` though the sysctl allows it: a seccomp filter or a security module, such as a container's
    /// default profile.
    Filter,
    /// `ENOSYS`: a kernel without io_uring, or a filter that says so.
    Absent,
}

impl Refusal {
    /// What the kernel answered.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::Absent => Errno::ENOSYS,
            Self::SysctlForUnprivileged | Self::SysctlForAll | Self::Filter => Errno::EPERM,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SysctlForUnprivileged => {
                "io_uring is for privileged processes only here (EPERM, kernel.io_uring_disabled is 1): \
                 set it to 0, or join the group of kernel.io_uring_group"
            }
            Self::SysctlForAll => {
                "io_uring is switched off on this host (EPERM, kernel.io_uring_disabled is 2): set it to 0"
            }
            Self::Filter => {
                "io_uring is refused by a seccomp filter or a security module (EPERM, and no sysctl says \
                 so): in a container, allow io_uring_setup, io_uring_enter and io_uring_register in its \
                 seccomp profile"
            }
            Self::Absent => {
                "there is no io_uring here (ENOSYS): the kernel lacks CONFIG_IO_URING, or a seccomp \
                 filter hides it"
            }
        })
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entries {
                queue,
                entries,
                min,
                max,
            } => write!(
                f,
                "a {queue} queue of {entries} entries is not in {min}..={max}"
            ),
            Self::Conflict { setting, with } => write!(f, "{setting} does not go with {with}"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Unsupported { what, since } => {
                write!(
                    f,
                    "this kernel does not know {what}, which Linux {since} has"
                )
            }
            Self::Kernel(error) => {
                error.fmt(f)?;
                f.write_str(match error.to_errno() {
                    Errno::EMFILE => " (the process has no descriptor left: see `ulimit -n`)",
                    Errno::ENFILE => " (the host has no descriptor left: see fs.file-max)",
                    Errno::ENOMEM => {
                        " (no memory for the rings: see the cgroup's limit, `ulimit -v`)"
                    }
                    _ => "",
                })
            }
        }
    }
}

impl core::error::Error for SetupError {}

impl From<KernelError> for SetupError {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error)
    }
}

impl From<SetupError> for KernelError {
    fn from(error: SetupError) -> Self {
        let errno = match error {
            SetupError::Entries { .. } | SetupError::Conflict { .. } => Errno::EINVAL,
            SetupError::Refused(refusal) => refusal.errno(),
            SetupError::Unsupported { .. } => Errno::EOPNOTSUPP,
            SetupError::Kernel(error) => return error,
        };
        Self::from_errno("io_uring_setup", errno)
    }
}
