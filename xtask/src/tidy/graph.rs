//! Rules about the dependency graph: nothing foreign in kernel mode, no C in what ships.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::Finding;
use super::manifests::Package;
use crate::debian;

/// Crates that compile, find or translate C. None may be in the build graph of what ships.
const FOREIGN: [&str; 8] = [
    "bindgen",
    "cc",
    "clang-sys",
    "cmake",
    "cxx-build",
    "nasm-rs",
    "pkg-config",
    "vcpkg",
];

/// What kernel mode is made of: a package, and the features that it has there.
const KERNEL_MODE: [(&str, &[&str]); 4] = [
    ("pepita", &["--features", "kernel"]),
    ("pepita-io", &[]),
    ("pepita-mem", &[]),
    ("pepita-sys", &[]),
];

/// Applies all rules of this module.
pub(super) fn check(root: &Path, packages: &[Package]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| package.ships()) {
        let tree = tree(root, &["--package", &package.name, "--all-features"])?;
        findings.extend(foreign(&package.name, &tree));
    }
    for (package, features) in KERNEL_MODE {
        if packages.iter().any(|other| other.name == package) {
            let options = ["--package", package, "--no-default-features"];
            let tree = tree(root, &[&options, features].concat())?;
            findings.extend(external(package, &tree));
        }
    }
    Ok(findings)
}

/// The packages that `cargo tree` lists, one a line: `name vX.Y.Z`, with the path of a local one.
fn tree(root: &Path, options: &[&str]) -> Result<String> {
    let fixed = [
        "tree",
        "--edges=normal,build",
        "--target=all",
        "--prefix=none",
        "--format={p}",
    ];
    debian::output(
        Command::new(env!("CARGO"))
            .args(fixed)
            .args(options)
            .current_dir(root),
    )
}

fn foreign(package: &str, tree: &str) -> Vec<Finding> {
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let mut found: Vec<&str> = names.filter(|name| FOREIGN.contains(name)).collect();
    found.sort_unstable();
    found.dedup();
    let what = |name| {
        format!(
            "{package} builds with {name}, so not pure Rust: see cargo tree --all-features --invert {name}"
        )
    };
    found
        .into_iter()
        .map(|name| Finding::error("Cargo.lock", 1, what(name)))
        .collect()
}

fn external(package: &str, tree: &str) -> Vec<Finding> {
    let mut found: Vec<&str> = tree
        .lines()
        .filter(|line| !line.is_empty() && !line.contains("(/"))
        .collect();
    found.sort_unstable();
    found.dedup();
    let what = |line| {
        format!(
            "in kernel mode, {package} depends on {line}: it must depend on this workspace only"
        )
    };
    let manifest = format!("crates/{package}/Cargo.toml");
    found
        .into_iter()
        .map(|line| Finding::error(&manifest, 1, what(line)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_that_compiles_c_is_an_error() {
        let found = foreign(
            "pepita",
            "pepita v0.1.2 (/w/crates/pepita)\nring v0.17.0\ncc v1.0.0\ncc v1.0.0 (*)\n",
        );
        assert_eq!(found.len(), 1);
        assert!(
            found[0].what.contains("pepita builds with cc"),
            "{}",
            found[0]
        );
        assert_eq!(foreign("pepita", "libc v0.2.0\ncccc v1.0.0\n"), []);
    }

    #[test]
    fn a_registry_crate_in_kernel_mode_is_an_error() {
        let found = external(
            "pepita",
            "pepita v0.1.2 (/w/crates/pepita)\npepita-sys v0.1.2 (/w/crates/pepita-sys)\nlibc v0.2.0\n",
        );
        assert_eq!(found.len(), 1);
        assert!(
            found[0].what.contains("pepita depends on libc v0.2.0"),
            "{}",
            found[0]
        );
    }
}
