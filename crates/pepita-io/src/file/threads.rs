#![expect(unsafe_code, reason = "hands the memory of requests to the kernel")]
//! A lane over threads of the device's, which make a system call for each step.
//!
//! A job goes from the lane into the queue of the [`Pool`], to a thread, and into the lane's [`Outbox`]; the
//! lane ends its request. Whoever has it owns it.

use std::collections::VecDeque;
use std::mem;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pepita_sys::blk_mq::Request;
use pepita_sys::error::{Errno, Result};

use super::backing::{Backing, bell, errno_of};
use super::calls;
use super::error::FileDeviceError;
use super::job::{Bounce, Job};

/// How long a dropped lane waits for its threads.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// How a job ended.
type Ended = (Job, std::result::Result<(), Errno>);

/// The threads of a device.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads have, which outlives the device where one of them hangs.
#[derive(Debug)]
struct Shared {
    backing: Arc<Backing>,
    queue: Mutex<Queue>,
    /// Something was added to the queue, or it closes.
    added: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<(Job, Arc<Outbox>)>,
    /// Count of threads at work.
    busy: usize,
    is_closing: bool,
}

/// Where the threads put the jobs of a lane.
#[derive(Debug)]
struct Outbox {
    ended: Mutex<Vec<Ended>>,
    added: Condvar,
    /// Readable as long as `ended` has something in it, under whose lock it is changed.
    bell: OwnedFd,
}

/// A lock that a panic elsewhere does not close: no lock is held where something could panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    pub(super) fn new(
        backing: &Arc<Backing>,
        count: NonZeroUsize,
    ) -> std::result::Result<Self, FileDeviceError> {
        let mut pool = Self {
            shared: Arc::new(Shared {
                backing: Arc::clone(backing),
                queue: Mutex::default(),
                added: Condvar::new(),
            }),
            threads: Vec::new(),
        };
        for _ in 0..count.get() {
            let shared = Arc::clone(&pool.shared);
            let thread = thread::Builder::new()
                .name("pepita-file".to_owned())
                .spawn(move || shared.work())
                .map_err(|error| FileDeviceError::Threads(errno_of(&error)))?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }
}

impl Drop for Pool {
    /// Ends the threads. One that hangs in the kernel is left behind, with the file.
    fn drop(&mut self) {
        let is_idle = {
            let mut queue = lock(&self.shared.queue);
            queue.is_closing = true;
            queue.busy == 0
        };
        self.shared.added.notify_all();
        if is_idle {
            for thread in self.threads.drain(..) {
                let _ = thread.join();
            }
        }
    }
}

impl Shared {
    /// What a thread does.
    fn work(&self) {
        let mut bounce = Bounce::default();
        while let Some((mut job, outbox)) = self.next() {
            let result = self.serve(&mut job, &mut bounce);
            outbox.put((job, result));
            drop(outbox);
            lock(&self.queue).busy -= 1;
        }
    }

    fn next(&self) -> Option<(Job, Arc<Outbox>)> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.is_closing {
                return None;
            }
            if let Some(next) = queue.jobs.pop_front() {
                queue.busy += 1;
                return Some(next);
            }
            let woken = self.added.wait(queue);
            queue = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Does everything that `job` takes.
    fn serve(&self, job: &mut Job, bounce: &mut Bounce) -> std::result::Result<(), Errno> {
        loop {
            let step = job.step(bounce)?;
            // SAFETY: *backed*, *listed*: the job has its request; the bounce buffer is this thread's.
            let result = unsafe { calls::call(self.backing.fd(), step) };
            if let Some(end) = job.advance(result, &self.backing, bounce) {
                return end;
            }
        }
    }
}

impl Outbox {
    fn put(&self, ended: Ended) {
        let mut all = lock(&self.ended);
        if all.is_empty() {
            // It has room for 2⁶⁴ - 2 of them.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
        all.push(ended);
        drop(all);
        self.added.notify_one();
    }

    /// Takes all, and leaves `room`, which is empty.
    fn take(&self, room: &mut Vec<Ended>) {
        let mut all = lock(&self.ended);
        if !all.is_empty() {
            let _ = rustix::io::read(&self.bell, &mut [0; 8]);
            mem::swap(&mut *all, room);
        }
    }
}

/// A lane over the threads of its device.
#[derive(Debug)]
pub(super) struct ThreadLane<'d> {
    pool: &'d Pool,
    backing: &'d Backing,
    outbox: Arc<Outbox>,
    /// What `commit` sends.
    gathered: Vec<Job>,
    /// Room for what comes back.
    ended: Vec<Ended>,
    /// Count of jobs that are gathered, or with the pool.
    in_flight: usize,
    depth: usize,
}

impl<'d> ThreadLane<'d> {
    pub(super) fn new(pool: &'d Pool, backing: &'d Backing, depth: u16) -> Result<Self> {
        let depth = usize::from(depth);
        let bell = bell()?;
        lock(&pool.shared.queue).jobs.reserve(depth);
        Ok(Self {
            pool,
            backing,
            outbox: Arc::new(Outbox {
                ended: Mutex::new(Vec::with_capacity(depth)),
                added: Condvar::new(),
                bell,
            }),
            gathered: Vec::with_capacity(depth),
            ended: Vec::with_capacity(depth),
            in_flight: 0,
            depth,
        })
    }

    pub(super) fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        if self.in_flight == self.depth {
            return Err(request);
        }
        if let Some(job) = Job::start(request, self.backing) {
            self.gathered.push(job);
            self.in_flight += 1;
        }
        Ok(())
    }

    pub(super) fn commit(&mut self) {
        let count = self.gathered.len();
        if count == 0 {
            return;
        }
        let with_outbox = |job| (job, Arc::clone(&self.outbox));
        let mut queue = lock(&self.pool.shared.queue);
        queue.jobs.extend(self.gathered.drain(..).map(with_outbox));
        drop(queue);
        for _ in 0..count.min(self.pool.threads.len()) {
            self.pool.shared.added.notify_one();
        }
    }

    pub(super) fn poll(&mut self) {
        self.commit();
        self.outbox.take(&mut self.ended);
        self.in_flight -= self.ended.len();
        for (job, result) in self.ended.drain(..) {
            job.complete(result);
        }
    }

    pub(super) fn descriptor(&self) -> i32 {
        self.outbox.bell.as_raw_fd()
    }
}

impl Drop for ThreadLane<'_> {
    /// Takes back what no thread has begun, and waits for the rest. What is late ends on its thread.
    fn drop(&mut self) {
        let deadline = Instant::now() + DRAIN_LIMIT;
        let mut kept = mem::take(&mut self.gathered);
        let mut queue = lock(&self.pool.shared.queue);
        for _ in 0..queue.jobs.len() {
            let Some((job, outbox)) = queue.jobs.pop_front() else {
                break;
            };
            if Arc::ptr_eq(&outbox, &self.outbox) {
                kept.push(job);
            } else {
                queue.jobs.push_back((job, outbox));
            }
        }
        drop(queue);
        let begun = self.in_flight - kept.len();
        let mut ended = lock(&self.outbox.ended);
        while ended.len() < begun {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.outbox.added.wait_timeout(ended, left);
            ended = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        let ended = mem::take(&mut *ended);
        for job in kept {
            job.complete(Err(Errno::EIO));
        }
        for (job, result) in ended {
            job.complete(result);
        }
    }
}
