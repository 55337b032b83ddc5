//! [`Device`]: what a device model does, whatever the transport.

use pepita_sys::error::{Errno, KernelError};

use super::Interrupt;
use crate::device::ActiveQueue;
use crate::memory::GuestRam;

/// What a device gets when the driver is ready.
#[derive(Debug, Clone)]
pub struct Activation {
    /// The guest's memory.
    pub ram: GuestRam,
    /// The features that both sides have.
    pub features: u64,
    /// How the driver is told of things.
    pub interrupt: Interrupt,
}

/// The device could not let go of the guest's memory, as when a disk has hung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the device still has {buffers} buffers of the guest")]
pub struct Busy {
    /// How many buffers.
    pub buffers: usize,
}

/// `EBUSY`.
impl From<Busy> for KernelError {
    fn from(_: Busy) -> Self {
        Self::from_errno("resetting a virtio device", Errno::EBUSY)
    }
}

/// A device model. A transport owns it, and calls it under a lock, from whatever thread.
///
/// # Threads
/// A device either works in the calls that it gets, or has threads of its own, to which [`kick`](Self::kick) hands the
/// work. One that works in its calls may wait for things outside: it has one descriptor, which may be an epoll(7)
/// instance over many, and [`poll`](Self::poll) is called when that is readable. So an event loop watches one descriptor
/// a device, and one eventfd a queue. Nothing blocks in a call but [`reset`](Self::reset) and
/// [`stop_queue`](Self::stop_queue).
///
/// # Order of calls
/// [`accept`](Self::accept), [`activate`](Self::activate), then [`start_queue`](Self::start_queue) for each queue
/// that the driver has enabled, kicks and polls, [`reset`](Self::reset); and from the beginning. The transport has
/// checked what the driver did: an index is below the count of queues, and only queues that were started are kicked.
///
/// # A hostile driver
/// What is in a queue is the driver's choice. A device that finds a queue failed calls
/// [`Interrupt::needs_reset`], and is not kicked any more. Work in a call is bounded, whatever is in the queue.
pub trait Device: Send {
    /// Which kind of device. virtio 1.3, 5
    fn id(&self) -> u32;

    /// The features that it offers: its own, and what it wants of rings
    /// ([`RingFeatures::to_bits`](crate::RingFeatures::to_bits)). The transport adds its own.
    fn features(&self) -> u64;

    /// The largest size of each queue, a power of two from 1 to [`QUEUE_SIZE_MAX`](crate::QUEUE_SIZE_MAX). Always
    /// the same.
    fn queue_sizes(&self) -> &[u16];

    /// The configuration that a driver reads, little-endian, always as long. It changes only within calls that have
    /// `&mut self`; a device that changes it of its own accord calls [`Interrupt::config_changed`] in the same call.
    fn config(&self) -> &[u8] {
        &[]
    }

    /// The driver writes `from` at `offset` of the configuration, inside of its length.
    fn write_config(&mut self, offset: usize, from: &[u8]) {
        let _ = (offset, from);
    }

    /// The driver wants `features`, all of which are offered. Whether they go together; if not, they are not agreed on.
    fn accept(&mut self, features: u64) -> bool {
        let _ = features;
        true
    }

    /// The driver is ready. Queues follow.
    ///
    /// # Errors
    /// What the kernel refused; the driver is then told to reset the device.
    fn activate(&mut self, activation: Activation) -> Result<(), KernelError>;

    /// The driver has enabled queue `index`. A kick follows.
    fn start_queue(&mut self, index: u16, queue: ActiveQueue);

    /// Lets go of queue `index`: on return nothing of it, and of its buffers, is touched any more.
    ///
    /// # Errors
    /// [`Busy`] if that cannot be; the driver is then told to reset the device.
    fn stop_queue(&mut self, index: u16) -> Result<(), Busy>;

    /// There may be buffers in queue `index`. Says whether there may be more, for which no kick will come: then it
    /// is to be called again.
    fn kick(&mut self, index: u16) -> bool;

    /// Lets go of everything that [`activate`](Self::activate) and [`start_queue`](Self::start_queue) gave, as
    /// [`stop_queue`](Self::stop_queue) does. Also called when nothing was activated.
    ///
    /// # Errors
    /// [`Busy`] if that cannot be; it is tried again when the driver asks again.
    fn reset(&mut self) -> Result<(), Busy>;

    /// A descriptor that is readable as long as [`poll`](Self::poll) has something to do, open as long as the device;
    /// `None` if that is never called.
    fn descriptor(&self) -> Option<i32> {
        None
    }

    /// Does what the descriptor tells of, without waiting. What is left keeps it readable.
    fn poll(&mut self) {}

    /// An eventfd that does what [`kick`](Self::kick) of queue `index` does, open as long as the device: for a host
    /// that binds the guest's notifications to it (`KVM_IOEVENTFD`), without a thread between. `None` if there is none.
    fn kick_descriptor(&self, index: u16) -> Option<i32> {
        let _ = index;
        None
    }
}
