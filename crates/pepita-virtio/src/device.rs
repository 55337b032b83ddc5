//! The device's side of a queue: [`ActiveQueue`].
//!
//! What the driver writes is loaded once, checked and used; nothing is looked at twice. A buffer comes out as
//! addresses of the host, all of them inside of the guest's memory. What goes wrong is an error the first time
//! and silence from then on, until the queue is made anew.

mod chain;
mod collect;
#[cfg(all(test, pepita_loom))]
mod handshake;
mod in_order;
mod indirect;
mod packed;
mod split;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::QueueError;
use crate::event::Position;
use crate::format::{Area, RingFeatures};
use crate::memory::{GuestRam, Kept};
use crate::queue::VirtQueue;

pub use chain::Chain;
use collect::Collector;
use in_order::InOrder;
use packed::Packed;
use split::Split;

/// A queue whose registers were checked: split or packed, as was negotiated.
///
/// ```
/// use pepita_virtio::{DriverQueue, Element, GuestRam, RingFeatures, Slot};
///
/// let ram = GuestRam::zeroed(1 << 16);
/// let features = RingFeatures { event_index: true, ..RingFeatures::default() };
/// let mut slots = [Slot::default(); 8];
/// let ring = ram.shared(0, DriverQueue::bytes(8, features))?;
/// let mut driver = DriverQueue::new(ring, &mut slots, features);
///
/// // The driver writes its registers, and offers a buffer: 5 bytes to read, 100 to write.
/// let mut queue = driver.registers().activate(&ram, features)?;
/// ram.write(0x1000, b"hello")?;
/// driver.add(&[Element::new(0x1000, 5)], &[Element::new(0x2000, 100)])?;
/// assert!(driver.needs_kick());
///
/// let mut chain = queue.chain();
/// assert!(queue.pop(&mut chain)?);
/// let mut request = [0; 5];
/// chain.read(0, &mut request)?;
/// chain.write(0, &request)?;
/// queue.complete(&mut chain, 5)?;
/// assert!(queue.needs_notification());
/// assert_eq!(driver.take_used()?.map(|used| used.written), Some(5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ActiveQueue {
    ring: Ring,
    features: RingFeatures,
    size: u16,
    /// Which buffers the device has: a bit for each head or id.
    in_use: Box<[u64]>,
    in_order: Option<InOrder>,
    /// Descriptors, or buffers, since the driver was last asked whether it wants to know.
    added: u32,
    failure: Option<QueueError>,
    /// Of all queues that there have been.
    number: u64,
    ram: GuestRam,
}

#[derive(Debug)]
enum Ring {
    Split(Split),
    Packed(Packed),
}

/// A buffer that the device has.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    /// Its head, or its id.
    id: u16,
    /// Descriptors that it takes in a packed ring.
    count: u16,
}

impl VirtQueue {
    /// Checks what the driver has written, once; the queue that comes out is in its initial state.
    ///
    /// # Errors
    /// What the driver got wrong: readiness, size, the areas' addresses.
    pub fn activate(
        &self,
        ram: &GuestRam,
        features: RingFeatures,
    ) -> Result<ActiveQueue, QueueError> {
        let start = if features.packed {
            Position::START.0
        } else {
            0
        };
        self.resume(ram, features, start)
    }

