#![expect(unsafe_code, reason = "a raw ring reads and writes raw buffers")]
//! [`Load`]: random blocks of a disk, some of them in flight.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use memmap2::MmapMut;
use pepita_io::ring::{Ring, RingConfig};
use pepita_sys::io_uring::IoUringSqe;

use crate::corpus::PAGE;
use crate::stats::Random;

/// Bytes of a block.
const BLOCK: usize = PAGE;
/// The same, as an entry has it.
const BLOCK_U32: u32 = 4096;
/// The same, as a completion has it.
const BLOCK_DONE: i32 = 4096;

/// Blocks at the beginning of the disk that are read and written.
pub(super) const BLOCKS: usize = 8192;

/// Blocks that are filled by one write.
const FILLED: usize = 64;

/// What the load does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

impl Direction {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// What the blocks are.
#[derive(Debug)]
pub(super) enum Content {
    /// [`BLOCKS`] blocks, each filled with a [`word`] of its own.
    Numbers,
    /// Pages that live as long as the process.
    Pages(Vec<&'static [u8; PAGE]>),
}

impl Content {
    fn blocks(&self) -> usize {
        match self {
            Self::Numbers => BLOCKS,
            Self::Pages(pages) => pages.len(),
        }
    }

    fn copy(&self, number: usize, block: &mut [u8]) {
        match self {
            Self::Numbers => {
                for word_of_block in block.chunks_exact_mut(8) {
                    word_of_block.copy_from_slice(&word(number));
                }
            }
            Self::Pages(pages) => block.copy_from_slice(pages[number]),
        }
    }

    fn is(&self, number: usize, block: &[u8]) -> bool {
        match self {
            Self::Numbers => block.chunks_exact(8).all(|found| found == word(number)),
            Self::Pages(pages) => block == pages[number],
        }
    }
}

/// Keeps requests in flight until all are done.
///
/// # Invariants
/// * buffers-live: the buffers are leaked, and pages of the content are as good as that.
pub(super) struct Load {
    ring: Ring,
    disk: File,
    bytes: u64,
    content: Content,
    /// Blocks of the content, shuffled: pages are written in this order.
    order: Vec<usize>,
    /// How many of the order were written.
    written: usize,
    buffers: &'static mut MmapMut,
    /// Slots of `buffers` that are not in flight.
    free: Vec<usize>,
    /// When the request of each slot began.
    began: Vec<Instant>,
    direction: Direction,
    random: Random,
}

impl Load {
    pub(super) fn new(
        disk: &Path,
        direction: Direction,
        depth: u32,
        content: Content,
    ) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        options.custom_flags(rustix::fs::OFlags::DIRECT.bits().cast_signed());
        let mut disk = options.open(disk)?;
        let bytes = disk.seek(SeekFrom::End(0))?;
        ensure!(
            bytes >= (content.blocks() * BLOCK) as u64,
            "a disk of {bytes} bytes is too small"
        );
        let ring = RingConfig::new(depth).build()?;
        let depth = depth as usize;
        let buffers = MmapMut::map_anon(depth.max(FILLED) * BLOCK)?;
        let (mut random, mut order) = (Random::new(1), Vec::from_iter(0..content.blocks()));
        random.shuffle(&mut order);
        Ok(Self {
            ring,
            disk,
            bytes,
            content,
            order,
            written: 0,
            buffers: Box::leak(Box::new(buffers)),
            free: (0..depth).collect(),
            began: vec![Instant::now(); depth],
            direction,
            random,
        })
    }

    /// The size of the disk.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes its content to each block.
    pub(super) fn fill(&mut self) -> Result<()> {
        for first in (0..self.content.blocks()).step_by(FILLED) {
            let count = FILLED.min(self.content.blocks() - first);
            let piece = &mut self.buffers[..count * BLOCK];
            for (number, block) in (first..).zip(piece.chunks_exact_mut(BLOCK)) {
                self.content.copy(number, block);
            }
            self.disk.write_all_at(piece, (first * BLOCK) as u64)?;
        }
        Ok(())
    }

    /// Reads all blocks, and counts those that are not as [filled](Self::fill).
    pub(super) fn wrong_blocks(&mut self) -> Result<usize> {
        let mut wrong = 0;
        for first in (0..self.content.blocks()).step_by(FILLED) {
            let count = FILLED.min(self.content.blocks() - first);
            let piece = &mut self.buffers[..count * BLOCK];
            self.disk.read_exact_at(piece, (first * BLOCK) as u64)?;
            let blocks = (first..).zip(piece.chunks_exact(BLOCK));
            wrong += blocks
                .filter(|(number, block)| !self.content.is(*number, block))
                .count();
        }
        Ok(wrong)
    }

    /// Reads or writes `count` blocks, and tells how long each took. Pages are written where they belong, each once
    /// before one is written twice; numbers anywhere.
    pub(super) fn run(&mut self, count: usize, mut each: impl FnMut(Duration)) -> Result<()> {
        let (mut to_start, mut to_end, mut failed) = (count, count, 0);
        while to_end > 0 {
            while to_start > 0 {
                let Some(slot) = self.free.pop() else { break };
                self.push(slot);
                to_start -= 1;
            }
            self.ring.submit_and_wait(1)?;
            let (began, free) = (&self.began, &mut self.free);
            self.ring.drain_completions(|cqe| {
                let slot = usize::try_from(cqe.user_data).expect("what was pushed");
                each(began[slot].elapsed());
                failed += usize::from(cqe.res != BLOCK_DONE);
                free.push(slot);
                to_end -= 1;
            });
        }
        ensure!(failed == 0, "{failed} requests failed");
        Ok(())
    }

    fn push(&mut self, slot: usize) {
        let own = self.buffers.as_mut_ptr().wrapping_add(slot * BLOCK);
        let (block, buffer) = match (&self.content, self.direction) {
            (Content::Pages(pages), Direction::Write) => {
                let block = self.order[self.written % self.order.len()];
                self.written += 1;
                (block, pages[block].as_ptr().cast_mut())
            }
            (content, _) => (self.random.below(content.blocks()), own),
        };
        let at = (block * BLOCK) as u64;
        let disk = self.disk.as_raw_fd();
        let entry = match self.direction {
            Direction::Read => IoUringSqe::read(disk, buffer, BLOCK_U32, at),
            Direction::Write => IoUringSqe::write(disk, buffer, BLOCK_U32, at),
        };
        self.began[slot] = Instant::now();
        let entry = entry.user_data(slot as u64);
        // SAFETY: buffers-live.
        unsafe { self.ring.push(entry) }.expect("room for all slots");
    }
}

/// What the block `number` is filled with, over and over.
fn word(number: usize) -> [u8; 8] {
    (number as u64 + 1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .to_le_bytes()
}
