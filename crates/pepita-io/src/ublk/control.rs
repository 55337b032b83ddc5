#![expect(
    unsafe_code,
    reason = "commands lead to memory that the driver reads and writes"
)]
//! Commands to `/dev/ublk-control`.
//!
//! # Invariants
//! * kept-or-leaked: what a command leads to lives until the command's completion was seen, or for ever.

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use pepita_sys::error::{Errno, KernelError};
use pepita_sys::io_uring::{IoUringCqe, IoUringSqe, IoUringSqe128};
use pepita_sys::ublk::*;

use super::error::{CONTROL, UblkError, release};
use crate::ring::{Ring, RingConfig, Wait};

/// Where the driver takes commands.
const PATH: &str = "/dev/ublk-control";

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(30);

/// How long a command that took too long has to end when it is cancelled.
const CANCEL_LIMIT: Duration = Duration::from_secs(1);

/// `user_data` of the command and of its cancellation.
const COMMAND: u64 = 1;
const CANCELLATION: u64 = 2;

/// Words of a set of CPUs: as many as the kernel can have.
const CPU_WORDS: usize = 8192 / 64;

/// What a command may lead to.
///
/// # Safety
/// * plain: any bytes are a value.
unsafe trait Plain: Copy + Send + 'static {
    /// Bytes of it.
    const LEN: u16;
}

/// Implements [`Plain`] for structures of integers.
macro_rules! plain {
    ($($type:ty),*) => {$(
        // SAFETY: plain: integers only.
        unsafe impl Plain for $type {
            const LEN: u16 = {
                assert!(size_of::<$type>() <= u16::MAX as usize);
                #[expect(clippy::cast_possible_truncation, reason = "asserted")]
                { size_of::<$type>() as u16 }
            };
        }
    )*};
}

plain!(
    UblksrvCtrlDevInfo,
    UblkParams,
    u64,
    Nothing,
    [u64; CPU_WORDS]
);

/// Bytes that the path of a character device has in a command, with zeroes behind it, which the driver takes for its
/// end.
const PATH_BYTES: usize = 24;

/// What a command for an unprivileged device leads to: the path of its character device, by which the driver sees
/// whether the caller may do it, and then what the command is about.
#[derive(Clone, Copy)]
#[repr(C)]
struct ByPath<T> {
    path: [u8; PATH_BYTES],
    value: T,
}

// SAFETY: plain: integers only, and the path keeps the value's alignment, so nothing is between them.
unsafe impl<T: Plain> Plain for ByPath<T> {
    const LEN: u16 = {
        assert!(PATH_BYTES.is_multiple_of(align_of::<T>()));
        T::LEN + PATH_BYTES.to_le_bytes()[0] as u16
    };
}

/// What a command leads to that is about nothing.
type Nothing = [u64; 0];

/// The path of the character device `id`, as a command has it.
fn path_of(id: u32) -> [u8; PATH_BYTES] {
    let mut path = [0; PATH_BYTES];
    for (to, from) in path.iter_mut().zip(channel_path(id).bytes()) {
        *to = from;
    }
    path
}

/// Where the character device `id` is.
pub(super) fn channel_path(id: u32) -> String {
    format!("/dev/ublkc{id}")
}

/// The driver's control device. It may be used from any thread, by many at once.
///
/// Each command has a thread and a ring of its own for as long as it takes, so nothing belongs to the caller's
/// thread. It is waited for 30 seconds, or as long as [`with_limit`](Self::with_limit) says; then it is cancelled.
/// One that the driver does not end even so keeps its thread and its memory, and the caller goes on.
///
/// ```
/// use pepita_io::ublk::{Control, UblkError};
///
/// match Control::open() {
///     Ok(control) => println!("features: {:#x}", control.features()?),
///     Err(error @ UblkError::NoDriver { .. }) => println!("{error}"),
///     Err(error) => println!("not here: {error}"),
/// }
/// # Ok::<(), UblkError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Control {
    file: Arc<File>,
    limit: Duration,
}

impl Control {
    /// Opens the control device.
    ///
    /// # Errors
    /// [`UblkError::NoDriver`] where there is none, [`UblkError::Permission`] where it may not be used.
    pub fn open() -> Result<Self, UblkError> {
        let file = File::options().read(true).write(true).open(PATH);
        let file = file.map_err(|error| no_control(&error))?;
        Ok(Self {
            file: Arc::new(file),
            limit: LIMIT,
        })
    }

