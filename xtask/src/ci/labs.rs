//! The tests that need the lab's kernel: every crate's `tests/lab.rs`, in a boot of its own, and some in one of
//! the oldest kernel that pepita is for.
//!
//! Such a test is an ordinary integration test. Outside the lab (`PEPITA_LAB` is not set) it prints
//! `SKIPPED: <test>: only in the lab` and returns. Here its binary is built on the host and run inside,
//! where nothing may be skipped.
//!
//! pepita-io's boot and that of the oldest kernel also run its owned operations, which the host runs on its own
//! kernel: what older ones lack is skipped there.
//!
//! A boot whose kernel panics runs once more, and CI's table tells of the first: Debian's kernels have faults of
//! their own, which nothing here can mend, while one that our tests provoke comes again.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::kernel_mode;
use super::report;
use super::step::{Cargo, Step};
use crate::debian::{self, Tool};
use crate::lab;
use crate::tidy::manifests::Package;
use crate::workspace_root;

/// Which counts the tests take, and the time limit of a boot and all its tests.
#[derive(Debug, Clone, Copy)]
struct Set {
    name: &'static str,
    limit_seconds: &'static str,
}

const CI: Set = Set {
    name: "ci",
    limit_seconds: "1800",
};

const FULL: Set = Set {
    name: "full",
    limit_seconds: "3600",
};

/// What the tests run on the disks that they make. It is installed on the host, whose files the lab sees; each
/// package brings its libraries.
const TOOLS: [Tool; 6] = [
    Tool {
        program: "mkfs.ext4",
        package: "e2fsprogs",
    },
    Tool {
        program: "mkfs.xfs",
        package: "xfsprogs",
    },
    Tool {
        program: "mkfs.btrfs",
        package: "btrfs-progs",
    },
    Tool {
        program: "fio",
        package: "fio",
    },
    Tool {
        program: "mkswap",
        package: "util-linux",
    },
    Tool {
        program: "vdpa",
        package: "iproute2",
    },
];

/// The oldest kernel that pepita is for.
const OLDEST: &str = "6.1";

/// The crates whose tests run on that one too.
const ON_OLDEST: [&str; 1] = ["pepita"];

/// Whose owned operations run too.
const OWNED_OF: &str = "pepita-io";

/// The tests of owned operations, by the beginnings of their names.
const OWNED: &str = "local:: handle::";

/// Builds the tests, and plans the boot.
pub(super) fn step(packages: &[Package]) -> Result<Step> {
    let with_lab_tests = packages
        .iter()
        .filter(|package| package.ships() && package.has_test("lab"));
    let lab = |package| build(package, "lab");
    let tests = with_lab_tests.map(lab).collect::<Result<Vec<_>>>()?;
    if tests.is_empty() {
        return Ok(Step::nothing("no crate has a tests/lab.rs"));
    }
    if !may_boot()? {
        return Ok(Step::nothing(NEEDS_ROOT));
    }
    let old = tests
        .iter()
        .filter(|test| ON_OLDEST.contains(&test.package.as_str()));
    let owned = packages.iter().filter(|package| package.name == OWNED_OF);
    let it = |package| build(package, "it");
    let owned = owned.map(it).collect::<Result<Vec<_>>>()?;
    let mut step = Step::of(kernel_mode::build());
    for test in &tests {
        let owned = owned.iter().filter(|it| it.package == test.package);
        let name = format!("ci-{}", test.package);
        step = step.then(boot(&name, CI, &[], &script([test], owned)));
    }
    let oldest = script(old, &owned);
    let step = step.then(boot("ci-oldest", CI, &["--kernel", OLDEST], &oldest));
    Ok(step.judged_by(nothing_is_left_out))
}

/// Builds the tests of one crate, and plans a boot for them with their full counts.
pub(super) fn full(package: &Package) -> Result<Step> {
    if !may_boot()? {
        return Ok(Step::nothing(NEEDS_ROOT));
    }
    let test = build(package, "lab")?;
    let name = format!("full-{}", package.name);
    let boot = boot(&name, FULL, &[], &script([&test], &[]));
    let step = Step::of(kernel_mode::build()).then(boot);
    Ok(step.judged_by(nothing_is_left_out))
}

