//! Finds and ends the processes of a task in the process table.
//!
//! A process belongs to a task if its chain of parents leads to one of the task's programs, if it
//! is in the session of one, or if it was orphaned, so that it is now a child of this process
//! (where that is a subreaper), and carries the task's [`MARK`] in its environment. The table changes while it is read: so
//! every process is stopped before its children are looked for, and the search goes on until a
//! round finds nothing new.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, child_subreaper, getpid, pidfd_open, pidfd_send_signal,
    set_child_subreaper, waitpid,
};

use crate::task::TaskId;

/// The variable that marks the processes of a task.
pub(super) const MARK: &str = "PEPITA_TASK_ID";

/// Whether the executor was asked to wait for the orphans that fall to this process.
static REAPS: AtomicBool = AtomicBool::new(false);

/// The programs of all tasks: children of this process whose exit is awaited elsewhere. Making a
/// child and noting it happen under the lock for reading, taking away zombies that nobody noted
/// happens under the lock for writing: so no program is taken for an orphan.
static PROGRAMS: LazyLock<RwLock<HashSet<Pid>>> = LazyLock::new(RwLock::default);
static BIRTHS: RwLock<()> = RwLock::new(());

/// Has orphaned descendants become children of this process.
pub(super) fn become_subreaper() -> Result<(), Errno> {
    set_child_subreaper(Some(getpid()))
}

/// From now on, waits for orphans, should they fall to this process: as a subreaper, whoever made
/// it one, or as the first process of a container.
pub(super) fn reap_from_now_on() {
    let is_reaper = number(getpid()) == 1 || child_subreaper().is_ok_and(|on| on.is_some());
    REAPS.store(is_reaper, Ordering::SeqCst);
}

/// Whether orphans fall to this process, and it waits for them.
pub(super) fn reaps() -> bool {
    REAPS.load(Ordering::SeqCst)
}

fn programs_of_all() -> RwLockWriteGuard<'static, HashSet<Pid>> {
    PROGRAMS.write().unwrap_or_else(PoisonError::into_inner)
}

fn is_program(pid: Pid) -> bool {
    PROGRAMS
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .contains(&pid)
}

/// Holds off the taking away of zombies while a child is made and claimed.
pub(super) fn birth() -> RwLockReadGuard<'static, ()> {
    BIRTHS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that somebody waits for this child.
pub(super) fn claim(program: Pid) {
    programs_of_all().insert(program);
}

/// Takes that back.
pub(super) fn release(program: Pid) {
    programs_of_all().remove(&program);
}

/// A line of the process table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    pid: Pid,
    parent: i32,
    session: i32,
    is_zombie: bool,
    start_ticks: u64,
}

impl Entry {
    /// Whether both are of one process, at two times.
    fn is_same(&self, other: &Self) -> bool {
        (self.pid, self.start_ticks) == (other.pid, other.start_ticks)
    }

    /// Reads `/proc/PID/stat`, proc(5).
    fn parse(stat: &str) -> Option<Self> {
        let pid = stat
            .split(' ')
            .next()?
            .parse()
            .ok()
            .and_then(Pid::from_raw)?;
        // The name stands in parentheses and may hold any byte, blanks and parentheses too.
        let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
        let is_zombie = matches!(fields.next()?, "Z" | "X");
        let parent = fields.next()?.parse().ok()?;
        let session = fields.nth(1)?.parse().ok()?;
        let start_ticks = fields.nth(15)?.parse().ok()?;
        Some(Self {
            pid,
            parent,
            session,
            is_zombie,
            start_ticks,
        })
    }

    fn of(pid: Pid) -> Option<Self> {
        let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        Self::parse(&String::from_utf8_lossy(&stat))
    }

    fn all() -> io::Result<Vec<Self>> {
        if !is_proc_ours() {
            return Ok(Vec::new());
        }
        let names = fs::read_dir("/proc")?
            .flatten()
            .map(|entry| entry.file_name());
        let pids = names.filter_map(|name| Pid::from_raw(name.to_str()?.parse().ok()?));
        Ok(pids.filter_map(Self::of).collect())
    }

    fn is_marked(&self, id: TaskId) -> bool {
        let mark = format!("{MARK}={id}");
        let environment = self.environment();
        environment
            .split(|&byte| byte == 0)
            .any(|entry| entry == mark.as_bytes())
    }

