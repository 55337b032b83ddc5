//! The step `aarch64`: compiles for that architecture, and runs there what needs no more than system calls.
//!
//! The pinned toolchain brings no standard library for it, so Debian's compiler is used, under QEMU's user
//! emulation. That has no io_uring: operations are compiled and their layouts checked, not submitted.
//! Programs are static, since threads of dynamic ones hang in the emulation of Debian 12.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::step::{Cargo, Step};
use crate::debian::{self, Tool};

const TARGET: &str = "aarch64-unknown-linux-gnu";

/// The standard library for [`TARGET`], where Debian's package puts it.
const LIBRARY: &str = "/usr/lib/rustlib/aarch64-unknown-linux-gnu/lib";

const TOOLS: [Tool; 4] = [
    Tool {
        program: "/usr/lib/rustlib/x86_64-unknown-linux-gnu/lib",
        package: "rustc-web",
    },
    Tool {
        program: LIBRARY,
        package: "libstd-rust-web-dev:arm64",
    },
    Tool {
        program: "aarch64-linux-gnu-gcc",
        package: "gcc-aarch64-linux-gnu",
    },
    Tool {
        program: "qemu-aarch64-static",
        package: "qemu-user-static",
    },
];

/// The crates whose own assembly this step compiles; those with tests for it are run besides.
const COMPILED: [&str; 2] = ["pepita-sys", "pepita-sched"];

/// The step.
///
/// # Errors
/// When Debian's packages are missing and cannot be installed.
pub(super) fn step() -> Result<Step> {
    if !Path::new(LIBRARY).exists() && rustix::process::geteuid().is_root() {
        debian::quiet(Command::new("dpkg").args(["--add-architecture", "arm64"]))?;
    }
    debian::ensure_tools(&TOOLS)?;
    let mut compile = cargo(&["build", "--quiet", "--all-features"]);
    for package in COMPILED {
        compile = compile.args(&["--package", package]);
    }
    let tests = |which: &[&str]| cargo(&["test", "--package", "pepita-sys"]).args(which);
    Ok(Step::of(compile)
        .then(tests(&["--lib"]).tests())
        .then(tests(&["--test", "it"]).tests().args(&["syscall::"])))
}

/// Cargo with Debian's compiler.
fn cargo(arguments: &[&str]) -> Cargo {
    Cargo::new(arguments)
        .args(&["--target", TARGET, "--target-dir", "target/aarch64"])
        .env("RUSTC", "/usr/bin/rustc")
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER",
            "aarch64-linux-gnu-gcc",
        )
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER",
            "qemu-aarch64-static",
        )
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "-C target-feature=+crt-static",
        )
}
