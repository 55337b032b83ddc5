//! The worker threads and their queues.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crossbeam_deque::Injector;

use super::deque::{Stealer, WorkerDeque, until_settled};
use super::frames::{Board, Taken};
use super::local::{self, Local};
use super::sleep::Sleep;
use crate::task::Priority;

/// A job: runs once, on a worker; must not unwind.
pub(crate) trait Runnable: Send + Sync {
    fn run(self: Arc<Self>, worker: usize);
}

pub(super) type Job = Arc<dyn Runnable>;

/// How often a worker looks for work, yielding the CPU in between, before it sleeps: about as
/// long as a wake-up takes.
const SEARCH_ROUNDS: u32 = 32;

/// Worker threads, the queues they take from, and their sleep.
pub(crate) struct Workers {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the workers of one scheduler have in common.
pub(super) struct Shared {
    /// By priority, lowest first.
    queues: [Injector<Job>; 3],
    stealers: Vec<Stealer<Job>>,
    pub(super) boards: Vec<Arc<Board>>,
    busy: Vec<AtomicBool>,
    pub(super) sleep: Sleep,
    stopping: AtomicBool,
}

/// What a worker does next.
enum Work {
    Job(Job),
    /// The second half of somebody's join.
    Frame(Taken),
}

impl Workers {
    /// Starts `count` threads, named `name-0`, `name-1`, ….
    pub(crate) fn start(count: usize, name: &str) -> io::Result<Arc<Self>> {
        let deques: Vec<WorkerDeque<Job>> = (0..count).map(|_| WorkerDeque::new()).collect();
        let shared = Arc::new(Shared {
            queues: std::array::from_fn(|_| Injector::new()),
            stealers: deques.iter().map(WorkerDeque::stealer).collect(),
            boards: (0..count).map(|_| Arc::new(Board::new())).collect(),
            busy: (0..count).map(|_| AtomicBool::new(false)).collect(),
            sleep: Sleep::new(),
            stopping: AtomicBool::new(false),
        });
        let workers = Self {
            shared: shared.clone(),
            threads: Mutex::default(),
        };
        for (index, deque) in deques.into_iter().enumerate() {
            let local = Local::new(index, deque, shared.clone());
            let thread = thread::Builder::new()
                .name(format!("{name}-{index}"))
                .spawn(move || local.enter(work))?;
            workers.threads().push(thread);
        }
        Ok(Arc::new(workers))
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job: to the calling worker's own queue if it is one of ours and the priority is
    /// normal, else to the shared queue of that priority.
    pub(crate) fn push(&self, priority: Priority, job: Job) {
        let left = local::with(|local| match local {
            Some(local) if priority == Priority::Normal && local.is_of(&self.shared) => {
                local.deque().push(job);
                None
            }
            _ => Some(job),
        });
        if let Some(job) = left {
            self.shared.queues[priority as usize].push(job);
        }
        self.shared.sleep.added();
    }

    /// Whether the calling thread is one of these workers.
    pub(crate) fn is_current(&self) -> bool {
        local::with(|local| local.is_some_and(|local| local.is_of(&self.shared)))
    }

    pub(crate) fn len(&self) -> usize {
        self.shared.stealers.len()
    }

    /// Jobs that wait, in all queues.
    pub(crate) fn pending(&self) -> usize {
        let shared: usize = self.shared.queues.iter().map(Injector::len).sum();
        shared + self.shared.stealers.iter().map(Stealer::len).sum::<usize>()
    }

    /// For each worker, the jobs in its own queue and the one it runs.
    pub(crate) fn loads(&self) -> Vec<usize> {
        let busy = self
            .shared
            .busy
            .iter()
            .map(|busy| usize::from(busy.load(Ordering::Relaxed)));
        self.shared
            .stealers
            .iter()
            .zip(busy)
            .map(|(own, busy)| own.len() + busy)
            .collect()
    }

    /// Has the workers end when every queue is empty, and waits for that; a worker that calls
    /// this does not wait for itself.
    pub(crate) fn stop(&self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.sleep.wake_all();
        let current = thread::current().id();
        let threads = std::mem::take(&mut *self.threads());
        for thread in threads {
            if thread.thread().id() != current {
                // A worker does not unwind: jobs catch what they run.
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The life of a worker.
fn work(local: &Local) {
    let (index, shared) = (local.index(), local.shared());
    let mut picks = 0_u32;
    while let Some(work) = next_work(local, &mut picks) {
        shared.busy[index].store(true, Ordering::Relaxed);
        match work {
            Work::Job(job) => {
                // Jobs contain what they run; this is for what they drop.
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job.run(index))) {
                    tracing::error!(
                        message = super::panic_message(panic),
                        "a job panicked at its end"
                    );
                }
            }
            Work::Frame(taken) => local.run(taken),
        }
        shared.busy[index].store(false, Ordering::Relaxed);
    }
}

/// What to do next; `None` when the worker is to end.
fn next_work(local: &Local, picks: &mut u32) -> Option<Work> {
    if let Some(job) = take(local, picks) {
        return Some(Work::Job(job));
    }
    let shared = local.shared();
    shared.sleep.begin_search();
    loop {
        for _ in 0..SEARCH_ROUNDS {
            let job = take(local, picks).map(Work::Job);
            if let Some(work) = job.or_else(|| local.take_frame().map(Work::Frame)) {
                shared.sleep.found(|| shared.has_work());
                if shared.sleep.may_call() {
                    local.ask_all();
                }
                return Some(work);
            }
            if shared.stopping.load(Ordering::SeqCst) && !shared.has_work() {
                shared.sleep.found(|| false);
                return None;
            }
            local::pause();
        }
        shared.sleep.sleep(|| {
            local.ask_all();
            shared.has_work() || shared.stopping.load(Ordering::SeqCst)
        });
    }
}

/// Takes a job: by priority, except that 2 picks of 16 begin lower, and those look at the shared
/// queue before the worker's own, so that nothing starves.
fn take(local: &Local, picks: &mut u32) -> Option<Job> {
    let (index, shared) = (local.index(), local.shared());
    let (order, shared_first) = match *picks % 16 {
        15 => ([Priority::Low, Priority::Normal, Priority::High], true),
        7 => ([Priority::Normal, Priority::High, Priority::Low], true),
        _ => ([Priority::High, Priority::Normal, Priority::Low], false),
    };
    let normal = || {
        let job = if shared_first {
            queued(shared, Priority::Normal).or_else(|| local.deque().pop())
        } else {
            local
                .deque()
                .pop()
                .or_else(|| queued(shared, Priority::Normal))
        };
        job.or_else(|| steal(shared, index))
    };
    let job = order.into_iter().find_map(|priority| match priority {
        Priority::Normal => normal(),
        _ => queued(shared, priority),
    });
    *picks = picks.wrapping_add(u32::from(job.is_some()));
    job
}

fn queued(shared: &Shared, priority: Priority) -> Option<Job> {
    let queue = &shared.queues[priority as usize];
    if queue.is_empty() {
        None
    } else {
        until_settled(|| queue.steal())
    }
}

fn steal(shared: &Shared, index: usize) -> Option<Job> {
    let count = shared.stealers.len();
    (1..count).find_map(|step| shared.stealers[(index + step) % count].steal())
}

impl Shared {
    fn has_work(&self) -> bool {
        !self.queues.iter().all(Injector::is_empty)
            || !self.stealers.iter().all(Stealer::is_empty)
            || self.boards.iter().any(|board| board.look().is_some())
    }
}
