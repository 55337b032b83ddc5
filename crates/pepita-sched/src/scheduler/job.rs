#![expect(
    unsafe_code,
    reason = "a closure is kept as words, and may borrow for longer than the compiler sees"
)]
//! [`Job`]: a closure of any type that a worker runs once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use std::mem::{ManuallyDrop, MaybeUninit, align_of, size_of};

/// Words of a closure that a job holds in itself.
const WORDS: usize = 3;

/// Room for a closure, or for the address of one.
type Room = [MaybeUninit<usize>; WORDS];

/// What becomes of the closure.
enum End {
    Run,
    Drop,
}

/// A closure, which is run or dropped, and is either once. One of up to three words is held in the job, so that no memory
/// is taken for it.
///
/// # Invariants
/// * *of-its-type*: `end` was made for the type of the closure that lies in `room`.
/// * *ends-once*: `end` is called by [`run`](Self::run), or by the drop.
pub(crate) struct Job {
    end: unsafe fn(&mut Room, End),
    room: Room,
}

// SAFETY: jobs are made of closures that are `Send`.
unsafe impl Send for Job {}

impl Job {
    /// A job that may be kept for any time.
    #[inline]
    pub(crate) fn new<F: FnOnce() + Send + 'static>(closure: F) -> Self {
        // SAFETY: the closure borrows nothing.
        unsafe { Self::borrowing(closure) }
    }

    /// A job whose closure may borrow.
    ///
    /// # Safety
    /// What the closure borrows lives until the job was run or dropped.
    #[inline]
    pub(super) unsafe fn borrowing<F: FnOnce() + Send>(closure: F) -> Self {
        let mut room = [MaybeUninit::uninit(); WORDS];
        let end = if fits::<F>() {
            // SAFETY: `fits`: the room has the size and the alignment.
            unsafe { room.as_mut_ptr().cast::<F>().write(closure) };
            end_of_held::<F>
        } else {
            let address = Box::into_raw(Box::new(closure));
            // SAFETY: the room holds an address.
            unsafe { room.as_mut_ptr().cast::<*mut F>().write(address) };
            end_of_boxed::<F>
        };
        Self { end, room }
    }

    /// Runs the closure, and catches its panic.
    #[inline]
    pub(super) fn run_caught(self) -> thread::Result<()> {
        self.end_caught(End::Run)
    }

    /// Drops the closure, and catches its panic.
    pub(super) fn drop_caught(self) -> thread::Result<()> {
        self.end_caught(End::Drop)
    }

    #[inline]
    fn end_caught(self, how: End) -> thread::Result<()> {
        let mut job = ManuallyDrop::new(self);
        // The job is gone after a panic.
        catch_unwind(AssertUnwindSafe(|| {
            let end = job.end;
            // SAFETY: of-its-type, ends-once.
            unsafe { end(&mut job.room, how) };
        }))
    }

    /// Runs the closure.
    #[inline]
    pub(super) fn run(self) {
        let mut job = ManuallyDrop::new(self);
        let end = job.end;
        // SAFETY: of-its-type, ends-once.
        unsafe { end(&mut job.room, End::Run) };
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // SAFETY: of-its-type, ends-once.
        unsafe { (self.end)(&mut self.room, End::Drop) };
    }
}

const fn fits<F>() -> bool {
    size_of::<F>() <= size_of::<Room>() && align_of::<F>() <= align_of::<Room>()
}

unsafe fn end_of_held<F: FnOnce()>(room: &mut Room, end: End) {
    // SAFETY: of-its-type, ends-once.
    let closure = unsafe { room.as_ptr().cast::<F>().read() };
    match end {
        End::Run => closure(),
        End::Drop => drop(closure),
    }
}

unsafe fn end_of_boxed<F: FnOnce()>(room: &mut Room, end: End) {
    // SAFETY: of-its-type: the first word is an address.
    let address = unsafe { room.as_ptr().cast::<*mut F>().read() };
    // SAFETY: ends-once: it is that of a box, which was let go for this.
    let closure = unsafe { Box::from_raw(address) };
    match end {
        End::Run => closure(),
        End::Drop => drop(closure),
    }
}

#[cfg(all(test, not(pepita_loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Does not lie in words.
    #[derive(Clone, Copy)]
    #[repr(align(64))]
    struct Wide(usize);

    #[test]
    fn a_job_runs_or_drops_its_closure_once_whatever_its_size() {
        let ran = Arc::new(AtomicUsize::new(0));
        let jobs = |ran: &Arc<AtomicUsize>| {
            let count = |ran: &AtomicUsize, by: usize| {
                ran.fetch_add(by, Ordering::Relaxed);
            };
            let (a, b, c) = (ran.clone(), ran.clone(), ran.clone());
            let (big, wide) = ([1; 100], Wide(1));
            [
                Job::new(move || count(&a, 1)),
                Job::new(move || count(&b, big[99])),
                Job::new(move || count(&c, wide.0)),
            ]
        };
        jobs(&ran).into_iter().for_each(Job::run);
        assert_eq!(
            (ran.load(Ordering::Relaxed), Arc::strong_count(&ran)),
            (3, 1)
        );
        drop(jobs(&ran));
        assert_eq!(
            (ran.load(Ordering::Relaxed), Arc::strong_count(&ran)),
            (3, 1)
        );
    }
}
