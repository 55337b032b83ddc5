#![expect(
    unsafe_code,
    reason = "requests end by a pointer to what their queue keeps"
)]
//! How requests end: the memory of a queue's tags, and the notes of who has ended.
//!
//! A request may end inside a call of its lane, on the queue's thread, or on any other thread. On its own thread
//! an end is a note in a list that only this thread has. From elsewhere it is a note in a list behind a lock, and
//! the thread is rung.
//!
//! # Invariants
//! * owner-only: `noted` is reached by the thread whose [`key`] is in `owner`, and never across a call of code of
//!   others. A key is the address of a variable of the thread's, so no two living threads have the same.
//! * kept: a [`Memory`] lives until every request with a pointer to it has ended: the queue keeps it until it has
//!   taken their notes, or leaves a count of them behind, and the last of them lets go.
//! * one-request: the segment and the bytes of a tag are given to a request only when the tag has none.

use std::cell::UnsafeCell;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pepita_sys::blk_mq::{Completion, CompletionVtable, Request, RequestParts, Segment};
use pepita_sys::error::{Errno, KernelError};

use crate::ring::Region;

thread_local! {
    static PLACE: u8 = const { 0 };
}

/// What tells this thread from all others that live.
#[inline]
fn key() -> usize {
    PLACE.with(|place| std::ptr::from_ref(place).addr())
}

/// The end of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Note {
    /// Number of the queue on its thread.
    pub(super) queue: u16,
    pub(super) tag: u16,
    pub(super) result: Result<(), Errno>,
}

/// Where the ends of a thread's requests are noted.
pub(super) struct Desk {
    noted: UnsafeCell<Vec<Note>>,
    others: Mutex<Vec<Note>>,
    bell: OwnedFd,
    stops: AtomicBool,
    leaves: AtomicBool,
    calls: AtomicBool,
}

// SAFETY: owner-only for `noted`; the rest is shared by design.
unsafe impl Sync for Desk {}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Desk {
    pub(super) fn new() -> Result<Self, KernelError> {
        Ok(Self {
            noted: UnsafeCell::default(),
            others: Mutex::default(),
            bell: crate::file::bell()?,
            stops: AtomicBool::new(false),
            leaves: AtomicBool::new(false),
            calls: AtomicBool::new(false),
        })
    }

    /// The descriptor that is written to when there is something for the thread.
    pub(super) fn bell(&self) -> i32 {
        self.bell.as_raw_fd()
    }

    /// Asks the thread to let nothing take long any more.
    pub(super) fn stop(&self) {
        self.stops.store(true, Ordering::Release);
        self.ring();
    }

    /// Asks the thread to go, whatever has not ended.
    pub(super) fn leave(&self) {
        self.leaves.store(true, Ordering::Release);
        self.ring();
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaves.load(Ordering::Acquire)
    }

    /// Asks the thread to let somebody have it for a moment.
    pub(super) fn call(&self) {
        self.calls.store(true, Ordering::Release);
        self.ring();
    }

    /// Whether the thread was asked so since the last time.
    pub(super) fn take_call(&self) -> bool {
        self.calls.swap(false, Ordering::AcqRel)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stops.load(Ordering::Acquire)
    }

