//! The lab's kernel: a Debian package, unpacked and not installed, with an initramfs made for it.
//!
//! Everything lands in `target/lab/cache/linux-VERSION/`, made once under a lock and renamed into
//! place when whole:
//! `boot/vmlinuz-RELEASE`, `lib/modules/RELEASE/` (decompressed, with `modules.dep`), `initramfs`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use super::cpio::Archive;
use crate::debian;

/// A kernel series that the lab can boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Series {
    /// The oldest kernel that pepita supports (no ublk).
    #[value(name = "6.1")]
    V6_1,
    /// The kernel that has every real part.
    #[value(name = "6.12")]
    V6_12,
}

impl Series {
    /// The series as Debian's package names have it.
    fn number(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }
}

/// An unpacked kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// `uname -r`.
    pub(crate) release: String,
    root: PathBuf,
}

/// What reaches the host's root and the control port; whatever else the lab needs is loaded from there.
const INITRAMFS_MODULES: [&str; 4] = ["virtio_pci", "virtio_console", "virtiofs", "overlay"];

/// Loads what the kernel has not built in, then gives over to `xtask lab-init` on the host's root.
const INITRAMFS_INIT: &str = "#!/busybox sh
for module in /modules/*; do /busybox insmod $module; done
/busybox mount -t proc proc /proc
/busybox mount -t virtiofs -o ro root /root || exec /busybox echo 'lab: cannot mount the shared root'
for word in $(/busybox cat /proc/cmdline); do
    case $word in lab.init=*) init=${word#lab.init=} ;; esac
done
/busybox umount /proc
exec /busybox switch_root /root $init lab-init
";

impl Kernel {
    /// The kernel of `series` in `cache`, fetched from Debian's archive the first time.
    ///
    /// # Errors
    /// When the package lists have no such kernel, or the download fails.
    pub(crate) fn prepare(cache: &Path, series: Series) -> Result<Self> {
        fs::create_dir_all(cache)?;
        let lock = File::create(cache.join("lock"))?;
        lock.lock().context("cannot lock the lab's cache")?;
        let root = cache.join(format!("linux-{}", series.number()));
        if !root.is_dir() {
            let fresh = tempfile::Builder::new()
                .prefix("unpack-")
                .tempdir_in(cache)?;
            unpack(fresh.path(), series)?;
            fs::rename(fresh.path(), &root)?;
        }
        let release = release_of(&root)?;
        Ok(Self { release, root })
    }

    /// The compressed kernel image.
    pub(crate) fn image(&self) -> PathBuf {
        self.root.join(format!("boot/vmlinuz-{}", self.release))
    }

    /// The initial RAM file system.
    pub(crate) fn initramfs(&self) -> PathBuf {
        self.root.join("initramfs")
    }

    /// The path of a file kept beside this kernel.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The folder that becomes the lab's `/lib/modules`.
    pub(crate) fn modules(&self) -> PathBuf {
        self.root.join("lib/modules")
    }
}

/// Fills `root` with the newest kernel of `series`.
fn unpack(root: &Path, series: Series) -> Result<()> {
    if download(root, series).is_err() {
        debian::update()
            .context("the package lists are missing or old; as root run: apt-get update")?;
        download(root, series)?;
    }
    let archive = fs::read_dir(root)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| has_suffix(path, "deb"));
    let archive = archive.context("apt-get download left no file")?;
    debian::quiet(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(root))?;
    fs::remove_file(&archive)?;

    let release = release_of(root)?;
    let tree = root.join("lib/modules").join(&release);
    let compressed: Vec<PathBuf> = files_under(&tree)?
        .into_iter()
        .filter(|path| has_suffix(path, "xz"))
        .collect();
    // Once here rather than in every boot, where the processor is emulated.
    for batch in compressed.chunks(200) {
        debian::quiet(Command::new("xz").arg("--decompress").args(batch))?;
    }
    let depmod = debian::find("depmod").context("no depmod")?;
    debian::quiet(Command::new(depmod).arg("-b").arg(root).arg(&release))?;
    fs::write(root.join("initramfs"), initramfs(&tree)?)?;
    Ok(())
}

/// Puts the newest package of `series` into `root`.
fn download(root: &Path, series: Series) -> Result<()> {
    let prefix = format!("linux-image-{}.", series.number());
    let package = debian::newest_package(&prefix, "-cloud-amd64")?;
    let package = package
        .with_context(|| format!("this system's package sources have no {prefix}*-cloud-amd64"))?;
    debian::notice(&format!("fetching {package}"));
    debian::quiet(
        Command::new("apt-get")
            .args(["download", "-q", &package])
            .current_dir(root),
    )
}

fn release_of(root: &Path) -> Result<String> {
    let image = fs::read_dir(root.join("boot"))?
        .filter_map(Result::ok)
        .find_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_prefix("vmlinuz-")
                .map(str::to_owned)
        });
    image.with_context(|| format!("no kernel image in {}; remove that folder", root.display()))
}

fn initramfs(tree: &Path) -> Result<Vec<u8>> {
    let busybox = debian::find("busybox").context("no busybox")?;
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "root", "modules"] {
        archive.folder(folder);
    }
    archive.program("busybox", &fs::read(busybox)?);
    archive.program("init", INITRAMFS_INIT.as_bytes());
    let dependencies = Dependencies::parse(&fs::read_to_string(tree.join("modules.dep"))?);
    for (order, module) in dependencies
        .closure(&INITRAMFS_MODULES)
        .into_iter()
        .enumerate()
    {
        archive.program(
            &format!("modules/{order:02}.ko"),
            &fs::read(tree.join(module))?,
        );
    }
    Ok(archive.finish())
}

/// `modules.dep`: which modules a module needs.
#[derive(Debug)]
struct Dependencies {
    /// By name: its file, then the files that it needs, those needed last first.
    files: HashMap<String, Vec<String>>,
}

impl Dependencies {
    fn parse(text: &str) -> Self {
        let entry = |line: &str| {
            let (file, needs) = line.split_once(':')?;
            let name = file
                .rsplit('/')
                .next()?
                .split('.')
                .next()?
                .replace('-', "_");
            Some((
                name,
                std::iter::once(file)
                    .chain(needs.split_whitespace())
                    .map(str::to_owned)
                    .collect(),
            ))
        };
        Self {
            files: text.lines().filter_map(entry).collect(),
        }
    }

    /// The files of `modules` and of all they need, in loading order. A module that is built in has none.
    fn closure(&self, modules: &[&str]) -> Vec<String> {
        let mut order = Vec::new();
        let files = modules.iter().filter_map(|module| self.files.get(*module));
        for file in files.flat_map(|files| files.iter().rev()) {
            if !order.contains(file) {
                order.push(file.clone());
            }
        }
        order
    }
}

fn has_suffix(path: &Path, suffix: &str) -> bool {
    path.extension()
        .is_some_and(|extension| extension == suffix)
}

/// All regular files below `folder`.
fn files_under(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    ensure!(!found.is_empty(), "{} holds no file", folder.display());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_comes_after_what_it_needs_and_only_once() {
        let dep = "kernel/fs/fuse/virtiofs.ko: kernel/fs/fuse/fuse.ko kernel/virtio/ring.ko\n\
                   kernel/fs/fuse/fuse.ko:\n\
                   kernel/virtio/virtio-pci.ko: kernel/virtio/ring.ko\n\
                   kernel/virtio/ring.ko:\n";
        let order = Dependencies::parse(dep).closure(&["virtiofs", "virtio_pci", "built_in"]);
        let want = [
            "virtio/ring.ko",
            "fs/fuse/fuse.ko",
            "fs/fuse/virtiofs.ko",
            "virtio/virtio-pci.ko",
        ];
        assert_eq!(order, want.map(|file| format!("kernel/{file}")));
    }
}
