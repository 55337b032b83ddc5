#![expect(
    unsafe_code,
    reason = "keeps the host's addresses of a guest's memory beside what owns it"
)]
//! [`GuestRam`]: the memory of a guest, as queues and devices reach it.
//!
//! Addresses of the guest become addresses of the host in one place, with one check. Nothing here makes a
//! reference into the memory: the guest writes it whenever it likes. Words go through [`Shared`], bytes through
//! volatile copies.
//!
//! # Invariants
//! * *kept*: `Inner::owner` owns the memory of every region, and is dropped last.
//! * *inside*: what [`GuestRam`] gives out lies inside of one region.

use std::any::Any;
use std::cell::UnsafeCell;
use std::fmt;
#[cfg(not(all(test, pepita_loom)))]
use std::io;
use std::ops::Deref;
#[cfg(not(all(test, pepita_loom)))]
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use pepita_sys::blk_mq::{Segment, Segments, ShortData};
use pepita_sys::copy;
#[cfg(not(all(test, pepita_loom)))]
use pepita_sys::error::KernelError;
use vm_memory::volatile_memory::PtrGuardMut;
use vm_memory::{
    Address, GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress, VolatileSlice,
};

use crate::Shared;

/// The memory of a guest: ranges of its addresses, and where they are in this program.
///
/// Clones are the same memory, and keep it mapped. It is the memory as it was when this value was made: what is
/// plugged in later is not part of it.
///
/// ```
/// use pepita_virtio::GuestRam;
/// use vm_memory::{GuestAddress, GuestMemoryMmap};
///
/// let ranges = [(GuestAddress(0), 0x8000), (GuestAddress(0x10_0000), 0x8000)];
/// let memory = GuestMemoryMmap::<()>::from_ranges(&ranges).expect("there is memory");
/// let ram = GuestRam::new(memory.into())?;
/// ram.write(0x10_0000, b"hello")?;
/// let mut back = [0; 5];
/// ram.read(0x10_0000, &mut back)?;
/// assert_eq!(&back, b"hello");
/// assert!(ram.read(0x7fff, &mut back).is_err()); // ends in the hole
/// # Ok::<(), pepita_virtio::MemoryError>(())
/// ```
#[derive(Clone)]
pub struct GuestRam {
    inner: Arc<Inner>,
}

struct Inner {
    /// By their first addresses.
    regions: Box<[Region]>,
    /// Keep the regions mapped, where that is not the owner's doing. Before the owner.
    _guards: Vec<PtrGuardMut>,
    _owner: Arc<dyn Any + Send + Sync>,
}

// SAFETY: *kept*: guards are addresses of memory that the owner keeps, which any thread may have.
unsafe impl Send for Inner {}

// SAFETY: as above; nobody reaches the guards.
unsafe impl Sync for Inner {}

const PAGE: usize = 4096;

#[repr(C, align(4096))]
struct Page([u8; PAGE]);

/// What [`GuestRam::zeroed`] owns.
struct Pages(Box<[UnsafeCell<Page>]>);

// SAFETY: the pages are reached by atomic and volatile accesses alone.
unsafe impl Sync for Pages {}

/// A range of the guest's addresses without a hole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Region {
    start: u64,
    len: u64,
    host: NonNull<u8>,
}

impl Region {
    /// The host's address of `len` bytes at `addr`, if all of them are here.
    #[inline]
    pub(crate) fn find(&self, addr: u64, len: u64) -> Option<*mut u8> {
        let offset = addr.wrapping_sub(self.start);
        if offset >= self.len || len > self.len - offset {
            return None;
        }
        let offset = usize::try_from(offset).ok()?;
        Some(self.host.as_ptr().wrapping_add(offset))
    }

    /// The same for as many of the bytes as are here, and how many those are.
    fn find_some(&self, addr: u64, len: u64) -> Option<Segment> {
        let offset = addr.wrapping_sub(self.start);
        let here = self.len.checked_sub(offset).filter(|here| *here > 0)?;
        let len = len.min(here);
        let host = self.find(addr, len)?;
        Some(Segment::new(host, usize::try_from(len).ok()?))
    }
}

