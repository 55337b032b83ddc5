//! Serving a disk: from this process, or from one of its own that it hands over to.
//!
//! # Invariants
//! * Who started a process in the background hears from it exactly once: when the disk is there, or why
//!   it is not.

use std::io::{self, Read as _, Write as _};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs, thread};

use pepita::blk_mq::BlockDevice;
use pepita::io::ublk::{Control, Disk, Server};
use pepita::ublk::{UBLK_F_USER_COPY, UBLK_F_USER_RECOVERY, UBLK_F_USER_RECOVERY_REISSUE};
use serde_json::json;

use super::args::{AddArgs, Queues, RecoverArgs, Recovery, ServerArgs};
use super::record::{Record, RunDir};
use super::target::{SECTOR_BYTES, Target};
use super::{Problem, features};
use crate::run::signals;
use crate::units::show_size;

/// `pepita ublk add`.
pub(super) fn add(args: &AddArgs, is_json: bool) -> Result<ExitCode, Problem> {
    let target = Target::new(args)?;
    if !args.server.foreground {
        return start_another();
    }
    let mut server = server(args.queues, args.recovery);
    if let Some(id) = args.id {
        server = server.id(id);
    }
    let device = target.open(args.size.unwrap_or(0))?;
    let bytes = device.geometry().capacity_sectors * SECTOR_BYTES;
    let dir = prepare(args.server)?;
    let disk = server.serve(device)?;
    if disk.cleared_flags() != 0 {
        let lacking = features::names(disk.cleared_flags());
        disk.delete()?;
        return Err(Problem::Failed(format!(
            "this kernel's ublk does not have {lacking}; `pepita ublk features` says which one does"
        )));
    }
    let record = Record {
        id: disk.id(),
        pid: std::process::id(),
        target,
        queues: args.queues,
        recovery: args.recovery,
    };
    run(disk, &record, bytes, (&dir, args.server), is_json)
}

/// `pepita ublk recover`.
pub(super) fn recover(args: &RecoverArgs, is_json: bool) -> Result<ExitCode, Problem> {
    let dir = RunDir::new();
    let noted = dir.read(args.id)?.ok_or_else(|| {
        let id = args.id;
        Problem::Failed(format!(
            "nothing is noted of a disk {id}; only what `pepita ublk add` made can be served again"
        ))
    })?;
    if !args.server.foreground {
        return start_another();
    }
    let device = noted.target.open(0)?;
    let bytes = device.geometry().capacity_sectors * SECTOR_BYTES;
    let dir = prepare(args.server)?;
    let disk = server(noted.queues, noted.recovery).recover(args.id, device)?;
    let record = Record {
        pid: std::process::id(),
        ..noted
    };
    run(disk, &record, bytes, (&dir, args.server), is_json)
}

fn server(queues: Queues, recovery: Recovery) -> Server {
    let copy = if queues.user_copy {
        UBLK_F_USER_COPY
    } else {
        0
    };
    let recovery = match recovery {
        Recovery::None => 0,
        Recovery::Plain => UBLK_F_USER_RECOVERY,
        Recovery::Reissue => UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE,
    };
    Server::new()
        .queues(queues.queues)
        .depth(queues.depth)
        .max_io_bytes(queues.max_io)
        .flags(copy | recovery)
}

/// Starts this program again to do the same in the background, and repeats what it says.
fn start_another() -> Result<ExitCode, Problem> {
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
    // It has said why on standard error, which is this one's.
    let code = child
        .wait()?
        .code()
        .and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.filter(|&code| code != 0).unwrap_or(1)))
}

/// What has to be done before there is a disk: so that it can fail.
fn prepare(args: ServerArgs) -> Result<RunDir, Problem> {
    let dir = RunDir::new();
    dir.make()?;
    if args.hand_over {
        // No terminal's ^C, and no directory that could not be unmounted.
        rustix::process::setsid().map_err(io::Error::from)?;
        env::set_current_dir("/")?;
    }
    Ok(dir)
}

/// Serves until somebody stops it.
fn run(
    disk: Disk,
    record: &Record,
    bytes: u64,
    (dir, args): (&RunDir, ServerArgs),
    is_json: bool,
) -> Result<ExitCode, Problem> {
    let id = disk.id();
    let requests = signals::listen()?;
    dir.write(record)?;
    tell(record, bytes, is_json)?;
    if args.hand_over {
        leave_streams(&dir.log(id))?;
    }
    thread::Builder::new()
        .name("stop".into())
        .spawn(move || stop_when_asked(&requests, id))?;
    let ended = disk.wait();
    dir.remove(id, Some(record.pid), ended.is_ok());
    match ended {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            tracing::error!(id, %error, "the disk is gone");
            Err(error.into())
        }
    }
}

fn stop_when_asked(requests: &crossbeam_channel::Receiver<signals::StopRequest>, id: u32) {
    while requests.recv().is_ok() {
        let stopped = Control::open().and_then(|control| control.stop(id));
        if let Err(error) = stopped {
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

/// Lets go of who started this process; from now on its log goes to a file.
fn leave_streams(log: &std::path::Path) -> io::Result<()> {
    let log = fs::File::options().create(true).append(true).open(log)?;
    rustix::stdio::dup2_stdout(&log)?;
    rustix::stdio::dup2_stderr(&log)?;
    Ok(())
}
