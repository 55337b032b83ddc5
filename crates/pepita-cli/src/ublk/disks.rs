//! The disks that are there: `pepita ublk list` and `del`.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use pepita::io::ublk::{Control, UblkError};
use pepita::ublk::{UBLK_S_DEV_FAIL_IO, UBLK_S_DEV_LIVE, UBLK_S_DEV_QUIESCED};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};

use super::Problem;
use super::args::{CopyMode, DelArgs};
use super::record::{self, Record, RunDir};
use super::target::SECTOR_BYTES;
use super::users;
use crate::units::show_size;

/// How long the server of a disk has to stop it: requests in flight have five seconds of that.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// How long a server that has stopped its disk has to delete it, before somebody else does.
const DELETE_LIMIT: Duration = Duration::from_secs(5);

/// Ids of all devices of this host, ascending.
fn ids() -> io::Result<Vec<u32>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir("/dev")? {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.strip_prefix("ublkc"));
        ids.extend(id.and_then(|id| id.parse::<u32>().ok()));
    }
    ids.sort_unstable();
    Ok(ids)
}

/// A disk, as `list` shows it.
struct Row {
    id: u32,
    state: &'static str,
    bytes: u64,
    queues: u16,
    depth: u16,
    copy: CopyMode,
    pid: Option<u32>,
    target: Option<(String, Value)>,
}

impl Row {
    /// `None` if it has gone meanwhile.
    fn of(control: &Control, dir: &RunDir, id: u32) -> Result<Option<Self>, Problem> {
        let info = match control.info(id) {
            Ok(info) => info,
            Err(UblkError::NoDevice { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let noted = dir.find(id).filter(Record::is_current);
        let pid = u32::try_from(info.ublksrv_pid).ok().filter(|pid| *pid > 0);
        Ok(Some(Self {
            id,
            state: match info.state {
                UBLK_S_DEV_LIVE => "live",
                UBLK_S_DEV_QUIESCED => "waiting",
                UBLK_S_DEV_FAIL_IO => "failing",
                _ => "dead",
            },
            bytes: sectors(id).saturating_mul(SECTOR_BYTES),
            queues: info.nr_hw_queues,
            depth: info.queue_depth,
            copy: CopyMode::of_flags(info.flags),
            pid,
            target: noted.map(|record| (record.target.describe(), json!(record.target))),
        }))
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "path": format!("/dev/ublkb{}", self.id),
            "state": self.state,
            "bytes": self.bytes,
            "queues": self.queues,
            "depth": self.depth,
            "copy": self.copy,
            "pid": self.pid,
            "target": self.target.as_ref().map(|(_, target)| target),
        })
    }

    fn text(&self) -> String {
        let path = format!("/dev/ublkb{}", self.id);
        let size = show_size(self.bytes);
        let queues = format!("{} × {}", self.queues, self.depth);
        let pid = self.pid.map_or("-".to_owned(), |pid| pid.to_string());
        let target = self
            .target
            .as_ref()
            .map_or("not of pepita", |(text, _)| text);
        format!(
            "{path:<13} {:<8} {size:>10} {queues:>10} {:<8} {pid:>8}  {target}\n",
            self.state,
            self.copy.name()
        )
    }
}

/// The size of the disk `id`; 0 where there is none. Not from the driver, who answers this only after a stop that
/// waits for the disk's server.
fn sectors(id: u32) -> u64 {
    let size = fs::read_to_string(format!("/sys/block/ublkb{id}/size"));
    size.ok()
        .and_then(|size| size.trim().parse().ok())
        .unwrap_or(0)
}

/// What `pepita ublk list` shows.
pub(super) fn list(is_json: bool) -> Result<String, Problem> {
    let (control, dir) = (Control::open()?, RunDir::new());
    let (mut rows, mut hidden) = (Vec::new(), 0_u32);
    for id in ids()? {
        match Row::of(&control, &dir, id) {
            // It is somebody else's.
            Err(Problem::Ublk(UblkError::Permission { .. })) => hidden += 1,
            row => rows.extend(row?),
        }
    }
    if is_json {
        let disks: Vec<_> = rows.iter().map(Row::json).collect();
        return Ok(json!({ "disks": disks, "hidden": hidden }).to_string() + "\n");
    }
    let head = match rows.is_empty() {
        true => "no ublk disks\n".to_owned(),
        false => format!(
            "{:<13} {:<8} {:>10} {:>10} {:<8} {:>8}  target\n",
            "disk", "state", "size", "queues", "copy", "process"
        ),
    };
    let text = rows.iter().fold(head, |text, row| text + &row.text());
    Ok(match hidden {
        0 => text,
        count => format!("{text}{count} of other users: run as root to see them\n"),
    })
}

/// What `pepita ublk owner` shows: numbers of the user and the group.
pub(super) fn owner(id: u32) -> Result<String, Problem> {
    let info = Control::open()?.info(id)?;
    Ok(format!("{} {}\n", info.owner_uid, info.owner_gid))
}

/// What became of the deletion of a disk.
pub(super) type Deletion = (u32, Result<(), Problem>);

/// Deletes disks.
pub(super) fn delete(args: &DelArgs) -> Result<Vec<Deletion>, Problem> {
    let (control, dir) = (Control::open()?, RunDir::new());
    let ids = match args.all {
        true => ids()?,
        false => args.ids.clone(),
    };
    let delete = |id| match delete_one(&control, &dir, id, args.force) {
        // It went by itself, which is all that was asked for.
        Err(Problem::Ublk(UblkError::NoDevice { .. })) if args.all => Ok(()),
        deleted => deleted,
    };
    Ok(ids.into_iter().map(|id| (id, delete(id))).collect())
}

fn delete_one(control: &Control, dir: &RunDir, id: u32, force: bool) -> Result<(), Problem> {
    let node = record::node(id);
    if !force && let Some(user) = users::of(id)? {
        return Err(Problem::Failed(format!(
            "/dev/ublkb{id} is in use: {user}; --force deletes it all the same"
        )));
    }
    let noted = dir.find(id);
    let server = Server::of(control, noted.as_ref(), id)?;
    if let Some(server) = &server {
        server.release(control, node, force)?;
    }
    // The number may be another's by now.
    if server.is_none() || record::node(id) == node {
        match control.delete(id) {
            Err(UblkError::NoDevice { .. }) if server.is_some() => {}
            deleted => deleted?,
        }
    }
    // What is noted of the next disk of this number stays.
    dir.remove(id, noted.map(|record| record.pid), true);
    Ok(())
}

/// The process of this program that serves a disk.
struct Server {
    id: u32,
    pid: Pid,
    /// What it is known by also when it has ended.
    process: OwnedFd,
}

impl Server {
    /// That of the disk `id`, if it has one.
    fn of(control: &Control, noted: Option<&Record>, id: u32) -> Result<Option<Self>, Problem> {
        let pid_now = || {
            let info = control.info(id)?;
            let is_live = info.state == UBLK_S_DEV_LIVE;
            Ok::<_, UblkError>(is_live.then_some(info.ublksrv_pid))
        };
        let served = pid_now()?;
        let is_its = |pid: &i32| noted.is_some_and(|noted| i64::from(noted.pid) == i64::from(*pid));
        let Some(pid) = served.filter(is_its).and_then(Pid::from_raw) else {
            return Ok(None);
        };
        // One that is gone has left the disk to whoever deletes it.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
            return Ok(None);
        };
        // Another may have had its number.
        let is_still = pid_now()? == served;
        Ok(is_still.then_some(Self { id, pid, process }))
    }

