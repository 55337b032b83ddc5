//! The step `kernel-mode`: the program of `crates/pepita/tests/kernel-mode`, formatted, checked and built.
//!
//! It is a workspace of its own, which no other step sees. The facade's tests run it, and those of the lab
//! run what this step builds.

use anyhow::{Context, Result};

use super::step::{Cargo, Step};

const MANIFEST: &str = "crates/pepita/tests/kernel-mode/Cargo.toml";

/// Where the facade's tests build and find it.
const TARGET_DIR: &str = "target/kernel-mode";

/// What it prints where there is no io_uring: every part before the ring, and what it lacks for the rest.
const WITHOUT_RING: [&str; 4] = [
    "bytes: copied",
    "frames: gave out",
    "tags: gave out",
    "kernel-mode: there is no io_uring here (ENOSYS)",
];

/// Its exit status there.
const STATUS_WITHOUT_RING: &str = "2";

/// The step.
pub(super) fn step() -> Step {
    let format = Cargo::new(&["fmt", "--check", "--manifest-path", MANIFEST]);
    let clippy = Cargo::new(&["clippy", "--quiet", "--locked"])
        .args(&["--manifest-path", MANIFEST, "--target-dir", TARGET_DIR])
        .args(&["--", "-D", "warnings"]);
    Step::of(format).then(clippy).then(build())
}

/// Builds it where the lab's tests find it.
pub(super) fn build() -> Cargo {
    let arguments = ["build", "--quiet", "--locked", "--release"];
    Cargo::new(&arguments).args(&["--manifest-path", MANIFEST, "--target-dir", TARGET_DIR])
}

/// Builds it by `cargo`, which names another architecture.
pub(super) fn build_by(cargo: Cargo) -> Cargo {
    cargo.args(&["--locked", "--release", "--manifest-path", MANIFEST])
}

/// Runs what is built at `program` in `emulator`, which has no io_uring.
pub(super) fn run_without_ring(program: &str, emulator: &str) -> Cargo {
    let script = format!("{emulator} {program}; test $? = {STATUS_WITHOUT_RING}");
    Cargo::program("sh".into(), &["-c", &script])
}

/// Whether [`run_without_ring`] got as far as it can.
///
/// # Errors
/// When a line of the program is missing in `printed`.
pub(super) fn judge_without_ring(printed: &str) -> Result<()> {
    for want in WITHOUT_RING {
        let found = printed.lines().any(|line| line.starts_with(want));
        found
            .then_some(())
            .with_context(|| format!("the program without io_uring did not print {want:?}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_silent_without_a_ring_fails() {
        let all = WITHOUT_RING.map(|line| format!("{line} …\n"));
        assert!(judge_without_ring(&all.concat()).is_ok());
        for missing in 0..all.len() {
            let mut lines = all.clone();
            lines[missing] = String::new();
            let error = judge_without_ring(&lines.concat()).expect_err("a line is missing");
            assert!(error.to_string().contains(WITHOUT_RING[missing]), "{error}");
        }
    }
}
