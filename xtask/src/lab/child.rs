//! A helper process of the lab: it dies with its parent, and may give up write access to every file.
//!
//! `xtask lab-child [--read-only] -- PROGRAM …` prepares itself and becomes PROGRAM. So nothing of a
//! lab outlives `cargo xtask lab`, however that ends, and no signal handler is needed.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::{CommandExt, parent_id};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::mount::MountFlags;
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::debian;

/// What the helper does before it becomes the program.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The process that must be this one's parent.
    #[arg(long)]
    parent: u32,
    /// Remounts every file system read-only; only inside a mount namespace of its own.
    #[arg(long)]
    read_only: bool,
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

/// A command that runs `program` as a helper of this process.
///
/// # Errors
/// When this program's own file or `unshare` cannot be found.
pub(crate) fn command(program: &std::path::Path, read_only: bool) -> Result<Command> {
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = if read_only {
        let mut command =
            Command::new(debian::find("unshare").context("no unshare (package util-linux)")?);
        command.args(["--mount", "--propagation", "private"]);
        command.arg("--").arg(own);
        command
    } else {
        Command::new(own)
    };
    command
        .arg("lab-child")
        .arg(format!("--parent={}", std::process::id()));
    if read_only {
        command.arg("--read-only");
    }
    command.arg("--").arg(program);
    Ok(command)
}

/// Becomes the program; returns only when that fails.
///
/// # Errors
/// When the parent is gone, a mount stays writable, or the program cannot be run.
pub(crate) fn exec(options: &Options) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot bind to the parent's life")?;
    // The parent may have ended before the line above.
    ensure!(parent_id() == options.parent, "the lab's process is gone");
    if options.read_only {
        forbid_writes()?;
    }
    let (program, arguments) = options.program.split_first().context("no program")?;
    Err(Command::new(program).args(arguments).exec())
        .context(format!("cannot run {}", program.display()))
}

/// Makes every mount of this process's mount namespace read-only.
fn forbid_writes() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    for (target, flags) in mounts.lines().filter_map(mount_of) {
        let flags = flags | MountFlags::BIND | MountFlags::RDONLY;
        rustix::mount::mount_remount(&target, flags, "")
            .with_context(|| format!("cannot make {target} read-only"))?;
    }
    Ok(())
}

/// The mount point of a line of `mountinfo`, and the flags that a remount must keep.
fn mount_of(line: &str) -> Option<(String, MountFlags)> {
    let mut fields = line.split(' ').skip(4);
    let target = unescape(fields.next()?);
    let flags = fields.next()?.split(',').map(|option| match option {
        "nosuid" => MountFlags::NOSUID,
        "nodev" => MountFlags::NODEV,
        "noexec" => MountFlags::NOEXEC,
        "noatime" => MountFlags::NOATIME,
        "nodiratime" => MountFlags::NODIRATIME,
        "relatime" => MountFlags::RELATIME,
        _ => MountFlags::empty(),
    });
    Some((target, flags.collect()))
}

/// Undoes the kernel's octal escapes of blanks and backslashes in a mount point.
fn unescape(field: &str) -> String {
    let escapes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    escapes
        .iter()
        .fold(field.to_owned(), |text, (escape, plain)| {
            text.replace(escape, plain)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_line_gives_its_target_and_the_flags_to_keep() {
        let line = "36 35 98:0 /mnt1 /mnt\\040two rw,nosuid,noatime shared:1 - ext3 /dev/root rw";
        assert_eq!(
            mount_of(line),
            Some(("/mnt two".into(), MountFlags::NOSUID | MountFlags::NOATIME))
        );
        assert_eq!(mount_of("short"), None);
    }
}