    /// Its environment. A process in the middle of `execve` shows none for a moment, so an empty
    /// one is read again a few times.
    fn environment(&self) -> Vec<u8> {
        let path = format!("/proc/{}/environ", self.pid.as_raw_nonzero());
        for _ in 0..EXEC_READS {
            match fs::read(&path) {
                Ok(environment) if environment.is_empty() => thread::sleep(EXEC_PAUSE),
                Ok(environment) => return environment,
                Err(_) => break,
            }
        }
        Vec::new()
    }
}

/// How often, and how long apart, a process is looked at that may be in the middle of `execve`.
const EXEC_READS: u32 = 50;
const EXEC_PAUSE: Duration = Duration::from_micros(100);

/// Whether something of the task may be left after its programs have exited: then each of their
/// descendants that lives hangs off a child of a subreaper, so that a look at its children is
/// enough.
pub(super) fn may_be_left(programs: &[Pid], id: TaskId) -> io::Result<bool> {
    let strangers = children()?.into_iter().filter(|&pid| !is_program(pid));
    let mut strangers = strangers.filter_map(Entry::of);
    let sessions: Vec<i32> = programs.iter().map(|&pid| number(pid)).collect();
    Ok(strangers.any(|child| sessions.contains(&child.session) || child.is_marked(id)))
}

fn number(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

/// Whether `/proc` shows the pid namespace of this process: else its numbers mean others here.
fn is_proc_ours() -> bool {
    static IS_OURS: OnceLock<bool> = OnceLock::new();
    *IS_OURS.get_or_init(|| {
        let own = fs::read_link("/proc/self").ok();
        own.is_some_and(|own| own.to_str() == Some(&number(getpid()).to_string()))
    })
}

/// The children of this process.
fn children() -> io::Result<Vec<Pid>> {
    children_of(getpid())
}

/// The children of a process, by all of its threads; none of one that is gone.
pub(super) fn children_of(parent: Pid) -> io::Result<Vec<Pid>> {
    if !is_proc_ours() {
        return Ok(Vec::new());
    }
    let is_gone = |error: &io::Error| {
        let gone = [Errno::SRCH, Errno::NOENT];
        gone.iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
    };
    let threads = match fs::read_dir(format!("/proc/{}/task", parent.as_raw_nonzero())) {
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        threads => threads?,
    };
    let mut children = Vec::new();
    for thread in threads {
        let list = match fs::read_to_string(thread?.path().join("children")) {
            Err(error) if is_gone(&error) => continue,
            list => list?,
        };
        children.extend(
            list.split_whitespace()
                .filter_map(|pid| Pid::from_raw(pid.parse().ok()?)),
        );
    }
    Ok(children)
}

/// The processes of a task that were found, its programs left out.
#[derive(Debug, Default)]
pub(super) struct Hunt {
    found: HashMap<Pid, (Entry, Option<OwnedFd>)>,
}

impl Hunt {
    /// Notes the processes that belong to the task now: once its programs are gone, what they
    /// started may not be told from others. Says whether there was a new one.
    pub(super) fn note(&mut self, programs: &[Pid], id: TaskId) -> io::Result<bool> {
        let table = Entry::all()?;
        let mut is_new = false;
        for entry in self.members(&table, programs, id) {
            let is_known = self
                .found
                .get(&entry.pid)
                .is_some_and(|(seen, _)| seen.is_same(&entry));
            if !is_known && !entry.is_zombie {
                let pidfd = open(&entry)?;
                self.found.insert(entry.pid, (entry, pidfd));
                is_new = true;
            }
        }
        Ok(is_new)
    }

    /// Kills what was noted and what is found now, and waits until it has exited, or for
    /// `patience`. Says whether there was a living one. An error does not keep it from the rest.
    pub(super) fn kill(
        &mut self,
        programs: &[Pid],
        id: TaskId,
        patience: Duration,
    ) -> io::Result<bool> {
        let mut first_error = None;
        let mut check = |outcome: io::Result<()>| {
            if let Err(error) = outcome {
                first_error.get_or_insert(error);
            }
        };
        loop {
            for (_, pidfd) in self.found.values() {
                check(signal(pidfd.as_ref(), Signal::STOP));
            }
            match self.note(programs, id) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    check(Err(error));
                    break;
                }
            }
        }
        for (_, pidfd) in self.found.values() {
            check(signal(pidfd.as_ref(), Signal::KILL));
        }
        let deadline = Instant::now() + patience;
        let had_any = !self.found.is_empty();
        for (pid, (_, pidfd)) in self.found.drain() {
            check(wait(pidfd.as_ref(), deadline));
            // One whose parent lives is waited for by that parent.
            let _is_child = waitpid(Some(pid), WaitOptions::NOHANG);
        }
        first_error.map_or(Ok(had_any), Err)
    }

    /// The processes of the task in `table`.
    fn members(&self, table: &[Entry], programs: &[Pid], id: TaskId) -> Vec<Entry> {
        let own = getpid();
        let roots: HashSet<i32> = programs.iter().map(|&pid| number(pid)).collect();
        let found = table.iter().filter(|entry| {
            let seen = self.found.get(&entry.pid);
            seen.is_some_and(|(seen, _)| seen.is_same(entry))
        });
        let mut known: HashSet<i32> = found.map(|entry| number(entry.pid)).collect();
        known.extend(&roots);
        let mut members = Vec::new();
        loop {
            let before = members.len();
            for entry in table {
                let pid = number(entry.pid);
                if known.contains(&pid) || entry.pid == own || is_program(entry.pid) {
                    continue;
                }
                let belongs = known.contains(&entry.parent)
                    || roots.contains(&entry.session)
                    || (entry.parent == number(own) && entry.is_marked(id));
                if belongs {
                    known.insert(pid);
                    members.push(*entry);
                }
            }
            if members.len() == before {
                return members;
            }
        }
    }
}

