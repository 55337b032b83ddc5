//! The disks that are there: `pepita ublk list` and `del`.

use std::fs;
use std::io;
use std::path::Path;

use pepita::io::ublk::{Control, UblkError};
use pepita::ublk::{UBLK_S_DEV_FAIL_IO, UBLK_S_DEV_LIVE, UBLK_S_DEV_QUIESCED};
use serde_json::{Value, json};

use super::Problem;
use super::args::DelArgs;
use super::record::RunDir;
use super::target::SECTOR_BYTES;
use crate::units::show_size;

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
        // One that nobody has given parameters yet has no size.
        let sectors = control
            .params(id)
            .map_or(0, |params| params.basic.dev_sectors);
        let noted = dir.read(id)?;
        let pid = u32::try_from(info.ublksrv_pid).ok().filter(|pid| *pid > 0);
        Ok(Some(Self {
            id,
            state: match info.state {
                UBLK_S_DEV_LIVE => "live",
                UBLK_S_DEV_QUIESCED => "waiting",
                UBLK_S_DEV_FAIL_IO => "failing",
                _ => "dead",
            },
            bytes: sectors.saturating_mul(SECTOR_BYTES),
            queues: info.nr_hw_queues,
            depth: info.queue_depth,
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
            "{path:<13} {:<8} {size:>10} {queues:>10} {pid:>8}  {target}\n",
            self.state
        )
    }
}

/// What `pepita ublk list` shows.
pub(super) fn list(is_json: bool) -> Result<String, Problem> {
    let (control, dir) = (Control::open()?, RunDir::new());
    let mut rows = Vec::new();
    for id in ids()? {
        rows.extend(Row::of(&control, &dir, id)?);
    }
    if is_json {
        let disks: Vec<_> = rows.iter().map(Row::json).collect();
        return Ok(json!({ "disks": disks }).to_string() + "\n");
    }
    if rows.is_empty() {
        return Ok("no ublk disks\n".to_owned());
    }
    let head = format!(
        "{:<13} {:<8} {:>10} {:>10} {:>8}  target\n",
        "disk", "state", "size", "queues", "process"
    );
    Ok(rows.iter().fold(head, |text, row| text + &row.text()))
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
    let delete = |id| {
        if let Some(user) = user_of(id)?.filter(|_| !args.force) {
            return Err(Problem::Failed(format!(
                "/dev/ublkb{id} is in use: {user}; --force deletes it all the same"
            )));
        }
        control.delete(id)?;
        dir.remove(id, None, true);
        Ok(())
    };
    Ok(ids.into_iter().map(|id| (id, delete(id))).collect())
}

/// Who would lose the disk, or a partition of it.
fn user_of(id: u32) -> Result<Option<String>, Problem> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    if let Some(place) = mounted_at(&mounts, id) {
        return Ok(Some(format!("mounted at {place}")));
    }
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    if mounted_at(&swaps, id).is_some() {
        return Ok(Some("swap".to_owned()));
    }
    let holders = Path::new("/sys/block").join(format!("ublkb{id}/holders"));
    let mut holders = fs::read_dir(holders).into_iter().flatten().flatten();
    Ok(holders
        .next()
        .map(|holder| format!("held by {}", holder.file_name().display())))
}

/// The second word of the first line that begins with the disk `id` or a partition of it.
fn mounted_at(table: &str, id: u32) -> Option<&str> {
    let disk = format!("/dev/ublkb{id}");
    table.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let rest = words.next()?.strip_prefix(&disk)?;
        let is_it = rest.is_empty() || rest.starts_with('p');
        is_it.then(|| words.next())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_in_use_when_it_or_a_partition_is_mounted() {
        let mounts =
            "/dev/vda / ext4 rw 0 0\n/dev/ublkb1 /a ext4 rw 0 0\n/dev/ublkb20p1 /b xfs rw 0 0\n";
        let cases = [(1, Some("/a")), (20, Some("/b")), (2, None), (0, None)];
        for (id, place) in cases {
            assert_eq!(mounted_at(mounts, id), place, "{id}");
        }
    }
}
