//! The step `aarch64`: compiles for that architecture, and runs there what needs no more than system calls.
//!
//! The pinned toolchain brings no standard library for it, so Debian's compiler is used, under QEMU's user
//! emulation. That has no io_uring: operations are compiled and their layouts checked, not submitted.
//! The program in kernel mode runs as far as it can without.
//! Programs are static, since threads of dynamic ones hang in the emulation of Debian 12.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::kernel_mode;
use super::step::{Cargo, Step};
use crate::debian::{self, Tool};

const TARGET: &str = "aarch64-unknown-linux-gnu";

const TARGET_DIR: &str = "target/aarch64";

const EMULATOR: &str = "qemu-aarch64-static";

/// For programs with the C library.
const STATIC: &str = "-C target-feature=+crt-static";

/// For programs without: atomics as instructions. Debian's compiler has functions for them, which choose at
/// start-up and want the C library for it.
const BARE: &str = "-C target-feature=+lse";

/// The standard library for [`TARGET`], where Debian's package puts it.
const LIBRARY: &str = "/usr/lib/rustlib/aarch64-unknown-linux-gnu/lib";

/// What the linker begins programs with.
const START: &str = "/usr/aarch64-linux-gnu/lib/crt1.o";

const TOOLS: [Tool; 5] = [
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
        program: START,
        package: "libc6-dev-arm64-cross",
    },
    Tool {
        program: EMULATOR,
        package: "qemu-user-static",
    },
];

/// The crates that this step compiles: those with assembly or vector instructions, what kernel mode is made of, and devices.
const COMPILED: [&str; 7] = [
    "pepita-sys",
    "pepita-sched",
    "pepita-mem",
    "pepita-io",
    "pepita-zram",
    "pepita-simd",
    "pepita-virtio",
];

/// The crates that have a core without std.
const CORES: [&str; 5] = [
    "pepita-sys",
    "pepita-mem",
    "pepita-io",
    "pepita-simd",
    "pepita-virtio",
];

/// The tests of pepita-io that need no ring.
const WITHOUT_RING: [&str; 2] = [
    "ring::setup::a_wrong_size_is_named",
    "ring::setup::a_cpu_for_a_thread_that_is_not_there",
];

/// The step.
///
/// # Errors
/// When Debian's packages are missing and cannot be installed.
pub(super) fn step() -> Result<Step> {
    if !Path::new(LIBRARY).exists() && rustix::process::geteuid().is_root() {
        debian::quiet(Command::new("dpkg").args(["--add-architecture", "arm64"]))?;
    }
    debian::ensure_tools(&TOOLS)?;
    let compile = of(&["build", "--quiet", "--all-features"], &COMPILED);
    let cores = of(&["build", "--quiet", "--no-default-features"], &CORES);
    let tests = |package: &str, which: &[&str], named: &[&str]| {
        let test = cargo(&["test", "--package", package], STATIC).args(which);
        test.tests().args(named)
    };
    let program = format!("{TARGET_DIR}/{TARGET}/release/kernel-mode");
    Ok(Step::of(compile)
        .then(cores)
        .then(tests("pepita-sys", &["--lib"], &[]))
        .then(tests("pepita-sys", &["--test", "it"], &["syscall::"]))
        .then(tests("pepita-io", &["--test", "it"], &WITHOUT_RING))
        .then(tests("pepita-simd", &["--lib", "--test", "it"], &[]))
        .then(kernel_mode::build_by(cargo(&["build", "--quiet"], BARE)))
        .then(kernel_mode::run_without_ring(&program, EMULATOR))
        .judged_by(kernel_mode::judge_without_ring))
}

/// A command of Cargo on `packages`.
fn of(arguments: &[&str], packages: &[&str]) -> Cargo {
    let all = cargo(arguments, STATIC);
    packages
        .iter()
        .fold(all, |cargo, package| cargo.args(&["--package", package]))
}

/// Cargo with Debian's compiler.
fn cargo(arguments: &[&str], flags: &str) -> Cargo {
    Cargo::new(arguments)
        .args(&["--target", TARGET, "--target-dir", TARGET_DIR])
        .env("RUSTC", "/usr/bin/rustc")
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER",
            "aarch64-linux-gnu-gcc",
        )
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", EMULATOR)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", flags)
}