/// A descriptor of the process of `entry`; `None` if it is gone, and its id maybe another's.
fn open(entry: &Entry) -> io::Result<Option<OwnedFd>> {
    match pidfd_open(entry.pid, PidfdFlags::empty()) {
        // With the descriptor open the id cannot pass on any more.
        Ok(pidfd) => {
            let is_same =
                Entry::of(entry.pid).is_some_and(|now| now.start_ticks == entry.start_ticks);
            Ok(is_same.then_some(pidfd))
        }
        Err(Errno::SRCH) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn signal(pidfd: Option<&OwnedFd>, signal: Signal) -> io::Result<()> {
    match pidfd.map(|pidfd| pidfd_send_signal(pidfd, signal)) {
        None | Some(Ok(()) | Err(Errno::SRCH)) => Ok(()),
        Some(Err(errno)) => Err(errno.into()),
    }
}

/// Waits until a process has exited, or for `deadline`: one in an uninterruptible wait may not
/// exit soon.
fn wait(pidfd: Option<&OwnedFd>, deadline: Instant) -> io::Result<()> {
    let Some(pidfd) = pidfd else { return Ok(()) };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], timeout.as_ref()) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Takes away the zombies of orphans, if they fall to this process. A child that this process made
/// otherwise is left to who made it, as long as it stays in this process's own session.
pub(super) fn reap_orphans() -> io::Result<()> {
    if !reaps() {
        return Ok(());
    }
    // By the process table: a session without a leader in this pid namespace shows as 0.
    let Some(Entry {
        session: own_session,
        ..
    }) = Entry::of(getpid())
    else {
        return Ok(());
    };
    let is_orphan =
        |child: &Entry| child.is_zombie && child.session != own_session && !is_program(child.pid);
    if !children()?
        .into_iter()
        .filter_map(Entry::of)
        .any(|child| is_orphan(&child))
    {
        return Ok(());
    }
    let _no_births = BIRTHS.write().unwrap_or_else(PoisonError::into_inner);
    for orphan in children()?
        .into_iter()
        .filter_map(Entry::of)
        .filter(is_orphan)
    {
        let _was_taken = waitpid(Some(orphan.pid), WaitOptions::NOHANG);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_cannot_forge_the_fields_behind_it() {
        let stat = "7 (a) Z 1 (x) S 5 6 6 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4242 1 2\n";
        let entry = Entry::parse(stat).unwrap();
        assert_eq!(
            (entry.parent, entry.session, entry.start_ticks),
            (5, 6, 4242)
        );
        assert!(!entry.is_zombie);
        assert_eq!(Entry::parse("7 (a"), None);
    }
}
