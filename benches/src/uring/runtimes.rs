#![expect(unsafe_code, reason = "lends aligned buffers to tokio-uring")]
//! The same work by other runtimes over io_uring: compio and tokio-uring, as they are published.
//!
//! Reads are those of as many tasks as are in flight, each of which reads one block after the other: an operation is
//! a future there, and a task is what keeps it. compio has no operation that does nothing.
//!
//! fio's `t/io_uring`, which reads without looking at what it read, is no peer here: Debian's package of fio does not
//! have it.
//!
//! # Invariants
//! * buffers-live: the buffers are leaked.

use std::cell::{Cell, RefCell};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use anyhow::{Result, ensure};
use compio::io::{AsyncRead, AsyncReadAt, AsyncWriteExt};
use memmap2::MmapMut;

use super::nops::{NOPS, ns_per_nop, said};
use super::reads::{self, BLOCK, BLOCKS, Cache};
use crate::case::Contender;
use crate::stats::Random;
use crate::timing::per_second;

/// Bytes of an echo server's buffer, as tokio's has.
const ECHO_BUFFER: usize = 4096;

/// compio on one thread, set up for one.
fn compio_runtime(entries: u32) -> Result<compio::runtime::Runtime> {
    let mut ring = compio::driver::ProactorBuilder::new();
    ring.capacity(entries)
        .single_issuer(true)
        .defer_taskrun(true)
        .coop_taskrun(true)
        .taskrun_flag(true);
    let runtime = compio::runtime::RuntimeBuilder::new()
        .with_proactor(ring)
        .build()?;
    ensure!(
        runtime.driver_type().is_iouring(),
        "compio has no io_uring here"
    );
    Ok(runtime)
}

/// tokio-uring as it is: it waits for its ring by epoll, so the ring may not defer what it has to tell.
fn tokio_uring_runtime(entries: u32) -> Result<tokio_uring::Runtime> {
    let mut builder = tokio_uring::builder();
    builder.entries(entries);
    Ok(tokio_uring::Runtime::new(&builder)?)
}

/// What is read: shared by the tasks.
pub(super) struct Work {
    to_start: Cell<usize>,
    random: RefCell<Random>,
    wrong: Cell<u64>,
}

impl Work {
    /// The next block to read, if there is one.
    fn next(&self) -> Option<u64> {
        let left = self.to_start.get().checked_sub(1)?;
        self.to_start.set(left);
        Some(self.random.borrow_mut().below(BLOCKS) as u64)
    }

    /// Looks at what came of a read of `block`.
    fn check(&self, block: u64, count: &std::io::Result<usize>, bytes: &[u8]) {
        let is_right =
            count.as_ref().ok() == Some(&BLOCK) && bytes.starts_with(&block.to_le_bytes());
        self.wrong.set(self.wrong.get() + u64::from(!is_right));
    }
}

/// Blocks in pages of their own, which live for ever.
fn blocks(count: usize) -> Result<Vec<Block>> {
    let memory = Box::leak(Box::new(MmapMut::map_anon(count * BLOCK)?));
    Ok(memory.chunks_exact_mut(BLOCK).map(Block).collect())
}

/// A buffer of one block.
pub(super) struct Block(&'static mut [u8]);

// SAFETY: buffers-live.
unsafe impl tokio_uring::buf::IoBuf for Block {
    fn stable_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.0.len()
    }

    fn bytes_total(&self) -> usize {
        self.0.len()
    }
}

// SAFETY: buffers-live; all of it is initialized.
unsafe impl tokio_uring::buf::IoBufMut for Block {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    unsafe fn set_init(&mut self, _: usize) {}
}

/// A runtime that reads.
pub(super) trait Reader: Sized {
    fn open(cache: Cache, depth: u32) -> Result<Self>;

    /// Lets a task for each buffer read until there is no more work, and gives the buffers back.
    fn run(&self, buffers: Vec<Block>, work: &Rc<Work>) -> Vec<Block>;
}

/// By compio.
pub(super) struct Compio {
    runtime: compio::runtime::Runtime,
    file: compio::fs::File,
}

impl Reader for Compio {
    fn open(cache: Cache, depth: u32) -> Result<Self> {
        let runtime = compio_runtime(depth)?;
        let file = reads::open(cache)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mut options = compio::fs::OpenOptions::new();
        options.read(true);
        if cache == Cache::Bypassed {
            options.custom_flags(rustix::fs::OFlags::DIRECT.bits().cast_signed());
        }
        let file = runtime.block_on(options.open(path))?;
        Ok(Self { runtime, file })
    }

    fn run(&self, buffers: Vec<Block>, work: &Rc<Work>) -> Vec<Block> {
        let tasks = buffers.into_iter().map(|Block(mut buffer)| {
            let (file, work) = (self.file.clone(), Rc::clone(work));
            self.runtime.spawn(async move {
                while let Some(block) = work.next() {
                    let read = file.read_at(buffer, block * BLOCK as u64).await;
                    work.check(block, &read.0, read.1);
                    buffer = read.1;
                }
                Block(buffer)
            })
        });
        let tasks: Vec<_> = tasks.collect();
        self.runtime.block_on(async {
            let mut buffers = Vec::with_capacity(tasks.len());
            for task in tasks {
                buffers.push(task.await.expect("a task that does not panic"));
            }
            buffers
        })
    }
}

