#![expect(
    unsafe_code,
    reason = "frames of joins lie on stacks, and are reached from other threads"
)]
//! [`join`]: two closures, the second of which another worker may take. The protocol is in [`frames`](super::frames).

use std::any::Any;
use std::cell::UnsafeCell;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;

use super::frames::Header;
use super::local::{self, Local};

type Caught<R> = Result<R, Box<dyn Any + Send>>;

/// The second closure of a join, and the place for its result if a thief runs it.
///
/// # Invariants
/// * *once*: as in [`frames`](super::frames): the closure is taken by its owner, or by the one thief.
/// * *result-set*: the latch is set by a thief only, after it wrote the result.
#[repr(C)]
struct Frame<B, R> {
    /// Written when the frame is put on offer.
    header: UnsafeCell<MaybeUninit<Header>>,
    closure: UnsafeCell<ManuallyDrop<B>>,
    result: UnsafeCell<MaybeUninit<Caught<R>>>,
}

impl<B: FnOnce() -> R, R> Frame<B, R> {
    #[inline]
    fn new(closure: B) -> Self {
        Self {
            header: UnsafeCell::new(MaybeUninit::uninit()),
            closure: UnsafeCell::new(ManuallyDrop::new(closure)),
            result: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Runs it for a thief.
    unsafe fn run_taken(frame: *const Header) -> bool {
        // SAFETY: the address was noted together with this function, and is a frame's of this type.
        let frame = unsafe { &*frame.cast::<Self>() };
        // SAFETY: once: this is the thief.
        unsafe { frame.run() };
        // SAFETY: the frame was on offer, so its header is written.
        unsafe { frame.header() }.latch.set()
    }

    /// Runs the closure, and keeps what comes of it.
    ///
    /// # Safety
    /// Once for each frame, and before its latch is set.
    #[inline(never)]
    unsafe fn run(&self) {
        // SAFETY: once, by the caller's word.
        let closure = unsafe { self.take() };
        // The panic goes on in the owner, which is who could see what it left half done.
        let result = catch_unwind(AssertUnwindSafe(closure));
        // SAFETY: result-set: nobody else uses the place before the latch is set.
        let place = unsafe { &mut *self.result.get() };
        place.write(result);
    }

    /// The closure.
    ///
    /// # Safety
    /// Once for each frame.
    #[inline]
    unsafe fn take(&self) -> B {
        // SAFETY: once: nobody else uses the closure.
        let closure = unsafe { &mut *self.closure.get() };
        // SAFETY: once.
        unsafe { ManuallyDrop::take(closure) }
    }

    /// # Safety
    /// The frame has been on offer.
    unsafe fn header(&self) -> &Header {
        // SAFETY: from being put on offer on, the header is only read.
        let header = unsafe { &*self.header.get() };
        // SAFETY: it was written when the frame was put on offer.
        unsafe { header.assume_init_ref() }
    }

    /// What the thief made of it.
    ///
    /// # Safety
    /// Once, and after the latch was set or [`run`](Self::run) has returned here.
    unsafe fn result(&self) -> Caught<R> {
        // SAFETY: result-set.
        let result = unsafe { &*self.result.get() };
        // SAFETY: result-set, and read once.
        unsafe { result.assume_init_read() }
    }
}

/// A join whose second closure others may take.
struct Noted<'a, B: FnOnce() -> R, R> {
    frame: &'a Frame<B, R>,
    /// Where it is noted; `None` outside of workers, and where it is too deep.
    at: Option<(&'a Local, usize)>,
    /// It has been run here, before the first.
    is_done: bool,
}

impl<B: FnOnce() -> R, R> Noted<'_, B, R> {
    /// Ends the note; says whether the closure is here.
    fn is_here(&self) -> bool {
        let is_back = |(local, place): (&Local, usize)| local.board().pop(place);
        !self.is_done && self.at.is_none_or(is_back)
    }

    /// Waits for the thief.
    #[cold]
    fn wait(&self) -> Caught<R> {
        if let Some((local, place)) = self.at {
            // SAFETY: it was on offer.
            local.wait_for(unsafe { self.frame.header() }, place);
        }
        // SAFETY: the latch is set, or it was run here, and each frame is waited for once.
        unsafe { self.frame.result() }
    }
}

/// When the first closure panics.
impl<B: FnOnce() -> R, R> Drop for Noted<'_, B, R> {
    #[cold]
    fn drop(&mut self) {
        if self.is_here() {
            // SAFETY: once: it was not taken, and is not run any more.
            drop(unsafe { self.frame.take() });
        } else {
            // A panic in it gives way to the first one.
            drop(self.wait());
        }
    }
}

