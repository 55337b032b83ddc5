//! What a guest can do wrong with a queue, and which clause of the specification says so.

use pepita_sys::error::{Errno, KernelError};

use crate::format::{Area, BUFFER_BYTES_MAX};
use crate::memory::MemoryError;

/// Why a queue cannot be used, or no more.
///
/// [`clause`](Self::clause) names the section of virtio 1.3 that the guest has broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The guest has not enabled it.
    #[error("the queue is not ready")]
    NotReady,
    /// Its size is not a size.
    #[error("queue size {size} is not {} in 1..={max}", if *.packed { "a number" } else { "a power of two" })]
    Size {
        /// What the guest wrote.
        size: u16,
        /// The largest that the device offers.
        max: u16,
        /// Whether the ring is packed.
        packed: bool,
    },
    /// An area's address is not a multiple of what it has to be.
    #[error("the {area} at {addr:#x} is not at a multiple of {align}")]
    Alignment {
        /// Which area.
        area: Area,
        /// Its address.
        addr: u64,
        /// What it should be a multiple of.
        align: usize,
    },
    /// An area is not in the guest's memory.
    #[error("the {area} is out of reach")]
    Range {
        /// Which area.
        area: Area,
        /// Why.
        source: MemoryError,
    },
    /// Two areas have bytes in common.
    #[error("the {one} and the {other} overlap")]
    Overlap {
        /// One of them.
        one: Area,
        /// The other.
        other: Area,
    },
    /// A packed ring cannot go on where it is said to have stopped.
    #[error("position {position:#x} is not in a ring of {size}")]
    Position {
        /// The descriptor, and the wrap counter in bit 15.
        position: u16,
        /// The queue's size.
        size: u16,
    },

    /// The available ring claims more buffers than it holds, or went back.
    #[error("available index {index} is not within {size} of {next}, where the device stands")]
    AvailIndex {
        /// What the guest wrote.
        index: u16,
        /// Up to where buffers were taken.
        next: u16,
        /// The queue's size.
        size: u16,
    },
    /// A buffer begins outside of the table.
    #[error("head {head} is not below the queue's size {size}")]
    Head {
        /// What the guest wrote.
        head: u16,
        /// The queue's size.
        size: u16,
    },
    /// A buffer goes on outside of its table.
    #[error("next {next} is not below the table's {entries} entries")]
    Next {
        /// What the guest wrote.
        next: u16,
        /// Entries of the table.
        entries: u16,
    },
    /// A buffer that the device still has was made available again, or one with its id.
    #[error("buffer {id} is in use")]
    InUse {
        /// Its head, or its id.
        id: u16,
    },
    /// The id of a buffer is none.
    #[error("buffer id {id} is not below the queue's size {size}")]
    Id {
        /// What the guest wrote.
        id: u16,
        /// The queue's size.
        size: u16,
    },
    /// A chain leads back into itself.
    #[error("the chain from {head} has a loop")]
    Loop {
        /// Where it begins.
        head: u16,
    },
    /// A chain has more descriptors than the queue.
    #[error("a chain is longer than the queue's size {size}")]
    TooLong {
        /// The queue's size.
        size: u16,
    },
    /// A chain has more bytes than one may have.
    #[error("a chain has more than {BUFFER_BYTES_MAX} bytes")]
    TooManyBytes,
    /// An element is not in the guest's memory.
    #[error("an element of a buffer is out of reach")]
    Element(#[source] MemoryError),
    /// An element that the device reads comes after one that it writes.
    #[error("an element to be read comes after one to be written")]
    ReadAfterWrite,
    /// The guest uses tables without having negotiated them.
    #[error("an indirect descriptor without VIRTIO_F_INDIRECT_DESC")]
    IndirectNotNegotiated,
    /// An indirect descriptor is not the last of its chain, or a packed one not the only one.
    #[error("an indirect descriptor in the middle of a chain")]
    IndirectInChain,
    /// A table has an indirect descriptor.
    #[error("an indirect descriptor within a table")]
    NestedIndirect,
    /// A table is not made of descriptors.
    #[error("an indirect table of {len} bytes is not 1..=65535 descriptors of 16 bytes")]
    TableLen {
        /// Bytes.
        len: u32,
    },
    /// A table is not in the guest's memory.
    #[error("an indirect table is out of reach")]
    Table(#[source] MemoryError),
    /// The descriptors of a chain are not one behind the other, although that was negotiated.
    #[error("descriptor {next} follows {index}, with VIRTIO_F_IN_ORDER")]
    OutOfOrder {
        /// A descriptor.
        index: u16,
        /// The one that it names as the next.
        next: u16,
    },
    /// A packed list is available only in part.
    #[error("descriptor {index} belongs to an available list, and is not available")]
    PartialList {
        /// The descriptor.
        index: u16,
    },

    /// The device says that it wrote more than there is to be written.
    #[error("{written} bytes written, into {writable}")]
    Written {
        /// What the device says.
        written: u32,
        /// Bytes of the buffer that it may write.
        writable: u64,
    },
    /// The chain holds no buffer of this queue, as it is now.
    #[error("the chain holds no buffer of this queue")]
    Foreign,
}

impl QueueError {
    /// The section of virtio 1.3 that says so; for what the device did wrong, the section that it would break.
    #[must_use]
    pub const fn clause(&self) -> &'static str {
        match self {
            Self::NotReady => "3.1.1",
            Self::Size { packed: false, .. } => "2.7",
            Self::Size { packed: true, .. } => "2.8.10.1",
            Self::Alignment { .. } => "2.7.1, 2.8.11",
            Self::Range { .. } | Self::Overlap { .. } => "2.7, 2.8.10.1",
            Self::Position { .. } => "2.8.1",
            Self::AvailIndex { .. } => "2.7.6, 2.7.13.3",
            Self::Head { .. } => "2.7.6",
            Self::Next { .. } => "2.7.5",
            Self::InUse { .. } => "2.7.13.1, 2.8.21.1",
            Self::Id { .. } => "2.8.22",
            Self::Loop { .. } | Self::TooManyBytes => "2.7.5.2",
            Self::TooLong { .. } => "2.7.5.3.1, 2.8.17",
            Self::Element(_) => "2.7.5, 2.8.4",
            Self::ReadAfterWrite => "2.7.4.2, 2.8.17",
            Self::IndirectNotNegotiated | Self::IndirectInChain | Self::NestedIndirect => {
                "2.7.5.3.1, 2.8.19"
            }
            Self::TableLen { .. } | Self::Table(_) => "2.7.5.3, 2.8.7",
            Self::OutOfOrder { .. } => "2.7.5.2, 2.7.5.3.1",
            Self::PartialList { .. } => "2.8.17",
            Self::Written { .. } => "2.7.8.2, 2.8.4",
            Self::Foreign => "2.6.1.1",
        }
    }

    /// Whether it is the guest's doing.
    #[must_use]
    pub const fn is_guests(&self) -> bool {
        !matches!(
            self,
            Self::NotReady | Self::Position { .. } | Self::Written { .. } | Self::Foreign
        )
    }
}

