//! What can go wrong before a device is served, and while it is.

use std::fmt;
use std::time::Duration;

use pepita_sys::blk_mq::GeometryError;
use pepita_sys::error::{Errno, KernelError};

use crate::ring::SetupError;

/// Why a device is not served, or not as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UblkError {
    /// There is no `/dev/ublk-control`.
    NoDriver {
        /// The running kernel's release.
        release: String,
        /// What opening it said.
        errno: Errno,
    },
    /// This process may not do it.
    Permission {
        /// What it asked for.
        operation: &'static str,
        /// `EACCES` or `EPERM`.
        errno: Errno,
    },
    /// The driver is too old.
    TooOld {
        /// What it lacks.
        what: &'static str,
        /// The first kernel with it.
        since: &'static str,
        /// The running kernel's release.
        release: String,
    },
    /// Another device has the id.
    IdInUse {
        /// The id.
        id: u32,
    },
    /// There is no such device.
    NoDevice {
        /// The id.
        id: u32,
    },
    /// The device's server is still there, or its requests have not come to rest yet.
    Busy {
        /// The id.
        id: u32,
    },
    /// A device cannot be like this.
    Geometry(GeometryError),
    /// A number that ublk does not take.
    Limit {
        /// What was asked for.
        what: &'static str,
        /// The number.
        value: u64,
        /// The least possible.
        min: u64,
        /// The greatest possible.
        max: u64,
    },
    /// The device has features that nothing here serves.
    Unserved {
        /// Their `UBLK_F_` flags.
        flags: u64,
    },
    /// A device that waits for a new server has other sectors than the one to serve it with.
    Capacity {
        /// Sectors of the one that waits.
        waiting: u64,
        /// Sectors of the one to serve.
        served: u64,
    },
    /// The driver did not finish a command in time; what the command leads to stays allocated.
    TimedOut {
        /// The command.
        command: &'static str,
        /// The device.
        id: u32,
        /// How long was waited.
        limit: Duration,
    },
    /// The queues of a device did not end in time.
    Hangs {
        /// The device.
        id: u32,
        /// Count of threads that still serve it.
        threads: usize,
        /// How long was waited.
        limit: Duration,
    },
    /// The driver refused a command.
    Command {
        /// The command.
        command: &'static str,
        /// The device.
        id: u32,
        /// What it said.
        errno: Errno,
    },
    /// The driver refused a command of a queue.
    Queue {
        /// The queue.
        queue_id: u16,
        /// What it said.
        errno: Errno,
    },
    /// The code of a device panicked; the thread answered what was left with errors.
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// io_uring is not to be had.
    Ring(SetupError),
    /// Another answer of the kernel.
    Kernel(KernelError),
}

/// The running kernel's release, as `uname -r` says it.
pub(super) fn release() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    release.unwrap_or_default().trim().to_owned()
}

impl UblkError {
    /// What the answer of the driver to `command` for the device `id` means.
    pub(super) fn of_command(command: &'static str, id: u32, errno: Errno) -> Self {
        match errno {
            Errno::EPERM | Errno::EACCES if command != "UBLK_CMD_SET_PARAMS" => Self::Permission {
                operation: command,
                errno,
            },
            Errno::EOPNOTSUPP => Self::TooOld {
                what: command,
                since: match command {
                    "UBLK_CMD_GET_FEATURES" => "6.5",
                    _ => "6.4",
                },
                release: release(),
            },
            Errno::ENODEV => Self::NoDevice { id },
            Errno::EBUSY => Self::Busy { id },
            Errno::EEXIST if command == "UBLK_CMD_ADD_DEV" => Self::IdInUse { id },
            _ => Self::Command { command, id, errno },
        }
    }

    /// `value` unless ublk does not take it.
    pub(super) fn check(what: &'static str, value: u64, min: u64, max: u64) -> Result<(), Self> {
        if (min..=max).contains(&value) {
            return Ok(());
        }
        Err(Self::Limit {
            what,
            value,
            min,
            max,
        })
    }
}

impl fmt::Display for UblkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDriver { release, errno } => write!(
                f,
                "cannot open /dev/ublk-control: {errno}; load the driver (`modprobe ublk_drv`): Linux has it \
                 since 6.0 (CONFIG_BLK_DEV_UBLK), this needs 6.4, and the running kernel is {release}"
            ),
            Self::Permission { operation, errno } => {
                write!(f, "{operation}: {errno}; run as root or with CAP_SYS_ADMIN")
            }
            Self::TooOld {
                what,
                since,
                release,
            } => write!(
                f,
                "this kernel's ublk does not know {what}, which Linux {since} has; the running kernel is {release}"
            ),
            Self::IdInUse { id } => write!(
                f,
                "there is a ublk device {id}; take another id, or let the driver choose"
            ),
            Self::NoDevice { id } => write!(f, "there is no ublk device {id}"),
            Self::Busy { id } => write!(
                f,
                "ublk device {id} still has a server, or requests on their way; try again when it is gone"
            ),
            Self::Geometry(error) => error.fmt(f),
            Self::Limit {
                what,
                value,
                min,
                max,
            } => write!(f, "{what} is {value}, ublk takes {min} to {max}"),
            Self::Unserved { flags } => write!(
                f,
                "the device has the UBLK_F_ flags {flags:#x}, which nothing here serves"
            ),
            Self::Capacity { waiting, served } => write!(
                f,
                "the device that waits has {waiting} sectors, the one to serve it with {served}"
            ),
            Self::TimedOut { command, id, limit } => write!(
                f,
                "{command} of ublk device {id} did not end within {limit:?}; the kernel may still be at it"
            ),
            Self::Hangs { id, threads, limit } => write!(
                f,
                "{threads} threads of ublk device {id} did not end within {limit:?}; the code of the device \
                 keeps them"
            ),
            Self::Command { command, id, errno } => {
                write!(f, "{command} of ublk device {id}: {errno}")
            }
            Self::Queue { queue_id, errno } => write!(f, "a command of queue {queue_id}: {errno}"),
            Self::Panicked { message } => write!(f, "a queue's thread panicked: {message}"),
            Self::Ring(error) => error.fmt(f),
            Self::Kernel(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for UblkError {}

impl From<GeometryError> for UblkError {
    fn from(error: GeometryError) -> Self {
        Self::Geometry(error)
    }
}

impl From<SetupError> for UblkError {
    fn from(error: SetupError) -> Self {
        Self::Ring(error)
    }
}

impl From<KernelError> for UblkError {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error)
    }
}

