//! The errors of this crate as [`KernelError`]s, for programs that use one type throughout.
//!
//! What a system call said keeps its number and, where it is known, its name. The others get the number
//! that the kernel gives in the like case; what a [`KernelError`] cannot hold (programs, limits, remedies)
//! is lost, so show an error before it is converted.

use std::error::Error;
use std::io;

use pepita_sys::error::{Errno, KernelError};

use crate::executor::ExecutorBuildError;
use crate::fault::{CircuitError, DetectorError, Rejected, RetryBudgetError, RetryPolicyError};
use crate::pool::{PoolBuildError, SubmitError, TrySubmitError};
use crate::scheduler::JoinError;
use crate::task::{ParseTaskIdError, SpawnError, TaskBuildError, TaskError, Unsupported};

/// The system's number; `EIO` for an error that the standard library made itself.
fn number(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// `EOPNOTSUPP`: the work is sound, and nothing here does it.
impl From<Unsupported> for KernelError {
    fn from(_: Unsupported) -> Self {
        Self::from_errno("choosing an executor", Errno::EOPNOTSUPP)
    }
}

/// The number that the failed call gave. [`SpawnError::NotFound`] and [`SpawnError::NoInterpreter`] are
/// `ENOENT` and [`SpawnError::NotExecutable`] is `EACCES`, as `execve` has it, also where a step on the way
/// said `ENOTDIR`, `EISDIR` or `EPERM`.
impl From<SpawnError> for KernelError {
    fn from(error: SpawnError) -> Self {
        let (operation, errno) = match &error {
            SpawnError::NotFound { .. } | SpawnError::NoInterpreter { .. } => {
                ("execve", Errno::ENOENT)
            }
            SpawnError::NotExecutable { .. } => ("execve", Errno::EACCES),
            SpawnError::BadFormat { .. } => ("execve", Errno::ENOEXEC),
            SpawnError::TooLong { .. } => ("execve", Errno::E2BIG),
            SpawnError::WorkingDir { source, .. } => {
                ("opening the working directory", number(source))
            }
            SpawnError::Stream { source, .. } => ("opening a standard stream", number(source)),
            SpawnError::System {
                operation, source, ..
            } => (*operation, number(source)),
        };
        Self::from_errno(operation, errno)
    }
}

/// The number that the kernel, or the executor, gave; `ECANCELED` for a task that was cancelled,
/// `ESHUTDOWN` for one that a shutdown refused, `ENODATA` for an outcome that went elsewhere, `EIO` for a
/// panic.
///
/// In the error of an executor, and what it names as its sources, the first [`KernelError`] or
/// [`io::Error`] with a number counts; `EIO` where there is none.
impl From<TaskError> for KernelError {
    fn from(error: TaskError) -> Self {
        const RUN: &str = "running a task";
        match error {
            TaskError::Spawn(error) => error.into(),
            TaskError::Unsupported(error) => error.into(),
            TaskError::Cancelled => Self::from_errno(RUN, Errno::ECANCELED),
            TaskError::Panicked { .. } => Self::from_errno(RUN, Errno::EIO),
            TaskError::ShutDown => Self::from_errno(RUN, Errno::ESHUTDOWN),
            TaskError::Delivered => Self::from_errno("taking an outcome", Errno::ENODATA),
            TaskError::System { operation, source } => Self::from_errno(operation, number(&source)),
            TaskError::Executor(error) => {
                in_sources(&*error).unwrap_or(Self::from_errno(RUN, Errno::EIO))
            }
        }
    }
}

/// The first error with a number among `error` and its sources.
fn in_sources(error: &(dyn Error + 'static)) -> Option<KernelError> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| {
        let kernel = error.downcast_ref::<KernelError>().copied();
        kernel.or_else(|| {
            let number = error.downcast_ref::<io::Error>()?.raw_os_error()?;
            let errno = Errno::from_raw(number);
            Some(KernelError::from_errno("running a task", errno))
        })
    })
}

/// `ESHUTDOWN` after a shutdown, else as [`Unsupported`].
impl From<SubmitError> for KernelError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Unsupported(error) => error.into(),
            SubmitError::ShutDown => Self::from_errno("submitting a task", Errno::ESHUTDOWN),
        }
    }
}

/// `EAGAIN` for a full queue, as a message queue has it; the task that came back is dropped.
impl From<TrySubmitError> for KernelError {
    fn from(error: TrySubmitError) -> Self {
        match error {
            TrySubmitError::Full { .. } => Self::from_errno("submitting a task", Errno::EAGAIN),
            TrySubmitError::Submit(error) => error.into(),
        }
    }
}

/// `EINVAL` for slots, `EOPNOTSUPP` for a means that the host lacks, else what the kernel said.
impl From<ExecutorBuildError> for KernelError {
    fn from(error: ExecutorBuildError) -> Self {
        let errno = match &error {
            ExecutorBuildError::NoSlots => Errno::EINVAL,
            ExecutorBuildError::TreeKill { .. } => Errno::EOPNOTSUPP,
            ExecutorBuildError::System(source) => number(source),
        };
        Self::from_errno("making an executor", errno)
    }
}

/// `EINVAL` for a setting, else what the kernel said.
impl From<PoolBuildError> for KernelError {
    fn from(error: PoolBuildError) -> Self {
        let errno = match error {
            PoolBuildError::NoCapacity
            | PoolBuildError::NoExecutor
            | PoolBuildError::ZeroTimeout
            | PoolBuildError::NoSlots { .. } => Errno::EINVAL,
            PoolBuildError::Executor(error) => return error.into(),
            PoolBuildError::Thread(source) => number(&source),
        };
        Self::from_errno("making a pool", errno)
    }
}

/// Errors that have one number, whatever they hold.
macro_rules! one_number {
    ($($error:ty => $errno:ident $operation:literal,)*) => {$(
        #[doc = concat!("`", stringify!($errno), "`.")]
        impl From<$error> for KernelError {
            fn from(_: $error) -> Self {
                Self::from_errno($operation, Errno::$errno)
            }
        }
    )*};
}

one_number! {
    CircuitError => EINVAL "making a circuit breaker",
    DetectorError => EINVAL "making a failure detector",
    JoinError => EIO "running a closure",
    ParseTaskIdError => EINVAL "reading a task id",
    Rejected => EAGAIN "passing a circuit breaker",
    RetryBudgetError => EINVAL "making a retry budget",
    RetryPolicyError => EINVAL "making a retry policy",
    TaskBuildError => EINVAL "building a task",
}

#[cfg(test)]
mod tests;
