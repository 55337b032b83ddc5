//! [`Work`]: what a coder does in a round.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::hint::black_box;

use anyhow::{Context, Result, ensure};

use super::coders::{Coder, Page, ROOM};
use crate::case::{Contender, Unit};
use crate::corpus::{Corpus, PAGE};
use crate::per_second;

/// What a round does, and what its figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Compresses all pages.
    Compress,
    /// Decompresses all pages, of its own blocks.
    Decompress,
    /// Nothing: the figure is bytes of pages over bytes of blocks, a page at most for each.
    Ratio,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Compress => "compress",
            Self::Decompress => "decompress",
            Self::Ratio => "ratio",
        }
    }

    pub(super) const fn about(self) -> &'static str {
        match self {
            Self::Compress => "compresses each",
            Self::Decompress => "decompresses each, as it compressed it itself",
            Self::Ratio => "their bytes over those of the blocks",
        }
    }

    pub(super) const fn unit(self) -> Unit {
        match self {
            Self::Compress | Self::Decompress => Unit::Rate("pages/s"),
            Self::Ratio => Unit::Rate("bytes/byte"),
        }
    }
}

/// A coder and its pages.
pub(super) struct Work<C> {
    kind: Kind,
    coder: C,
    pages: Vec<&'static Page>,
    blocks: Vec<Vec<u8>>,
}

impl<C: Coder> Work<C> {
    /// With `count` pages of `corpus`, or all.
    pub(super) fn new(corpus: Corpus, kind: Kind, count: usize) -> Result<Self> {
        let all = corpus.pages()?;
        let step = (all.len() / count.max(1)).max(1);
        let pages: Vec<&Page> = all.iter().step_by(step).take(count).collect();
        let mut coder = C::new()?;
        let mut blocks = Vec::with_capacity(pages.len());
        for page in &pages {
            let mut room = vec![0; ROOM];
            let len = coder.compress(page, &mut room)?;
            blocks.push(room[..len].to_vec());
        }
        Ok(Self {
            kind,
            coder,
            pages,
            blocks,
        })
    }

    fn compress(&mut self) -> Result<()> {
        let mut room = vec![0; ROOM];
        for page in &self.pages {
            black_box(self.coder.compress(page, &mut room)?);
        }
        Ok(())
    }

    fn decompress(&mut self) -> Result<()> {
        let mut page = [0; PAGE];
        for block in &self.blocks {
            self.coder.decompress(block, &mut page)?;
            black_box(&page);
        }
        Ok(())
    }
}

impl<C: Coder> Contender for Work<C> {
    /// A hash of all pages, once they were there and back.
    fn answer(&mut self) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        let mut back = [0; PAGE];
        for (block, page) in self.blocks.iter().zip(&self.pages) {
            self.coder.decompress(block, &mut back)?;
            ensure!(back == **page, "a page is another when it is back");
            C::check(block, page).context("the format's own decoder")?;
            back.hash(&mut hasher);
        }
        Ok(format!("{} pages, {:x}", self.pages.len(), hasher.finish()))
    }

    #[expect(clippy::cast_precision_loss, reason = "bytes of a corpus")]
    fn round(&mut self) -> Result<f64> {
        match self.kind {
            Kind::Compress => per_second(self.pages.len(), || self.compress()),
            Kind::Decompress => per_second(self.pages.len(), || self.decompress()),
            Kind::Ratio => {
                let held: usize = self.blocks.iter().map(|block| block.len().min(PAGE)).sum();
                Ok((self.pages.len() * PAGE) as f64 / held as f64)
            }
        }
    }
}
