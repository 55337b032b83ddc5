//! The driver's side of a queue: [`DriverQueue`].
//!
//! It needs neither the standard library nor an allocator: the ring and the books on it are memory of the caller.
//! A device may be hostile too: what it writes is loaded once and checked against the books, which it cannot
//! reach.

mod books;
mod packed;
mod split;

use core::fmt;

use pepita_sys::error::{Errno, KernelError};

use crate::Shared;
use crate::format::{Area, BUFFER_BYTES_MAX, QUEUE_SIZE_MAX, RingFeatures, Words};
use crate::queue::VirtQueue;

pub use books::Slot;
use books::{Books, Elements};
use packed::Packed;
use split::Split;

/// A piece of memory, as the device knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element {
    /// Where it begins.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
}

impl Element {
    /// The `len` bytes from `addr` on.
    #[must_use]
    pub const fn new(addr: u64, len: u32) -> Self {
        Self { addr, len }
    }
}

/// A buffer that the device is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// What [`DriverQueue::add`] said.
    pub id: u16,
    /// How many bytes the device has written, from the first writable one on. What it did not write is not to
    /// be trusted. virtio 1.3, 2.7.8.3
    pub written: u64,
}

/// Why a buffer cannot be made available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddError {
    /// There are too few descriptors; some come back with [`DriverQueue::take_used`].
    Full {
        /// Descriptors wanted.
        wanted: usize,
        /// Descriptors there are.
        free: u16,
    },
    /// It has no element.
    Empty,
    /// It has more elements than the queue has descriptors. virtio 1.3, 2.7.5.3.1 and 2.8.17
    TooLong {
        /// Elements.
        elements: usize,
        /// The queue's size.
        size: u16,
    },
    /// It has more than 2³² bytes. virtio 1.3, 2.7.5.2
    TooManyBytes,
    /// Tables were not negotiated. virtio 1.3, 2.7.5.3.1 and 2.8.19
    NotNegotiated,
    /// The table has no room for the elements.
    ShortTable {
        /// Bytes wanted.
        wanted: usize,
        /// Bytes there are.
        len: usize,
    },
    /// The device has failed; see [`DriverQueue::failure`].
    Failed,
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Full { wanted, free } => {
                write!(f, "{wanted} descriptors wanted, {free} are free")
            }
            Self::Empty => f.write_str("a buffer has at least one element"),
            Self::TooLong { elements, size } => {
                write!(f, "{elements} elements, in a queue of size {size}")
            }
            Self::TooManyBytes => {
                write!(f, "a buffer has more than {BUFFER_BYTES_MAX} bytes")
            }
            Self::NotNegotiated => {
                f.write_str("a table of descriptors without VIRTIO_F_INDIRECT_DESC")
            }
            Self::ShortTable { wanted, len } => {
                write!(f, "a table of {len} bytes, {wanted} wanted")
            }
            Self::Failed => f.write_str("the device has failed"),
        }
    }
}

impl core::error::Error for AddError {}

/// `ENOSPC` for a queue that is full, as a kernel's driver gives it; `EIO` when the device has failed; else
/// `EINVAL`.
impl From<AddError> for KernelError {
    fn from(error: AddError) -> Self {
        let errno = match error {
            AddError::Full { .. } => Errno::ENOSPC,
            AddError::Failed => Errno::EIO,
            _ => Errno::EINVAL,
        };
        Self::from_errno("adding a buffer to a virtqueue", errno)
    }
}

/// What a device did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceFault {
    /// It claims to have used more buffers than it has, or went back.
    Index {
        /// The used ring's index.
        index: u16,
        /// Where the driver stands.
        next: u16,
        /// Buffers that the device has.
        in_flight: u16,
    },
    /// It has used a buffer that it does not have.
    Id {
        /// Its id.
        id: u32,
    },
    /// It claims to have written more than there is to be written.
    Written {
        /// The buffer's id.
        id: u16,
        /// What it claims.
        written: u32,
        /// Bytes that it may write.
        writable: u64,
    },
}

impl DeviceFault {
    /// The section of virtio 1.3 that the device has broken.
    #[must_use]
    pub const fn clause(&self) -> &'static str {
        match self {
            Self::Index { .. } => "2.7.8",
            Self::Id { .. } => "2.7.8, 2.8.6",
            Self::Written { .. } => "2.7.8.2, 2.8.4",
        }
    }
}

