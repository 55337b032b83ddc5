//! What is stored: pages of real files.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use memmap2::MmapMut;

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;

/// The most bytes of a corpus.
const MAX: usize = 64 << 20;

/// A set of pages. Those that repeat 8 bytes are left out, but where they are what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Corpus {
    /// The lab's kernel, unpacked.
    Vmlinux,
    /// The same with its same-filled pages.
    VmlinuxWhole,
    /// The library of rustc.
    RustcDriver,
    /// This process.
    Core,
    /// Licences.
    Text,
    /// The lab's kernel, packed.
    Compressed,
    /// The pages of the lab's kernel that repeat 8 bytes.
    SameFilled,
}

/// Aligned pages, for `O_DIRECT`. They live as long as the process.
pub(crate) type Pages = &'static [[u8; PAGE]];

impl Corpus {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Vmlinux => "vmlinux",
            Self::VmlinuxWhole => "vmlinux-whole",
            Self::RustcDriver => "rustc-driver",
            Self::Core => "core",
            Self::Text => "text",
            Self::Compressed => "compressed",
            Self::SameFilled => "same-filled",
        }
    }

    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::Vmlinux => "pages of the lab's unpacked kernel that are not same-filled",
            Self::VmlinuxWhole => "all pages of the lab's unpacked kernel",
            Self::RustcDriver => "pages of rustc's library, up to 64 MiB",
            Self::Core => "pages of this process and its files, without the corpora, up to 64 MiB",
            Self::Text => "pages of licences",
            Self::Compressed => "pages of the lab's packed kernel",
            Self::SameFilled => "same-filled pages of the lab's unpacked kernel",
        }
    }

    /// Its pages.
    pub(crate) fn pages(self) -> Result<Pages> {
        static LOADED: Mutex<Vec<(Corpus, Pages)>> = Mutex::new(Vec::new());
        let mut loaded = LOADED.lock().expect("no panic");
        if let Some((_, pages)) = loaded.iter().find(|(corpus, _)| *corpus == self) {
            return Ok(pages);
        }
        let bytes = self.load(&loaded)?;
        let is_wanted = |page: &&[u8; PAGE]| match self {
            Self::VmlinuxWhole => true,
            Self::SameFilled => is_same(page),
            _ => !is_same(page),
        };
        let pages = bytes.as_chunks::<PAGE>().0.iter().take(MAX / PAGE);
        let pages: Vec<_> = pages.filter(is_wanted).collect();
        ensure!(!pages.is_empty(), "{} has no page", self.name());
        let memory = Box::leak(Box::new(MmapMut::map_anon(pages.len() * PAGE)?));
        for (place, page) in memory.as_chunks_mut::<PAGE>().0.iter_mut().zip(pages) {
            place.copy_from_slice(page);
        }
        let pages: Pages = memory.as_chunks().0;
        loaded.push((self, pages));
        Ok(pages)
    }

    fn load(self, loaded: &[(Corpus, Pages)]) -> Result<Vec<u8>> {
        match self {
            Self::Core => core(loaded.iter().map(|(_, pages)| pages.as_ptr_range())),
            Self::Vmlinux | Self::VmlinuxWhole | Self::SameFilled => unpacked(&packed()?),
            Self::Compressed => packed(),
            Self::RustcDriver => {
                let rustc = Command::new("rustc")
                    .args(["--print", "sysroot"])
                    .output()?;
                let sysroot = String::from_utf8(rustc.stdout)?;
                let lib = Path::new(sysroot.trim()).join("lib");
                Ok(fs::read(find(&lib, "librustc_driver-")?)?)
            }
            Self::Text => {
                let mut all = Vec::new();
                let folder = "/usr/share/common-licenses";
                let mut names: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
                names.sort_by_key(fs::DirEntry::file_name);
                for name in names
                    .iter()
                    .filter(|it| it.file_type().is_ok_and(|it| it.is_file()))
                {
                    all.extend(fs::read(name.path())?);
                }
                Ok(all)
            }
        }
    }
}

/// The private memory of this process, also of files, as a debugger's core has it; without the pages of `corpora`.
/// Source: proc_pid_maps(5), proc_pid_mem(5).
fn core(corpora: impl Iterator<Item = Range<*const [u8; PAGE]>>) -> Result<Vec<u8>> {
    let corpora: Vec<_> = corpora
        .map(|pages| pages.start.addr()..pages.end.addr())
        .collect();
    let is_own = |at: usize| !corpora.iter().any(|pages| pages.contains(&at));
    let memory = File::open("/proc/self/mem")?;
    let (mut all, mut page) = (Vec::new(), [0; PAGE]);
    for line in fs::read_to_string("/proc/self/maps")?.lines() {
        let mut words = line.split(' ');
        let (range, mode) = (words.next(), words.next().context("a mapping has a mode")?);
        if !(mode.starts_with('r') && mode.ends_with('p')) {
            continue;
        }
        let (start, end) = range
            .and_then(|range| range.split_once('-'))
            .context("no range")?;
        let [start, end] = [start, end].map(|at| usize::from_str_radix(at, 16));
        for at in (start?..end?).step_by(PAGE).filter(|at| is_own(*at)) {
            // The kernel's own pages, and those behind the end of a file, cannot be read.
            if memory.read_exact_at(&mut page, at as u64).is_ok() && !is_same(&page) {
                all.extend_from_slice(&page);
            }
        }
    }
    Ok(all)
}

/// The lab's kernel as it boots.
fn packed() -> Result<Vec<u8>> {
    let boot = Path::new("target/lab/cache/linux-6.12/boot");
    let file = find(boot, "vmlinuz-").context("run `cargo xtask lab -- true` first")?;
    Ok(fs::read(file)?)
}

/// The kernel inside of `image`, whose header says where that is.
/// Source: Documentation/arch/x86/boot.rst, `payload_offset`.
fn unpacked(image: &[u8]) -> Result<Vec<u8>> {
    let number = |at: usize| {
        let bytes = image.get(at..at + 4).context("a kernel image ends early")?;
        Ok::<_, anyhow::Error>(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    let setup_sectors = usize::from(*image.get(0x1f1).context("no kernel image")?);
    let start = (setup_sectors + 1) * 512 + number(0x248)?;
    let payload = image.get(start..start + number(0x24c)?);
    let payload = payload.context("a kernel image without its payload")?;
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), payload)?;
    // The payload ends in the length of what is inside, which zstd takes for rubbish.
    let zstd = Command::new("zstd")
        .args(["--decompress", "--stdout", "--quiet"])
        .arg(file.path())
        .stderr(Stdio::null())
        .output()
        .context("zstd does not start")?;
    ensure!(
        zstd.stdout.starts_with(b"\x7fELF"),
        "no kernel packed by zstd"
    );
    Ok(zstd.stdout)
}

/// The file in `folder` whose name begins with `name`.
fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let is_it = |path: &PathBuf| {
        let file = path.file_name().and_then(|file| file.to_str());
        file.is_some_and(|file| file.starts_with(name))
    };
    let found = paths.find(is_it);
    found.with_context(|| format!("no {name}* in {}", folder.display()))
}

fn is_same(page: &[u8; PAGE]) -> bool {
    page[8..] == page[..PAGE - 8]
}
