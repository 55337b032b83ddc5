//! The kernel's zram: a device of its own for each contender, gone when that is dropped.

use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hasher};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use memmap2::MmapMut;

use super::{Work, us_of};
use crate::case::Contender;
use crate::corpus::{Corpus, PAGE, Pages};
use crate::timing::wall_ms;

const CONTROL: &str = "/sys/class/zram-control";

/// Bytes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    Page,
    MiB,
}

impl Request {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Page => "O_DIRECT 4 KiB",
            Self::MiB => "O_DIRECT 1 MiB",
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Page => PAGE,
            Self::MiB => 1 << 20,
        }
    }
}

/// A device `/dev/zramN`.
struct Device {
    number: String,
    file: Option<File>,
}

impl Device {
    fn new() -> Result<Self> {
        let number = fs::read_to_string(format!("{CONTROL}/hot_add"))
            .context("adding a zram device: it takes root, and the module zram")?;
        Ok(Self {
            number: number.trim().to_owned(),
            file: None,
        })
    }

    fn attribute(&self, name: &str) -> PathBuf {
        format!("/sys/block/zram{}/{name}", self.number).into()
    }

    fn set(&self, name: &str, value: &str) -> Result<()> {
        let path = self.attribute(name);
        fs::write(&path, value).with_context(|| format!("{value} to {}", path.display()))
    }

    /// Empties it, and opens it with room for `bytes` bytes.
    fn renew(&mut self, bytes: usize) -> Result<&File> {
        self.file = None;
        self.reset()?;
        self.set("comp_algorithm", "lz4")?;
        self.set("disksize", &bytes.to_string())?;
        let direct = rustix::fs::OFlags::DIRECT.bits().cast_signed();
        let path = format!("/dev/zram{}", self.number);
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(direct);
        Ok(self.file.insert(options.open(path)?))
    }

    /// Whoever looks at new devices, such as udev, may have it open for a moment.
    fn reset(&self) -> Result<()> {
        let begin = Instant::now();
        loop {
            match self.set("reset", "1") {
                Err(_) if begin.elapsed() < Duration::from_secs(2) => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                done => return done,
            }
        }
    }

    /// The bytes that are stored and the memory that they take.
    fn sizes(&self) -> Result<(f64, f64)> {
        let line = fs::read_to_string(self.attribute("mm_stat"))?;
        let mut numbers = line.split_whitespace().skip(1).map(str::parse);
        let mut next = || numbers.next().context("mm_stat is short");
        Ok((next()??, next()??))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.file = None;
        let _ = self.reset();
        let _ = fs::write(format!("{CONTROL}/hot_remove"), &self.number);
    }
}

/// The kernel's device with the pages of a corpus.
pub(super) struct Kernel {
    pages: Pages,
    work: Work,
    request: Request,
    device: Device,
    buffer: MmapMut,
}

impl Kernel {
    pub(super) fn new(corpus: Corpus, work: Work, request: Request) -> Result<Self> {
        let mut kernel = Self {
            pages: corpus.pages()?,
            work,
            request,
            device: Device::new()?,
            buffer: MmapMut::map_anon(request.bytes())?,
        };
        kernel.device.renew(kernel.pages.len() * PAGE)?;
        kernel.write()?;
        Ok(kernel)
    }

    fn file(&self) -> Result<&File> {
        self.device.file.as_ref().context("the device is open")
    }

    fn write(&self) -> Result<()> {
        let file = self.file()?;
        let mut at = 0;
        for piece in self.pages.as_flattened().chunks(self.request.bytes()) {
            file.write_all_at(piece, at)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Reads all, and lets `see` have it.
    fn read(&mut self, mut see: impl FnMut(&[u8])) -> Result<()> {
        let file = self.device.file.as_ref().context("the device is open")?;
        let len = self.pages.len() * PAGE;
        for at in (0..len).step_by(self.request.bytes()) {
            let piece = &mut self.buffer[..self.request.bytes().min(len - at)];
            file.read_exact_at(piece, at as u64)?;
            see(piece);
        }
        Ok(())
    }
}

impl Contender for Kernel {
    fn answer(&mut self) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        self.read(|piece| {
            for page in piece.chunks(PAGE) {
                hasher.write(page);
            }
        })?;
        Ok(format!("{:x}", hasher.finish()))
    }

    fn round(&mut self) -> Result<f64> {
        let pages = self.pages.len();
        let ms = match self.work {
            Work::Write => {
                self.device.renew(pages * PAGE)?;
                wall_ms(|| self.write())?
            }
            Work::Read => wall_ms(|| {
                self.read(|piece| {
                    std::hint::black_box(piece);
                })
            })?,
            Work::DenseRatio => bail!("the kernel's zram has one codec here"),
            Work::Held | Work::Overhead => {
                let (bytes, memory) = self.device.sizes()?;
                ensure!(bytes > 0.0, "nothing is stored");
                let is_held = self.work == Work::Held;
                return Ok(if is_held {
                    memory / 1e6
                } else {
                    memory / bytes
                });
            }
        };
        Ok(us_of(ms, pages))
    }
}