impl fmt::Display for DeviceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index {
                index,
                next,
                in_flight,
            } => write!(
                f,
                "used index {index} is not within {in_flight} of {next}, where the driver stands"
            ),
            Self::Id { id } => write!(f, "the device does not have buffer {id}"),
            Self::Written {
                id,
                written,
                writable,
            } => write!(f, "{written} bytes written, into {writable} of buffer {id}"),
        }
    }
}

impl core::error::Error for DeviceFault {}

/// `EIO`.
impl From<DeviceFault> for KernelError {
    fn from(_: DeviceFault) -> Self {
        Self::from_errno("taking a used buffer of a virtqueue", Errno::EIO)
    }
}

/// A queue that a driver fills: split or packed, as was negotiated. [`ActiveQueue`](crate::ActiveQueue) shows both
/// sides.
///
/// ```
/// use pepita_virtio::{DriverQueue, Element, RingFeatures, Shared, Slot};
///
/// let features = RingFeatures { packed: true, ..RingFeatures::default() };
/// let mut memory = [0; 32];
/// let mut slots = [Slot::default(); 8];
/// assert!(size_of_val(&memory) >= DriverQueue::bytes(8, features));
/// let mut queue = DriverQueue::new(Shared::of(&mut memory, 0x4000), &mut slots, features);
/// assert!(queue.registers().is_ready()); // what the transport is to be told
/// queue.add(&[Element::new(0x8000, 512)], &[])?;
/// assert!(queue.needs_kick() && !queue.needs_kick());
/// assert_eq!(queue.take_used()?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct DriverQueue<'a> {
    ring: Ring<'a>,
    books: Books<'a>,
    features: RingFeatures,
    addresses: [u64; 3],
    /// Descriptors, or buffers, since the device was last asked whether it wants to know.
    added: u32,
    failure: Option<DeviceFault>,
}

