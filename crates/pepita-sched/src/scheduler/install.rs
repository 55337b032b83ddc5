#![expect(
    unsafe_code,
    reason = "what is installed lies on the stack of who waits for it"
)]
//! Work from outside that its caller waits for, and that may borrow for it.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread::{self, Thread};

use super::job::Job;
use super::latch::Latch;
use super::workers::Workers;
use crate::task::Priority;

/// How often the caller looks before it sleeps.
const ROUNDS: u32 = 16;

/// A closure, and the place for its result.
///
/// # Invariants
/// * *in-turn*: the closure is the worker's until the latch is set, then the result is the caller's.
struct Installed<F, R> {
    latch: Latch,
    caller: Thread,
    closure: UnsafeCell<Option<F>>,
    result: UnsafeCell<Option<Result<R, Box<dyn Any + Send>>>>,
}

/// Leads to the caller's stack.
struct Remote<F, R>(*const Installed<F, R>);

// SAFETY: in-turn: what is there is used by one thread at a time, and both parts are `Send`.
unsafe impl<F: Send, R: Send> Send for Remote<F, R> {}

impl<F: FnOnce() -> R, R> Remote<F, R> {
    fn run(self) {
        // SAFETY: in-turn: the caller waits for the latch, which this sets.
        unsafe { &*self.0 }.run();
    }
}

impl<F: FnOnce() -> R, R> Installed<F, R> {
    fn run(&self) {
        // SAFETY: in-turn: the latch is not set.
        let closure = unsafe { &mut *self.closure.get() }.take();
        let result = closure.map(|closure| catch_unwind(AssertUnwindSafe(closure)));
        // SAFETY: in-turn: the latch is not set.
        unsafe { *self.result.get() = result };
        // After the latch is set nothing of it may be used.
        let caller = self.caller.clone();
        if self.latch.set() {
            caller.unpark();
        }
    }
}

/// Runs `work` on a worker, and waits.
pub(super) fn install<F, R>(workers: &Workers, work: F) -> R
where
    F: FnOnce() -> R + Send,
    R: Send,
{
    if workers.is_current() {
        return work();
    }
    let installed = Installed {
        latch: Latch::new(),
        caller: thread::current(),
        closure: UnsafeCell::new(Some(work)),
        result: UnsafeCell::new(None),
    };
    let remote = Remote(&raw const installed);
    // SAFETY: in-turn: what is borrowed lives until the latch is set, and the caller waits for that. Jobs of a priority are
    // never dropped instead: who calls this has the scheduler, so that is not shut down.
    let job = unsafe { Job::borrowing(move || remote.run()) };
    workers.push(Priority::Normal, job);
    let mut rounds = 0;
    while !installed.latch.is_set() {
        rounds += 1;
        if rounds < ROUNDS {
            thread::yield_now();
        } else {
            installed.latch.sleep(thread::park);
        }
    }
    match installed.result.into_inner() {
        Some(Ok(result)) => result,
        Some(Err(panic)) => resume_unwind(panic),
        None => unreachable!("the latch is set after the result"),
    }
}
