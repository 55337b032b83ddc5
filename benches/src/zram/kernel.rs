//! The kernel's zram: a device of its own for each contender.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::os::unix::fs::FileExt;

use anyhow::{Result, bail, ensure};
use memmap2::MmapMut;

use super::{Work, us_of};
use crate::case::Contender;
use crate::corpus::{Corpus, PAGE, Pages};
use crate::kernel_zram::Device;
use crate::timing::wall_ms;

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
        self.device.file()
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
        let file = self.device.file()?;
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
