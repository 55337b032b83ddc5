//! Ends every process of a task, by the surest means that the host allows.

use std::io;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::cgroup::{Cgroups, Group, MayMove};
use super::descendants::{self, Hunt};
use super::spawn::Child;
use crate::task::{TaskId, TreeKill};

/// How long a killed process may take to be gone: one in an uninterruptible wait can take longer,
/// and the task's end does not wait for it.
const KILL_PATIENCE: Duration = Duration::from_secs(2);

/// What an executor may change of this process as a whole.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MayChange {
    pub(crate) subreaper: bool,
    pub(crate) group: MayMove,
}

/// The means by which an executor ends trees of processes.
#[derive(Debug)]
pub(crate) struct TreeKiller {
    level: TreeKill,
    cgroups: Result<Cgroups, String>,
}

impl TreeKiller {
    /// The surest means, or `wanted` alone.
    ///
    /// # Errors
    /// What `wanted` lacks on this host.
    pub(crate) fn new(wanted: Option<TreeKill>, may: MayChange) -> Result<Self, String> {
        let MayChange { subreaper, group } = may;
        let cgroups = Cgroups::new(group).and_then(|groups| {
            super::spawn::check_cgroup(&groups)?;
            Ok(groups)
        });
        let level = match (wanted, &cgroups) {
            (None | Some(TreeKill::Cgroup), Ok(_)) => TreeKill::Cgroup,
            (Some(TreeKill::Cgroup), Err(reason)) => return Err(reason.clone()),
            (Some(TreeKill::PidNamespace), _) => {
                super::spawn::check_pid_namespace()?;
                TreeKill::PidNamespace
            }
            (None, Err(_)) if super::spawn::check_pid_namespace().is_ok() => TreeKill::PidNamespace,
            (None, Err(_)) if subreaper => TreeKill::Subreaper,
            (Some(level), _) => level,
            (None, Err(_)) => TreeKill::ProcessGroup,
        };
        if level == TreeKill::Subreaper {
            descendants::become_subreaper()
                .map_err(|errno| format!("prctl(PR_SET_CHILD_SUBREAPER): {errno}"))?;
        }
        if subreaper || level == TreeKill::Subreaper {
            descendants::reap_from_now_on();
        }
        Ok(Self { level, cgroups })
    }

    pub(crate) fn level(&self) -> TreeKill {
        self.level
    }

    /// The groups of this executor, or why there are none.
    pub(crate) fn cgroups(&self) -> Result<&Cgroups, &String> {
        self.cgroups.as_ref()
    }
}

/// The processes of one attempt.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    id: TaskId,
    level: TreeKill,
    group: Option<&'a Group>,
    /// The programs that were started: leaders of sessions or process groups, not waited for yet.
    leaders: Vec<Pid>,
    /// Their descendants, where those have to be searched for.
    hunt: Hunt,
}

impl<'a> Tree<'a> {
    pub(super) fn new(id: TaskId, level: TreeKill, group: Option<&'a Group>) -> Self {
        let level = if group.is_some() {
            TreeKill::Cgroup
        } else {
            level
        };
        Self {
            id,
            level,
            group,
            leaders: Vec::new(),
            hunt: Hunt::default(),
        }
    }

    pub(super) fn level(&self) -> TreeKill {
        self.level
    }

    pub(super) fn group(&self) -> Option<&'a Group> {
        self.group
    }

    /// Whether its processes are told by their session: at the levels that search for them, and
    /// where this process waits for orphans.
    pub(super) fn needs_session(&self) -> bool {
        self.level != TreeKill::Cgroup || descendants::reaps()
    }

    /// Makes a child that belongs to the task.
    pub(super) fn adopt<E>(
        &mut self,
        spawn: impl FnOnce() -> Result<Child, E>,
    ) -> Result<Child, E> {
        let birth = descendants::birth();
        let child = spawn()?;
        self.leaders.push(child.pid);
        descendants::claim(child.pid);
        drop(birth);
        Ok(child)
    }

    /// Asks the process groups of the programs to end. Says whether they could be asked.
    pub(super) fn terminate(&mut self) -> io::Result<bool> {
        let groups = match self.level {
            // There the leaders are the namespaces' first processes, whose children lead groups.
            TreeKill::PidNamespace => {
                let inner = self
                    .leaders
                    .iter()
                    .map(|&init| descendants::children_of(init));
                inner.collect::<io::Result<Vec<_>>>()?.concat()
            }
            TreeKill::Cgroup => self.leaders.clone(),
            TreeKill::ProcessGroup | TreeKill::Subreaper => {
                self.hunt.note(&self.leaders, self.id)?;
                self.leaders.clone()
            }
        };
        signal_groups(&groups, Signal::TERM);
        // A stopped process ends only when it goes on.
        signal_groups(&groups, Signal::CONT);
        Ok(!groups.is_empty())
    }

    /// Kills every process of the task that the level reaches.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        match (self.group, self.level) {
            (Some(group), _) => {
                let killed = group.kill();
                // A program with the right to do so may have left its group.
                signal_groups(&self.leaders, Signal::KILL);
                killed
            }
            (None, TreeKill::PidNamespace) => {
                let kills = self
                    .leaders
                    .iter()
                    .map(|&init| kill_process(init, Signal::KILL));
                kills.collect::<Result<(), _>>().map_err(io::Error::from)
            }
            // While the programs live, what they started can be told by its parents: so the search
            // comes before their end.
            (None, _) => {
                signal_groups(&self.leaders, Signal::STOP);
                let killed = self.hunt.kill(&self.leaders, self.id, KILL_PATIENCE);
                signal_groups(&self.leaders, Signal::KILL);
                killed.map(drop)
            }
        }
    }

    /// Ends what is left after the programs themselves have exited, before anyone has waited for
    /// them: until then nobody else can have their process ids. Says whether a process is known
    /// to have been left. If the task was stopped, what is on its way out is waited for.
    pub(super) fn sweep(&mut self, was_stopped: bool) -> io::Result<bool> {
        let was_left = match (self.group, self.level) {
            (Some(group), _) => {
                let is_populated = group.is_populated()?;
                if is_populated {
                    group.kill()?;
                    group.wait_empty(KILL_PATIENCE)?;
                }
                is_populated
            }
            // The kernel has ended the rest of a namespace before its first process was gone.
            (None, TreeKill::PidNamespace) => false,
            (None, level) => {
                signal_groups(&self.leaders, Signal::KILL);
                let is_due = was_stopped
                    || level == TreeKill::Subreaper
                        && descendants::may_be_left(&self.leaders, self.id)?;
                is_due && self.hunt.kill(&self.leaders, self.id, KILL_PATIENCE)?
            }
        };
        descendants::reap_orphans()?;
        Ok(was_left)
    }
}

fn signal_groups(leaders: &[Pid], signal: Signal) {
    for &leader in leaders {
        // A group that is gone already is what we want.
        let _ = kill_process_group(leader, signal);
    }
}

impl Drop for Tree<'_> {
    fn drop(&mut self) {
        self.leaders
            .iter()
            .for_each(|&leader| descendants::release(leader));
    }
}