    /// Has it stop its disk, whose device file is `node`, which can hurry what is in flight, and delete it, and waits
    /// until it has done the first.
    ///
    /// The driver would have this process wait for the server's answers, in a state in which nothing can end it.
    fn release(&self, control: &Control, node: Option<u64>, force: bool) -> Result<(), Problem> {
        // It may be at its end, and the disk then is too.
        let _ = pidfd_send_signal(&self.process, Signal::TERM);
        if self.has_stopped(control, node)? {
            self.wait_until_deleted(node);
            return Ok(());
        }
        let (id, pid, seconds) = (self.id, self.pid.as_raw_nonzero(), STOP_LIMIT.as_secs());
        if !force {
            return Err(Problem::Failed(format!(
                "process {pid}, which serves /dev/ublkb{id}, has not stopped it within {seconds} s; --force kills it"
            )));
        }
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
        if self.has_stopped(control, node)? {
            return Ok(());
        }
        Err(Problem::Failed(format!(
            "process {pid}, which serves /dev/ublkb{id}, has been killed and does not end; what it waits for has to end \
             first"
        )))
    }

    fn has_stopped(&self, control: &Control, node: Option<u64>) -> Result<bool, UblkError> {
        let deadline = Instant::now() + STOP_LIMIT;
        let mut pause = Duration::from_millis(5);
        while record::node(self.id) == node {
            match control.info(self.id) {
                Ok(info) if info.state == UBLK_S_DEV_LIVE => {}
                Ok(_) | Err(UblkError::NoDevice { .. }) => break,
                Err(error) => return Err(error),
            }
            if Instant::now() > deadline {
                return Ok(false);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
        Ok(true)
    }

    /// Waits for a while until the server has deleted the disk, or is at its end: whoever deletes it meanwhile may
    /// delete the next one of its number.
    fn wait_until_deleted(&self, node: Option<u64>) {
        let deadline = Instant::now() + DELETE_LIMIT;
        let pause = Timespec {
            tv_sec: 0,
            tv_nsec: 5_000_000,
        };
        while record::node(self.id) == node && Instant::now() < deadline {
            let ended = poll(
                &mut [PollFd::new(&self.process, PollFlags::IN)],
                Some(&pause),
            );
            if ended.is_ok_and(|count| count > 0) {
                break;
            }
        }
    }
}