impl From<UblkError> for KernelError {
    fn from(error: UblkError) -> Self {
        let of = |operation, errno| Self::from_errno(operation, errno);
        match error {
            UblkError::NoDriver { errno, .. } => of("open /dev/ublk-control", errno),
            UblkError::Permission { operation, errno } => of(operation, errno),
            UblkError::TooOld { what, .. } => of(what, Errno::EOPNOTSUPP),
            UblkError::IdInUse { .. } => of("UBLK_CMD_ADD_DEV", Errno::EEXIST),
            UblkError::NoDevice { .. } => of("ublk", Errno::ENODEV),
            UblkError::Busy { .. } => of("ublk", Errno::EBUSY),
            UblkError::Geometry(error) => error.into(),
            UblkError::Unserved { .. } => of("ublk", Errno::EOPNOTSUPP),
            UblkError::Limit { .. } | UblkError::Capacity { .. } => of("ublk", Errno::EINVAL),
            UblkError::TimedOut { command, .. } => of(command, Errno::ETIMEDOUT),
            UblkError::Hangs { .. } => of("ublk", Errno::ETIMEDOUT),
            UblkError::Command { command, errno, .. } => of(command, errno),
            UblkError::Queue { errno, .. } => of("UBLK_IO_COMMIT_AND_FETCH_REQ", errno),
            UblkError::Panicked { .. } => of("ublk", Errno::EIO),
            UblkError::Ring(error) => error.into(),
            UblkError::Kernel(error) => error,
        }
    }
}

impl From<UblkError> for std::io::Error {
    fn from(error: UblkError) -> Self {
        KernelError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: UblkError, told: &str, errno: Errno) {
        let text = error.to_string();
        assert!(text.contains(told), "{text}");
        let io = std::io::Error::from(error.clone());
        assert_eq!(io.raw_os_error(), Some(errno.raw()), "{text}");
        assert_eq!(KernelError::from(error).to_errno(), errno, "{text}");
    }

    #[test]
    fn what_the_driver_answers_says_what_to_do() {
        for (command, errno, told) in [
            ("UBLK_CMD_ADD_DEV", Errno::EPERM, "CAP_SYS_ADMIN"),
            ("UBLK_CMD_ADD_DEV", Errno::EEXIST, "take another id"),
            ("UBLK_CMD_START_DEV", Errno::EEXIST, "device 7"),
            ("UBLK_CMD_STOP_DEV", Errno::ENODEV, "no ublk device 7"),
            ("UBLK_CMD_GET_FEATURES", Errno::EOPNOTSUPP, "Linux 6.5"),
            ("UBLK_CMD_ADD_DEV", Errno::EOPNOTSUPP, "Linux 6.4"),
            ("UBLK_CMD_SET_PARAMS", Errno::EACCES, "SET_PARAMS"),
            ("UBLK_CMD_START_USER_RECOVERY", Errno::EBUSY, "try again"),
        ] {
            check(UblkError::of_command(command, 7, errno), told, errno);
        }
    }

    #[test]
    fn other_errors_keep_their_numbers_too() {
        let (id, limit) = (7, Duration::from_secs(30));
        let command = "UBLK_CMD_STOP_DEV";
        let late = UblkError::TimedOut { command, id, limit };
        check(late, "did not end within 30s", Errno::ETIMEDOUT);
        let threads = 2;
        let hangs = UblkError::Hangs { id, threads, limit };
        check(hangs, "2 threads", Errno::ETIMEDOUT);
        let unserved = UblkError::Unserved { flags: 0x100 };
        check(unserved, "0x100", Errno::EOPNOTSUPP);
        let (waiting, served) = (8, 16);
        let other = UblkError::Capacity { waiting, served };
        check(other, "has 8 sectors", Errno::EINVAL);
        let (queue_id, errno) = (3, Errno::EBUSY);
        check(UblkError::Queue { queue_id, errno }, "queue 3", errno);
        let message = "no".into();
        check(UblkError::Panicked { message }, "panicked: no", Errno::EIO);
        check(
            GeometryError::NoSegment.into(),
            "max_segments",
            Errno::EINVAL,
        );
        let kernel = KernelError::from_errno("mmap", Errno::ENOMEM);
        check(kernel.into(), "mmap", Errno::ENOMEM);
    }
}
