//! The worker threads and their queues.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use crossbeam_deque::Injector;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::crew::Crew;
use super::deck::{Deck, Decks, OwnDeck};
use super::deque::until_settled;
use super::frames::{Board, Taken};
use super::job::Job;
use super::local::{self, Local};
use super::metrics::{Metrics, Record};
use super::nearness::{NODES, Topology};
use super::sleep::Sleep;
use crate::task::Priority;

/// How often a worker looks for work, yielding the CPU in between, before it sleeps: about as
/// long as a wake-up takes.
const SEARCH_ROUNDS: u32 = 32;

/// How many closures from outside are taken at once, at the most.
const FETCHED: usize = 32;

/// Worker threads, the queues they take from, and their sleep.
pub(crate) struct Workers {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the workers of one scheduler have in common.
pub(super) struct Shared {
    /// By priority, lowest first.
    queues: [Injector<Job>; 3],
    /// Closures from outside, of normal priority. Workers take several at once, so their order is not kept.
    outside: Injector<Job>,
    /// Each worker's own.
    pub(super) own: Vec<Arc<Deck>>,
    pub(super) boards: Vec<Arc<Board>>,
    pub(super) decks: Vec<Decks>,
    pub(super) records: Vec<Record>,
    pub(super) sleep: Sleep,
    pub(super) crew: Crew,
    stopping: AtomicBool,
    /// What waits is dropped, not run.
    aborting: AtomicBool,
}

/// How workers are to be.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    /// How many.
    pub(crate) count: usize,
    /// How many there may be at the most.
    pub(crate) most: usize,
    /// Their threads are `name-0`, `name-1`, ….
    pub(crate) name: &'a str,
    pub(crate) stack_bytes: Option<usize>,
    /// To which they are bound in turn, if there are any.
    pub(crate) cpus: &'a [usize],
    /// One worker whose choices follow from this.
    pub(crate) seed: Option<u64>,
}

impl<'a> Setup<'a> {
    /// `count` that are not bound.
    pub(crate) fn plain(count: usize, name: &'a str) -> Self {
        Self {
            count,
            most: count,
            name,
            stack_bytes: None,
            cpus: &[],
            seed: None,
        }
    }

    /// To which CPU a worker is bound.
    fn cpu_of(&self, worker: usize) -> Option<usize> {
        let turn = worker.checked_rem(self.cpus.len())?;
        self.cpus.get(turn).copied()
    }
}

/// Why workers do not start.
#[derive(Debug)]
pub(crate) enum StartError {
    Thread(io::Error),
    /// One cannot be bound to its CPU.
    Affinity(io::Error),
}

impl From<StartError> for io::Error {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Thread(error) | StartError::Affinity(error) => error,
        }
    }
}