    /// The same, for a queue that goes on at `position`, from [`ActiveQueue::position`] of one over the same memory:
    /// a device that was saved and comes back, or that another process goes on with.
    ///
    /// What either side had said about kicks and notifications may have been lost with the old device. So the new
    /// one [enables kicks](ActiveQueue::enable_kicks) and looks without having been kicked, and notifies once without
    /// having been asked whether it has to.
    ///
    /// ```
    /// use pepita_virtio::{DriverQueue, Element, GuestRam, RingFeatures, Slot};
    ///
    /// let ram = GuestRam::zeroed(1 << 16);
    /// let mut slots = [Slot::default(); 8];
    /// let ring = ram.shared(0, DriverQueue::bytes(8, RingFeatures::default()))?;
    /// let mut driver = DriverQueue::new(ring, &mut slots, RingFeatures::default());
    /// let registers = driver.registers();
    /// let mut queue = registers.activate(&ram, RingFeatures::default())?;
    /// driver.add(&[Element::new(0x1000, 5)], &[])?;
    /// let mut chain = queue.chain();
    /// assert!(queue.pop(&mut chain)?);
    /// assert_eq!(queue.position(), None, "a buffer is in use");
    /// queue.complete(&mut chain, 0)?;
    ///
    /// let position = queue.position().expect("no buffer is in use");
    /// let mut next = registers.resume(&ram, RingFeatures::default(), position)?;
    /// driver.add(&[Element::new(0x1000, 7)], &[])?;
    /// let mut chain = next.chain();
    /// assert!(next.pop(&mut chain)?);
    /// assert_eq!(chain.readable_len(), 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`activate`](Self::activate); [`QueueError::Position`] where a packed ring has no such descriptor.
    pub fn resume(
        &self,
        ram: &GuestRam,
        features: RingFeatures,
        position: u16,
    ) -> Result<ActiveQueue, QueueError> {
        let (size, packed) = (self.size(), features.packed);
        if !self.is_ready() {
            return Err(QueueError::NotReady);
        }
        if size == 0 || size > self.max_size() || !packed && !size.is_power_of_two() {
            let max = self.max_size();
            return Err(QueueError::Size { size, max, packed });
        }
        for (at, one) in Area::ALL.iter().enumerate() {
            let behind = Area::ALL.iter().skip(at + 1);
            for other in behind {
                let [first, second] = [one, other].map(|area| {
                    let first = self.address(*area);
                    first..first.saturating_add(area.bytes(size, packed) as u64)
                });
                if first.start < second.end && second.start < first.end {
                    let (one, other) = (*one, *other);
                    return Err(QueueError::Overlap { one, other });
                }
            }
        }
        let area = |area| area_of(self, ram, area, packed);
        let areas = [
            area(Area::Descriptor)?,
            area(Area::Driver)?,
            area(Area::Device)?,
        ];
        if packed && Position(position).offset() >= size {
            return Err(QueueError::Position { position, size });
        }
        Ok(ActiveQueue::new(ram, areas, size, features, position))
    }
}

/// An area, checked.
fn area_of(
    queue: &VirtQueue,
    ram: &GuestRam,
    area: Area,
    packed: bool,
) -> Result<Kept, QueueError> {
    let (addr, align) = (queue.address(area), area.align(packed));
    let bytes = area.bytes(queue.size(), packed);
    let wrong = QueueError::Alignment { area, addr, align };
    if !addr.is_multiple_of(align as u64) {
        return Err(wrong);
    }
    let shared = ram
        .kept(addr, bytes)
        .map_err(|source| QueueError::Range { area, source })?;
    // Memory of this program that is aligned less than the guest's address of it cannot hold words.
    if shared.is_aligned(align) {
        Ok(shared)
    } else {
        Err(wrong)
    }
}

