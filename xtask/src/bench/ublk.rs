//! The benches of ublk: their peers, and the labs that they run in.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::debian::{self, Tool};

/// The benches, and how the clock of their labs goes.
const BENCHES: [(&str, Clock); 3] = [
    ("ublk", Clock::Instructions),
    ("ublk-disk", Clock::Host),
    ("ublk-zram", Clock::Instructions),
];

/// What the clock of a lab counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    Instructions,
    Host,
}

/// The clock of the lab that the bench `name` runs in, if it runs in one.
pub(super) fn clock(name: &str) -> Option<Clock> {
    let bench = BENCHES.iter().find(|(known, _)| *known == name);
    bench.map(|(_, clock)| *clock)
}

/// The peer's version: its newest.
const LIBUBLK: &str = "0.4.8";

/// The examples of it that are peers.
const EXAMPLES: [&str; 3] = ["null", "ramdisk", "loop"];

/// What it takes to build them, and to see the kernel's loop device beside them.
const TOOLS: [Tool; 4] = [
    Tool {
        program: "/usr/share/doc/libclang-dev",
        package: "libclang-dev",
    },
    Tool {
        program: "/usr/include/libudev.h",
        package: "libudev-dev",
    },
    Tool {
        program: "pkg-config",
        package: "pkg-config",
    },
    Tool {
        program: "losetup",
        package: "mount",
    },
];

/// Time limit of the lab, in seconds.
const LIMIT: &str = "3600";

/// Builds libublk's examples and puts them into `target/peers/libublk/bin`, unless they are there.
///
/// # Errors
/// The packages that are missing, or what cargo said.
pub(super) fn ensure_peers(target: &Path) -> Result<()> {
    let peers = target.join("peers");
    let root = peers.join("libublk");
    let installed = fs::read_to_string(root.join(".crates.toml")).unwrap_or_default();
    if installed.contains(&format!("libublk {LIBUBLK} ")) {
        return Ok(());
    }
    debian::ensure_tools(&TOOLS)?;
    debian::notice(&format!("building the examples of libublk {LIBUBLK}"));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["install", "--quiet", "--locked", "--force", "libublk"]);
    cargo.args(["--version", &format!("={LIBUBLK}")]);
    for example in EXAMPLES {
        cargo.args(["--example", example]);
    }
    cargo.arg("--root").arg(&root);
    cargo.arg("--target-dir").arg(peers.join("build"));
    debian::quiet(&mut cargo)
}

/// Runs `bench`, which is called `name`, in a lab of one processor. Its results go to `results`.
pub(super) fn run(
    root: &Path,
    name: &str,
    clock: Clock,
    bench: &Command,
    results: &Path,
) -> Result<ExitCode> {
    let folder = format!("bench-{name}");
    let out = root
        .join("target/lab")
        .join(&folder)
        .join(format!("{name}.json"));
    let mut lab = Command::new(std::env::current_exe()?);
    lab.args(["lab", "--cpus", "1", "--name", &folder]);
    lab.args(["--timeout", LIMIT, "--hang", "300"]);
    match clock {
        Clock::Instructions => lab.arg("--icount"),
        Clock::Host => lab.args(["--accel", "tcg"]),
    };
    lab.arg("--")
        .arg(bench.get_program())
        .args(bench.get_args());
    lab.arg("--out").arg(&out);
    // The bench sets its locale by starting itself again.
    let status = lab
        .current_dir(root)
        .status()
        .context("the lab does not start")?;
    if let Some(folder) = results.parent() {
        fs::create_dir_all(folder)?;
    }
    if let Err(error) = fs::copy(&out, results) {
        ensure!(status.success(), "no results: the lab ended with {status}");
        return Err(error).context("the bench wrote no results");
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benches_of_ublk_run_in_labs() {
        assert_eq!(clock("ublk"), Some(Clock::Instructions));
        assert_eq!(clock("ublk-disk"), Some(Clock::Host));
        assert_eq!(clock("ublk-zram"), Some(Clock::Instructions));
        assert_eq!(clock("uring"), None);
    }
}