/// By tokio-uring.
pub(super) struct TokioUring {
    runtime: tokio_uring::Runtime,
    file: Rc<tokio_uring::fs::File>,
}

impl Reader for TokioUring {
    fn open(cache: Cache, depth: u32) -> Result<Self> {
        let runtime = tokio_uring_runtime(depth)?;
        let file = reads::open(cache)?;
        let file = runtime.block_on(async { tokio_uring::fs::File::from_std(file) });
        Ok(Self {
            runtime,
            file: Rc::new(file),
        })
    }

    fn run(&self, buffers: Vec<Block>, work: &Rc<Work>) -> Vec<Block> {
        self.runtime.block_on(async {
            let tasks = buffers.into_iter().map(|mut buffer| {
                let (file, work) = (Rc::clone(&self.file), Rc::clone(work));
                tokio_uring::spawn(async move {
                    while let Some(block) = work.next() {
                        let (count, back) = file.read_at(buffer, block * BLOCK as u64).await;
                        work.check(block, &count, back.0);
                        buffer = back;
                    }
                    buffer
                })
            });
            let tasks: Vec<_> = tasks.collect();
            let mut buffers = Vec::with_capacity(tasks.len());
            for task in tasks {
                buffers.push(task.await.expect("a task that does not panic"));
            }
            buffers
        })
    }
}

/// Keeps random reads in flight until all are done.
pub(super) struct RuntimeReads<R> {
    reader: R,
    buffers: Vec<Block>,
    cache: Cache,
    random: Random,
}

impl<R: Reader> RuntimeReads<R> {
    pub(super) fn new(cache: Cache, depth: u32) -> Result<Self> {
        Ok(Self {
            reader: R::open(cache, depth)?,
            buffers: blocks(depth as usize)?,
            cache,
            random: Random::new(1),
        })
    }

    /// Reads `count` random blocks; the count of those that hold another number than theirs.
    fn run(&mut self, count: usize) -> u64 {
        let random = std::mem::replace(&mut self.random, Random::new(1));
        let work = Rc::new(Work {
            to_start: Cell::new(count),
            random: RefCell::new(random),
            wrong: Cell::new(0),
        });
        self.buffers = self.reader.run(std::mem::take(&mut self.buffers), &work);
        let work = Rc::into_inner(work).expect("the tasks have ended");
        self.random = work.random.into_inner();
        work.wrong.get()
    }
}

impl<R: Reader> Contender for RuntimeReads<R> {
    fn answer(&mut self) -> Result<String> {
        let wrong = self.run(self.cache.reads());
        Ok(format!("{wrong} wrong blocks"))
    }

    fn round(&mut self) -> Result<f64> {
        let count = self.cache.reads();
        per_second(count, || {
            let wrong = self.run(count);
            ensure!(wrong == 0, "{wrong} wrong blocks");
            Ok(())
        })
    }
}

/// Operations of tokio-uring that do nothing, by a task for each that is in flight.
pub(super) struct TokioUringNops {
    runtime: tokio_uring::Runtime,
    batch: u32,
}

impl TokioUringNops {
    pub(super) fn new(batch: u32) -> Result<Self> {
        Ok(Self {
            runtime: tokio_uring_runtime(batch)?,
            batch,
        })
    }

    /// The count of those that succeeded.
    fn run(&self) -> u64 {
        let (batch, turns) = (self.batch, NOPS / self.batch);
        self.runtime.block_on(async {
            let tasks = (0..batch).map(|_| {
                tokio_uring::spawn(async move {
                    let mut count = 0;
                    for _ in 0..turns {
                        count += u64::from(tokio_uring::no_op().await.is_ok());
                    }
                    count
                })
            });
            let tasks: Vec<_> = tasks.collect();
            let mut count = 0;
            for task in tasks {
                count += task.await.expect("a task that does not panic");
            }
            count
        })
    }
}

impl Contender for TokioUringNops {
    fn answer(&mut self) -> Result<String> {
        Ok(said(self.run()))
    }

    fn round(&mut self) -> Result<f64> {
        ns_per_nop(self.batch, || Ok(self.run()))
    }
}

/// An echo server by compio.
pub(super) fn serve_compio(listener: TcpListener) -> Result<()> {
    let runtime = compio_runtime(256)?;
    runtime.block_on(async {
        let listener = compio::net::TcpListener::from_std(listener)?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let echo = async move {
                let mut buf = Vec::with_capacity(ECHO_BUFFER);
                loop {
                    buf.clear();
                    let read = stream.read(buf).await;
                    let Ok(1..) = read.0 else { return };
                    let written = stream.write_all(read.1).await;
                    if written.0.is_err() {
                        return;
                    }
                    buf = written.1;
                }
            };
            compio::runtime::spawn(echo).detach();
        }
    })
}

/// An echo server by tokio-uring.
pub(super) fn serve_tokio_uring(listener: TcpListener) -> Result<()> {
    let runtime = tokio_uring_runtime(256)?;
    runtime.block_on(async {
        let listener = tokio_uring::net::TcpListener::from_std(listener);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio_uring::spawn(async move {
                let mut buf = Vec::with_capacity(ECHO_BUFFER);
                loop {
                    buf.clear();
                    let (count, back) = stream.read(buf).await;
                    let Ok(1..) = count else { return };
                    let (written, back) = stream.write_all(back).await;
                    if written.is_err() {
                        return;
                    }
                    buf = back;
                }
            });
        }
    })
}