impl ActiveQueue {
    fn new(
        ram: &GuestRam,
        areas: [Kept; 3],
        size: u16,
        features: RingFeatures,
        position: u16,
    ) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        Self {
            ring: if features.packed {
                Ring::Packed(Packed::new(areas, size, features, Position(position)))
            } else {
                Ring::Split(Split::new(areas, size, features, position))
            },
            features,
            size,
            in_use: vec![0; usize::from(size).div_ceil(64)].into_boxed_slice(),
            in_order: features.in_order.then(|| InOrder::new(size)),
            added: 0,
            failure: None,
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            ram: ram.clone(),
        }
    }

    /// Descriptors.
    #[must_use]
    pub const fn size(&self) -> u16 {
        self.size
    }

    /// What was negotiated.
    #[must_use]
    pub const fn features(&self) -> RingFeatures {
        self.features
    }

    /// Room for a buffer of this queue, to be used again and again.
    #[must_use]
    pub fn chain(&self) -> Chain {
        Chain::new(self.ram.clone(), self.size)
    }

    /// What the guest did wrong, if it did: the device then asks to be reset (virtio 1.3, 2.1.2), and the queue
    /// does nothing any more.
    #[must_use]
    pub const fn failure(&self) -> Option<QueueError> {
        self.failure
    }

    /// Where a queue goes on that [resumes](VirtQueue::resume) this one; none while a buffer is in use, and after a
    /// failure. In a split ring it is the index of the next available buffer, in a packed one that of its descriptor,
    /// with the wrap counter in bit 15: what vhost calls the base of a ring.
    #[must_use]
    pub fn position(&self) -> Option<u16> {
        if self.failure.is_some() || self.in_use.iter().any(|word| *word != 0) {
            return None;
        }
        Some(match &self.ring {
            Ring::Split(ring) => ring.position(),
            Ring::Packed(ring) => ring.position().0,
        })
    }

    /// Takes the next buffer that the driver has made available into `chain`, if there is one. It stays in use
    /// until it is [`complete`](Self::complete)d.
    ///
    /// Its cost is bounded by the queue's size, whatever the guest does. How many buffers are taken per kick is
    /// the caller's choice: a guest can add more as fast as they are completed.
    ///
    /// # Errors
    /// What the guest did wrong. From then on the queue has failed: nothing is available, and nothing that is
    /// completed reaches the driver.
    ///
    /// # Panics
    /// When `chain` holds a buffer of this queue, or is for another memory.
    #[inline]
    pub fn pop(&mut self, chain: &mut Chain) -> Result<bool, QueueError> {
        assert!(
            chain.queue != self.number && chain.ram().is(&self.ram),
            "room for a buffer of this queue"
        );
        if self.failure.is_some() {
            return Ok(false);
        }
        match self.take(chain) {
            Ok(taken) => Ok(taken),
            Err(error) => {
                chain.clear();
                self.failure = Some(error);
                Err(error)
            }
        }
    }

    #[inline]
    fn take(&mut self, chain: &mut Chain) -> Result<bool, QueueError> {
        let mut collector = Collector::new(&self.ram, chain);
        let taken = match &mut self.ring {
            Ring::Split(ring) => ring.take(&mut collector)?,
            Ring::Packed(ring) => ring.take(&mut collector)?,
        };
        let Some(taken) = taken else {
            return Ok(false);
        };
        collector.finish()?;
        let (word, bit) = (usize::from(taken.id / 64), 1 << (taken.id % 64));
        if self.in_use[word] & bit != 0 {
            return Err(QueueError::InUse { id: taken.id });
        }
        self.in_use[word] |= bit;
        chain.taken = taken;
        chain.queue = self.number;
        if let Some(in_order) = &mut self.in_order {
            chain.turn = in_order.begin();
        }
        Ok(true)
    }

    /// Gives a buffer back to the driver: `written` bytes were written, from the first writable one on. With
    /// `VIRTIO_F_IN_ORDER`, the driver sees it when all before it are complete.
    ///
    /// # Errors
    /// [`QueueError::Written`] when the buffer is shorter, which then stays in use; [`QueueError::Foreign`] when
    /// `chain` holds no buffer of this queue: since it was taken, the queue was reset.
    #[inline]
    pub fn complete(&mut self, chain: &mut Chain, written: u32) -> Result<(), QueueError> {
        if chain.queue != self.number {
            return Err(QueueError::Foreign);
        }
        let writable = chain.writable_len();
        if u64::from(written) > writable {
            return Err(QueueError::Written { written, writable });
        }
        let (taken, turn) = (chain.taken, chain.turn);
        chain.clear();
        if self.in_order.is_some() {
            self.complete_in_turn(turn, taken, written);
        } else {
            self.publish(taken, written);
        }
        Ok(())
    }

    /// The buffer of a turn is complete: the driver sees it, and those behind it, when those before it are.
    #[inline(never)]
    fn complete_in_turn(&mut self, turn: u16, taken: Taken, written: u32) {
        let Some(mut in_order) = self.in_order.take() else {
            return;
        };
        in_order.end(turn, taken, written);
        while let Some((taken, written)) = in_order.next() {
            self.publish(taken, written);
        }
        self.in_order = Some(in_order);
    }

    #[inline(always)]
    fn publish(&mut self, taken: Taken, written: u32) {
        self.in_use[usize::from(taken.id / 64)] &= !(1 << (taken.id % 64));
        if self.failure.is_some() {
            return;
        }
        let added = match &mut self.ring {
            Ring::Split(ring) => ring.publish(taken, written),
            Ring::Packed(ring) => ring.publish(taken, written),
        };
        self.added = self.added.saturating_add(added);
    }

    /// Whether the driver wants to be notified of what was completed since this was last asked. virtio 1.3,
    /// 2.7.7.2 and 2.8.10
    #[inline]
    #[must_use]
    pub fn needs_notification(&mut self) -> bool {
        let added = std::mem::take(&mut self.added);
        if added == 0 || self.failure.is_some() {
            return false;
        }
        match &self.ring {
            Ring::Split(ring) => ring.needs_notification(added),
            Ring::Packed(ring) => ring.needs_notification(added),
        }
    }

    /// Tells the driver that no kick is needed, while the device looks by itself. It may kick all the same.
    pub fn disable_kicks(&mut self) {
        if self.failure.is_some() {
            return;
        }
        match &self.ring {
            Ring::Split(ring) => ring.disable_kicks(),
            Ring::Packed(ring) => ring.disable_kicks(),
        }
    }

    /// Tells the driver to kick when it makes the next buffer available, and says whether one is there already,
    /// which the driver may have added without a kick: then pop it.
    #[must_use = "a buffer that is there already comes without a kick"]
    pub fn enable_kicks(&mut self) -> bool {
        if self.failure.is_some() {
            return false;
        }
        match &self.ring {
            Ring::Split(ring) => ring.enable_kicks(),
            Ring::Packed(ring) => ring.enable_kicks(),
        }
    }
}
