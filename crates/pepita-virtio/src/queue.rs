//! [`VirtQueue`]: what a driver has written about a queue.

use crate::format::{Area, QUEUE_SIZE_MAX};

/// The registers of a queue, as a driver has written them through a transport. Nothing here has been checked;
/// `activate` does, and gives a queue that can be used.
///
/// ```
/// use pepita_virtio::{Area, VirtQueue};
///
/// let mut queue = VirtQueue::with_size(256);
/// queue.set_size(8);
/// queue.set_address(Area::Descriptor, 0x1000);
/// queue.set_ready(true);
/// assert_eq!((queue.size(), queue.max_size(), queue.is_ready()), (8, 256, true));
/// queue.reset();
/// assert_eq!(queue, VirtQueue::with_size(256));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtQueue {
    size: u16,
    max_size: u16,
    is_ready: bool,
    addresses: [u64; 3],
}

impl VirtQueue {
    /// A queue of which the driver has written nothing yet; the device offers up to `size` descriptors.
    ///
    /// # Panics
    /// When `size` is 0, or above [`QUEUE_SIZE_MAX`].
    #[must_use]
    pub const fn with_size(size: u16) -> Self {
        assert!(
            size > 0 && size <= QUEUE_SIZE_MAX,
            "a queue has 1..=32768 descriptors"
        );
        Self {
            size,
            max_size: size,
            is_ready: false,
            addresses: [0; 3],
        }
    }

    /// What the driver says its size is: descriptors.
    #[must_use]
    pub const fn size(&self) -> u16 {
        self.size
    }

    /// What the device offers.
    #[must_use]
    pub const fn max_size(&self) -> u16 {
        self.max_size
    }

    /// Whether the driver has enabled it.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// The address that the driver has given an area.
    #[must_use]
    pub const fn address(&self, area: Area) -> u64 {
        self.addresses[area as usize]
    }

    /// Writes the size. A queue that is ready keeps its own: virtio 1.3, 4.1.4.3.2 and 4.2.2.2 forbid the
    /// driver to change it.
    pub const fn set_size(&mut self, size: u16) {
        if !self.is_ready {
            self.size = size;
        }
    }

    /// Writes the address of an area. A queue that is ready keeps its own, as with the size.
    pub const fn set_address(&mut self, area: Area, address: u64) {
        if !self.is_ready {
            self.addresses[area as usize] = address;
        }
    }

    /// Enables it, or not.
    pub const fn set_ready(&mut self, is_ready: bool) {
        self.is_ready = is_ready;
    }

    /// As if the driver had written nothing. virtio 1.3, 2.6.1
    pub const fn reset(&mut self) {
        *self = Self::with_size(self.max_size);
    }
}