    /// The same, whose commands are waited for as long as `limit`.
    #[must_use]
    pub const fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The driver's `UBLK_F_` flags (Linux 6.5).
    ///
    /// # Errors
    /// What the driver says.
    pub fn features(&self) -> Result<u64, UblkError> {
        let command = UblkCtrlCmd::new(UBLK_U_CMD_GET_FEATURES, u32::MAX);
        self.exchange("UBLK_CMD_GET_FEATURES", command, 0_u64)
    }

    /// What the device `id` is, and how it is.
    ///
    /// # Errors
    /// [`UblkError::NoDevice`]; what else the driver says.
    pub fn info(&self, id: u32) -> Result<UblksrvCtrlDevInfo, UblkError> {
        let name = "UBLK_CMD_GET_DEV_INFO";
        let command = UblkCtrlCmd::new(UBLK_U_CMD_GET_DEV_INFO, id);
        let info = UblksrvCtrlDevInfo::default();
        match self.exchange_plainly(name, command, info) {
            Err(UblkError::Command {
                errno: Errno::EINVAL,
                ..
            }) => self.exchange_by_path(name, command, info),
            answer => answer,
        }
    }

    /// Whether the device `id` is an unprivileged one, by how the driver answers a command without a path.
    fn wants_path(&self, id: u32) -> bool {
        let command = UblkCtrlCmd::new(UBLK_U_CMD_GET_DEV_INFO, id);
        let info = UblksrvCtrlDevInfo::default();
        let refused = self.exchange_plainly("UBLK_CMD_GET_DEV_INFO", command, info);
        matches!(
            refused,
            Err(UblkError::Command {
                errno: Errno::EINVAL,
                ..
            })
        )
    }

    /// The parameters of the device `id`.
    ///
    /// # Errors
    /// As [`Self::info`].
    pub fn params(&self, id: u32) -> Result<UblkParams, UblkError> {
        let params = UblkParams {
            types: 0,
            ..UblkParams::new(UblkParamBasic::default())
        };
        let command = UblkCtrlCmd::new(UBLK_U_CMD_GET_PARAMS, id);
        self.exchange("UBLK_CMD_GET_PARAMS", command, params)
    }

    /// The CPUs whose requests go to the queue `queue_id` of the device `id`, in ascending order.
    ///
    /// # Errors
    /// As [`Self::info`]; `EINVAL` when there is no such queue.
    pub fn queue_affinity(&self, id: u32, queue_id: u16) -> Result<Vec<usize>, UblkError> {
        let command = UblkCtrlCmd::new(UBLK_U_CMD_GET_QUEUE_AFFINITY, id).data(queue_id.into());
        let words = self.exchange("UBLK_CMD_GET_QUEUE_AFFINITY", command, [0; CPU_WORDS])?;
        let cpus = 0..words.len() * 64;
        Ok(cpus
            .filter(|cpu| words[cpu / 64] >> (cpu % 64) & 1 == 1)
            .collect())
    }

    /// Stops the device `id`: its disk goes, once all requests that were begun have been answered, and then
    /// the commands of its queues end. One that is stopped already stays so.
    ///
    /// # Errors
    /// As [`Self::info`]; [`UblkError::TimedOut`] where a request is not answered.
    pub fn stop(&self, id: u32) -> Result<(), UblkError> {
        self.plain_command("UBLK_CMD_STOP_DEV", UBLK_U_CMD_STOP_DEV, id, 0)
    }

    /// Deletes the device `id`, stopping it first. Where somebody has its disk or its character device open, its
    /// id becomes free when they close it; before Linux 6.9, and for an unprivileged device, that is waited for.
    ///
    /// # Errors
    /// As [`Self::stop`]; it is not deleted then.
    pub fn delete(&self, id: u32) -> Result<(), UblkError> {
        // A deletion that waits for a request keeps everybody from adding and deleting; stopping keeps nobody.
        self.stop(id)?;
        let name = "UBLK_CMD_DEL_DEV_ASYNC";
        match self.plain_command(name, UBLK_U_CMD_DEL_DEV_ASYNC, id, 0) {
            // Linux 6.12 does not let a user delete an unprivileged device so.
            Err(
                UblkError::TooOld { .. }
                | UblkError::Command {
                    errno: Errno::EINVAL,
                    ..
                },
            ) => self.plain_command("UBLK_CMD_DEL_DEV", UBLK_U_CMD_DEL_DEV, id, 0),
            deleted => deleted,
        }
    }

