#![expect(unsafe_code, reason = "raw rings read into raw buffers")]
//! Random reads of a file.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

use super::rings::Rings;
use crate::case::Contender;
use crate::stats::Random;
use crate::timing::per_second;

/// Bytes of a read.
pub(super) const BLOCK: usize = 4096;
/// The same, as an entry has it.
const BLOCK_U32: u32 = 4096;
/// The same, as a completion has it.
const BLOCK_READ: i32 = 4096;
/// Blocks of the file.
pub(super) const BLOCKS: usize = 16_384;

/// Where the data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cache {
    Warm,
    Bypassed,
}

impl Cache {
    /// Reads of a round.
    pub(super) const fn reads(self) -> usize {
        match self {
            Self::Warm => 100_000,
            Self::Bypassed => 10_000,
        }
    }
}

/// Keeps reads in flight until all are done.
///
/// # Invariants
/// * buffers-live: the buffers are leaked.
pub(super) struct Reads<R> {
    ring: R,
    file: File,
    buffers: &'static mut memmap2::MmapMut,
    free: Vec<usize>,
    cache: Cache,
    depth: u32,
    random: Random,
}

impl<R: Rings> Reads<R> {
    pub(super) fn new(cache: Cache, depth: u32) -> Result<Self> {
        Ok(Self {
            ring: R::with(depth)?,
            file: open(cache)?,
            buffers: Box::leak(Box::new(memmap2::MmapMut::map_anon(
                depth as usize * BLOCK,
            )?)),
            free: (0..depth as usize).collect(),
            cache,
            depth,
            random: Random::new(1),
        })
    }

    /// Reads `count` random blocks; the sum of the differences between the number of each and the number
    /// that it holds is 0.
    fn run(&mut self, count: usize) -> Result<u64> {
        let mut in_block = vec![0_u64; self.depth as usize];
        let (mut to_start, mut to_end, mut wrong) = (count, count, 0);
        while to_end > 0 {
            while to_start > 0 {
                let Some(slot) = self.free.pop() else { break };
                let block = self.random.below(BLOCKS) as u64;
                in_block[slot] = block;
                let buf = self.buffers.as_mut_ptr().wrapping_add(slot * BLOCK);
                let (fd, offset) = (self.file.as_raw_fd(), block * BLOCK as u64);
                // SAFETY: buffers-live.
                unsafe { self.ring.push_read(fd, buf, BLOCK_U32, offset, slot as u64) };
                to_start -= 1;
            }
            self.ring.submit_and_wait(1)?;
            let (buffers, free) = (&*self.buffers, &mut self.free);
            self.ring.reap(|user_data, result| {
                let slot = usize::try_from(user_data).expect("what was pushed");
                let (head, _) = buffers[slot * BLOCK..]
                    .split_first_chunk()
                    .expect("a block");
                let right = result == BLOCK_READ && u64::from_le_bytes(*head) == in_block[slot];
                wrong += u64::from(!right);
                free.push(slot);
                to_end -= 1;
            });
        }
        Ok(wrong)
    }
}

impl<R: Rings> Contender for Reads<R> {
    fn answer(&mut self) -> Result<String> {
        let wrong = self.run(self.cache.reads())?;
        Ok(format!("{wrong} wrong blocks"))
    }

    fn round(&mut self) -> Result<f64> {
        let count = self.cache.reads();
        per_second(count, || {
            let wrong = self.run(count)?;
            ensure!(wrong == 0, "{wrong} wrong blocks");
            Ok(())
        })
    }
}

/// Opens the file that all contenders read.
pub(super) fn open(cache: Cache) -> Result<File> {
    static NUMBERED: OnceLock<File> = OnceLock::new();
    let file = NUMBERED.get_or_init(|| numbered_file().expect("a file of 64 MiB in target/"));
    let mut options = OpenOptions::new();
    options.read(true);
    if cache == Cache::Bypassed {
        options.custom_flags(rustix::fs::OFlags::DIRECT.bits().cast_signed());
    }
    // It has no name, so it goes away with this process.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    options.open(path).context("opening it again")
}

/// A file whose blocks begin with their numbers, in the folder for built things, which is on a disk.
fn numbered_file() -> Result<File> {
    let mut file = tempfile::tempfile_in("target")?;
    let mut block = [0; BLOCK];
    for number in 0..BLOCKS as u64 {
        block[..8].copy_from_slice(&number.to_le_bytes());
        file.write_all(&block)?;
    }
    file.sync_all()?;
    Ok(file)
}
