//! Sets of kernel headers: Debian's, and those that the Zig compiler's Python package has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Arch;
use crate::debian;

/// Kernel headers in a folder.
#[derive(Debug)]
pub(super) struct Headers {
    /// The kernel's.
    pub(super) version: &'static str,
    /// Where they come from.
    pub(super) source: String,
    layout: Layout,
}

/// How a set of headers is laid out.
#[derive(Debug)]
enum Layout {
    /// A kernel tree's `include/uapi` and `arch`, without what its build generates, which stands in the
    /// second folder.
    Tree(PathBuf, PathBuf),
    /// Installed headers: a folder for all, and one for each architecture.
    Installed(PathBuf),
}

impl Headers {
    /// Debian's headers of Linux `version`.
    pub(super) fn debian(version: &'static str, cache: &Path) -> Result<Self> {
        let prefix = format!("linux-headers-{version}.");
        let find = || debian::newest_package(&prefix, "-common");
        let package = match find()? {
            Some(package) => package,
            None => {
                debian::update()?;
                find()?.with_context(|| format!("the package lists have no {prefix}…-common"))?
            }
        };
        let root = cache.join(&package);
        if !root.is_dir() {
            let fresh = tempfile::tempdir_in(cache)?;
            debian::quiet(
                Command::new("apt-get")
                    .args(["download", &package])
                    .current_dir(fresh.path()),
            )?;
            let archive = only_entry(fresh.path())?;
            debian::quiet(Command::new("dpkg-deb").arg("-x").arg(archive).arg(&root))?;
        }
        let tree = root.join("usr/src").join(&package);
        let generated = cache.join(format!("generated-{version}"));
        let headers = Self {
            version,
            source: format!("Debian's {package}"),
            layout: Layout::Tree(tree, generated),
        };
        headers.generate()?;
        Ok(headers)
    }

    /// The headers of Linux `version` in the Zig compiler's package, as its version `release` has them.
    pub(super) fn ziglang(version: &'static str, release: &str, cache: &Path) -> Result<Self> {
        let root = cache.join(format!("ziglang-{release}"));
        if !root.is_dir() {
            let fresh = tempfile::tempdir_in(cache)?;
            let wanted = format!("ziglang=={release}");
            let pip = ["download", "--quiet", "--no-deps", &wanted];
            debian::quiet(Command::new("pip").args(pip).current_dir(fresh.path()))?;
            let wheel = only_entry(fresh.path())?;
            let unzip = ["-m", "zipfile", "-e"];
            debian::quiet(Command::new("python3").args(unzip).arg(wheel).arg(&root))?;
        }
        let include = root.join("ziglang/lib/libc/include");
        ensure!(include.is_dir(), "{} is missing", include.display());
        Ok(Self {
            version,
            source: format!("PyPI's ziglang {release}"),
            layout: Layout::Installed(include),
        })
    }

    /// A set without files.
    #[cfg(test)]
    pub(super) fn bare(version: &'static str, source: &str) -> Self {
        Self {
            version,
            source: source.into(),
            layout: Layout::Installed(PathBuf::new()),
        }
    }

    /// What the kernel's build would generate: `asm` headers that lead to the generic ones, and nothing for
    /// the compiler's part.
    fn generate(&self) -> Result<()> {
        let Layout::Tree(tree, generated) = &self.layout else {
            return Ok(());
        };
        fs::create_dir_all(generated.join("asm"))?;
        fs::create_dir_all(generated.join("linux"))?;
        for entry in fs::read_dir(tree.join("include/uapi/asm-generic"))? {
            let name = entry?.file_name();
            let text = format!("#include <asm-generic/{}>\n", name.display());
            fs::write(generated.join("asm").join(name), text)?;
        }
        for name in ["compiler.h", "compiler_types.h"] {
            fs::write(generated.join("linux").join(name), "")?;
        }
        Ok(())
    }

    /// The folders that the compiler looks into, in order.
    pub(super) fn folders(&self, arch: Arch) -> Vec<PathBuf> {
        let x86 = arch.name == "x86_64";
        match &self.layout {
            Layout::Tree(tree, generated) => {
                let arch = if x86 { "x86" } else { "arm64" };
                vec![
                    tree.join("arch").join(arch).join("include/uapi"),
                    generated.clone(),
                    tree.join("include/uapi"),
                ]
            }
            Layout::Installed(include) => {
                let arch = if x86 {
                    "x86-linux-any"
                } else {
                    "aarch64-linux-any"
                };
                vec![include.join(arch), include.join("any-linux-any")]
            }
        }
    }

    /// Whether `header` is there and can be compiled.
    pub(super) fn has(&self, header: &str, arch: Arch) -> bool {
        // The kernel's build generates the numbers that this one includes.
        let generated = header == "asm/unistd.h" && matches!(self.layout, Layout::Tree(..));
        !generated
            && self
                .folders(arch)
                .iter()
                .any(|folder| folder.join(header).is_file())
    }
}

/// The one entry of a folder.
fn only_entry(folder: &Path) -> Result<PathBuf> {
    let entry = fs::read_dir(folder)?.next();
    Ok(entry.context("the download left no file")??.path())
}