    /// Makes a device of `info`, which comes back as the driver completed it.
    pub(super) fn add(&self, info: UblksrvCtrlDevInfo) -> Result<UblksrvCtrlDevInfo, UblkError> {
        let command = UblkCtrlCmd::new(UBLK_U_CMD_ADD_DEV, info.dev_id);
        self.exchange("UBLK_CMD_ADD_DEV", command, info)
    }

    pub(super) fn set_params(&self, id: u32, params: UblkParams) -> Result<(), UblkError> {
        let command = UblkCtrlCmd::new(UBLK_U_CMD_SET_PARAMS, id);
        self.exchange("UBLK_CMD_SET_PARAMS", command, params)
            .map(drop)
    }

    /// Waits until every tag of every queue has fetched, and makes the disk, for this process.
    pub(super) fn start(&self, id: u32) -> Result<(), UblkError> {
        let pid = std::process::id().into();
        self.plain_command("UBLK_CMD_START_DEV", UBLK_U_CMD_START_DEV, id, pid)
    }

    pub(super) fn start_recovery(&self, id: u32) -> Result<(), UblkError> {
        let number = UBLK_U_CMD_START_USER_RECOVERY;
        self.plain_command("UBLK_CMD_START_USER_RECOVERY", number, id, 0)
    }

    /// As [`Self::start`], for a device whose disk is there.
    pub(super) fn end_recovery(&self, id: u32) -> Result<(), UblkError> {
        let (number, pid) = (UBLK_U_CMD_END_USER_RECOVERY, std::process::id().into());
        self.plain_command("UBLK_CMD_END_USER_RECOVERY", number, id, pid)
    }

    /// A command that leads to no memory.
    fn plain_command(
        &self,
        name: &'static str,
        number: u32,
        id: u32,
        data: u64,
    ) -> Result<(), UblkError> {
        let command = UblkCtrlCmd::new(number, id).data(data);
        self.exchange::<Nothing>(name, command, []).map(drop)
    }

    /// A command with `value`, which comes back as the driver left it. Where the device is an unprivileged one, the
    /// command is asked for again with its path: a driver that wants one says `EINVAL` before it does anything.
    fn exchange<T: Plain>(
        &self,
        name: &'static str,
        command: UblkCtrlCmd,
        value: T,
    ) -> Result<T, UblkError> {
        let answer = self.exchange_plainly(name, command, value);
        let is_invalid = matches!(
            answer,
            Err(UblkError::Command {
                errno: Errno::EINVAL,
                ..
            })
        );
        let is_of_device =
            command.cmd_op != UBLK_U_CMD_ADD_DEV && command.cmd_op != UBLK_U_CMD_GET_FEATURES;
        if is_invalid && is_of_device && self.wants_path(command.cmd.dev_id) {
            return self.exchange_by_path(name, command, value);
        }
        answer
    }

    fn exchange_plainly<T: Plain>(
        &self,
        name: &'static str,
        command: UblkCtrlCmd,
        value: T,
    ) -> Result<T, UblkError> {
        let mut kept = vec![value];
        let address = kept.as_mut_ptr().expose_provenance() as u64;
        let command = match T::LEN {
            0 => command,
            len => command.buffer(address, len),
        };
        let kept = self.run(name, command, kept)?;
        Ok(kept[0])
    }

    fn exchange_by_path<T: Plain>(
        &self,
        name: &'static str,
        command: UblkCtrlCmd,
        value: T,
    ) -> Result<T, UblkError> {
        let path = path_of(command.cmd.dev_id);
        let path_len = u16::from(PATH_BYTES.to_le_bytes()[0]);
        let command = command.dev_path_len(path_len);
        let answer = self.exchange_plainly(name, command, ByPath { path, value })?;
        Ok(answer.value)
    }

    /// Runs a command on a thread of its own, which owns what the command leads to, and gives that back.
    fn run<T: Plain>(
        &self,
        name: &'static str,
        command: UblkCtrlCmd,
        kept: Vec<T>,
    ) -> Result<Vec<T>, UblkError> {
        let (file, limit) = (Arc::clone(&self.file), self.limit);
        let (tell, told) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("ublk control".into());
        thread
            .spawn(move || {
                let call = Call {
                    name,
                    command,
                    limit,
                };
                call.run(file, kept, &tell);
            })
            .map_err(|error| KernelError::from_errno("clone", error.into()))?;
        // The thread tells within the limits, or it has no processor to run on.
        told.recv()
            .unwrap_or_else(|_| Err(KernelError::from_errno(name, Errno::EIO).into()))
    }
}