/// A join that finds no allowance.
#[cold]
#[inline(never)]
fn join_noted<A, B, RA, RB>(a: A, b: B, is_sure: bool) -> (RA, RB)
where
    A: FnOnce() -> RA,
    B: FnOnce() -> RB + Send,
    RB: Send,
{
    local::with(|local| {
        let frame = Frame::new(b);
        let address = NonNull::from(&frame).cast::<Header>().as_ptr();
        let is_done = local.is_some_and(Local::flips);
        if is_done {
            // SAFETY: once: it is not noted.
            unsafe { frame.run() };
        }
        let at = local.filter(|_| !is_done).and_then(|local| {
            // SAFETY: `local` is the calling thread's. The frame stays here until it was popped or its latch is set, also
            // when `a` panics; its parts are `Send`.
            let place = unsafe {
                local
                    .board()
                    .note(address, Frame::<B, RB>::run_taken, is_sure)
            };
            place.map(|place| (local, place))
        });
        let noted = Noted {
            frame: &frame,
            at,
            is_done,
        };
        if let Some((local, _)) = at {
            local.beat();
        }
        // Each closure is called in one place only, so that it is worth being inlined.
        let ra = a();
        let is_here = noted.is_here();
        let noted = ManuallyDrop::new(noted);
        if !is_here {
            return match noted.wait() {
                Ok(rb) => (ra, rb),
                Err(panic) => resume_unwind(panic),
            };
        }
        // SAFETY: once: nobody else can take it now.
        let b = unsafe { frame.take() };
        (ra, b())
    })
}

/// Runs both closures, at the same time if a worker has nothing else to do, and returns when both have ended.
///
/// `a` runs on the calling worker. `b` waits in a list, where another worker may take it; mostly none does, and then the
/// call costs about as much as a call of both. While the second is waited for, the caller's worker runs parts of it, and
/// nothing else: so a lock that the caller holds cannot be wanted by unrelated work on top of it.
///
/// Outside of a scheduler both run on the calling thread, one after the other; see [`Scheduler::join`](super::Scheduler::join).
///
/// # Panics
/// With the panic of `a`, else with that of `b`; in either case after both have ended. If `a` panics before anybody took `b`,
/// that is dropped.
///
/// ```
/// use pepita_sched::scheduler::{Scheduler, join};
///
/// fn sum(numbers: &[u64]) -> u64 {
///     if numbers.len() <= 1000 {
///         return numbers.iter().sum();
///     }
///     let (left, right) = numbers.split_at(numbers.len() / 2);
///     let (left, right) = join(|| sum(left), || sum(right));
///     left + right
/// }
///
/// let numbers: Vec<u64> = (0..100_000).collect();
/// let scheduler = Scheduler::with_workers(2);
/// assert_eq!(scheduler.install(|| sum(&numbers)), 4_999_950_000);
/// ```
///
/// What either closure captures or returns must be `Send`:
///
/// ```compile_fail,E0277
/// let shared = std::rc::Rc::new(1);
/// pepita_sched::scheduler::join(|| (), || *shared);
/// ```
///
/// ```compile_fail,E0277
/// pepita_sched::scheduler::join(|| (), || std::rc::Rc::new(1));
/// ```
#[inline]
pub fn join<A, B, RA, RB>(a: A, b: B) -> (RA, RB)
where
    A: FnOnce() -> RA + Send,
    B: FnOnce() -> RB + Send,
    RA: Send,
    RB: Send,
{
    if local::spend_allowance() {
        (a(), b())
    } else {
        join_noted(a, b, false)
    }
}

/// [`join`] for a part that is worth the way to another worker.
pub(super) fn join_sure<A, B, RA, RB>(a: A, b: B) -> (RA, RB)
where
    A: FnOnce() -> RA + Send,
    B: FnOnce() -> RB + Send,
    RA: Send,
    RB: Send,
{
    local::offer_to_searchers();
    join_noted(a, b, true)
}
