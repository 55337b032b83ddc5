//! Reads from two threads through one ring's thread.

use std::fs::File;
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use anyhow::{Result, ensure};
use pepita_io::{RingHandle, RingThread, ops};
use tokio::runtime::{Builder, Runtime};

use super::reads::{BLOCK, BLOCKS, Cache, open};
use crate::case::Contender;
use crate::stats::Random;
use crate::timing::per_second;

/// Reads of a round.
const READS: usize = 40_000;
/// Threads of the executor.
const THREADS: usize = 2;

/// What reads a block at a byte offset.
pub(super) trait Reader: Clone + Send + 'static {
    fn read(&self, buf: Vec<u8>, offset: u64) -> impl Future<Output = Result<Vec<u8>>> + Send;
}

/// Ours.
#[derive(Clone)]
pub(super) struct ByRing {
    io: RingHandle,
    file: Arc<File>,
}

impl Reader for ByRing {
    async fn read(&self, buf: Vec<u8>, offset: u64) -> Result<Vec<u8>> {
        let (count, buf) = self.io.submit(ops::read(&self.file, buf, offset)).await;
        ensure!(count? == BLOCK, "a short read");
        Ok(buf)
    }
}

/// As `tokio::fs` does: a thread of the pool for blocking work calls pread(2).
#[derive(Clone)]
pub(super) struct ByPool(Arc<File>);

impl Reader for ByPool {
    async fn read(&self, mut buf: Vec<u8>, offset: u64) -> Result<Vec<u8>> {
        let file = Arc::clone(&self.0);
        let read = move || {
            buf.resize(BLOCK, 0);
            file.read_exact_at(&mut buf, offset).map(|()| buf)
        };
        Ok(tokio::task::spawn_blocking(read).await??)
    }
}

/// Tasks that read one block after the other, under tokio.
pub(super) struct HandleReads<R> {
    runtime: Runtime,
    reader: R,
    tasks: usize,
    /// What the reader needs running.
    _ring: Option<RingThread>,
}

impl HandleReads<ByRing> {
    pub(super) fn by_ring(tasks: usize) -> Result<Self> {
        let ring = RingThread::new(64)?;
        let reader = ByRing {
            io: ring.handle(),
            file: Arc::new(open(Cache::Warm)?),
        };
        Self::new(reader, tasks, Some(ring))
    }
}

impl HandleReads<ByPool> {
    pub(super) fn by_pool(tasks: usize) -> Result<Self> {
        Self::new(ByPool(Arc::new(open(Cache::Warm)?)), tasks, None)
    }
}

impl<R: Reader> HandleReads<R> {
    fn new(reader: R, tasks: usize, ring: Option<RingThread>) -> Result<Self> {
        Ok(Self {
            runtime: Builder::new_multi_thread()
                .worker_threads(THREADS)
                .build()?,
            reader,
            tasks,
            _ring: ring,
        })
    }

    /// The count of blocks that held something else than their number.
    fn run(&self) -> Result<u64> {
        let tasks: Vec<_> = (0..self.tasks)
            .map(|task| {
                let work = read_blocks(self.reader.clone(), task as u64 + 1, READS / self.tasks);
                self.runtime.spawn(work)
            })
            .collect();
        let mut wrong = 0;
        for task in tasks {
            wrong += self.runtime.block_on(task)??;
        }
        Ok(wrong)
    }
}

async fn read_blocks<R: Reader>(reader: R, seed: u64, count: usize) -> Result<u64> {
    let mut random = Random::new(seed);
    let (mut buf, mut wrong) = (Vec::with_capacity(BLOCK), 0);
    for _ in 0..count {
        let block = random.below(BLOCKS) as u64;
        buf = reader.read(buf, block * BLOCK as u64).await?;
        wrong += u64::from(!buf.starts_with(&block.to_le_bytes()));
    }
    Ok(wrong)
}

impl<R: Reader> Contender for HandleReads<R> {
    fn answer(&mut self) -> Result<String> {
        Ok(format!("{} wrong blocks", self.run()?))
    }

    fn round(&mut self) -> Result<f64> {
        per_second(READS / self.tasks * self.tasks, || {
            let wrong = self.run()?;
            ensure!(wrong == 0, "{wrong} wrong blocks");
            Ok(())
        })
    }
}
