//! Programs that steps need: cargo tools into `target/tools`, so that the machine's own stay as they are.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{debian, workspace_root};

/// A cargo tool at one version, so that every machine checks the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct CargoTool {
    name: &'static str,
    version: &'static str,
}

/// Checks licences, bans and sources. Compiles in 2.5 minutes on two cores.
pub(super) const CARGO_DENY: CargoTool = CargoTool {
    name: "cargo-deny",
    version: "0.20.2",
};
/// Builds with coverage and merges the profiles. Compiles in 1.3 minutes on two cores.
pub(super) const CARGO_LLVM_COV: CargoTool = CargoTool {
    name: "cargo-llvm-cov",
    version: "0.9.1",
};

impl CargoTool {
    /// The program's path; installs it the first time.
    pub(super) fn ensure(self) -> Result<PathBuf> {
        let root = workspace_root()
            .join("target/tools")
            .join(format!("{}-{}", self.name, self.version));
        let program = root.join("bin").join(self.name);
        if program.is_file() {
            return Ok(program);
        }
        eprintln!(
            "ci: installing {} {} into target/tools",
            self.name, self.version
        );
        let mut command = Command::new("cargo");
        command
            .args([
                "install",
                "--quiet",
                "--locked",
                "--version",
                self.version,
                self.name,
                "--root",
            ])
            .arg(&root);
        command.env(
            "CARGO_TARGET_DIR",
            workspace_root().join("target/tools/build"),
        );
        debian::quiet(command.current_dir(workspace_root()))?;
        Ok(program)
    }
}

/// Makes sure that a nightly toolchain is here.
///
/// # Errors
/// When rustup cannot install one.
pub(super) fn ensure_nightly() -> Result<()> {
    let here = debian::quiet(
        Command::new("cargo")
            .args(["+nightly", "--version"])
            .env_remove("RUSTUP_TOOLCHAIN"),
    );
    if here.is_ok() {
        return Ok(());
    }
    let install = ["toolchain", "install", "nightly", "--profile=minimal"];
    debian::quiet(Command::new("rustup").args(install))
        .context("the sanitizer needs a nightly toolchain")
}
