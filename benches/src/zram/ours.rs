//! Ours, and what compresses for it.

use std::hash::{DefaultHasher, Hasher};
use std::hint::black_box;
use std::ops::Range;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Result;
use lz4::block::{CompressionMode, compress, compress_to_buffer, decompress_to_buffer};
use pepita_zram::{Idle, PageKind, ZramCompressor, ZramConfig, ZramDevice};

use super::{Work, us_of};
use crate::case::Contender;
use crate::corpus::{Corpus, PAGE, Pages};
use crate::timing::wall_ms;

/// Pages that a thread takes at once: the halves of a corpus do not take the same time.
const SHARE: usize = 32;

/// Pages that no thread has taken yet.
struct Shares {
    next: AtomicUsize,
    pages: usize,
}

impl Iterator for &Shares {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.next.fetch_add(SHARE, Ordering::Relaxed);
        (start < self.pages).then(|| start..self.pages.min(start + SHARE))
    }
}

/// The milliseconds from when all of `threads` have started until the last one is done; each runs `work`, which takes
/// shares of the pages until none is left.
fn on_threads(
    threads: usize,
    pages: usize,
    work: impl Fn(&Shares) -> Result<()> + Sync,
) -> Result<f64> {
    let shares = Shares {
        next: AtomicUsize::new(0),
        pages,
    };
    let start = Barrier::new(threads);
    let run = || {
        start.wait();
        wall_ms(|| work(&shares))
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut longest = run()?;
        for other in others {
            longest = longest.max(other.join().expect("no panic")?);
        }
        Ok(longest)
    })
}

/// A device in this process.
pub(super) struct Ours {
    pages: Pages,
    work: Work,
    threads: usize,
    device: ZramDevice,
}

impl Ours {
    pub(super) fn new(
        corpus: Corpus,
        work: Work,
        threads: usize,
        compressor: ZramCompressor,
    ) -> Result<Self> {
        let pages = corpus.pages()?;
        let config = ZramConfig::with_size((pages.len() * PAGE) as u64).compressor(compressor);
        let ours = Self {
            pages,
            work,
            threads,
            device: ZramDevice::new(config)?,
        };
        ours.write()?;
        Ok(ours)
    }

    fn write(&self) -> Result<f64> {
        on_threads(self.threads, self.pages.len(), |shares| {
            for index in shares.flatten() {
                self.device.write_page(index as u64, &self.pages[index])?;
            }
            Ok(())
        })
    }

    fn read(&self) -> Result<f64> {
        on_threads(self.threads, self.pages.len(), |shares| {
            let mut page = [0; PAGE];
            for index in shares.flatten() {
                self.device.read_page(index as u64, &mut page)?;
                black_box(&page);
            }
            Ok(())
        })
    }
}

impl Contender for Ours {
    fn answer(&mut self) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        let mut page = [0; PAGE];
        for index in 0..self.pages.len() {
            self.device.read_page(index as u64, &mut page)?;
            hasher.write(&page);
        }
        Ok(format!("{:x}", hasher.finish()))
    }

    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    fn round(&mut self) -> Result<f64> {
        let stats = self.device.stats();
        let ms = match self.work {
            Work::Held => return Ok(stats.mem_used_total as f64 / 1e6),
            Work::Overhead => {
                return Ok(stats.mem_used_total as f64 / stats.compr_data_size as f64);
            }
            Work::DenseRatio => {
                self.device.mark_idle(Idle::All);
                self.device.recompress(PageKind::Idle, u64::MAX)?;
                return Ok(self.device.stats().compression_ratio());
            }
            Work::Write => {
                // All memory goes back to the host, and is brought anew.
                self.device.reset();
                self.write()?
            }
            Work::Read => self.read()?,
        };
        Ok(us_of(ms, self.pages.len()))
    }
}

/// LZ4's own coder by itself: nothing is stored or looked up, and threads share nothing but what they read.
pub(super) struct Codec {
    pages: Pages,
    work: Work,
    threads: usize,
    blocks: Vec<Vec<u8>>,
}

impl Codec {
    pub(super) fn new(corpus: Corpus, work: Work, threads: usize) -> Result<Self> {
        let pages = corpus.pages()?;
        let block = |page| Ok(compress(page, Some(CompressionMode::DEFAULT), false)?);
        Ok(Self {
            pages,
            work,
            threads,
            blocks: pages
                .iter()
                .map(|page| block(page))
                .collect::<Result<_>>()?,
        })
    }

    fn compress(&self) -> Result<f64> {
        on_threads(self.threads, self.pages.len(), |shares| {
            let mut out = vec![0; 2 * PAGE];
            for index in shares.flatten() {
                black_box(compress_to_buffer(
                    &self.pages[index],
                    None,
                    false,
                    &mut out,
                )?);
            }
            Ok(())
        })
    }

    fn decompress(&self) -> Result<f64> {
        let size = i32::try_from(PAGE)?;
        on_threads(self.threads, self.pages.len(), |shares| {
            let mut page = [0; PAGE];
            for index in shares.flatten() {
                black_box(decompress_to_buffer(
                    &self.blocks[index],
                    Some(size),
                    &mut page,
                )?);
            }
            Ok(())
        })
    }
}

impl Contender for Codec {
    fn answer(&mut self) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        let (size, mut page) = (i32::try_from(PAGE)?, [0; PAGE]);
        for block in &self.blocks {
            decompress_to_buffer(block, Some(size), &mut page)?;
            hasher.write(&page);
        }
        Ok(format!("{:x}", hasher.finish()))
    }

    fn round(&mut self) -> Result<f64> {
        let ms = match self.work {
            Work::Write => self.compress()?,
            _ => self.decompress()?,
        };
        Ok(us_of(ms, self.pages.len()))
    }
}