/// Why memory of a guest is not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The guest has no memory there.
    #[error("{len} bytes at {addr:#x} are not in the guest's memory")]
    Unmapped {
        /// The address.
        addr: u64,
        /// Bytes wanted.
        len: u64,
    },
    /// There is memory, but not in one piece.
    #[error("{len} bytes at {addr:#x} are in more than one region of the guest's memory")]
    Pieces {
        /// The address.
        addr: u64,
        /// Bytes wanted.
        len: u64,
    },
    /// The backend has no memory of this program behind a region.
    #[error("the region at {addr:#x} has no memory in this program")]
    Foreign {
        /// Where the region begins.
        addr: u64,
    },
}

impl GuestRam {
    /// The memory of a backend of `vm-memory` that keeps no bitmap of written pages: devices write without
    /// telling one.
    ///
    /// # Errors
    /// [`MemoryError::Foreign`] for a region that is not memory of this program.
    pub fn new<M, R>(memory: Arc<M>) -> Result<Self, MemoryError>
    where
        M: GuestMemoryBackend<R = R> + Send + Sync + 'static,
        R: GuestMemoryRegion<B = ()> + 'static,
    {
        let mut guards = Vec::new();
        let mut regions = Vec::new();
        for region in memory.iter() {
            let start = region.start_addr().raw_value();
            let whole: VolatileSlice<'_> = region
                .get_slice(
                    MemoryRegionAddress(0),
                    usize::try_from(region.len()).unwrap_or(0),
                )
                .map_err(|_| MemoryError::Foreign { addr: start })?;
            let guard = whole.ptr_guard_mut();
            let host = NonNull::new(guard.as_ptr()).ok_or(MemoryError::Foreign { addr: start })?;
            regions.push(Region {
                start,
                len: whole.len() as u64,
                host,
            });
            guards.push(guard);
        }
        Ok(Self::of(regions, guards, memory))
    }

    /// `bytes` bytes of zeroes, rounded up to whole pages, at the guest's address 0: a guest of nothing but
    /// memory, for devices that are tried without a VM.
    #[must_use]
    pub fn zeroed(bytes: usize) -> Self {
        let mut pages = Vec::new();
        pages.resize_with(bytes.div_ceil(PAGE).max(1), || {
            UnsafeCell::new(Page([0; PAGE]))
        });
        let pages = Arc::new(Pages(pages.into_boxed_slice()));
        let region = Region {
            start: 0,
            len: size_of_val(&*pages.0) as u64,
            host: NonNull::from(&*pages.0).cast(),
        };
        Self::of(vec![region], Vec::new(), pages)
    }

    fn of(
        mut regions: Vec<Region>,
        guards: Vec<PtrGuardMut>,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        regions.sort_unstable_by_key(|region| region.start);
        Self {
            inner: Arc::new(Inner {
                regions: regions.into_boxed_slice(),
                _guards: guards,
                _owner: owner,
            }),
        }
    }

