#![expect(
    unsafe_code,
    reason = "a request's maker vouches for its memory and for what its completion calls"
)]
//! [`Request`]: what a front end wants of a device, and [`Completion`]: how it hears of the end.

use core::fmt;
use core::mem::ManuallyDrop;
use core::slice;

use super::SECTOR_SIZE;
use super::data::{Sink, Source};
use super::op::{RequestFlags, RequestOp};
use super::segment::{Segment, Segments};
use super::zone::Zone;
use crate::error::Errno;

/// What a [`Completion`] calls: as a `RawWaker` has its table, but called once.
#[derive(Debug)]
pub struct CompletionVtable {
    complete: unsafe fn(*const (), u16, Result<(), Errno>),
    landed: Option<unsafe fn(*const (), u16, u64)>,
}

impl CompletionVtable {
    /// A table with `complete`, which gets the completion's context and tag, and how the request ended.
    ///
    /// It is called in the middle of a lane's `submit`, `commit`, `poll` or drop, or by a thread that the
    /// front end has never seen. So it does not block or unwind, and calls no lane; it may free
    /// what backs the request's data.
    #[must_use]
    pub const fn new(complete: unsafe fn(*const (), u16, Result<(), Errno>)) -> Self {
        Self {
            complete,
            landed: None,
        }
    }

    /// The same table with `landed`, which gets the context, the tag, and the sector from which a
    /// [zone append](RequestOp::ZoneAppend) has landed, directly before `complete` and by the same thread, and must
    /// leave the context to that. Who makes no such requests needs none.
    #[must_use]
    pub const fn with_landed(mut self, landed: unsafe fn(*const (), u16, u64)) -> Self {
        self.landed = Some(landed);
        self
    }
}

/// The right to say, once, how a request ended. Dropping it says `EIO`.
///
/// # Invariants
/// * *callable*: the table's function may be called with this context, tag and any result, by any thread,
///   until it has been called; and before it, by the same thread, the one for appends with any sector.
pub struct Completion {
    context: *const (),
    vtable: &'static CompletionVtable,
    tag: u16,
}

impl Completion {
    /// A completion that calls the function of `vtable` with `context` and `tag`.
    ///
    /// The tag is the front end's number of the request, such as the index of its place in an array.
    ///
    /// # Safety
    /// * *callable*: the function may be called once, with `context`, `tag` and any result, by any
    ///   thread at any time from now on; so whatever `context` points to lives until the call, and the
    ///   function itself sees to it that it lives until it returns. The function for appends, if there is one,
    ///   may be called once before, by the same thread, with any sector.
    #[inline]
    #[must_use]
    pub const unsafe fn new(
        context: *const (),
        vtable: &'static CompletionVtable,
        tag: u16,
    ) -> Self {
        Self {
            context,
            vtable,
            tag,
        }
    }

    #[inline]
    fn complete(self, result: Result<(), Errno>) {
        ManuallyDrop::new(self).call(result);
    }

    fn complete_at(self, sector: u64) {
        if let Some(landed) = self.vtable.landed {
            // SAFETY: *callable*: before the other function, which the line below calls.
            unsafe { landed(self.context, self.tag, sector) };
        }
        self.complete(Ok(()));
    }

    /// Called by `complete`, which keeps the drop from it, or by the drop.
    #[inline]
    fn call(&mut self, result: Result<(), Errno>) {
        // SAFETY: *callable*; `complete` and the drop exclude each other, so this is the one call.
        unsafe { (self.vtable.complete)(self.context, self.tag, result) };
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.call(Err(Errno::EIO));
    }
}

// SAFETY: *callable*: by any thread.
unsafe impl Send for Completion {}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Completion");
        fields.field("tag", &self.tag).finish_non_exhaustive()
    }
}

/// What a request is about: plain numbers that promise nothing. [`Geometry::check`](super::Geometry::check)
/// says whether a device takes them.
#[derive(Debug, Clone, Copy)]
pub struct RequestParts<'a> {
    /// What to do.
    pub op: RequestOp,
    /// How to do it.
    pub flags: RequestFlags,
    /// The front end's hardware queue that it comes from.
    pub queue_id: u16,
    /// First sector, of 512 bytes.
    pub sector: u64,
    /// Count of sectors; for a [report](RequestOp::ZoneReport), of zones.
    pub nr_sectors: u32,
    /// Where the data is; empty for operations without data.
    pub segments: &'a [Segment],
}

impl RequestParts<'_> {
    /// Bytes that the operation moves.
    #[inline]
    #[must_use]
    pub const fn data_bytes(&self) -> u64 {
        let unit = match self.op {
            RequestOp::ZoneReport => Zone::BYTES as u64,
            op if op.reads_data() || op.writes_data() => SECTOR_SIZE,
            _ => 0,
        };
        self.nr_sectors as u64 * unit
    }
}

