//! Single frames for two threads at once.

use std::thread;

use anyhow::Result;
use buddy_system_allocator::LockedFrameAllocator;
use pepita_mem::{SharedPages, ZonedAllocator};

use super::books::{PEER_ORDERS, buddy};
use crate::case::Contender;
use crate::timing::per_second;

/// Threads, and caches of ours.
const THREADS: usize = 2;

/// Frames that a thread has out at a time.
const HELD: usize = 8;

/// How many times each thread takes and frees them.
const TURNS: usize = 20_000;

/// Frames of the allocators.
const FRAMES: usize = 1 << 16;

/// Runs `work` on each thread, which gets the thread's number.
fn on_threads(work: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        for number in 0..THREADS {
            let work = &work;
            scope.spawn(move || work(number));
        }
    });
}

/// Ours.
pub(super) struct CachedPages(SharedPages<'static, 1, THREADS>);

impl CachedPages {
    pub(super) fn new() -> Result<Self> {
        Ok(Self(SharedPages::new(ZonedAllocator::new([buddy(
            FRAMES,
        )?])?)))
    }

    fn run(&self) {
        on_threads(|cpu| {
            for _ in 0..TURNS {
                let frames: [_; HELD] = std::array::from_fn(|_| self.0.alloc_page(cpu));
                for frame in frames {
                    if let Err(error) = frame.map(|frame| self.0.free_page(frame, cpu)) {
                        unreachable!("there are more frames than threads can hold: {error}");
                    }
                }
            }
        });
    }
}

impl Contender for CachedPages {
    fn answer(&mut self) -> Result<String> {
        self.run();
        Ok(format!("{} free", self.0.free_count()))
    }

    fn round(&mut self) -> Result<f64> {
        per_second(THREADS * TURNS * HELD, || {
            self.run();
            Ok(())
        })
    }
}

/// The peer behind its spin lock.
pub(super) struct PeerPages(LockedFrameAllocator<PEER_ORDERS>);

impl PeerPages {
    pub(super) fn new() -> Result<Self> {
        let pages = LockedFrameAllocator::new();
        pages.lock().add_frame(0, FRAMES);
        Ok(Self(pages))
    }

    fn run(&self) {
        on_threads(|_| {
            for _ in 0..TURNS {
                let frames: [_; HELD] = std::array::from_fn(|_| self.0.lock().alloc(1));
                for frame in frames.into_iter().flatten() {
                    self.0.lock().dealloc(frame, 1);
                }
            }
        });
    }
}

impl Contender for PeerPages {
    fn answer(&mut self) -> Result<String> {
        self.run();
        let mut pages = self.0.lock();
        let mut blocks = Vec::new();
        while let Some(first) = pages.alloc(1024) {
            blocks.push(first);
        }
        for first in &blocks {
            pages.dealloc(*first, 1024);
        }
        Ok(format!("{} free", blocks.len() * 1024))
    }

    fn round(&mut self) -> Result<f64> {
        per_second(THREADS * TURNS * HELD, || {
            self.run();
            Ok(())
        })
    }
}