    /// Bytes in all.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.inner.regions.iter().map(|region| region.len).sum()
    }

    /// Whether there is no memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies `into.len()` bytes from `addr` on, through adjacent regions if need be. What the guest writes
    /// meanwhile may be in or not, byte for byte.
    ///
    /// # Errors
    /// [`MemoryError::Unmapped`]; nothing is copied then.
    pub fn read(&self, addr: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        self.check(addr, into.len() as u64)?;
        let mut rest = into;
        self.pieces(addr, rest.len() as u64, |piece| {
            let (here, behind) = std::mem::take(&mut rest).split_at_mut(piece.len());
            rest = behind;
            // SAFETY: *kept* and *inside*.
            unsafe { copy::read(host(piece), here) };
        })
    }

    /// Copies `from` to `addr` and behind, through adjacent regions if need be.
    ///
    /// # Errors
    /// [`MemoryError::Unmapped`]; nothing is copied then.
    pub fn write(&self, addr: u64, from: &[u8]) -> Result<(), MemoryError> {
        self.check(addr, from.len() as u64)?;
        let mut rest = from;
        self.pieces(addr, rest.len() as u64, |piece| {
            let (here, behind) = rest.split_at(piece.len());
            rest = behind;
            // SAFETY: *kept* and *inside*.
            unsafe { copy::write(host(piece), here) };
        })
    }

    /// `len` bytes at `addr` in one piece, to be shared with a driver or a device.
    ///
    /// # Errors
    /// [`MemoryError::Unmapped`], [`MemoryError::Pieces`].
    pub fn shared(&self, addr: u64, len: usize) -> Result<Shared<'_>, MemoryError> {
        let wanted = len as u64;
        let found = self
            .regions()
            .iter()
            .find_map(|region| region.find(addr, wanted));
        let Some(found) = found.and_then(NonNull::new) else {
            self.check(addr, wanted)?;
            return Err(MemoryError::Pieces { addr, len: wanted });
        };
        // SAFETY: *inside*, and *kept* as long as this value is borrowed.
        Ok(unsafe { Shared::new(found, len, addr) })
    }

    /// The same together with what keeps it.
    ///
    /// # Errors
    /// [`MemoryError::Unmapped`], [`MemoryError::Pieces`].
    pub(crate) fn kept(&self, addr: u64, len: usize) -> Result<Kept, MemoryError> {
        let shared = self.shared(addr, len)?;
        Ok(Kept {
            // SAFETY: only the life time differs: *kept*, by the clone beside it.
            shared: unsafe { std::mem::transmute::<Shared<'_>, Shared<'static>>(shared) },
            _ram: self.clone(),
        })
    }

    /// Calls `take` for the pieces of `len` bytes at `addr`, in their order.
    ///
    /// # Errors
    /// [`MemoryError::Unmapped`], after the pieces before the hole.
    pub(crate) fn pieces(
        &self,
        mut addr: u64,
        mut len: u64,
        mut take: impl FnMut(Segment),
    ) -> Result<(), MemoryError> {
        while len > 0 {
            let mut regions = self.regions().iter();
            let piece = regions
                .find_map(|region| region.find_some(addr, len))
                .ok_or(MemoryError::Unmapped { addr, len })?;
            take(piece);
            len -= piece.len() as u64;
            if len == 0 {
                break;
            }
            addr = addr
                .checked_add(piece.len() as u64)
                .ok_or(MemoryError::Unmapped { addr, len })?;
        }
        Ok(())
    }

    fn check(&self, addr: u64, len: u64) -> Result<(), MemoryError> {
        let all = self.pieces(addr, len, |_| {});
        all.map_err(|_| MemoryError::Unmapped { addr, len })
    }

    #[inline]
    pub(crate) fn regions(&self) -> &[Region] {
        &self.inner.regions
    }

    /// The one with the lowest addresses, of a guest that has memory.
    #[inline]
    pub(crate) fn first_region(&self) -> Region {
        self.regions()[0]
    }

    /// The one that has `addr`.
    pub(crate) fn region_of(&self, addr: u64) -> Option<Region> {
        let mut regions = self.regions().iter();
        regions
            .find(|region| region.find(addr, 1).is_some())
            .copied()
    }

    /// Whether both are clones of one.
    #[inline]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

/// Memory of a guest, and a clone of what keeps it.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Not to be copied out of here.
    shared: Shared<'static>,
    _ram: GuestRam,
}

#[cfg(all(test, pepita_loom))]
impl Kept {
    /// Memory of a model, which lives for ever.
    pub(crate) fn of(shared: Shared<'static>, ram: &GuestRam) -> Self {
        let _ram = ram.clone();
        Self { shared, _ram }
    }
}

impl Deref for Kept {
    type Target = Shared<'static>;

    #[inline]
    fn deref(&self) -> &Shared<'static> {
        &self.shared
    }
}

/// Copies bytes of `list`, which is memory of `_ram`, from `offset` on.
///
/// # Errors
/// [`ShortData`]; nothing is copied then.
pub(crate) fn copy_from(
    _ram: &GuestRam,
    list: &[Segment],
    offset: usize,
    into: &mut [u8],
) -> Result<(), ShortData> {
    let mut rest = into;
    for piece in pieces_of(list, offset, rest.len())? {
        let (here, behind) = std::mem::take(&mut rest).split_at_mut(piece.len());
        rest = behind;
        // SAFETY: *kept* and *inside*: a collector put the segment into the chain, beside its memory.
        unsafe { copy::read(host(piece), here) };
    }
    Ok(())
}

