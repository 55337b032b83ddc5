//! The step `fuzz`: each target for a fixed time, from its corpus.
//!
//! Targets are a workspace of their own, in the layout of cargo-fuzz: libFuzzer is C++. The flags are those that
//! cargo-fuzz passes, so that no tool has to be installed.
//!
//! Source: cargo-fuzz 0.13, `src/project.rs`.

use std::fs;

use anyhow::{Context, Result};

use super::TARGET;
use super::step::{Cargo, Step};
use super::tools;
use crate::workspace_root;

/// A crate's targets, by their names.
pub(super) struct Targets {
    area: &'static str,
    folder: &'static str,
    names: &'static [&'static str],
}

/// Queues that a hostile side writes.
pub(super) static VIRTIO: Targets = Targets {
    area: "virtio",
    folder: "crates/pepita-virtio/fuzz",
    names: &["disk", "driver", "packed", "split", "transport", "vsock"],
};

/// Codecs, and a device.
pub(super) static ZRAM: Targets = Targets {
    area: "zram",
    folder: "crates/pepita-zram/fuzz",
    names: &["deflate", "device", "lz4"],
};

/// The targets of an area of `--full`.
pub(super) fn of(area: &str) -> Option<&'static Targets> {
    let all = [&VIRTIO, &ZRAM];
    all.into_iter().find(|targets| targets.area == area)
}

const TARGET_DIR: &str = "target/fuzz";

/// The time of a target in `ci`.
pub(super) const CI_SECONDS: u32 = 20;

/// The time of a target in `--full`.
pub(super) const FULL_SECONDS: u32 = 300;

/// Coverage that libFuzzer sees, and memory errors that it is told of.
const FLAGS: [&str; 8] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Zsanitizer=address",
];

/// Builds the targets of a crate, and runs each for so many seconds.
pub(super) fn step(targets: &Targets, seconds: u32) -> Result<Step> {
    tools::ensure_nightly()?;
    let folder = targets.folder;
    let target_dir = format!("{TARGET_DIR}/{}", targets.area);
    let manifest = format!("{folder}/Cargo.toml");
    let build = Cargo::new(&["+nightly", "build", "--quiet", "--locked", "--release"])
        .args(&["--target", TARGET, "--target-dir", &target_dir])
        .args(&["--manifest-path", &manifest])
        .env("RUSTFLAGS", FLAGS.join(" "));
    let format = Cargo::new(&["fmt", "--check", "--manifest-path", &manifest]);
    let mut step = Step::of(format).then(build);
    for target in targets.names {
        // What is found goes to a folder of this run; the corpus in the tree is small, and is chosen.
        let found = workspace_root()
            .join(&target_dir)
            .join("found")
            .join(target);
        fs::create_dir_all(&found).with_context(|| found.display().to_string())?;
        let program = format!("{target_dir}/{TARGET}/release/{target}");
        let run = Cargo::program(workspace_root().join(program), &[])
            .args(&[
                &format!("-max_total_time={seconds}"),
                "-seed=1",
                "-max_len=8192",
                "-timeout=20",
                "-rss_limit_mb=2048",
                "-print_final_stats=1",
                &format!("-artifact_prefix={folder}/artifacts/{target}-"),
            ])
            .args(&[
                &found.to_string_lossy(),
                &format!("{folder}/corpus/{target}"),
            ]);
        step = step.then(run);
    }
    fs::create_dir_all(workspace_root().join(folder).join("artifacts"))?;
    Ok(step)
}