/// One command, for the thread that runs it.
struct Call {
    name: &'static str,
    command: UblkCtrlCmd,
    limit: Duration,
}

/// Whom a call tells its end.
type Tell<T> = SyncSender<Result<Vec<T>, UblkError>>;

impl Call {
    /// Runs the command with what it leads to, `kept`, and tells its end, or after the limit that it has none;
    /// and stays with it.
    fn run<T: Plain>(&self, file: Arc<File>, kept: Vec<T>, tell: &Tell<T>) {
        let mut ring = match RingConfig::new(2).build_sized() {
            Ok(ring) => ring,
            Err(error) => {
                let _ = tell.send(Err(error.into()));
                return;
            }
        };
        let answer = self.answer(&mut ring, &file);
        let id = self.command.cmd.dev_id;
        match answer {
            Ok(Some(res)) => {
                // Who hears of it may count descriptors.
                drop((ring, file));
                let _ = tell.send(match Errno::of_result(res) {
                    None => Ok(kept),
                    Some(Errno::ETIMEDOUT) => Err(self.timed_out()),
                    Some(errno) => Err(UblkError::of_command(self.name, id, errno)),
                });
            }
            lost => {
                let error = lost.map_or_else(UblkError::from, |_| self.timed_out());
                let _ = tell.send(Err(error));
                // kept-or-leaked: the memory goes after the completion, or with the process.
                if !matches!(wait(&mut ring, Duration::MAX), Ok(Some(_))) {
                    mem::forget((ring, kept));
                }
            }
        }
    }

    const fn timed_out(&self) -> UblkError {
        UblkError::TimedOut {
            command: self.name,
            id: self.command.cmd.dev_id,
            limit: self.limit,
        }
    }

    /// What the driver answers, if it does so within the limits.
    fn answer(&self, ring: &mut ControlRing, file: &File) -> Result<Option<i32>, KernelError> {
        let mut entry = self.command.sqe(file.as_raw_fd());
        entry.sqe.user_data = COMMAND;
        // SAFETY: kept-or-leaked: the caller has the memory, and sees to it.
        unsafe { ring.push(entry) }?;
        if let Some(res) = wait(ring, self.limit)? {
            return Ok(Some(res));
        }
        let cancellation = IoUringSqe::cancel(COMMAND, 0).user_data(CANCELLATION);
        // SAFETY: the entry leads nowhere.
        unsafe { ring.push(cancellation.into()) }?;
        let cancelled = [Errno::EINTR, Errno::ECANCELED].map(|errno| Some(-errno.raw()));
        match wait(ring, CANCEL_LIMIT)? {
            // There is nothing to wait for any more, and it took too long all the same.
            res if cancelled.contains(&res) => Ok(Some(-Errno::ETIMEDOUT.raw())),
            res => Ok(res),
        }
    }
}

/// A ring for control commands.
type ControlRing = Ring<IoUringSqe128, IoUringCqe>;

/// Submits, and waits for the command's completion, for `limit`.
fn wait(ring: &mut ControlRing, limit: Duration) -> Result<Option<i32>, KernelError> {
    let deadline = Instant::now().checked_add(limit);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let wait = left.map_or(Wait::new(), |left| Wait::new().timeout(left));
        if let Err(error) = ring.submit_and_wait_for(1, &wait) {
            match error.to_errno() {
                Errno::EINTR | Errno::ETIME | Errno::EAGAIN | Errno::EBUSY => {}
                _ => return Err(error),
            }
        }
        let command = |cqe: &IoUringCqe| cqe.user_data == COMMAND;
        if let Some(cqe) = ring.completions().find(command) {
            return Ok(Some(cqe.res));
        }
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(None);
        }
    }
}

/// Why the control device does not open.
fn no_control(error: &io::Error) -> UblkError {
    let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    match errno {
        Errno::EACCES | Errno::EPERM => UblkError::Permission {
            operation: CONTROL,
            errno,
        },
        _ => UblkError::NoDriver {
            release: release(),
            errno,
        },
    }
}