/// Copies `from` to bytes of `list`, which is memory of `_ram`, from `offset` on.
///
/// # Errors
/// [`ShortData`]; nothing is copied then.
pub(crate) fn copy_to(
    _ram: &GuestRam,
    list: &[Segment],
    offset: usize,
    from: &[u8],
) -> Result<(), ShortData> {
    let mut rest = from;
    for piece in pieces_of(list, offset, rest.len())? {
        let (here, behind) = rest.split_at(piece.len());
        rest = behind;
        // SAFETY: as in `copy_from`.
        unsafe { copy::write(host(piece), here) };
    }
    Ok(())
}

/// Sends `len` bytes of `list`, which is memory of `_ram`, from `offset` on, to the socket `to`; gives how many went.
///
/// # Errors
/// What sendmsg(2) says. It does not wait, and raises no signal.
#[cfg(not(all(test, pepita_loom)))]
pub(crate) fn send(
    _ram: &GuestRam,
    to: BorrowedFd<'_>,
    list: &[Segment],
    offset: usize,
    len: usize,
) -> io::Result<usize> {
    let (list, count) = vector_of(list, offset, len)?;
    let message = message_of(&list, count);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: *kept* and *inside*, as in `copy_from`; the list lives as long as the calls.
    returned(|| unsafe { libc::sendmsg(to.as_raw_fd(), &raw const message, flags) })
}

/// Receives up to `len` bytes into `list`, which is memory of `_ram`, from `offset` on; gives how many came, none at
/// the stream's end.
///
/// # Errors
/// What recvmsg(2) says. It does not wait.
#[cfg(not(all(test, pepita_loom)))]
pub(crate) fn receive(
    _ram: &GuestRam,
    from: BorrowedFd<'_>,
    list: &[Segment],
    offset: usize,
    len: usize,
) -> io::Result<usize> {
    let (list, count) = vector_of(list, offset, len)?;
    let mut message = message_of(&list, count);
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: as in `send`.
    returned(|| unsafe { libc::recvmsg(from.as_raw_fd(), &raw mut message, flags) })
}

/// The most segments of a call; what is behind them is for the next one.
#[cfg(not(all(test, pepita_loom)))]
const VECTOR: usize = 32;

/// The first pieces of `len` bytes from `offset` on, and how many there are.
#[cfg(not(all(test, pepita_loom)))]
fn vector_of(
    list: &[Segment],
    offset: usize,
    len: usize,
) -> Result<([Segment; VECTOR], usize), KernelError> {
    let mut vector = [Segment::EMPTY; VECTOR];
    let mut count = 0;
    for (place, piece) in vector.iter_mut().zip(pieces_of(list, offset, len)?) {
        *place = piece;
        count += 1;
    }
    Ok((vector, count))
}

/// The kernel's message for `count` segments, which have the layout of an iovec.
#[cfg(not(all(test, pepita_loom)))]
fn message_of(list: &[Segment; VECTOR], count: usize) -> libc::msghdr {
    // SAFETY: numbers and addresses, for which zeroes are values.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = list.as_ptr().cast_mut().cast();
    message.msg_iovlen = count;
    message
}

/// What a system call says that was not interrupted.
#[cfg(not(all(test, pepita_loom)))]
fn returned(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        if let Ok(count) = usize::try_from(call()) {
            return Ok(count);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn pieces_of(list: &[Segment], offset: usize, len: usize) -> Result<Segments<'_>, ShortData> {
    let mut segments = Segments::new(list);
    segments.split_to(offset)?;
    segments.split_to(len)
}

fn host(piece: Segment) -> NonNull<u8> {
    NonNull::new(piece.base()).expect("a region is somewhere")
}

impl fmt::Debug for GuestRam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for Region { start, len, .. } in self.regions() {
            list.entry(&format_args!("{start:#x} + {len:#x}"));
        }
        list.finish()
    }
}
