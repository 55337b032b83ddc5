//! Groups of processes in the cgroup v2 hierarchy: ended together, limited together.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open, openat};

use crate::fault::random_seed;
use crate::task::{Limits, Unsupported};

/// The name of the group under which a pool's groups stand: this, then the process id.
const PREFIX: &str = "pepita-";
/// The name of a group to which a process moved itself; it stays until that process is gone.
const LEAF_PREFIX: &str = "main.pepita-";
const REMEDY: &str = "the group of this process needs the controllers memory and pids of cgroup v2: \
    `systemd-run --user --scope -p Delegate=yes COMMAND` gives it one; where cgroup v1 holds them, boot \
    with `systemd.unified_cgroup_hierarchy=1`";

/// Whether this process may be moved to another group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum MayMove {
    #[default]
    No,
    /// To a leaf below its own, when limits are asked for: a group that holds processes can hand
    /// no controller down to its children, unless it is the root.
    ToLeaf,
}

/// A directory of the cgroup v2 hierarchy in which this process makes a group for each task.
#[derive(Debug)]
pub(crate) struct Cgroups {
    base: PathBuf,
    /// Tells other processes that this directory is in use.
    _lock: OwnedFd,
    may_move: MayMove,
    next: AtomicU64,
    limits: OnceLock<Result<(), String>>,
}

impl Cgroups {
    /// Makes a directory under this process's own group.
    ///
    /// # Errors
    /// What is missing, in words.
    pub(crate) fn new(may_move: MayMove) -> Result<Self, String> {
        let own = own_group()?;
        remove_stale(&own);
        let (base, lock) =
            make_base(&own).map_err(|error| format!("no group can be made in {own:?}: {error}"))?;
        let groups = Self {
            base,
            _lock: lock,
            may_move,
            next: AtomicU64::new(0),
            limits: OnceLock::new(),
        };
        // `cgroup.kill` came with Linux 5.14.
        if !groups.base.join("cgroup.kill").exists() {
            return Err("this kernel has no `cgroup.kill` (Linux 5.14)".to_owned());
        }
        Ok(groups)
    }

    /// A new group without limits.
    pub(super) fn group(&self) -> io::Result<Group> {
        let path = self
            .base
            .join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&path)?;
        Group::open(path)
    }

    /// A new group that holds `limits`.
    pub(super) fn limited(&self, limits: &Limits) -> io::Result<Group> {
        let group = self.group()?;
        if let Some(bytes) = limits.memory_bytes {
            fs::write(group.path.join("memory.max"), bytes.to_string())?;
            // Absent where the kernel was built without swap.
            match fs::write(group.path.join("memory.swap.max"), "0") {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if let Some(count) = limits.processes {
            fs::write(group.path.join("pids.max"), count.to_string())?;
        }
        Ok(group)
    }

    /// Whether groups can hold limits: the controllers have to be handed down to them.
    pub(crate) fn check_limits(&self) -> Result<(), Unsupported> {
        let outcome = self.limits.get_or_init(|| {
            let parent = self.base.parent().unwrap_or(Path::new("/"));
            match (hand_down(parent), self.may_move) {
                (Err(_), MayMove::ToLeaf) => {
                    move_to_leaf(parent)?;
                    hand_down(parent)?;
                }
                (outcome, _) => outcome?,
            }
            hand_down(&self.base)
        });
        outcome.clone().map_err(refuse_limits)
    }
}

/// The error for a task whose limits need a group where there is none, and why.
pub(crate) fn refuse_limits(reason: String) -> Unsupported {
    Unsupported::Host {
        setting: "a limit on memory or processes",
        reason,
        remedy: REMEDY,
    }
}

/// Enables the controllers of [`Limits`] for the groups below `group`.
fn hand_down(group: &Path) -> Result<(), String> {
    let read = |name: &str| {
        let file = group.join(name);
        fs::read_to_string(&file).map_err(|error| format!("{file:?}: {error}"))
    };
    let (here, enabled) = (read("cgroup.controllers")?, read("cgroup.subtree_control")?);
    let has = |list: &str, controller| list.split_whitespace().any(|name| name == controller);
    for controller in ["memory", "pids"] {
        if has(&enabled, controller) {
            continue;
        }
        if !has(&here, controller) {
            return Err(format!(
                "the controller `{controller}` is not handed down to {group:?} (cgroup v1 may hold it)"
            ));
        }
        let file = group.join("cgroup.subtree_control");
        fs::write(&file, format!("+{controller}")).map_err(|error| {
            format!("the controller `{controller}` cannot be enabled in {file:?}: {error}")
        })?;
    }
    Ok(())
}

/// Moves this process to a new group below `own`.
fn move_to_leaf(own: &Path) -> Result<(), String> {
    let leaf = own.join(format!("{LEAF_PREFIX}{}", std::process::id()));
    let moved = fs::create_dir_all(&leaf).and_then(|()| fs::write(leaf.join("cgroup.procs"), "0"));
    moved.map_err(|error| format!("this process cannot be moved to {leaf:?}: {error}"))
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        remove_tree(&self.base);
    }
}

