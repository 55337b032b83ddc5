//! Serving a disk: from this process, or from one of its own that it hands over to.
//!
//! # Invariants
//! * Who started a process in the background hears from it exactly once: when the disk is there, or why
//!   it is not.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, thread};

use crossbeam_channel::Receiver;
use pepita::blk_mq::BlockDevice;
use pepita::io::ublk::{self, Control, Disk, DiskStopper, Server};
use pepita::ublk::{UBLK_F_UNPRIVILEGED_DEV, UBLK_F_USER_RECOVERY, UBLK_F_USER_RECOVERY_REISSUE};
use pepita::zram::ZramDevice;
use serde_json::json;

use super::args::{AddArgs, CopyMode, Kind, Queues, RecoverArgs, Recovery, ServerArgs};
use super::record::{Record, RunDir};
use super::target::{Opened, SECTOR_BYTES, Target, TargetError};
use super::{Problem, descriptors, features};
use crate::run::signals::{self, StopRequest};
use crate::units::show_size;
use crate::zram::export;

/// How long a file of a server that was killed may stay locked.
const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// `pepita ublk add`.
pub(super) fn add(args: &AddArgs, is_json: bool) -> Result<ExitCode, Problem> {
    let target = Target::new(args)?;
    check(args)?;
    // Whoever has no driver, or no right to it, hears of that first.
    Control::open()?;
    if !args.server.foreground {
        return start_another();
    }
    let mut server = server(args.queues, args.recovery);
    if let Some(id) = args.id {
        server = server.id(id);
    }
    let (device, zram) = open(&target, args.size.unwrap_or(0), args.queues)?;
    let bytes = device.geometry().capacity_sectors * SECTOR_BYTES;
    let (dir, requests) = prepare(args.server)?;
    let disk = server.serve(device)?;
    if disk.cleared_flags() != 0 {
        let cleared = disk.cleared_flags();
        let lacking = features::names(cleared);
        disk.delete()?;
        if cleared == UBLK_F_UNPRIVILEGED_DEV {
            return Err(Problem::Failed(
                "who has CAP_SYS_ADMIN makes no unprivileged disks: leave out --unprivileged"
                    .to_owned(),
            ));
        }
        return Err(Problem::Failed(format!(
            "this kernel's ublk does not have {lacking}; `pepita ublk features` says which one does"
        )));
    }
    let record = Record::new(disk.id(), target, args.queues, args.recovery);
    let served = Served {
        disk,
        record,
        bytes,
        zram,
        is_recovered: false,
        dir,
    };
    served.run(&requests, args.server, is_json)
}

/// Whether the parts of `args` go together.
fn check(args: &AddArgs) -> Result<(), TargetError> {
    let usage = |message: &str| Err(TargetError::Usage(message.to_owned()));
    let copy = args.queues.copy_mode();
    if args.queues.unprivileged && args.recovery != Recovery::None {
        return usage(
            "an unprivileged disk does not wait for another server: leave out --recovery",
        );
    }
    if args.queues.unprivileged && copy == CopyMode::User {
        return usage("who serves an unprivileged disk does not copy: leave out --copy");
    }
    if args.kind == Kind::Zoned && copy == CopyMode::GetData {
        return usage("who serves a zoned disk copies: leave out --copy");
    }
    Ok(())
}

/// `pepita ublk recover`.
pub(super) fn recover(args: &RecoverArgs, is_json: bool) -> Result<ExitCode, Problem> {
    Control::open()?;
    let dir = RunDir::new();
    let noted = dir.read(args.id)?.ok_or_else(|| {
        let id = args.id;
        Problem::Failed(format!(
            "nothing is noted of a disk {id}; only what `pepita ublk add` made can be served again"
        ))
    })?;
    if !noted.is_current() {
        let id = args.id;
        return Err(Problem::Failed(format!(
            "the disk {id} that was noted is gone, and another has its number; only what `pepita ublk add` made can be \
             served again"
        )));
    }
    if !args.server.foreground {
        return start_another();
    }
    let (device, zram) = open_again(&noted)?;
    let bytes = device.geometry().capacity_sectors * SECTOR_BYTES;
    let (dir, requests) = prepare(args.server)?;
    let disk = server(noted.queues, noted.recovery).recover(args.id, device)?;
    let record = Record::new(disk.id(), noted.target, noted.queues, noted.recovery);
    let served = Served {
        disk,
        record,
        bytes,
        zram,
        is_recovered: true,
        dir,
    };
    served.run(&requests, args.server, is_json)
}

/// Opens what is to be served; for swap, by a thread whose own threads, which the device may have, ask for memory
/// as it does.
fn open(target: &Target, least_bytes: u64, queues: Queues) -> Result<Opened, Problem> {
    if queues.swap {
        ublk::lock_memory()?;
        ublk::set_io_flusher()?;
    }
    Ok(target.open(least_bytes)?)
}

/// Opens what was served. The kernel lets go of the files of a process that was killed a moment after its end.
fn open_again(noted: &Record) -> Result<Opened, Problem> {
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        match open(&noted.target, 0, noted.queues) {
            Err(Problem::Target(TargetError::Locked { .. })) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            opened => return opened,
        }
    }
}

/// Lets `pepita zram stat` ask the disk, which is compressed memory.
fn tell_of(zram: Arc<ZramDevice>, dir: &RunDir, id: u32) {
    if let Err(error) = export::start(zram, dir, id) {
        tracing::warn!(%error, "`pepita zram stat` cannot ask this disk");
    }
}

