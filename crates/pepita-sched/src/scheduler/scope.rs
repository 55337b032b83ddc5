#![expect(
    unsafe_code,
    reason = "jobs of a scope borrow from a stack whose owner waits for them"
)]
//! [`scope`]: jobs that borrow, and that have all ended when it returns.

use std::any::Any;
use std::fmt;
use std::hint::spin_loop;
use std::iter;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};

use super::deck::OwnDeck;
use super::job::Job;
use super::local::{self, Local};
use super::tally::Tally;
use super::workers::Shared;

/// How often the owner looks before it sleeps: some times it spins, then it yields the CPU.
const SPIN_ROUNDS: u32 = 40;
const WAIT_ROUNDS: u32 = 100;

type Panic = Box<dyn Any + Send>;

/// A scope that is open; made by [`scope`].
///
/// # Invariants
/// * *stays*: a scope stays where it is until all its jobs have ended: [`scope`] waits for them, whatever panics.
/// * *owner's-deck*: what `own` leads to lives as long as the scope, and is used by its owner's thread alone.
pub struct Scope<'scope> {
    tally: Tally,
    /// Names the owner's thread.
    owner: *const (),
    thread: Thread,
    own: *const OwnDeck,
    deck: Arc<super::deck::Deck>,
    workers: Option<Arc<Shared>>,
    panic: Mutex<Option<Panic>>,
    /// What jobs borrow may be neither shorter nor longer.
    borrows: PhantomData<fn(&'scope ()) -> &'scope ()>,
}

// SAFETY: owner's-deck: `own` is used where `is_own` has said so; all else may be shared.
unsafe impl Sync for Scope<'_> {}

/// Leads to a scope from its jobs.
struct Home<'scope>(*const Scope<'scope>);

// SAFETY: a scope may be shared, and stays until its jobs have ended.
unsafe impl Send for Home<'_> {}

impl<'scope> Home<'scope> {
    /// Runs a job, and says that it has ended.
    #[inline]
    fn run(self, job: impl FnOnce(&Scope<'scope>)) {
        // SAFETY: stays: this job has not ended.
        let scope = unsafe { &*self.0 };
        let is_own = scope.is_own();
        // The panic goes on in the owner, which is who could see what it left half done.
        let run = || catch_unwind(AssertUnwindSafe(|| job(scope)));
        let result = if is_own {
            run()
        } else {
            let result = local::serving(scope.address(), &scope.tally.latch, &scope.thread, run);
            scope.share_loot();
            result
        };
        if let Err(panic) = result {
            scope.keep(panic);
        }
        if is_own {
            scope.tally.end_own();
        } else if scope.tally.end() {
            // After the latch is set nothing of it may be used.
            let owner = scope.thread.clone();
            if scope.tally.latch.set() {
                owner.unpark();
            }
        }
    }
}

impl<'scope> Scope<'scope> {
    fn new(own: &OwnDeck, workers: Option<Arc<Shared>>) -> Self {
        Self {
            tally: Tally::new(),
            owner: local::thread_mark(),
            thread: thread::current(),
            own,
            deck: own.shared.clone(),
            workers,
            panic: Mutex::new(None),
            borrows: PhantomData,
        }
    }

    /// Runs `job` on a worker, before the scope ends. It gets the scope, to spawn others there.
    ///
    /// A job of up to two words takes no memory of its own.
    ///
    /// What it captures must live as long as the scope:
    ///
    /// ```compile_fail,E0373
    /// pepita_sched::scheduler::scope(|scope| {
    ///     let inside = 1;
    ///     scope.spawn(|_| assert_eq!(inside, 1));
    /// });
    /// ```
    ///
    /// and must be `Send`:
    ///
    /// ```compile_fail,E0277
    /// let counter = std::rc::Rc::new(1);
    /// pepita_sched::scheduler::scope(|scope| scope.spawn(|_| assert_eq!(*counter, 1)));
    /// ```
    ///
    /// The scope itself does not leave:
    ///
    /// ```compile_fail,E0521
    /// let mut escaped = None;
    /// pepita_sched::scheduler::scope(|scope| escaped = Some(scope));
    /// ```
    #[inline]
    pub fn spawn<F>(&self, job: F)
    where
        F: FnOnce(&Self) + Send + 'scope,
    {
        let home = Home(ptr::from_ref(self));
        // SAFETY: what it borrows lives as long as the scope, which stays until the job has ended.
        let job = unsafe { Job::borrowing(move || home.run(job)) };
        if self.is_own() {
            self.tally.add_own();
            // SAFETY: owner's-deck: this is the owner.
            unsafe { &*self.own }.push(job);
            if let Some(workers) = &self.workers {
                workers.sleep.added();
            }
        } else {
            self.spawn_from_elsewhere(job);
        }
    }

