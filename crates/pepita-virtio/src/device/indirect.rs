//! Tables of descriptors. virtio 1.3, 2.7.5.3 and 2.8.7

use super::Collector;
use super::split::Steps;
use crate::Shared;
use crate::error::QueueError;
use crate::format::{
    PackedDesc, RingFeatures, VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VirtqDesc, Words,
};
use crate::memory::GuestRam;

/// The table of `len` bytes at `addr`, which need not be aligned.
#[inline]
pub(super) fn table(ram: &GuestRam, addr: u64, len: u32) -> Result<Shared<'_>, QueueError> {
    let bytes = usize::try_from(len).unwrap_or(usize::MAX);
    let entries = bytes / Words::BYTES;
    if !bytes.is_multiple_of(Words::BYTES) || entries == 0 || entries > usize::from(u16::MAX) {
        return Err(QueueError::TableLen { len });
    }
    ram.shared(addr, bytes).map_err(QueueError::Table)
}

fn entries(table: Shared<'_>) -> u16 {
    u16::try_from(table.len() / Words::BYTES).unwrap_or(u16::MAX)
}

/// The elements of a split ring's table, of which there may be `left`.
pub(super) fn walk_split(
    table: Shared<'_>,
    left: u16,
    features: RingFeatures,
    size: u16,
    collector: &mut Collector<'_>,
) -> Result<(), QueueError> {
    let entries = entries(table);
    let mut steps = Steps::within(size, left);
    let mut index = 0;
    loop {
        let desc = VirtqDesc::from_words(table.descriptor(usize::from(index)));
        if desc.flags & VIRTQ_DESC_F_INDIRECT != 0 {
            return Err(QueueError::NestedIndirect);
        }
        collector.add(desc.addr, desc.len, desc.flags)?;
        if desc.flags & VIRTQ_DESC_F_NEXT == 0 {
            return Ok(());
        }
        let next = desc.next;
        if next >= entries {
            return Err(QueueError::Next { next, entries });
        }
        if features.in_order && next != index + 1 {
            return Err(QueueError::OutOfOrder { index, next });
        }
        steps.step(next)?;
        index = next;
    }
}

/// The elements of a packed ring's table: all, one after the other. Flags other than the one for writing are
/// ignored, and so are ids.
#[inline]
pub(super) fn walk_packed(
    table: Shared<'_>,
    size: u16,
    collector: &mut Collector<'_>,
) -> Result<(), QueueError> {
    let entries = entries(table);
    if entries > size {
        return Err(QueueError::TooLong { size });
    }
    for index in 0..usize::from(entries) {
        let desc = PackedDesc::from_words(table.descriptor(index));
        collector.add(desc.addr, desc.len, desc.flags)?;
    }
    Ok(())
}