/// Why there is no boot.
const NEEDS_ROOT: &str = "a lab needs root: run this step with sudo";

/// Whether this process may start a lab; then what the tests need is installed.
fn may_boot() -> Result<bool> {
    if !rustix::process::geteuid().is_root() {
        ensure!(
            !report::strict(),
            "under CI=true the lab tests must run, and a lab needs root"
        );
        return Ok(false);
    }
    debian::ensure_tools(&TOOLS)?;
    Ok(true)
}

fn nothing_is_left_out(printed: &str) -> Result<()> {
    ensure!(
        !printed.contains(": only in the lab"),
        "a lab test skipped itself inside the lab:\n{printed}"
    );
    Ok(())
}

/// Runs `script` in the lab `name`.
fn boot(name: &str, set: Set, options: &[&str], script: &str) -> Cargo {
    Cargo::new(&["xtask", "lab", "--name", name])
        .args(&["--timeout", set.limit_seconds])
        .args(options)
        .args(&["--", "sh", "-c", script])
        .env("PEPITA_TEST_SET", set.name)
        .repeated_after(lab::PANICKED)
}

/// A test binary and the folder that it runs in.
#[derive(Debug)]
struct Test {
    package: String,
    binary: String,
    folder: String,
}

/// Builds the integration test `name`.
fn build(package: &Package, name: &str) -> Result<Test> {
    let mut command = Command::new("cargo");
    command.args([
        "test",
        "--no-run",
        "--all-features",
        "--test",
        name,
        "--message-format=json",
        "--package",
        &package.name,
    ]);
    let messages = debian::output(command.current_dir(workspace_root()))?;
    let binary = binary_of(name, &messages)
        .with_context(|| format!("cargo built no test `{name}` of {}", package.name))?;
    let folder = Path::new(&package.manifest_path)
        .parent()
        .context("a manifest has a folder")?
        .display()
        .to_string();
    Ok(Test {
        package: package.name.clone(),
        binary,
        folder,
    })
}

/// The binary of the test `name`, as cargo's messages have it.
fn binary_of(name: &str, messages: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<String>,
        target: Option<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let wanted = |message: &Message| {
        message
            .target
            .as_ref()
            .is_some_and(|target| target.name == name)
    };
    messages
        .filter(wanted)
        .find_map(|message| message.executable)
}

/// Runs every binary, one test at a time, and fails if one did: lab tests, which share the kernel's devices, then
/// owned operations, whose ends have time limits, and which say nothing of what they skip.
fn script<'a>(
    tests: impl IntoIterator<Item = &'a Test>,
    owned: impl IntoIterator<Item = &'a Test>,
) -> String {
    let mut script = "failed=0\n".to_owned();
    for Test { binary, folder, .. } in tests {
        let _ = writeln!(
            script,
            "cd '{folder}' && '{binary}' --test-threads=1 --show-output || failed=1"
        );
    }
    for Test { binary, folder, .. } in owned {
        // Some panic as they should, and their backtraces take an emulated machine seconds.
        let _ = writeln!(
            script,
            "cd '{folder}' && RUST_BACKTRACE=0 '{binary}' {OWNED} --test-threads=1 || failed=1"
        );
    }
    script + "exit $failed"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_the_lab_target_s() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/t/other"}
{"reason":"compiler-artifact","target":{"name":"lab"},"executable":"/t/lab-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(binary_of("lab", messages).as_deref(), Some("/t/lab-1"));
        assert_eq!(binary_of("it", messages), None);
    }

    #[test]
    fn one_failed_binary_fails_the_boot_but_the_others_run() {
        let test = |binary: &str| Test {
            package: String::new(),
            binary: binary.into(),
            folder: "/".into(),
        };
        let output = Command::new("sh")
            .args([
                "-c",
                &script(&[test("false"), test("echo")], &[test("echo")]),
            ])
            .output()
            .expect("sh runs");
        assert_eq!(output.status.code(), Some(1));
        let said = "--test-threads=1 --show-output\nlocal:: handle:: --test-threads=1\n";
        assert_eq!(String::from_utf8_lossy(&output.stdout), said);
    }
}