/// One group: the processes of one task, or of one worker's tasks in turn.
#[derive(Debug)]
pub(super) struct Group {
    path: PathBuf,
    dir: OwnedFd,
    kill: OwnedFd,
    events: OwnedFd,
}

impl Group {
    fn open(path: PathBuf) -> io::Result<Self> {
        let dir = open(
            &path,
            OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let file = |name, access| openat(&dir, name, access | OFlags::CLOEXEC, Mode::empty());
        let kill = file("cgroup.kill", OFlags::WRONLY)?;
        let events = file("cgroup.events", OFlags::RDONLY)?;
        Ok(Self {
            path,
            dir,
            kill,
            events,
        })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Sends SIGKILL to every process in it.
    pub(super) fn kill(&self) -> io::Result<()> {
        rustix::io::write(&self.kill, b"1")?;
        Ok(())
    }

    /// Whether a process in it has not exited yet.
    pub(super) fn is_populated(&self) -> io::Result<bool> {
        let mut text = [0; 64];
        let len = rustix::io::pread(&self.events, &mut text, 0)?;
        Ok(!text[..len].starts_with(b"populated 0"))
    }

    /// Waits until it is empty, or for `patience`; says whether it is.
    pub(super) fn wait_empty(&self, patience: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + patience;
        while self.is_populated()? {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let timeout = Timespec::try_from(left).ok();
            // A change of `cgroup.events` since the last read counts as priority data.
            match poll(
                &mut [PollFd::new(&self.events, PollFlags::PRI)],
                timeout.as_ref(),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(true)
    }

    /// From now on, all of the group dies with the first process that the kernel picks for its
    /// memory limit.
    ///
    /// Only to be called when no child is on its way to `execve`: such a child shares the memory of
    /// this process, and the kernel kills whoever shares the memory of what dies with a group.
    pub(super) fn die_together(&self) -> io::Result<()> {
        fs::write(self.path.join("memory.oom.group"), "1")?;
        if self.was_out_of_memory() {
            self.kill()?;
        }
        Ok(())
    }

    /// The most memory that its processes held, in bytes.
    pub(super) fn peak_bytes(&self) -> Option<u64> {
        fs::read_to_string(self.path.join("memory.peak"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// Whether the kernel killed a process in it for its memory limit.
    pub(super) fn was_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        let kills = events
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "));
        kills.is_some_and(|count| count.trim() != "0")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A task may have made groups of its own. Still busy only if a process in it cannot be killed
        // now: then `Cgroups` tries again, and at last `remove_stale` of a later process.
        remove_dirs(&self.path);
    }
}

/// The directory of this process's group.
fn own_group() -> Result<PathBuf, String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let groups = read("/proc/self/cgroup")?;
    let own = groups
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .ok_or("this kernel runs no cgroup v2 hierarchy")?;
    let mounts = read("/proc/self/mountinfo")?;
    let (root, mount) = mounts
        .lines()
        .find_map(cgroup2_mount)
        .ok_or("no cgroup v2 hierarchy is mounted")?;
    let below = Path::new(own).strip_prefix(&root).map_err(|_| {
        format!("the group {own} of this process is outside the mounted part {root}")
    })?;
    Ok(Path::new(&mount).join(below))
}

/// (root, mount point) of a line of mountinfo, if it is for cgroup v2; proc(5).
fn cgroup2_mount(line: &str) -> Option<(String, String)> {
    let (before, after) = line.split_once(" - ")?;
    if after.split(' ').next()? != "cgroup2" {
        return None;
    }
    let mut fields = before.split(' ').skip(3);
    Some((unescape(fields.next()?), unescape(fields.next()?)))
}

/// Undoes the octal escapes of mountinfo for blanks and backslashes.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

/// Removes what processes that are gone left in `own`: nobody holds the lock of its directory.
fn remove_stale(own: &Path) {
    for entry in fs::read_dir(own).into_iter().flatten().flatten() {
        let is_ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX));
        if is_ours && lock(&entry.path()).is_ok() {
            remove_tree(&entry.path());
        }
        if entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(LEAF_PREFIX))
        {
            // Fails as long as its process lives.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Makes a directory in `own` and locks it.
fn make_base(own: &Path) -> io::Result<(PathBuf, OwnedFd)> {
    loop {
        // Other pid namespaces may share this hierarchy, so the process id alone is not unique.
        let name = format!("{PREFIX}{}-{:08x}", std::process::id(), random_seed() >> 32);
        let base = own.join(name);
        fs::create_dir(&base)?;
        // Before it was locked, another process may have taken it for stale.
        if let Ok(lock) = lock(&base)
            && base.exists()
        {
            return Ok((base, lock));
        }
    }
}

/// Locks a directory until the descriptor is closed; fails if somebody else has.
fn lock(dir: &Path) -> io::Result<OwnedFd> {
    let dir = open(
        dir,
        OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    flock(&dir, FlockOperation::NonBlockingLockExclusive)?;
    Ok(dir)
}

/// Ends what runs in `base` and the groups below it, and removes them, as far as they empty soon.
fn remove_tree(base: &Path) {
    if let Ok(group) = Group::open(base.to_owned())
        && group.is_populated().unwrap_or(true)
    {
        let emptied = group
            .kill()
            .and_then(|()| group.wait_empty(Duration::from_secs(1)));
        tracing::debug!(group = ?base, ?emptied, "removing a busy cgroup");
    }
    remove_dirs(base);
}

/// Removes a directory of the hierarchy and those below it, the lowest first.
fn remove_dirs(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_dirs(&entry.path());
        }
    }
    let removed = fs::remove_dir(dir);
    tracing::trace!(?dir, ?removed, "removing a cgroup");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_mount_is_found_among_others_and_unescaped() {
        let line =
            r"42 32 0:39 /a /sys/fs/cgroup/my\040mount rw,relatime shared:5 - cgroup2 cgroup2 rw";
        assert_eq!(
            cgroup2_mount(line),
            Some(("/a".into(), "/sys/fs/cgroup/my mount".into()))
        );
        assert_eq!(
            cgroup2_mount("42 32 0:39 / /sys/fs/cgroup rw - tmpfs cgroup2 rw"),
            None
        );
    }

    #[test]
    fn groups_in_use_stay_and_those_that_nobody_holds_go() {
        let Ok(groups) = Cgroups::new(MayMove::No) else {
            println!(
                "SKIPPED: groups_in_use_stay_and_those_that_nobody_holds_go: no writable cgroup v2"
            );
            return;
        };
        let group = groups.group().unwrap();
        let own = groups.base.parent().unwrap();
        let stale = own.join(format!("{PREFIX}1-0"));
        fs::create_dir_all(stale.join("a/b")).unwrap();
        let others = Cgroups::new(MayMove::No).unwrap();
        assert!(group.path.exists() && others.base.exists());
        assert!(!stale.exists());
        let base = groups.base.clone();
        drop((group, groups));
        assert!(!base.exists());
    }
}