    #[cold]
    fn spawn_from_elsewhere(&self, job: Job) {
        self.tally.add();
        self.deck.add(iter::once(job));
        self.tell();
    }

    /// Other jobs that were taken together with the one that ends here go back if somebody wants them.
    #[inline]
    fn share_loot(&self) {
        let owner_sleeps = self.tally.latch.is_asleep();
        let gives = |local: &Local| local.gives_back(&self.deck, owner_sleeps);
        if local::with(|local| local.is_some_and(gives)) {
            self.tell();
        }
    }

    /// Jobs were added by another thread than the owner's.
    #[cold]
    fn tell(&self) {
        match &self.workers {
            Some(workers) => workers.sleep.added(),
            None => fence(Ordering::SeqCst),
        }
        // The owner takes itself off the latch if it sees the job, which the fence is for.
        let latch = &self.tally.latch;
        if latch.is_asleep() && latch.rouse() {
            self.thread.unpark();
        }
    }

    #[inline]
    fn is_own(&self) -> bool {
        ptr::eq(self.owner, local::thread_mark())
    }

    fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    /// Keeps the first panic.
    #[cold]
    fn keep(&self, panic: Panic) {
        let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            *first = Some(panic);
        } else {
            drop(first);
            super::panic_message(panic);
        }
    }

    /// Waits until all jobs have ended, and runs those that nobody has begun.
    fn wait(&self, local: Option<&Local>) {
        // SAFETY: owner's-deck: this is the owner.
        let own = unsafe { &*self.own };
        let record = local.map(Local::record);
        let mut rounds = 0;
        loop {
            let added = || {
                if let Some(workers) = &self.workers {
                    workers.sleep.added();
                }
            };
            let job = match local {
                Some(local) => local.pop_of(own, added),
                None => own.pop(added),
            };
            if let Some(job) = job {
                if let Some(record) = record {
                    record.runs();
                }
                job.run();
                rounds = 0;
                continue;
            }
            self.tally.close();
            if self.tally.is_over() {
                return;
            }
            if local.is_some_and(|local| local.help(self.address(), rounds)) {
                rounds = 0;
                continue;
            }
            rounds += 1;
            if rounds < SPIN_ROUNDS {
                spin_loop();
            } else if rounds < WAIT_ROUNDS {
                thread::yield_now();
            } else {
                self.sleep(local);
                rounds = SPIN_ROUNDS;
            }
        }
    }

    fn sleep(&self, local: Option<&Local>) {
        let latch = &self.tally.latch;
        latch.sleep(|| {
            fence(Ordering::SeqCst);
            if self.deck.is_empty() {
                // Who runs a job sees that this worker sleeps at a join, of which there may be none that looks.
                if let Some(local) = local {
                    local.ask_servers(self.address());
                }
                thread::park();
            } else {
                // Somebody has added a job; if it has roused us too, the unpark is for the next time.
                let _ = latch.rouse();
            }
        });
    }
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

/// Calls `body` with a scope in which it can spawn jobs that borrow, and returns when all of them have ended.
///
/// Jobs are run by workers that have nothing else to do, and by the calling thread once `body` has returned; while it waits
/// it runs jobs of this scope, and parts of them, and nothing else: so a lock that the caller holds cannot be wanted by
/// unrelated work on top of it.
///
/// Outside of a scheduler the calling thread runs them all; see [`Scheduler::scope`](super::Scheduler::scope).
///
/// # Panics
/// With the panic of `body`, else with the first one of a job; in either case after all jobs have ended.
///
/// ```
/// use pepita_sched::scheduler::{Scheduler, scope};
///
/// let scheduler = Scheduler::with_workers(2);
/// let mut words = ["one", "two", "three"].map(str::to_owned);
/// scheduler.scope(|scope| {
///     for word in &mut words {
///         scope.spawn(|_| word.make_ascii_uppercase());
///     }
/// });
/// assert_eq!(words, ["ONE", "TWO", "THREE"]);
/// ```
pub fn scope<'scope, F, R>(body: F) -> R
where
    F: FnOnce(&Scope<'scope>) -> R,
{
    local::with(|local| {
        let own = local.map_or_else(OwnDeck::new, Local::open_deck);
        let scope = Scope::new(&own, local.map(|local| local.shared().clone()));
        // The caller goes on with the panic after the jobs have ended.
        let result = catch_unwind(AssertUnwindSafe(|| body(&scope)));
        scope.wait(local);
        if let Some(local) = local {
            local.close_deck(own);
        }
        let panic = scope.panic.into_inner();
        let panic = panic.unwrap_or_else(PoisonError::into_inner);
        match (result, panic) {
            (Ok(result), None) => result,
            (Err(panic), _) | (Ok(_), Some(panic)) => resume_unwind(panic),
        }
    })
}
