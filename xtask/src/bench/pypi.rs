//! Peers that are libraries of PyPI's packages.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::debian;

/// The packages, with their versions.
const PACKAGES: [&str; 2] = ["mkl==2026.2.0", "scipy-openblas64==0.3.34.481.3"];

/// The benches that load them.
const BENCHES: [&str; 3] = ["sgemm", "dgemm", "vector"];

/// Unpacks the packages below `folder`, if the bench `name` loads them.
///
/// # Errors
/// What `pip` said.
pub(super) fn ensure(name: &str, folder: &Path) -> Result<()> {
    if !BENCHES.contains(&name) {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    for package in PACKAGES {
        let root = folder.join(package.replace("==", "-"));
        if root.is_dir() {
            continue;
        }
        let fresh = tempfile::tempdir_in(folder)?;
        let pip = [
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            package,
        ];
        debian::quiet(Command::new("pip").args(pip).current_dir(fresh.path()))?;
        let entry = fs::read_dir(fresh.path())?.next();
        let wheel = entry.context("the download left no file")??.path();
        let unpacked = fresh.path().join("unpacked");
        let unzip = ["-m", "zipfile", "-e"];
        debian::quiet(
            Command::new("python3")
                .args(unzip)
                .arg(wheel)
                .arg(&unpacked),
        )?;
        fs::rename(&unpacked, &root)?;
    }
    Ok(())
}