/// Binds the calling thread to the CPU.
fn bind(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// What a worker does next.
enum Work {
    Job(Job),
    /// Jobs of a scope whose owner waits for them.
    Loot,
    /// The second half of somebody's join.
    Frame(Taken),
    /// None, as there are more workers than wanted.
    Surplus,
}

impl Workers {
    /// Starts them.
    pub(crate) fn start(setup: &Setup<'_>) -> Result<Arc<Self>, StartError> {
        let (shared, own) = Shared::new(setup.count, setup.most);
        let shared = Arc::new(shared);
        let workers = Self {
            shared: shared.clone(),
            threads: Mutex::default(),
        };
        let topology = match setup.cpus {
            [] => Topology::default(),
            _ => Topology::read(Path::new(NODES)),
        };
        let distance = |from, to| {
            let cpus = setup.cpu_of(from).zip(setup.cpu_of(to));
            cpus.map_or(0, |(from, to)| topology.distance(from, to))
        };
        for (index, own) in own.into_iter().enumerate() {
            let local = Local::new(index, own, shared.clone(), setup.seed, distance);
            workers.start_one(setup, local)?;
        }
        Ok(Arc::new(workers))
    }

    fn start_one(&self, setup: &Setup<'_>, local: Local) -> Result<(), StartError> {
        let index = local.index();
        let mut thread = thread::Builder::new().name(format!("{}-{index}", setup.name));
        if let Some(bytes) = setup.stack_bytes {
            thread = thread.stack_size(bytes);
        }
        let cpu = setup.cpu_of(index);
        let (sender, bound) = mpsc::sync_channel(1);
        let is_spare = index >= setup.count;
        let live = move || {
            let result = cpu.map_or(Ok(()), bind);
            let is_bound = result.is_ok();
            // Who starts workers that are not bound does not wait for it.
            let _ = sender.send(result);
            if is_bound {
                local.enter(|local| {
                    if is_spare {
                        local.shared().crew.stay_out();
                    }
                    work(local);
                });
            }
        };
        let thread = thread.spawn(live).map_err(StartError::Thread)?;
        self.threads().push(thread);
        match cpu {
            Some(_) => bound
                .recv()
                .unwrap_or_else(|gone| Err(io::Error::other(gone)))
                .map_err(StartError::Affinity),
            None => Ok(()),
        }
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job: to the calling worker's own queue if it is one of ours and the priority is
    /// normal, else to the shared queue of that priority, which keeps the order.
    pub(crate) fn push(&self, priority: Priority, job: Job) {
        let left = local::with(|local| match local {
            Some(local) if priority == Priority::Normal && local.is_of(&self.shared) => {
                local.own().push_here(job);
                None
            }
            _ => Some(job),
        });
        if let Some(job) = left {
            self.shared.queues[priority as usize].push(job);
        }
        self.shared.sleep.added();
    }

    /// As [`push`](Self::push), at normal priority, where the order does not matter.
    #[inline]
    pub(super) fn push_closure(&self, job: Job) {
        local::with(|local| match local {
            Some(local) if local.is_of(&self.shared) => local.own().push(job),
            _ => self.shared.outside.push(job),
        });
        self.shared.sleep.added();
    }

    /// Whether the calling thread is one of these workers.
    pub(crate) fn is_current(&self) -> bool {
        local::with(|local| local.is_some_and(|local| local.is_of(&self.shared)))
    }

    pub(crate) fn len(&self) -> usize {
        self.shared.crew.wanted()
    }

    /// How many there may be.
    pub(crate) fn most(&self) -> usize {
        self.shared.own.len()
    }

    /// Sets how many there are, from 1 to [`most`](Self::most).
    pub(super) fn resize(&self, count: usize) {
        self.shared.crew.resize(count);
    }

    /// Jobs that wait, in all queues.
    pub(crate) fn pending(&self) -> usize {
        self.queued() + self.shared.own.iter().map(|own| own.len()).sum::<usize>()
    }

    /// For each worker, the jobs in its own queue and the one it runs.
    pub(crate) fn loads(&self) -> Vec<usize> {
        let records = self.shared.records.iter();
        let own = self.shared.own.iter();
        own.zip(records)
            .map(|(own, record)| own.len() + usize::from(record.is_busy()))
            .collect()
    }

    pub(super) fn metrics(&self) -> Metrics {
        let records = self.shared.records.iter();
        let own = self.shared.own.iter();
        Metrics {
            workers: own
                .zip(records)
                .map(|(own, record)| record.read(own.len()))
                .collect(),
            queued: self.queued(),
        }
    }

    /// Jobs that wait for any worker.
    fn queued(&self) -> usize {
        let shared: usize = self.shared.queues.iter().map(Injector::len).sum();
        shared + self.shared.outside.len()
    }

    /// Has the workers drop what waits, then end.
    pub(super) fn abort(&self) {
        self.shared.aborting.store(true, Ordering::SeqCst);
        self.stop();
    }

    /// Has the workers end when every queue is empty, and waits for that; a worker that calls
    /// this does not wait for itself.
    pub(crate) fn stop(&self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.crew.end();
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
    let mut picks = 0_u32;
    let crew = &local.shared().crew;
    loop {
        if crew.has_surplus() {
            crew.go_out(|| local.hands_over());
        }
        while !crew.has_surplus()
            && let Some(job) = take(local, &mut picks)
        {
            run(local, job);
        }
        match search(local, &mut picks) {
            Some(Work::Job(job)) => run(local, job),
            Some(Work::Surplus) => {}
            Some(Work::Loot) => local.record().during(|| local.run_loot()),
            Some(Work::Frame(taken)) => {
                local.record().steals();
                local.record().during_task(|| local.run(taken));
            }
            None => return,
        }
    }
}

#[inline]
fn run(local: &Local, job: Job) {
    let shared = local.shared();
    // Before it runs: who has its result finds it counted.
    let ended = local.record().during_task(|| {
        if shared.aborting.load(Ordering::Relaxed) {
            job.drop_caught()
        } else {
            job.run_caught()
        }
    });
    // Nobody waits for a detached closure; the others contain what they run, but not what they drop.
    if let Err(panic) = ended {
        tracing::error!(
            message = super::panic_message(panic),
            "a closure on a worker panicked"
        );
    }
}

/// What to do next, when there was nothing at the first look; `None` when the worker is to end.
#[cold]
fn search(local: &Local, picks: &mut u32) -> Option<Work> {
    let shared = local.shared();
    shared.sleep.begin_search();
    local.begin_search();
    loop {
        for _ in 0..SEARCH_ROUNDS {
            if shared.crew.has_surplus() {
                shared.sleep.found(|| shared.has_work());
                return Some(Work::Surplus);
            }
            let work = take(local, picks).map(Work::Job);
            let work = work.or_else(|| local.loots_scopes().then_some(Work::Loot));
            if let Some(work) = work.or_else(|| local.take_frame().map(Work::Frame)) {
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
        let sleeps = || {
            local.ask_all();
            let stays = shared.has_work() || shared.stopping.load(Ordering::SeqCst);
            if !stays {
                local.record().parks();
            }
            stays
        };
        shared.sleep.sleep(sleeps);
    }
}

/// Picks of which 2 begin lower.
const PICKS: u32 = 16;

/// Takes a job: by priority, except that 2 picks of 16 begin lower, and those take turns at where jobs of normal priority wait,
/// so that nothing starves.
#[inline]
fn take(local: &Local, picks: &mut u32) -> Option<Job> {
    // Most picks are of this kind, and a small job is moved about as little as can be.
    let is_usual = *picks % (PICKS / 2) != PICKS / 2 - 1 && local.dice().is_none();
    if is_usual && local.shared().is_without(Priority::High) {
        let newest = local.own().pop_newest();
        if newest.is_some() {
            *picks = picks.wrapping_add(1);
            return newest;
        }
    }
    let job = take_in_order(local, *picks);
    *picks = picks.wrapping_add(u32::from(job.is_some()));
    job
}

fn take_in_order(local: &Local, picks: u32) -> Option<Job> {
    let order = match picks % PICKS {
        15 => [Priority::Low, Priority::Normal, Priority::High],
        7 => [Priority::Normal, Priority::High, Priority::Low],
        _ => [Priority::High, Priority::Normal, Priority::Low],
    };
    order.into_iter().find_map(|priority| match priority {
        Priority::Normal if picks % (PICKS / 2) == PICKS / 2 - 1 => {
            take_in_turn(local, picks / PICKS)
        }
        Priority::Normal => match local.dice() {
            // A look in vain, of which there may be any number, throws none.
            Some(dice) if local.shared().has_normal() && dice.flip() => {
                take_in_turn(local, dice.quarter())
            }
            _ => take_normal(local),
        },
        _ => queued(local.shared(), priority),
    })
}

fn take_normal(local: &Local) -> Option<Job> {
    let (own, shared) = (local.own(), local.shared());
    own.pop_newest()
        .or_else(|| queued(shared, Priority::Normal))
        .or_else(|| own.pop_below(|| shared.sleep.added()))
        .or_else(|| fetch(local))
        .or_else(|| local.steal())
}

/// Takes the oldest job of one of the four places where those of normal priority wait, each of which comes first at one turn: what
/// always has a job holds none of the others back.
fn take_in_turn(local: &Local, turn: u32) -> Option<Job> {
    let (own, shared) = (local.own(), local.shared());
    let oldest = |place| match place {
        0 => take_one(&shared.outside),
        1 => queued(shared, Priority::Normal),
        2 => own.pop_oldest_of_backlog(),
        _ => own.pop_oldest(),
    };
    let mut places = (0..4).map(|step| (turn + step) % 4);
    places.find_map(oldest).or_else(|| local.steal())
}

/// Takes a closure from outside, and some more into the worker's own queue, from where others may have them.
fn fetch(local: &Local) -> Option<Job> {
    let queue = &local.shared().outside;
    if queue.is_empty() {
        None
    } else {
        let first = local.own().fetch(queue, FETCHED);
        local.shared().sleep.added();
        first
    }
}

fn queued(shared: &Shared, priority: Priority) -> Option<Job> {
    take_one(&shared.queues[priority as usize])
}

fn take_one(queue: &Injector<Job>) -> Option<Job> {
    if queue.is_empty() {
        None
    } else {
        until_settled(|| queue.steal())
    }
}

impl Shared {
    /// For so many workers, of which so many are in at first; their decks come with it.
    pub(super) fn new(wanted: usize, count: usize) -> (Self, Vec<OwnDeck>) {
        let own: Vec<OwnDeck> = (0..count).map(|_| OwnDeck::new()).collect();
        let shared = Self {
            queues: std::array::from_fn(|_| Injector::new()),
            outside: Injector::new(),
            own: own.iter().map(|own| own.shared.clone()).collect(),
            boards: (0..count).map(|_| Arc::new(Board::new())).collect(),
            decks: (0..count).map(|_| Decks::default()).collect(),
            records: (0..count).map(|_| Record::default()).collect(),
            sleep: Sleep::new(),
            crew: Crew::new(wanted, count),
            stopping: AtomicBool::new(false),
            aborting: AtomicBool::new(false),
        };
        (shared, own)
    }

    /// Adds a closure for any worker; [`Sleep::added`] must follow.
    pub(super) fn add_outside(&self, job: Job) {
        self.outside.push(job);
    }

    #[inline]
    fn is_without(&self, priority: Priority) -> bool {
        self.queues[priority as usize].is_empty()
    }

    /// Whether a job of normal priority waits that is of no scope.
    fn has_normal(&self) -> bool {
        !self.is_without(Priority::Normal)
            || !self.outside.is_empty()
            || !self.own.iter().all(|own| own.is_empty())
    }

    fn has_work(&self) -> bool {
        !self.queues.iter().all(Injector::is_empty)
            || !self.outside.is_empty()
            || !self.own.iter().all(|own| own.is_empty())
            || !self.decks.iter().all(Decks::is_empty)
            || self.boards.iter().any(|board| board.look().is_some())
    }
}
