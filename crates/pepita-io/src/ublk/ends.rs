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
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
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
    _one_thread: std::marker::PhantomData<*mut ()>,
}

impl OwnDesk {
    pub(super) fn new() -> Result<Self, KernelError> {
        Ok(Self {
            desk: Arc::new(Desk::new()?),
            _one_thread: std::marker::PhantomData,
        })
    }

    pub(super) const fn shared(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Makes room for the notes of `depth` more tags, so that noting allocates nothing.
    pub(super) fn reserve(&mut self, depth: u16) {
        // SAFETY: owner-only: this value stays on the thread, and a vector's growth calls nobody.
        let noted = unsafe { &mut *self.desk.noted.get() };
        noted.reserve(noted.capacity() + usize::from(depth));
        let mut others = self.desk.others();
        let more = others.capacity() + usize::from(depth);
        others.reserve(more);
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
}

// SAFETY: one-request for the places; the region is reached by the kernel, and by requests, which vouch for it.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

static TABLE: CompletionVtable = CompletionVtable::new(end);

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

    /// A request of `parts`, whose segments are `len` bytes of the tag's, if `check` takes it.
    ///
    /// # Safety
    /// * one-request: the tag has no request, and the kernel leaves its memory alone until the request has ended.
    /// * kept: the caller keeps this, or [leaves](Self::leave) it.
    #[inline]
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
mod tests {
    use std::sync::Weak;
    use std::thread;

    use pepita_sys::blk_mq::{RequestFlags, RequestOp};

    use super::*;

    const BYTES: usize = 4096;

    fn queue() -> (OwnDesk, Arc<Memory>) {
        let mut desk = OwnDesk::new().expect("an eventfd");
        desk.reserve(4);
        let memory = Memory::new(&desk, 3, 4, BYTES).expect("memory");
        (desk, memory)
    }

    /// A read of one page into the memory of `tag`.
    fn request(memory: &Arc<Memory>, tag: u16) -> Request {
        let parts = RequestParts {
            op: RequestOp::Read,
            flags: RequestFlags::NONE,
            queue_id: 0,
            sector: 0,
            nr_sectors: 8,
            segments: &[],
        };
        // SAFETY: one-request: each test makes one for a tag; kept: the tests keep the memory, or leave it.
        let request = unsafe { memory.request(tag, BYTES, &parts, |_| Ok(())) };
        request.expect("a request")
    }

    fn notes(desk: &mut OwnDesk) -> Vec<(u16, u16, Result<(), Errno>)> {
        let notes = std::iter::from_fn(|| desk.take());
        notes
            .map(|note| (note.queue, note.tag, note.result))
            .collect()
    }

    /// Whether the thread has been rung since the last time.
    fn is_rung(desk: &OwnDesk) -> bool {
        rustix::io::read(&desk.shared().bell, &mut [0; 8]).is_ok()
    }

    #[test]
    fn an_end_on_the_queue_s_thread_is_a_note_and_rings_nobody() {
        let (mut desk, memory) = queue();
        request(&memory, 1).complete(Ok(()));
        request(&memory, 2).complete(Err(Errno::ENOSPC));
        drop(request(&memory, 0));
        assert!(!is_rung(&desk));
        let ends = [
            (3, 0, Err(Errno::EIO)),
            (3, 2, Err(Errno::ENOSPC)),
            (3, 1, Ok(())),
        ];
        assert_eq!(notes(&mut desk), ends);
        // A tag's memory may be used again, and is its own.
        let sink = request(&memory, 1);
        sink.sink().write(&[7; BYTES]).expect("a page");
        sink.complete(Ok(()));
        // SAFETY: one-request: both have ended.
        let bytes = unsafe { memory.with_bytes(1, BYTES, |bytes| bytes.to_vec()) };
        assert!(bytes.iter().all(|byte| *byte == 7));
        // SAFETY: one-request: as above.
        let bytes = unsafe { memory.with_bytes(2, usize::MAX, |bytes| bytes.to_vec()) };
        assert_eq!(bytes, [0; BYTES]);
    }

    #[test]
    fn an_end_elsewhere_rings_the_thread_once() {
        let (mut desk, memory) = queue();
        let requests = [0, 1, 2].map(|tag| request(&memory, tag));
        thread::scope(|scope| {
            scope.spawn(|| requests.map(|request| request.complete(Ok(()))));
        });
        assert!(is_rung(&desk) && !is_rung(&desk));
        assert_eq!(notes(&mut desk), []);
        desk.take_others();
        assert_eq!(notes(&mut desk).len(), 3);
        let last = request(&memory, 3);
        thread::spawn(move || drop(last)).join().expect("no panic");
        assert!(is_rung(&desk));
        desk.take_others();
        assert_eq!(notes(&mut desk), [(3, 3, Err(Errno::EIO))]);
    }

    /// The memory of a queue that went while requests were out, some of which end where `end` has them end.
    fn left_behind(end: fn(Vec<Request>)) {
        let (mut desk, memory) = queue();
        let here = request(&memory, 0);
        let elsewhere = request(&memory, 1);
        let late = vec![request(&memory, 2), request(&memory, 3)];
        // Two have ended, and their notes were not taken.
        here.complete(Ok(()));
        thread::spawn(move || drop(elsewhere))
            .join()
            .expect("no panic");
        let left: Weak<Memory> = Arc::downgrade(&memory);
        memory.leave(&mut desk, 4);
        assert!(left.upgrade().is_some(), "two requests have its memory");
        late[0].sink().write(&[1; BYTES]).expect("a page");
        end(late);
        assert!(left.upgrade().is_none(), "nobody has it any more");
        desk.take_others();
        assert_eq!(notes(&mut desk), [], "and nobody hears of them");
    }

    #[test]
    fn the_last_late_request_frees_the_memory_of_its_queue() {
        left_behind(drop);
        left_behind(|late| thread::spawn(|| drop(late)).join().expect("no panic"));
        left_behind(|mut late| {
            let last = late.pop().expect("two");
            thread::spawn(|| drop(late)).join().expect("no panic");
            last.complete(Ok(()));
        });
    }

    #[test]
    fn a_queue_without_requests_goes_at_once() {
        let (mut desk, memory) = queue();
        request(&memory, 0).complete(Ok(()));
        let left = Arc::downgrade(&memory);
        memory.leave(&mut desk, 1);
        assert!(left.upgrade().is_none());
        assert_eq!(notes(&mut desk), []);
    }

    #[test]
    fn what_does_not_fit_is_no_request() {
        let (_desk, memory) = queue();
        let parts = RequestParts {
            op: RequestOp::Flush,
            flags: RequestFlags::NONE,
            queue_id: 0,
            sector: u64::MAX,
            nr_sectors: 0,
            segments: &[],
        };
        for (tag, len) in [(4, 0), (u16::MAX, 0), (0, BYTES + 1), (0, usize::MAX)] {
            // SAFETY: one-request, kept: there will be none.
            let refused = unsafe { memory.request(tag, len, &parts, |_| Ok(())) };
            assert_eq!(
                refused.map(drop),
                Err(Errno::EINVAL),
                "{len} bytes of tag {tag}"
            );
        }
        // SAFETY: as above.
        let refused = unsafe { memory.request(0, 0, &parts, |_| Err(Errno::EPERM)) };
        assert_eq!(refused.map(drop), Err(Errno::EPERM));
        assert_eq!(memory.scrap(), memory.address(4));
        assert_eq!(memory.address(1) - memory.address(0), BYTES as u64);
    }
}
