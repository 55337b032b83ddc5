//! Little-endian numbers at offsets of a file that may lie beyond its end.

/// `N` bytes at `offset`, if they are all there.
pub(super) fn array<const N: usize>(file: &[u8], offset: usize) -> Option<[u8; N]> {
    file.get(offset..)?.first_chunk().copied()
}

pub(super) fn u16_at(file: &[u8], offset: usize) -> Option<u16> {
    array(file, offset).map(u16::from_le_bytes)
}

pub(super) fn u32_at(file: &[u8], offset: usize) -> Option<u32> {
    array(file, offset).map(u32::from_le_bytes)
}

pub(super) fn u64_at(file: &[u8], offset: usize) -> Option<u64> {
    array(file, offset).map(u64::from_le_bytes)
}

/// `len` bytes at `offset`, if they are all there.
pub(super) fn range(file: &[u8], offset: u64, len: u64) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    (end <= file.len()).then_some(start..end)
}