    fn ring(&self) {
        // A counter that is full has rung.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    fn others(&self) -> MutexGuard<'_, Vec<Note>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's own end of a [`Desk`]; it stays on the thread.
#[derive(Debug)]
pub(super) struct OwnDesk {
    desk: Arc<Desk>,
    /// Count of tags whose notes there is room for.
    tags: usize,
    _one_thread: std::marker::PhantomData<*mut ()>,
}

impl OwnDesk {
    pub(super) fn new() -> Result<Self, KernelError> {
        Ok(Self {
            desk: Arc::new(Desk::new()?),
            tags: 0,
            _one_thread: std::marker::PhantomData,
        })
    }

    pub(super) const fn shared(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Makes room for the notes of `depth` more tags, so that noting allocates nothing. A tag has one note at most.
    pub(super) fn reserve(&mut self, depth: u16) {
        self.tags += usize::from(depth);
        // SAFETY: owner-only: this value stays on the thread, and a vector's growth calls nobody.
        let noted = unsafe { &mut *self.desk.noted.get() };
        noted.reserve(self.tags.saturating_sub(noted.len()));
        let mut others = self.desk.others();
        let more = self.tags.saturating_sub(others.len());
        others.reserve(more);
    }

    /// `depth` tags are gone.
    fn release(&mut self, depth: u16) {
        self.tags = self.tags.saturating_sub(depth.into());
    }

    /// Takes the last note of this thread's.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Note> {
        // SAFETY: owner-only, as above.
        unsafe { &mut *self.desk.noted.get() }.pop()
    }

    /// Takes over the notes of other threads.
    pub(super) fn take_others(&mut self) {
        // SAFETY: owner-only, as above.
        let noted = unsafe { &mut *self.desk.noted.get() };
        noted.append(&mut self.desk.others());
    }
}

/// A segment, which a request may read as long as it lives.
#[repr(transparent)]
struct Place(UnsafeCell<Segment>);

/// What the requests of a queue have: memory for their data, and where to note their end.
pub(super) struct Memory {
    desk: Arc<Desk>,
    /// The key of the thread, or 0 once the queue is gone.
    owner: AtomicUsize,
    /// Number of the queue on its thread.
    queue: u16,
    /// Count of requests that were left when the queue went; changed under the desk's lock.
    left: AtomicU32,
    depth: u16,
    /// Bytes of each tag.
    bytes: usize,
    /// For each tag its bytes, and once more as many for tags that are out of use.
    region: Region,
    places: Box<[Place]>,
    /// Where the append of each tag has landed, until its end is noted.
    landed: Box<[AtomicU64]>,
}

/// No sector: the end of an append that did not say where it landed.
const NOWHERE: u64 = u64::MAX;

// SAFETY: one-request for the places; the region is reached by the kernel, and by requests, which vouch for it.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

static TABLE: CompletionVtable = CompletionVtable::new(end).with_landed(landed);

/// Keeps the sector at which an append has landed, for the note of its end.
///
/// # Safety
/// * kept: `memory` is a [`Memory`] that counts on the call of [`end`] that follows.
unsafe fn landed(memory: *const (), tag: u16, sector: u64) {
    // SAFETY: kept.
    let queue = unsafe { &*memory.cast::<Memory>() };
    if let Some(place) = queue.landed.get(usize::from(tag)) {
        // The note, or the lock around it, brings it to the queue's thread.
        place.store(sector, Ordering::Relaxed);
    }
}

/// Notes the end of a request.
///
/// # Safety
/// * kept: `memory` is a [`Memory`] that counts on this call.
unsafe fn end(memory: *const (), tag: u16, result: Result<(), Errno>) {
    let memory = memory.cast::<Memory>();
    // SAFETY: kept; on the queue's thread nothing is let go before this returns, and elsewhere the reference is
    // not used once the request counts as ended.
    let queue = unsafe { &*memory };
    let note = Note {
        queue: queue.queue,
        tag,
        result,
    };
    if queue.owner.load(Ordering::Relaxed) == key() {
        // SAFETY: owner-only.
        let noted = unsafe { &mut *queue.desk.noted.get() };
        noted.push(note);
    } else {
        // SAFETY: kept; it came from an `Arc`, and counts at least one.
        unsafe { Arc::increment_strong_count(memory) };
        // SAFETY: the count of the line above.
        unsafe { Arc::from_raw(memory) }.end_elsewhere(note);
    }
}

impl Memory {
    /// Memory for `depth` tags of `bytes` bytes, of the queue number `queue` of this thread.
    pub(super) fn new(
        desk: &OwnDesk,
        queue: u16,
        depth: u16,
        bytes: usize,
    ) -> Result<Arc<Self>, KernelError> {
        let all = bytes.checked_mul(usize::from(depth) + 1);
        let all = all.ok_or(KernelError::from_errno("mmap", Errno::ENOMEM))?;
        let places = (0..depth).map(|_| Place(UnsafeCell::new(Segment::EMPTY)));
        Ok(Arc::new(Self {
            desk: Arc::clone(desk.shared()),
            owner: AtomicUsize::new(key()),
            queue,
            left: AtomicU32::new(0),
            depth,
            bytes,
            region: Region::anonymous(all)?,
            places: places.collect(),
            landed: (0..depth).map(|_| AtomicU64::new(NOWHERE)).collect(),
        }))
    }

    /// Where the memory of `tag` is; that of the number `depth` is for tags that are out of use.
    #[inline]
    fn base(&self, tag: u16) -> *mut u8 {
        let tag = usize::from(tag.min(self.depth));
        self.region.base().as_ptr().wrapping_add(tag * self.bytes)
    }

    /// The address of the memory of `tag`, for the kernel.
    #[inline]
    pub(super) fn address(&self, tag: u16) -> u64 {
        self.base(tag).expose_provenance() as u64
    }

    /// The address of memory whose content is nobody's.
    pub(super) fn scrap(&self) -> u64 {
        self.address(self.depth)
    }

    /// Lets `work` at the first `len` bytes of `tag`.
    ///
    /// # Safety
    /// * one-request: the tag has no request, and the kernel leaves its memory alone meanwhile.
    pub(super) unsafe fn with_bytes<T>(
        &self,
        tag: u16,
        len: usize,
        work: impl FnOnce(&mut [u8]) -> T,
    ) -> T {
        let len = len.min(self.bytes);
        // SAFETY: one-request; the region has so many bytes for each tag, which are mapped.
        work(unsafe { std::slice::from_raw_parts_mut(self.base(tag), len) })
    }

    /// Where the append of `tag` has landed, which has ended.
    #[cold]
    pub(super) fn landed(&self, tag: u16) -> Option<u64> {
        let sector = self.landed.get(usize::from(tag))?.load(Ordering::Relaxed);
        (sector != NOWHERE).then_some(sector)
    }

    /// Before there is an append of `tag`.
    pub(super) fn forget_landed(&self, tag: u16) {
        if let Some(place) = self.landed.get(usize::from(tag)) {
            place.store(NOWHERE, Ordering::Relaxed);
        }
    }

    /// A request of `parts`, whose segments are `len` bytes of the tag's, if `check` takes it.
    ///
    /// # Safety
    /// * one-request: the tag has no request, and the kernel leaves its memory alone until the request has ended.
    /// * kept: the caller keeps this, or [leaves](Self::leave) it.
    #[inline(always)]
    pub(super) unsafe fn request(
        self: &Arc<Self>,
        tag: u16,
        len: usize,
        parts: &RequestParts<'_>,
        check: impl FnOnce(&RequestParts<'_>) -> Result<(), Errno>,
    ) -> Result<Request, Errno> {
        let place = self.places.get(usize::from(tag)).ok_or(Errno::EINVAL)?;
        if len > self.bytes {
            return Err(Errno::EINVAL);
        }
        // SAFETY: one-request: nobody reads the segment.
        unsafe { place.0.get().write(Segment::new(self.base(tag), len)) };
        // SAFETY: one-request: from here on it is only read.
        let segment = unsafe { &*place.0.get() };
        let segments = if len == 0 {
            &[]
        } else {
            std::slice::from_ref(segment)
        };
        let parts = RequestParts { segments, ..*parts };
        check(&parts)?;
        // SAFETY: *callable*: kept.
        let completion = unsafe { Completion::new(Arc::as_ptr(self).cast(), &TABLE, tag) };
        // SAFETY: *backed*, *listed*: one-request, kept.
        Ok(unsafe { Request::new(&parts, completion) })
    }

    /// Ends a request on a thread that is not the queue's, or after the queue.
    #[cold]
    fn end_elsewhere(self: Arc<Self>, note: Note) {
        let mut others = self.desk.others();
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            others.push(note);
            if others.len() == 1 {
                self.desk.ring();
            }
            return;
        }
        self.left.store(left - 1, Ordering::Relaxed);
        drop(others);
        if left == 1 {
            // SAFETY: kept: the count that `leave` has left, and this is the last request.
            unsafe { Arc::decrement_strong_count(Arc::as_ptr(&self)) };
        }
    }

    /// Lets go of the memory when the `out` requests that are still somewhere have ended, and so many less as
    /// notes of them are found.
    pub(super) fn leave(self: Arc<Self>, desk: &mut OwnDesk, mut out: u32) {
        self.owner.store(0, Ordering::Relaxed);
        desk.release(self.depth);
        let is_ours = |note: &Note| note.queue == self.queue;
        // SAFETY: owner-only: the desk stays on its thread, and this calls nobody.
        let noted = unsafe { &mut *desk.desk.noted.get() };
        noted.retain(|note| {
            out = out.saturating_sub(is_ours(note).into());
            !is_ours(note)
        });
        let mut others = self.desk.others();
        others.retain(|note| {
            out = out.saturating_sub(is_ours(note).into());
            !is_ours(note)
        });
        self.left.store(out, Ordering::Relaxed);
        drop(others);
        if out > 0 {
            mem::forget(self);
        }
    }

    /// Never lets go of the memory, which the kernel may have.
    pub(super) fn leak(self: Arc<Self>, desk: &mut OwnDesk) {
        // More than can ever end.
        self.leave(desk, u32::MAX);
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
