//! The two traits of a block device: [`BlockDevice`] describes, [`Lane`] works.

use core::fmt;

use super::geometry::Geometry;
use super::request::Request;
use crate::error::Result;

/// A block device: says what it is, and opens a [`Lane`] for each thread that serves it.
///
/// # Contract
/// Between a device and the front end before it (ublk, virtio, a queue in the process):
///
/// * *Check.* The front end calls [`Geometry::check`] for each request, and a lane may rely on what that
///   checks: alignment, lengths, limits, that the segments have the bytes. Two things a lane answers
///   nevertheless: a range behind its end, with `EIO`, since a device may have shrunk meanwhile; and an
///   operation that it does not know, with `EOPNOTSUPP`, since [`RequestOp`](super::RequestOp) grows. It
///   panics for no request.
/// * *Shape.* Segments have any address and any length, also 0; they may overlap. What is read into bytes
///   that overlap is one of the things read.
/// * *Empty.* A request of no sectors succeeds and does nothing, unless it manages a zone, which has none.
/// * *Whole.* Success says that all of a request is done. After a failure each block has its old data or
///   the new.
/// * *Seen.* A read that is submitted after a write has completed finds its data, on every lane. What is in
///   flight together is done in any order.
/// * *Durable.* A flush makes durable what had completed before it was submitted, on whatever lane; a write
///   with [`RequestFlags::FUA`](super::RequestFlags::FUA) is durable when it completes. Who wants more
///   order waits for completions.
/// * *Zeroes.* Sectors after [`WriteZeroes`](super::RequestOp::WriteZeroes) read as zeroes. After
///   [`Discard`](super::RequestOp::Discard) they read as anything, and their neighbours are as they were.
/// * *Zones.* Where there are [zones](super::ZoneLimits), a write to one with a write pointer begins there, or fails
///   with `EIO`; as one does that a zone has no room for, an operation that its condition forbids, or one that
///   manages a conventional zone. What would open more zones than may be open fails with `ETOOMANYREFS`, what would
///   begin more than may be active with `EOVERFLOW`, by which the kernel knows them. Sectors behind the write
///   pointer read as zeroes. An append ends by [`Request::complete_at`].
/// * *Once.* Each request ends once. A lane that cannot go on ends them with an error; what it cannot get
///   back, from a kernel that has hung, it leaks, and the front end keeps that memory out of use.
///
/// Whatever the requests do, a device is sound: it relies on no front end for the safety of its own memory.
pub trait BlockDevice: Send + Sync {
    /// What requests of one thread go through. It borrows the device.
    type Lane<'d>: Lane
    where
        Self: 'd;

    /// What the device is and takes. Only its capacity changes.
    fn geometry(&self) -> Geometry;

    /// What tells the device from others.
    fn id(&self) -> DeviceId;

    /// Opens a lane on the calling thread, with room for `depth` requests in flight if it can have that,
    /// else for fewer, but for one.
    ///
    /// # Errors
    /// What the kernel refused, such as a ring.
    fn open_lane(&self, depth: u16) -> Result<Self::Lane<'_>>;
}

/// The way of one thread to a device. Lanes are object-safe, so that devices compose at run time; they
/// need not be `Send`, since a lane may share its thread's ring.
///
/// ```no_run
/// use pepita_sys::blk_mq::{Lane, Request};
///
/// fn serve(lane: &mut dyn Lane, batch: Vec<Request>) -> Vec<Request> {
///     let mut full = Vec::new();
///     for request in batch {
///         full.extend(lane.submit(request).err());
///     }
///     lane.commit(); // one system call for all
///     lane.poll();
///     full // to be submitted again after a later poll
/// }
/// ```
///
/// Dropping a lane ends the requests in flight: it cancels or waits, and each has been completed when the
/// drop returns, but those that it leaked because the kernel did not give them back.
pub trait Lane {
    /// Takes a request. It is under way at the latest with the next [`commit`](Self::commit), and may be
    /// complete on return.
    ///
    /// # Errors
    /// Gives the request back, unchanged, when the lane is full. A lane that is full has a request in
    /// flight, so there is one to wait for.
    fn submit(&mut self, request: Request) -> core::result::Result<(), Request>;

    /// Sends what `submit` has gathered on its way, without waiting. It has nothing to do for a lane that
    /// does so at once, and for a front end on the same ring (see [`descriptor`](Self::descriptor)).
    fn commit(&mut self);

    /// Completes what is done, without waiting.
    fn poll(&mut self);

    /// A descriptor that is readable as long as [`poll`](Self::poll) has something to do, open as long
    /// as the lane; `None` if every request is complete when `commit` returns.
    ///
    /// A lane that hands on to others, and keeps what they give back until they have room, has something to
    /// do that their descriptors do not tell of: it has one of its own. A lane that shares its thread's
    /// ring has that ring's. A front end that waits on the same ring knows by it that its own system call
    /// commits.
    fn descriptor(&self) -> Option<i32>;
}

/// What tells a device from others: up to 20 bytes of ASCII, as many as a virtio disk can tell.
/// `include/uapi/linux/virtio_blk.h`, `VIRTIO_BLK_ID_BYTES`
///
/// ```
/// use pepita_sys::blk_mq::DeviceId;
///
/// const ID: DeviceId = DeviceId::new("scratch");
/// assert_eq!(ID.to_string(), "scratch");
/// assert_eq!(ID.bytes()[6..9], *b"h\0\0");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceId([u8; Self::BYTES]);

impl DeviceId {
    /// Bytes of an id.
    pub const BYTES: usize = 20;

    /// The id `name`.
    ///
    /// # Panics
    /// If it is longer than [`BYTES`](Self::BYTES), or not printable ASCII.
    #[must_use]
    pub const fn new(name: &str) -> Self {
        let name = name.as_bytes();
        assert!(name.len() <= Self::BYTES, "an id has at most 20 bytes");
        let mut bytes = [0; Self::BYTES];
        let mut index = 0;
        while index < name.len() {
            let printable = name[index].is_ascii_graphic() || name[index] == b' ';
            assert!(printable, "an id is printable ASCII");
            bytes[index] = name[index];
            index += 1;
        }
        Self(bytes)
    }

    /// The bytes, with zeroes behind the name.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The name without the zeroes.
    fn name(&self) -> &str {
        let len = self.0.iter().position(|byte| *byte == 0);
        str::from_utf8(&self.0[..len.unwrap_or(Self::BYTES)]).unwrap_or_default()
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceId({:?})", self.name())
    }
}
