//! What can go wrong before a device is served, and while it is.

use std::fmt;
use std::time::Duration;

use pepita_sys::blk_mq::GeometryError;
use pepita_sys::error::{Errno, KernelError};
use pepita_sys::ublk::{UBLK_F_UNPRIVILEGED_DEV, UBLK_F_USER_COPY, UBLK_F_ZONED};

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
    /// Nobody gave this user the character device of a device that this user has made.
    NotOurs {
        /// The id.
        id: u32,
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
    /// The device was made to go with its server.
    Unrecoverable {
        /// The id.
        id: u32,
    },
    /// The device has no disk that could wait: its server was lost before there was one, or has stopped it.
    Lost {
        /// The id.
        id: u32,
    },
    /// Another server has begun to take the device over. If that was lost before its queues had fetched, the driver
    /// lets no other one have it.
    TakenOver {
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
    /// The device has zones and what is to serve it has none, or the other way round. A driver that knows no zones makes
    /// a device without: Linux 6.6 is the first that does, and only with `CONFIG_BLK_DEV_ZONED`.
    Zones {
        /// Whether the device has them.
        is_zoned: bool,
    },
    /// The driver adds no device like this: `EINVAL`, of which nothing but what was asked for tells the reason.
    Refused {
        /// The `UBLK_F_` flags that were asked for.
        flags: u64,
        /// Why they are refused.
        reason: &'static str,
    },
    /// A disk that waits for a new server is not like the device to serve it with.
    Unlike {
        /// What differs, as the driver's parameters count it.
        what: &'static str,
        /// What it is for the disk.
        waiting: u64,
        /// What it would be for the device.
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
    /// The queues of a device did not begin or end in time.
    Hangs {
        /// The device.
        id: u32,
        /// Count of threads that did not.
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
    /// There is no memory for the data of a queue's requests.
    QueueMemory {
        /// Bytes of all of them.
        bytes: u64,
        /// `ENOMEM`.
        errno: Errno,
    },
    /// The memory of a server of swap cannot be locked.
    MemoryLimit {
        /// Bytes that the process has mapped.
        mapped_bytes: u64,
        /// `RLIMIT_MEMLOCK`; `None` if there is none.
        limit_bytes: Option<u64>,
        /// `EPERM` or `ENOMEM`.
        errno: Errno,
    },
    /// The thread of a server of swap cannot get memory in the way that it has to.
    Flusher {
        /// `EPERM`.
        errno: Errno,
    },
    /// io_uring is not to be had.
    Ring(SetupError),
    /// Another answer of the kernel.
    Kernel(KernelError),
}

/// What a process may not do that has no business with the driver.
pub(super) const CONTROL: &str = "open /dev/ublk-control";

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
            // All else that it says so of was looked at before.
            Errno::EINVAL if command == "UBLK_CMD_START_USER_RECOVERY" => Self::TakenOver { id },
            _ => Self::Command { command, id, errno },
        }
    }

    /// What the driver's refusal to add a device with `flags` means. `ublk_ctrl_add_dev`, v6.12
    pub(super) fn of_addition(self, flags: u64) -> Self {
        let is_refused = matches!(
            self,
            Self::Command {
                errno: Errno::EINVAL,
                ..
            }
        );
        let (has_zones, copies) = (flags & UBLK_F_ZONED != 0, flags & UBLK_F_USER_COPY != 0);
        let reason = match flags & UBLK_F_UNPRIVILEGED_DEV {
            _ if !is_refused => return self,
            0 if has_zones && !copies => "zones go with UBLK_F_USER_COPY alone",
            0 if has_zones => "zones take a kernel that was built with CONFIG_BLK_DEV_ZONED",
            0 => return self,
            _ if has_zones || copies => {
                "UBLK_F_UNPRIVILEGED_DEV goes with neither UBLK_F_ZONED nor UBLK_F_USER_COPY"
            }
            _ => return self,
        };
        Self::Refused { flags, reason }
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
            Self::TooOld {
                what,
                since,
                release,
            } => write!(
                f,
                "this kernel's ublk does not know {what}, which Linux {since} has; the running kernel is {release}"
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
            Self::Zones { is_zoned: true } => {
                f.write_str("the ublk device has zones, the one to serve it with none")
            }
            Self::Zones { is_zoned: false } => f.write_str(
                "the device has zones, and this kernel's ublk gives it none: Linux 6.6 with CONFIG_BLK_DEV_ZONED is \
                 needed",
            ),
            Self::TimedOut { command, id, limit } => write!(
                f,
                "{command} of ublk device {id} did not end within {limit:?}; the kernel may still be at it"
            ),
            Self::Hangs { id, threads, limit } => write!(
                f,
                "{threads} threads of ublk device {id} did not begin or end within {limit:?}; the code of the device \
                 keeps them"
            ),
            Self::Command { command, id, errno } => {
                write!(f, "{command} of ublk device {id}: {errno}")
            }
            Self::Queue { queue_id, errno } => write!(f, "a command of queue {queue_id}: {errno}"),
            Self::Panicked { message } => write!(f, "a queue's thread panicked: {message}"),
            Self::Refused { .. }
            | Self::Permission { .. }
            | Self::NotOurs { .. }
            | Self::MemoryLimit { .. }
            | Self::Flusher { .. } => self.fmt_refusal(f),
            Self::IdInUse { .. }
            | Self::NoDevice { .. }
            | Self::Busy { .. }
            | Self::Unrecoverable { .. }
            | Self::Lost { .. }
            | Self::TakenOver { .. }
            | Self::Unlike { .. } => self.fmt_state(f),
            Self::QueueMemory { bytes, errno } => write!(
                f,
                "the requests of a queue have {bytes} bytes: {errno}; ask for fewer, or smaller ones"
            ),
            Self::Ring(error) => error.fmt(f),
            Self::Kernel(error) => error.fmt(f),
        }
    }
}