#[derive(Debug)]
enum Ring<'a> {
    Split(Split<'a>),
    Packed(Packed<'a>),
}

/// Where the areas of a queue begin, one behind the other, and where they end.
pub(crate) const fn offsets(size: u16, packed: bool) -> [usize; 4] {
    let mut offsets = [0_usize; 4];
    let mut at = 0;
    while at < 3 {
        let area = Area::ALL[at];
        offsets[at] = offsets[at].next_multiple_of(area.align(packed));
        offsets[at + 1] = offsets[at] + area.bytes(size, packed);
        at += 1;
    }
    offsets
}

impl<'a> DriverQueue<'a> {
    /// Bytes of a ring of `size` descriptors.
    #[must_use]
    pub const fn bytes(size: u16, features: RingFeatures) -> usize {
        offsets(size, features.packed)[3]
    }

    /// An empty queue in `ring`, with a slot for each descriptor. What was in there is overwritten.
    ///
    /// # Panics
    /// When the count of slots is not a queue's size (1 to 32,768, for a split ring a power of two), or `ring` is
    /// shorter than [`bytes`](Self::bytes), or does not begin at a multiple of 16, here and for the device.
    #[must_use]
    pub fn new(ring: Shared<'a>, slots: &'a mut [Slot], features: RingFeatures) -> Self {
        let size = u16::try_from(slots.len()).unwrap_or(0);
        let packed = features.packed;
        assert!(
            size > 0 && size <= QUEUE_SIZE_MAX && (packed || size.is_power_of_two()),
            "as many slots as a queue can have"
        );
        assert!(
            ring.address().is_multiple_of(16) && ring.is_aligned(8),
            "an aligned ring"
        );
        let [table, driver, device, end] = offsets(size, packed);
        ring.part(0, end).zero();
        let areas = [(table, driver), (driver, device), (device, end)];
        let areas = areas.map(|(from, to)| ring.part(from, to - from));
        let addresses = areas.map(|area| area.address());
        Self {
            ring: if packed {
                Ring::Packed(Packed::new(areas, size, features))
            } else {
                Ring::Split(Split::new(areas, size, features))
            },
            books: Books::new(slots, size, features.in_order),
            features,
            addresses,
            added: 0,
            failure: None,
        }
    }

    /// Descriptors.
    #[must_use]
    pub const fn size(&self) -> u16 {
        self.books.size()
    }

    /// Descriptors that are free.
    #[must_use]
    pub const fn free(&self) -> u16 {
        self.books.free()
    }

    /// What the device did wrong, if it did: the queue takes nothing from it any more.
    #[must_use]
    pub const fn failure(&self) -> Option<DeviceFault> {
        self.failure
    }

    /// What the transport is to be told about this queue.
    #[must_use]
    pub const fn registers(&self) -> VirtQueue {
        let mut queue = VirtQueue::with_size(self.size());
        let mut at = 0;
        while at < 3 {
            queue.set_address(Area::ALL[at], self.addresses[at]);
            at += 1;
        }
        queue.set_ready(true);
        queue
    }

    /// Makes a buffer available: what the device reads, then what it writes. It is known by the number that comes
    /// back, until [`take_used`](Self::take_used) says it; so long the memory belongs to the device.
    ///
    /// # Errors
    /// [`AddError`]; nothing has happened then.
    pub fn add(&mut self, readable: &[Element], writable: &[Element]) -> Result<u16, AddError> {
        let elements = self.check(readable, writable)?;
        let (wanted, free) = (elements.len(), self.free());
        if wanted > usize::from(free) {
            return Err(AddError::Full { wanted, free });
        }
        let (id, added) = match &mut self.ring {
            Ring::Split(ring) => ring.add(&mut self.books, elements),
            Ring::Packed(ring) => ring.add(&mut self.books, elements),
        };
        self.added = self.added.saturating_add(added);
        Ok(id)
    }

    /// The same by one descriptor, which leads to a table of the others. The table belongs to the device as long
    /// as the buffer does.
    ///
    /// # Errors
    /// [`AddError`]; nothing has happened then.
    pub fn add_indirect(
        &mut self,
        table: &Shared<'_>,
        readable: &[Element],
        writable: &[Element],
    ) -> Result<u16, AddError> {
        if !self.features.indirect {
            return Err(AddError::NotNegotiated);
        }
        let elements = self.check(readable, writable)?;
        let (wanted, free) = (elements.len() * Words::BYTES, self.free());
        if wanted > table.len() {
            let len = table.len();
            return Err(AddError::ShortTable { wanted, len });
        }
        if free == 0 {
            return Err(AddError::Full { wanted: 1, free });
        }
        let table = table.part(0, wanted);
        let (id, added) = match &mut self.ring {
            Ring::Split(ring) => ring.add_indirect(&mut self.books, table, elements),
            Ring::Packed(ring) => ring.add_indirect(&mut self.books, table, elements),
        };
        self.added = self.added.saturating_add(added);
        Ok(id)
    }

    fn check<'e>(
        &self,
        readable: &'e [Element],
        writable: &'e [Element],
    ) -> Result<Elements<'e>, AddError> {
        if self.failure.is_some() {
            return Err(AddError::Failed);
        }
        let elements = Elements::new(readable, writable);
        let size = self.size();
        match elements.len() {
            0 => Err(AddError::Empty),
            len if len > usize::from(size) => Err(AddError::TooLong {
                elements: len,
                size,
            }),
            _ if elements.bytes() > BUFFER_BYTES_MAX => Err(AddError::TooManyBytes),
            _ => Ok(elements),
        }
    }

    /// Whether the device wants a kick for what was added since this was last asked. virtio 1.3, 2.7.10.1 and
    /// 2.8.10
    #[must_use = "a device that wants a kick may wait for it"]
    pub fn needs_kick(&mut self) -> bool {
        let added = core::mem::take(&mut self.added);
        if added == 0 {
            return false;
        }
        match &self.ring {
            Ring::Split(ring) => ring.needs_kick(added),
            Ring::Packed(ring) => ring.needs_kick(added),
        }
    }

    /// Takes the next buffer that the device is done with, if there is one.
    ///
    /// # Errors
    /// What the device did wrong. From then on nothing is taken from it, and nothing can be added.
    pub fn take_used(&mut self) -> Result<Option<Used>, DeviceFault> {
        if self.failure.is_some() {
            return Ok(None);
        }
        let used = match &mut self.ring {
            Ring::Split(ring) => ring.take_used(&mut self.books),
            Ring::Packed(ring) => ring.take_used(&mut self.books),
        };
        if let Err(fault) = used {
            self.failure = Some(fault);
        }
        used
    }

    /// Tells the device that it need not notify, while the driver looks by itself. It may notify all the same.
    pub fn disable_notifications(&mut self) {
        match &self.ring {
            Ring::Split(ring) => ring.disable_notifications(),
            Ring::Packed(ring) => ring.disable_notifications(),
        }
    }

    /// Tells the device to notify when it has used the next buffer, and says whether it has used one already,
    /// perhaps without a notification: then take it.
    #[must_use = "a buffer that is used already comes without a notification"]
    pub fn enable_notifications(&mut self) -> bool {
        match &self.ring {
            Ring::Split(ring) => ring.enable_notifications(),
            Ring::Packed(ring) => ring.enable_notifications(),
        }
    }
}
