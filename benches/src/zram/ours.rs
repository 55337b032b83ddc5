//! Ours, and what compresses for it.

use std::hash::{DefaultHasher, Hasher};
use std::hint::black_box;
use std::thread;

use anyhow::Result;
use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};
use pepita_zram::{Idle, PageKind, ZramConfig, ZramDevice};

use super::{Work, us_of};
use crate::case::Contender;
use crate::corpus::{Corpus, PAGE, Pages};
use crate::timing::wall_ms;

/// Runs `work` on each of `threads`, with the range of the thread's pages.
fn on_threads(
    threads: usize,
    pages: usize,
    work: impl Fn(std::ops::Range<usize>) -> Result<()> + Sync,
) -> Result<()> {
    if threads == 1 {
        return work(0..pages);
    }
    thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                let range = part * pages / threads..(part + 1) * pages / threads;
                let work = &work;
                scope.spawn(move || work(range))
            })
            .collect();
        parts
            .into_iter()
            .try_for_each(|part| part.join().expect("no panic"))
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
    pub(super) fn new(corpus: Corpus, work: Work, threads: usize) -> Result<Self> {
        let pages = corpus.pages()?;
        let ours = Self {
            pages,
            work,
            threads,
            device: ZramDevice::new(ZramConfig::with_size((pages.len() * PAGE) as u64))?,
        };
        ours.write()?;
        Ok(ours)
    }

    fn write(&self) -> Result<()> {
        on_threads(self.threads, self.pages.len(), |range| {
            for index in range {
                self.device.write_page(index as u64, &self.pages[index])?;
            }
            Ok(())
        })
    }

    fn read(&self) -> Result<()> {
        on_threads(self.threads, self.pages.len(), |range| {
            let mut page = [0; PAGE];
            for index in range {
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
                wall_ms(|| self.write())?
            }
            Work::Read => wall_ms(|| self.read())?,
        };
        Ok(us_of(ms, self.pages.len()))
    }
}

/// `lz4_flex` by itself: nothing is stored or looked up.
pub(super) struct Codec {
    pages: Pages,
    work: Work,
    threads: usize,
    blocks: Vec<Vec<u8>>,
}

impl Codec {
    pub(super) fn new(corpus: Corpus, work: Work, threads: usize) -> Result<Self> {
        let pages = corpus.pages()?;
        Ok(Self {
            pages,
            work,
            threads,
            blocks: pages.iter().map(|page| lz4_flex::compress(page)).collect(),
        })
    }

    fn compress(&self) -> Result<()> {
        on_threads(self.threads, self.pages.len(), |range| {
            let mut table = CompressTable::small();
            let mut out = vec![0; get_maximum_output_size(PAGE)];
            for page in &self.pages[range] {
                black_box(compress_into_with_table(page, &mut out, &mut table)?);
            }
            Ok(())
        })
    }

    fn decompress(&self) -> Result<()> {
        on_threads(self.threads, self.pages.len(), |range| {
            let mut page = [0; PAGE];
            for block in &self.blocks[range] {
                black_box(decompress_into(block, &mut page)?);
            }
            Ok(())
        })
    }
}

impl Contender for Codec {
    fn answer(&mut self) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        for block in &self.blocks {
            hasher.write(&lz4_flex::decompress(block, PAGE)?);
        }
        Ok(format!("{:x}", hasher.finish()))
    }

    fn round(&mut self) -> Result<f64> {
        let ms = match self.work {
            Work::Write => wall_ms(|| self.compress())?,
            _ => wall_ms(|| self.decompress())?,
        };
        Ok(us_of(ms, self.pages.len()))
    }
}