impl UblkError {
    /// What the device is not in a state for.
    fn fmt_state(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdInUse { id } => write!(
                f,
                "there is a ublk device {id}, or somebody has one open that was deleted; take another id, or let the \
                 driver choose"
            ),
            Self::NoDevice { id } => write!(f, "there is no ublk device {id}"),
            Self::Busy { id } => write!(
                f,
                "ublk device {id} still has a server, or requests on their way; try again when it is gone"
            ),
            Self::Unrecoverable { id } => write!(
                f,
                "ublk device {id} was made without recovery, and goes with its server; delete it, and ask for \
                 UBLK_F_USER_RECOVERY with the next"
            ),
            Self::Lost { id } => write!(
                f,
                "ublk device {id} has no disk that waits for a server, only its number is left: delete it"
            ),
            Self::TakenOver { id } => write!(
                f,
                "another server has begun to take over ublk device {id}; if it was lost before it had, no other can: \
                 delete the device"
            ),
            Self::Unlike {
                what,
                waiting,
                served,
            } => write!(
                f,
                "{what} is {waiting} for the disk that waits, and {served} for the device to serve it with; serve it \
                 with the device that it had"
            ),
            _ => Ok(()),
        }
    }

    /// What is not given: what the driver refuses, or the process lacks a right for.
    fn fmt_refusal(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permission { operation, errno } => {
                let instead = match *operation {
                    CONTROL => "have a rule of udev let users open it, see docs/ublk.md",
                    "UBLK_CMD_ADD_DEV" => "ask for an unprivileged device",
                    _ => "be the user who made the device",
                };
                write!(
                    f,
                    "{operation}: {errno}; run as root or with CAP_SYS_ADMIN, or {instead}"
                )
            }
            Self::Refused { flags, reason } => write!(
                f,
                "UBLK_CMD_ADD_DEV with the UBLK_F_ flags {flags:#x}: EINVAL; {reason}"
            ),
            Self::NotOurs { id } => write!(
                f,
                "/dev/ublkc{id} was made for this user, and is not this user's: a rule of udev has to give it \
                 away, see docs/ublk.md"
            ),
            Self::MemoryLimit {
                mapped_bytes,
                limit_bytes,
                errno,
            } => {
                write!(
                    f,
                    "mlockall: {errno}; a server of swap locks its memory, {mapped_bytes} bytes and what it will have"
                )?;
                match limit_bytes {
                    Some(limit) => write!(
                        f,
                        ", RLIMIT_MEMLOCK is {limit}: raise it (`ulimit -l unlimited`), or "
                    )?,
                    None => f.write_str(": ")?,
                }
                f.write_str("run as root or with CAP_IPC_LOCK")
            }
            Self::Flusher { errno } => write!(
                f,
                "prctl(PR_SET_IO_FLUSHER): {errno}; the threads of a server of swap need CAP_SYS_RESOURCE: run as root"
            ),
            _ => Ok(()),
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
            UblkError::NoDriver { errno, .. } => of(CONTROL, errno),
            UblkError::Permission { operation, errno } => of(operation, errno),
            UblkError::NotOurs { .. } => of("open /dev/ublkcN", Errno::EACCES),
            UblkError::TooOld { what, .. } => of(what, Errno::EOPNOTSUPP),
            UblkError::IdInUse { .. } => of("UBLK_CMD_ADD_DEV", Errno::EEXIST),
            UblkError::NoDevice { .. } => of("ublk", Errno::ENODEV),
            UblkError::Busy { .. } => of("ublk", Errno::EBUSY),
            UblkError::Unrecoverable { .. }
            | UblkError::Lost { .. }
            | UblkError::TakenOver { .. } => of("UBLK_CMD_START_USER_RECOVERY", Errno::EINVAL),
            UblkError::Geometry(error) => error.into(),
            UblkError::Refused { .. } => of("UBLK_CMD_ADD_DEV", Errno::EINVAL),
            UblkError::Unserved { .. } | UblkError::Zones { .. } => of("ublk", Errno::EOPNOTSUPP),
            UblkError::Limit { .. } | UblkError::Unlike { .. } => of("ublk", Errno::EINVAL),
            UblkError::TimedOut { command, .. } => of(command, Errno::ETIMEDOUT),
            UblkError::Hangs { .. } => of("ublk", Errno::ETIMEDOUT),
            UblkError::Command { command, errno, .. } => of(command, errno),
            UblkError::Queue { errno, .. } => of("UBLK_IO_COMMIT_AND_FETCH_REQ", errno),
            UblkError::Panicked { .. } => of("ublk", Errno::EIO),
            UblkError::QueueMemory { errno, .. } => of("mmap", errno),
            UblkError::MemoryLimit { errno, .. } => of("mlockall", errno),
            UblkError::Flusher { errno } => of("prctl(PR_SET_IO_FLUSHER)", errno),
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
            ("UBLK_CMD_ADD_DEV", Errno::EACCES, "unprivileged"),
            ("UBLK_CMD_ADD_DEV", Errno::EEXIST, "take another id"),
            ("UBLK_CMD_START_DEV", Errno::EEXIST, "device 7"),
            ("UBLK_CMD_STOP_DEV", Errno::ENODEV, "no ublk device 7"),
            ("UBLK_CMD_GET_FEATURES", Errno::EOPNOTSUPP, "Linux 6.5"),
            ("UBLK_CMD_ADD_DEV", Errno::EOPNOTSUPP, "Linux 6.4"),
            ("UBLK_CMD_SET_PARAMS", Errno::EACCES, "SET_PARAMS"),
            ("UBLK_CMD_START_USER_RECOVERY", Errno::EBUSY, "try again"),
            ("UBLK_CMD_START_USER_RECOVERY", Errno::EINVAL, "take over"),
            ("open /dev/ublk-control", Errno::EACCES, "rule of udev"),
        ] {
            check(UblkError::of_command(command, 7, errno), told, errno);
        }
    }

    #[test]
    fn a_refusal_to_add_a_device_says_what_was_asked_and_why_not() {
        let (zoned, copy, user) = (UBLK_F_ZONED, UBLK_F_USER_COPY, UBLK_F_UNPRIVILEGED_DEV);
        let of = |errno| UblkError::of_command("UBLK_CMD_ADD_DEV", 7, errno);
        for (flags, told) in [
            (zoned | copy, "0x180: EINVAL; zones take a kernel"),
            (zoned, "0x100: EINVAL; zones go with UBLK_F_USER_COPY"),
            (zoned | copy | user, "neither UBLK_F_ZONED nor"),
            (copy | user, "0xa0: EINVAL; UBLK_F_UNPRIVILEGED_DEV goes"),
            // Of what has other reasons nothing is guessed.
            (copy, "UBLK_CMD_ADD_DEV of ublk device 7: "),
            (user, "UBLK_CMD_ADD_DEV of ublk device 7: "),
        ] {
            check(of(Errno::EINVAL).of_addition(flags), told, Errno::EINVAL);
        }
        let other = of(Errno::ENOMEM);
        assert_eq!(other.clone().of_addition(zoned), other);
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
        for (is_zoned, told) in [(true, "with none"), (false, "Linux 6.6")] {
            check(UblkError::Zones { is_zoned }, told, Errno::EOPNOTSUPP);
        }
        let other = UblkError::Unlike {
            what: "the count of sectors",
            waiting: 8,
            served: 16,
        };
        check(other, "sectors is 8 for the disk", Errno::EINVAL);
        let (queue_id, errno) = (3, Errno::EBUSY);
        for (error, told) in [
            (UblkError::Unrecoverable { id }, "without recovery"),
            (UblkError::Lost { id }, "delete it"),
        ] {
            check(error, told, Errno::EINVAL);
        }
        check(UblkError::Queue { queue_id, errno }, "queue 3", errno);
        let flusher = UblkError::Flusher {
            errno: Errno::EPERM,
        };
        check(flusher, "CAP_SYS_RESOURCE", Errno::EPERM);
        for (limit_bytes, told) in [
            (Some(65536), "RLIMIT_MEMLOCK is 65536"),
            (None, "have: run"),
        ] {
            let (mapped_bytes, errno) = (1 << 20, Errno::ENOMEM);
            let limit = UblkError::MemoryLimit {
                mapped_bytes,
                limit_bytes,
                errno,
            };
            check(limit.clone(), told, errno);
            check(limit, "CAP_IPC_LOCK", errno);
        }
        let (bytes, errno) = (1 << 37, Errno::ENOMEM);
        let memory = UblkError::QueueMemory { bytes, errno };
        check(memory, "137438953472 bytes", errno);
        check(UblkError::NotOurs { id: 7 }, "rule of udev", Errno::EACCES);
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
