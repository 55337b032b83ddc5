//! [`Backing`]: a block device that pages are written back to.
//!
//! A thread of its own has the device's lane, since a lane stays on its thread ([`thread`]); who reads or writes a
//! page sends it there and waits for it.

mod flight;
mod thread;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use pepita_sys::blk_mq::{BlockDevice, Geometry};
use pepita_sys::error::Errno;

use crate::block::PAGE_SECTORS;
use crate::error::ZramError;
use crate::page::Page;
use crate::sync::{Mutex, lock};
use flight::InFlight;
use thread::serve;

/// Pages that are on their way to the device at once.
pub(crate) const DEPTH: u16 = 32;

/// What a page that was on its way comes back with.
pub(crate) type Answer = (Box<Page>, Result<(), Errno>);

/// What to do with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transfer {
    In,
    Out,
}

/// A page for the thread.
#[derive(Debug)]
struct Job {
    transfer: Transfer,
    block: u64,
    page: Box<Page>,
    answer: Sender<Answer>,
}

/// A device that pages are written back to, and its thread.
pub(crate) struct Backing {
    /// None once the thread is to end.
    jobs: Option<Mutex<Sender<Job>>>,
    thread: Option<JoinHandle<()>>,
    in_flight: Arc<InFlight>,
    blocks: u64,
}

impl fmt::Debug for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Backing");
        fields.field("blocks", &self.blocks).finish_non_exhaustive()
    }
}

impl Backing {
    /// Starts the thread of `device`.
    ///
    /// # Errors
    /// [`ZramError::Backing`] for a device that cannot have pages, or does not open.
    pub(crate) fn new(device: Arc<impl BlockDevice + 'static>) -> Result<Self, ZramError> {
        let geometry = device.geometry();
        let blocks = blocks_of(&geometry)?;
        let (jobs, to_do) = channel();
        let (say, opened) = channel();
        let thread = std::thread::Builder::new()
            .name("zram-backing".to_owned())
            .spawn(move || serve(&*device, &to_do, &say))
            .map_err(|error| ZramError::Backing {
                errno: error.into(),
            })?;
        // The thread ends by itself if this is an error.
        let in_flight = opened.recv().unwrap_or(Err(Errno::EIO));
        Ok(Self {
            jobs: Some(Mutex::new(jobs)),
            thread: Some(thread),
            in_flight: in_flight.map_err(|errno| ZramError::Backing { errno })?,
            blocks,
        })
    }

    /// Pages that it has room for.
    pub(crate) const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Reads the page of `block` into `page`. Waits for the device.
    ///
    /// # Errors
    /// The device's.
    pub(crate) fn read(&self, block: u64, page: &mut Page) -> Result<(), Errno> {
        let (data, done) = self
            .start(Transfer::In, block, Box::new([0; size_of::<Page>()]))
            .recv()
            .map_err(|_| Errno::EIO)?;
        done?;
        *page = *data;
        Ok(())
    }

    /// Begins to write a page to `block`; what this gives says how it ended. More than [`DEPTH`] wait.
    pub(crate) fn write(&self, block: u64, page: Box<Page>) -> Receiver<Answer> {
        self.start(Transfer::Out, block, page)
    }