/// `EINVAL`, which a kernel gives for a queue that it does not take.
impl From<QueueError> for KernelError {
    fn from(error: QueueError) -> Self {
        let operation = if error.is_guests() {
            "taking a buffer of a virtqueue"
        } else {
            "using a virtqueue"
        };
        Self::from_errno(operation, Errno::EINVAL)
    }
}

impl From<QueueError> for std::io::Error {
    fn from(error: QueueError) -> Self {
        KernelError::from(error).into()
    }
}

/// `EFAULT`, which a kernel gives for addresses that lead nowhere.
impl From<MemoryError> for KernelError {
    fn from(_: MemoryError) -> Self {
        Self::from_errno("reaching a guest's memory", Errno::EFAULT)
    }
}

impl From<MemoryError> for std::io::Error {
    fn from(error: MemoryError) -> Self {
        KernelError::from(error).into()
    }
}

#[cfg(all(test, not(pepita_loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_number_that_a_kernel_would_give() {
        let memory = MemoryError::Unmapped { addr: 1, len: 2 };
        let cases = [
            (QueueError::NotReady.into(), Errno::EINVAL),
            (QueueError::TooManyBytes.into(), Errno::EINVAL),
            (memory.into(), Errno::EFAULT),
        ];
        for (error, errno) in cases {
            let error: KernelError = error;
            assert_eq!(error.to_errno(), errno);
        }
    }
}