fn server(queues: Queues, recovery: Recovery) -> Server {
    let recovery = match recovery {
        Recovery::None => 0,
        Recovery::Plain => UBLK_F_USER_RECOVERY,
        Recovery::Reissue => UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE,
    };
    let server = Server::new()
        .queues(queues.queues)
        .depth(queues.depth)
        .max_io_bytes(queues.max_io)
        .flags(queues.copy_mode().flag() | recovery);
    let server = if queues.swap { server.swap() } else { server };
    if queues.unprivileged {
        server.unprivileged()
    } else {
        server
    }
}

/// Starts this program again to do the same in the background, and repeats what it says. What else was open for this
/// one, such as a lock of its caller's, is not open for that.
fn start_another() -> Result<ExitCode, Problem> {
    descriptors::close_on_exec()?;
    let mut child = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .args(["--foreground", "--hand-over"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut said)?;
    }
    if !said.is_empty() {
        // It goes on: nobody waits for it.
        io::stdout().write_all(&said)?;
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait()?;
    if let Some(signal) = status.signal() {
        return Err(Problem::Failed(format!(
            "signal {signal} has ended the process that was to serve the disk; `pepita ublk list` shows what it left"
        )));
    }
    // It has said why on standard error, which is this one's.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.filter(|&code| code != 0).unwrap_or(1)))
}

/// What has to be done before there is a disk: so that it can fail. From then on signals are requests.
fn prepare(args: ServerArgs) -> Result<(RunDir, Receiver<StopRequest>), Problem> {
    let dir = RunDir::new();
    dir.make()?;
    if args.hand_over {
        // No terminal's ^C, and no directory that could not be unmounted.
        rustix::process::setsid().map_err(io::Error::from)?;
        env::set_current_dir("/")?;
    }
    Ok((dir, signals::listen()?))
}

/// A disk that this process serves, and what is to be said of it.
struct Served {
    disk: Disk,
    record: Record,
    bytes: u64,
    /// What `pepita zram stat` asks for, until it can.
    zram: Option<Arc<ZramDevice>>,
    /// Somebody may have it mounted, to whom it matters more than what is said of it.
    is_recovered: bool,
    dir: RunDir,
}

impl Served {
    /// Serves until somebody stops it.
    fn run(
        mut self,
        requests: &Receiver<StopRequest>,
        args: ServerArgs,
        is_json: bool,
    ) -> Result<ExitCode, Problem> {
        let Record { id, pid, .. } = self.record;
        if let Err(error) = self.begin(requests, args, is_json) {
            if !self.is_recovered {
                let deleted = self.disk.delete();
                if let Err(error) = &deleted {
                    tracing::error!(id, %error, "the disk stays: `pepita ublk del` deletes it");
                }
                self.dir.remove(id, Some(pid), deleted.is_ok());
                return Err(error.into());
            }
            tracing::error!(id, %error, "the disk is served, and not all is noted of it");
        }
        let ended = self.disk.wait();
        self.dir.remove(id, Some(pid), ended.is_ok());
        match ended {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) => {
                tracing::error!(id, %error, "the disk is gone");
                Err(error.into())
            }
        }
    }

    /// Notes the disk, says that it is there, and lets go of who started this process.
    fn begin(
        &mut self,
        requests: &Receiver<StopRequest>,
        args: ServerArgs,
        is_json: bool,
    ) -> io::Result<()> {
        let (id, stopper, requests) = (self.record.id, self.disk.stopper(), requests.clone());
        let stops = thread::Builder::new().name("stop".into());
        let stops = stops.spawn(move || stop_when_asked(&requests, id, &stopper));
        // First: from then on the last server of this number leaves what is there.
        let noted = stops.map(drop).and_then(|()| self.dir.write(&self.record));
        if let Some(zram) = self.zram.take() {
            tell_of(zram, &self.dir, id);
        }
        let log = args.hand_over.then(|| self.dir.open_log(id)).transpose();
        let (log, noted) = match (log, noted) {
            (Ok(log), noted) => (log, noted),
            (Err(error), noted) => (None, noted.and(Err(error))),
        };
        if noted.is_err() && !self.is_recovered {
            return noted;
        }
        let told = tell(&self.record, self.bytes, is_json);
        if args.hand_over {
            leave_streams(log)?;
        }
        noted.and(told)
    }
}

fn stop_when_asked(requests: &Receiver<StopRequest>, id: u32, stopper: &DiskStopper) {
    while requests.recv().is_ok() {
        if let Err(error) = stopper.stop() {
            tracing::error!(id, %error, "the disk does not stop");
        }
    }
}

/// Says that the disk is there.
fn tell(record: &Record, bytes: u64, is_json: bool) -> io::Result<()> {
    let Record {
        id, pid, target, ..
    } = record;
    let line = if is_json {
        json!({ "id": id, "path": format!("/dev/ublkb{id}"), "bytes": bytes, "pid": pid, "target": target })
            .to_string()
    } else {
        let size = show_size(bytes);
        format!(
            "/dev/ublkb{id}: {}, {size}, served by process {pid}",
            target.describe()
        )
    };
    let mut stdout = io::stdout();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Lets go of who started this process; from now on its log goes to `log`, if there is one.
fn leave_streams(log: Option<File>) -> io::Result<()> {
    let log = log.map_or_else(|| File::options().write(true).open("/dev/null"), Ok)?;
    rustix::stdio::dup2_stdout(&log)?;
    rustix::stdio::dup2_stderr(&log)?;
    Ok(())
}
