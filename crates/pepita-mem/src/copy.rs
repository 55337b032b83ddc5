#![expect(
    unsafe_code,
    reason = "volatile copies of memory that others write meanwhile"
)]
//! Copies of memory that a device, a guest or another process may write at the same time.
//!
//! Each byte is read or written once, by volatile accesses of eight bytes where both ends of a word lie
//! inside, so that the compiler neither repeats nor invents one. What comes out is some mixture of old
//! and new bytes, and a value of its own from then on.

use core::ptr::NonNull;

const WORD: usize = size_of::<u64>();

/// Copies `into.len()` bytes from `from`.
///
/// # Safety
/// * That many bytes at `from` are valid for reads; they are in no Rust reference.
pub(crate) unsafe fn read(from: NonNull<u8>, into: &mut [u8]) {
    let head = from.align_offset(WORD).min(into.len());
    let (first, rest) = into.split_at_mut(head);
    let (words, last) = rest.as_chunks_mut::<WORD>();
    let mut at = from;
    for byte in first {
        // SAFETY: inside the caller's bytes, of which `first` is as many.
        *byte = unsafe { at.read_volatile() };
        // SAFETY: one step inside, or to the end.
        at = unsafe { at.add(1) };
    }
    for word in words {
        // SAFETY: inside, and aligned: `head` bytes were before.
        *word = unsafe { at.cast::<u64>().read_volatile() }.to_ne_bytes();
        // SAFETY: one word inside, or to the end.
        at = unsafe { at.add(WORD) };
    }
    for byte in last {
        // SAFETY: inside.
        *byte = unsafe { at.read_volatile() };
        // SAFETY: one step inside, or to the end.
        at = unsafe { at.add(1) };
    }
}

/// Copies `from` to `into`.
///
/// # Safety
/// * `from.len()` bytes at `into` are valid for writes; they are in no Rust reference.
pub(crate) unsafe fn write(into: NonNull<u8>, from: &[u8]) {
    let head = into.align_offset(WORD).min(from.len());
    let (first, rest) = from.split_at(head);
    let (words, last) = rest.as_chunks::<WORD>();
    let mut at = into;
    for byte in first {
        // SAFETY: inside the caller's bytes, of which `first` is as many.
        unsafe { at.write_volatile(*byte) };
        // SAFETY: one step inside, or to the end.
        at = unsafe { at.add(1) };
    }
    for word in words {
        // SAFETY: inside, and aligned: `head` bytes were before.
        unsafe { at.cast::<u64>().write_volatile(u64::from_ne_bytes(*word)) };
        // SAFETY: one word inside, or to the end.
        at = unsafe { at.add(WORD) };
    }
    for byte in last {
        // SAFETY: inside.
        unsafe { at.write_volatile(*byte) };
        // SAFETY: one step inside, or to the end.
        at = unsafe { at.add(1) };
    }
}

/// Copies `bytes` bytes from `from` to `into`.
///
/// # Safety
/// * That many bytes are valid for reads at `from` and for writes at `into`; they do not overlap, and are
///   in no Rust reference.
pub(crate) unsafe fn between(from: NonNull<u8>, into: NonNull<u8>, bytes: usize) {
    let mut piece = [0; 256];
    let mut done = 0;
    while done < bytes {
        let piece = &mut piece[..(bytes - done).min(256)];
        // SAFETY: `done` is below `bytes`.
        let from = unsafe { from.add(done) };
        // SAFETY: `done` is below `bytes`.
        let into = unsafe { into.add(done) };
        // SAFETY: the piece ends with the bytes at the latest.
        unsafe { read(from, piece) };
        // SAFETY: the piece ends with the bytes at the latest.
        unsafe { write(into, piece) };
        done += piece.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_copied_at_every_alignment_and_no_other() {
        for (start, len) in (0..9).flat_map(|start| (0..40).map(move |len| (start, len))) {
            let mut memory: Vec<u8> = (1..65).collect();
            let want = memory[start..start + len].to_vec();
            let base = NonNull::from(memory.as_mut_slice()).cast::<u8>();
            // SAFETY: `start` is inside of the 64 bytes.
            let at = unsafe { base.add(start) };
            let mut got = vec![0; len];
            // SAFETY: `start + len` is at most 48 of the 64 bytes.
            unsafe { read(at, &mut got) };
            assert_eq!(got, want, "{start} {len}");
            // SAFETY: as above.
            unsafe { write(at, &vec![0xff; len]) };
            let outside = |at: &usize| *at < start || *at >= start + len;
            assert!(
                (0..64)
                    .filter(outside)
                    .all(|at| usize::from(memory[at]) == at + 1)
            );
            assert!(memory[start..start + len].iter().all(|byte| *byte == 0xff));
        }
    }
}