/// One request to a block device, from its front end to whoever ends it.
///
/// Consuming it by [`complete`](Self::complete) ends it; dropping it ends it with `EIO`; there is no third
/// way but to leak it, and then its memory stays out of use. It may end on any thread.
///
/// ```compile_fail,E0382
/// fn twice(request: pepita_sys::blk_mq::Request) {
///     request.complete(Ok(()));
///     request.complete(Ok(())); // it is gone
/// }
/// ```
///
/// The data cannot be kept beyond the end:
///
/// ```compile_fail,E0505
/// fn late(request: pepita_sys::blk_mq::Request) {
///     let mut source = request.source();
///     request.complete(Ok(())); // from here on the memory is somebody else's
///     let _ = source.read(&mut [0; 512]);
/// }
/// ```
///
/// Its data stays on the thread that looks at it:
///
/// ```compile_fail,E0277
/// fn halves(request: pepita_sys::blk_mq::Request) {
///     let sink = request.sink();
///     std::thread::scope(|scope| {
///         scope.spawn(move || sink.len());
///     });
/// }
/// ```
///
/// # Invariants
/// * *backed*: until the completion is called, the segments' bytes are mapped, for reading if the operation
///   brings data to the device and for writing if it takes data from it; for writing, they are in no Rust
///   reference, and for reading in none through which somebody writes.
/// * *listed*: until then `segments` points to `nr_segments` segments that do not change.
pub struct Request {
    op: RequestOp,
    flags: RequestFlags,
    queue_id: u16,
    nr_sectors: u32,
    sector: u64,
    segments: *const Segment,
    nr_segments: usize,
    completion: Completion,
}

// SAFETY: the completion is `Send`; *backed* and *listed* say nothing of threads.
unsafe impl Send for Request {}

impl Request {
    /// A request of `parts`, which the caller has [checked](super::Geometry::check), that ends by
    /// `completion`.
    ///
    /// # Safety
    /// * *backed*: until the completion's function is called, the bytes of all segments are mapped: for an
    ///   operation that [reads data](RequestOp::reads_data) for writing, and in no Rust reference; for one
    ///   that [writes data](RequestOp::writes_data) for reading, and in no reference through which
    ///   somebody writes. Who is not bound by Rust's rules, such as a guest, may write them at any time.
    /// * *listed*: until then the slice of segments lives and does not change.
    #[inline]
    #[must_use]
    pub const unsafe fn new(parts: &RequestParts<'_>, completion: Completion) -> Self {
        Self {
            op: parts.op,
            flags: parts.flags,
            queue_id: parts.queue_id,
            nr_sectors: parts.nr_sectors,
            sector: parts.sector,
            segments: parts.segments.as_ptr(),
            nr_segments: parts.segments.len(),
            completion,
        }
    }

    /// Ends the request: it is done as a whole, or it failed with the number.
    #[inline]
    pub fn complete(self, result: Result<(), Errno>) {
        self.completion.complete(result);
    }

    /// Ends a [zone append](RequestOp::ZoneAppend): it is done as a whole, from `sector` on. An append that is not
    /// ended so has failed, whatever [`complete`](Self::complete) was told: nobody knows where it is.
    pub fn complete_at(self, sector: u64) {
        self.completion.complete_at(sector);
    }

    /// What to do.
    #[must_use]
    pub const fn op(&self) -> RequestOp {
        self.op
    }

    /// How to do it.
    #[must_use]
    pub const fn flags(&self) -> RequestFlags {
        self.flags
    }

    /// The front end's number of the request. Those of two front ends, or of two queues, may be the same,
    /// so it is no index of a lane's.
    #[must_use]
    pub const fn tag(&self) -> u16 {
        self.completion.tag
    }

    /// The front end's hardware queue that it comes from.
    #[must_use]
    pub const fn queue_id(&self) -> u16 {
        self.queue_id
    }

    /// First sector, of 512 bytes.
    #[must_use]
    pub const fn sector(&self) -> u64 {
        self.sector
    }

    /// Count of sectors; for a [report](RequestOp::ZoneReport), of zones.
    #[must_use]
    pub const fn nr_sectors(&self) -> u32 {
        self.nr_sectors
    }

    /// The request's segments as they were given, for who hands them to the kernel: they stay where they
    /// are until the request ends.
    #[must_use]
    pub const fn segments(&self) -> &[Segment] {
        // SAFETY: *listed*, and the borrow ends before the request does.
        unsafe { slice::from_raw_parts(self.segments, self.nr_segments) }
    }

    /// What the request brings; empty if its operation does not [write data](RequestOp::writes_data).
    #[must_use]
    pub fn source(&self) -> Source<'_> {
        let list = if self.op.writes_data() {
            self.segments()
        } else {
            &[]
        };
        // SAFETY: *readable* is what *backed* says of operations that write data.
        unsafe { Source::new(Segments::new(list)) }
    }

    /// What the request wants filled; empty if its operation does not [read data](RequestOp::reads_data).
    #[must_use]
    pub fn sink(&self) -> Sink<'_> {
        let list = if self.op.reads_data() {
            self.segments()
        } else {
            &[]
        };
        // SAFETY: *writable* is what *backed* says of operations that read data.
        unsafe { Sink::new(Segments::new(list)) }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("op", &self.op)
            .field("flags", &self.flags)
            .field("tag", &self.tag())
            .field("queue_id", &self.queue_id)
            .field("sector", &self.sector)
            .field("nr_sectors", &self.nr_sectors)
            .field("segments", &self.segments())
            .finish()
    }
}

#[cfg(all(test, not(pepita_loom)))]
mod tests;