    fn start(&self, transfer: Transfer, block: u64, page: Box<Page>) -> Receiver<Answer> {
        let (answer, end) = channel();
        let job = Job {
            transfer,
            block,
            page,
            answer,
        };
        if let Some(jobs) = &self.jobs {
            // Where the thread is gone the answer's sender is dropped, which is an answer.
            let _ = lock(jobs).send(job);
            self.in_flight.ring();
        }
        end
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The pages that a device has room for.
fn blocks_of(geometry: &Geometry) -> Result<u64, ZramError> {
    geometry
        .validate()
        .map_err(|reason| ZramError::BackingGeometry { reason })?;
    let blocks = geometry.capacity_sectors / u64::from(PAGE_SECTORS);
    let errno = if geometry.read_only {
        Errno::EROFS
    } else if blocks == 0 || geometry.max_sectors < PAGE_SECTORS || geometry.zones.is_some() {
        Errno::EINVAL
    } else {
        return Ok(blocks);
    };
    Err(ZramError::Backing { errno })
}

/// Which pages of a backing device are in use.
#[derive(Debug)]
pub(crate) struct Blocks {
    state: Mutex<BlockBits>,
    count: u64,
}

#[derive(Debug)]
struct BlockBits {
    /// A bit for each; those behind the end are set.
    used: Vec<u64>,
    /// Words before this one have no clear bit.
    from: usize,
    in_use: u64,
    /// Those that could not be written; their bits are set.
    bad: VecDeque<u64>,
}

impl Blocks {
    /// `count` blocks, all free.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn new(count: u64) -> Result<Self, Errno> {
        let words = usize::try_from(count.div_ceil(64)).map_err(|_| Errno::ENOMEM)?;
        let mut used = Vec::new();
        used.try_reserve_exact(words).map_err(|_| Errno::ENOMEM)?;
        used.resize(words, 0);
        if let Some(last) = used.last_mut().filter(|_| !count.is_multiple_of(64)) {
            *last = u64::MAX << (count % 64);
        }
        Ok(Self {
            state: Mutex::new(BlockBits {
                used,
                from: 0,
                in_use: 0,
                bad: VecDeque::new(),
            }),
            count,
        })
    }

    /// A block that was free; without one, the bad one that was not tried for the longest time, since it may have been the
    /// whole device that failed.
    pub(crate) fn take(&self) -> Option<u64> {
        let mut state = lock(&self.state);
        let from = state.from;
        let free = state.used[from..].iter().position(|word| *word != u64::MAX);
        let Some(free) = free else {
            let bad = state.bad.pop_front()?;
            state.in_use += 1;
            return Some(bad);
        };
        let word = from + free;
        let bit = state.used[word].trailing_ones();
        state.used[word] |= 1 << bit;
        (state.from, state.in_use) = (word, state.in_use + 1);
        Some(word as u64 * 64 + u64::from(bit))
    }

    /// Frees a block that was taken.
    pub(crate) fn give(&self, block: u64) {
        debug_assert!(block < self.count, "no such block");
        let mut state = lock(&self.state);
        state.clear(block);
        state.in_use -= 1;
    }

    /// Sets a block that was taken aside, until no other is free, or [`forget_bad`](Self::forget_bad).
    pub(crate) fn give_bad(&self, block: u64) {
        let mut state = lock(&self.state);
        state.bad.push_back(block);
        state.in_use -= 1;
    }

    /// Frees the blocks that were set aside.
    pub(crate) fn forget_bad(&self) {
        let mut state = lock(&self.state);
        for block in std::mem::take(&mut state.bad) {
            state.clear(block);
        }
    }

    /// Bytes of the books.
    pub(crate) fn bytes(&self) -> usize {
        let state = lock(&self.state);
        (state.used.capacity() + state.bad.capacity()) * size_of::<u64>()
    }

    /// Blocks in use.
    pub(crate) fn in_use(&self) -> u64 {
        lock(&self.state).in_use
    }

    /// Blocks that were set aside.
    pub(crate) fn bad(&self) -> u64 {
        lock(&self.state).bad.len() as u64
    }
}

impl BlockBits {
    fn clear(&mut self, block: u64) {
        let word = usize::try_from(block / 64).unwrap_or_default();
        self.used[word] &= !(1 << (block % 64));
        self.from = self.from.min(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_block_is_given_out_once_until_it_is_back() {
        let blocks = Blocks::new(70).unwrap();
        let taken: Vec<u64> = std::iter::from_fn(|| blocks.take()).collect();
        assert_eq!(taken, (0..70).collect::<Vec<_>>());
        assert_eq!(blocks.in_use(), 70);
        blocks.give(69);
        blocks.give(3);
        assert_eq!(blocks.in_use(), 68);
        assert_eq!([blocks.take(), blocks.take()], [Some(3), Some(69)]);
        assert_eq!(blocks.take(), None);
    }

    #[test]
    fn a_bad_block_is_given_out_when_no_other_is_free_or_it_is_forgotten_that_it_is_bad() {
        let blocks = Blocks::new(66).unwrap();
        let taken: Vec<u64> = std::iter::from_fn(|| blocks.take()).collect();
        for block in [0, 65] {
            blocks.give_bad(taken[block]);
        }
        blocks.give(5);
        assert_eq!((blocks.in_use(), blocks.bad()), (63, 2));
        assert_eq!([blocks.take(), blocks.take()], [Some(5), Some(0)]);
        blocks.give_bad(0);
        assert_eq!(blocks.take(), Some(65), "0 was tried after it");
        blocks.give_bad(65);
        blocks.forget_bad();
        assert_eq!((blocks.in_use(), blocks.bad()), (64, 0));
        let all = [blocks.take(), blocks.take(), blocks.take()];
        assert_eq!(all, [Some(0), Some(65), None]);
    }
}
