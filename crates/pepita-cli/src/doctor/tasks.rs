//! What tasks need: how trees of processes are ended, limits by cgroup, namespaces, pidfds.

use std::io;

use pepita::executor::{CpuExecutor, Executor};
use pepita::task::{Limits, Task, TreeKill, Unsupported};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use rustix::thread::UnshareFlags;

use super::{Check, raw, read};

pub(super) fn checks() -> Vec<Check> {
    let user = raw::unshare_in_child(UnshareFlags::NEWUSER);
    let both = UnshareFlags::NEWUSER | UnshareFlags::NEWPID;
    vec![
        pidfd(),
        cgroup(),
        memory_limit(),
        tree_kill(),
        namespace("user namespaces", user),
        namespace("pid namespaces", raw::unshare_in_child(both)),
    ]
}

fn pidfd() -> Check {
    let tried = pidfd_open(getpid(), PidfdFlags::empty()).map_err(io::Error::from);
    match tried.map(drop).and_then(|()| raw::clone3()) {
        Ok(()) => Check::ok("clone3, pidfd", "both work"),
        Err(error) => Check::missing(
            "clone3, pidfd",
            error.to_string(),
            "Linux 5.3 or later, and a sandbox that allows clone3 and pidfd_open",
        ),
    }
}

/// Where cgroup v2 is mounted, and what of it this process was given.
fn cgroup() -> Check {
    let name = "cgroup v2";
    let mounts = read("/proc/self/mountinfo").unwrap_or_default();
    let Some(root) = mounts.lines().find_map(cgroup2_mount) else {
        let remedy = "boot with `systemd.unified_cgroup_hierarchy=1`, or as root: \
                      `mount -t cgroup2 none /sys/fs/cgroup`";
        return Check::missing(name, "not mounted", remedy);
    };
    let own = read("/proc/self/cgroup").unwrap_or_default();
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap_or("/")
        .to_owned();
    let dir = format!("{root}{}", own.trim_end_matches('/'));
    let controllers = read(&format!("{dir}/cgroup.controllers")).unwrap_or_default();
    let shown = if controllers.is_empty() {
        "no controllers"
    } else {
        &controllers
    };
    let detail = format!("at {root}, we are in {own} with {shown}");
    let needed = ["memory", "pids", "cpu"];
    let absent: Vec<_> = needed
        .into_iter()
        .filter(|needed| {
            controllers
                .split(' ')
                .all(|controller| controller != *needed)
        })
        .collect();
    match absent.is_empty() {
        true => Check::ok(name, detail),
        false => Check::limited(
            name,
            format!("{detail}; without {}", absent.join(", ")),
            "run as a unit with `systemd-run --user --scope -p Delegate=yes`, or move the \
             controllers from cgroup v1 to v2 (boot with `systemd.unified_cgroup_hierarchy=1`)",
        ),
    }
}

/// The mount point, if a line of mountinfo is of a cgroup2 (proc(5)).
fn cgroup2_mount(line: &str) -> Option<&str> {
    let (fields, rest) = line.split_once(" - ")?;
    rest.starts_with("cgroup2 ")
        .then(|| fields.split(' ').nth(4))?
}

/// Asks the executor itself, which knows what it would do.
fn memory_limit() -> Check {
    let name = "task memory limit";
    let limits = Limits {
        memory_bytes: Some(64 << 20),
        ..Limits::default()
    };
    let task = Task::binary("true").limits(limits).build();
    let executor = CpuExecutor::builder().slots(1).build();
    match (task, executor) {
        (Ok(task), Ok(executor)) => match executor.supports(&task) {
            Ok(()) => Check::ok(name, "by cgroup v2"),
            Err(Unsupported::Host { reason, remedy, .. }) => Check::missing(name, reason, remedy),
            Err(other) => Check::missing(name, other.to_string(), "see `cgroup v2`"),
        },
        (_, Err(error)) => Check::missing(name, error.to_string(), "see `clone3, pidfd`"),
        (Err(error), _) => Check::missing(name, error.to_string(), "report this as a bug"),
    }
}

/// What ends everything that a task started, when it runs too long.
fn tree_kill() -> Check {
    let name = "ending of tasks";
    match CpuExecutor::builder().slots(1).subreaper().build() {
        Ok(executor) => {
            let level = executor.tree_kill();
            let detail = format!("by {level}");
            match level {
                TreeKill::ProcessGroup => Check::limited(
                    name,
                    format!("{detail}: what makes a session of its own escapes"),
                    "a writable cgroup v2, or user and pid namespaces",
                ),
                _ => Check::ok(name, detail),
            }
        }
        Err(error) => Check::missing(name, error.to_string(), "see `clone3, pidfd`"),
    }
}

fn namespace(name: &'static str, tried: io::Result<()>) -> Check {
    match tried {
        Ok(()) => Check::ok(name, "a process of ours can make one"),
        Err(error) => Check::missing(
            name,
            error.to_string(),
            "as root: `sysctl user.max_user_namespaces=10000` (Debian also: \
             `sysctl kernel.unprivileged_userns_clone=1`; Ubuntu: \
             `sysctl kernel.apparmor_restrict_unprivileged_userns=0`)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_point_of_a_cgroup2_is_found_whatever_stands_before_it() {
        let line = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw";
        assert_eq!(cgroup2_mount(line), Some("/sys/fs/cgroup/unified"));
        let other = "30 25 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids";
        assert_eq!(cgroup2_mount(other), None);
    }
}
