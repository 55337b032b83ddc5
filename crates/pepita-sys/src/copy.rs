#![expect(
    unsafe_code,
    reason = "volatile copies of memory that others write meanwhile"
)]
//! Copies of memory that a device, a guest or another process may write at the same time.
//!
//! Each byte is read or written once, by volatile accesses or by one instruction that the compiler does not
//! look into, so that it neither repeats nor invents one. What comes out is some mixture of old and new
//! bytes, and a value of its own from then on.
//!
//! Short copies go by words of eight bytes where both ends of a word lie inside. Long ones, on x86-64, by
//! `rep movsq`, which takes as long as `memcpy`: 42 ns for 4 KiB on an EPYC, where the words take 94 ns.

use core::ptr::NonNull;

const WORD: usize = size_of::<u64>();

/// From as many bytes on, setting up `rep movsq` costs less than it saves.
#[cfg(target_arch = "x86_64")]
const BULK: usize = 1024;

/// Copies the beginning of `bytes` bytes, if there is an instruction for it, and says how many bytes it did.
///
/// # Safety
/// * *inside*: that many bytes are valid for reads at `from` and for writes at `into`, and do not overlap.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn bulk(from: NonNull<u8>, into: NonNull<u8>, bytes: usize) -> usize {
    if bytes < BULK {
        return 0;
    }
    // Words and not bytes, of which an emulator takes one at a time.
    // SAFETY: *inside*; the direction flag is clear, as at the start of every `asm!`.
    unsafe {
        core::arch::asm!(
            "rep movsq",
            inout("rcx") bytes / WORD => _,
            inout("rsi") from.as_ptr() => _,
            inout("rdi") into.as_ptr() => _,
            options(nostack, preserves_flags),
        );
    }
    bytes / WORD * WORD
}

/// See above: other architectures have no such instruction.
///
/// # Safety
/// * None.
#[cfg(not(target_arch = "x86_64"))]
const unsafe fn bulk(_from: NonNull<u8>, _into: NonNull<u8>, _bytes: usize) -> usize {
    0
}

/// Copies `into.len()` bytes from `from`.
///
/// # Safety
/// * That many bytes at `from` are valid for reads; they are in no Rust reference.
pub unsafe fn read(from: NonNull<u8>, into: &mut [u8]) {
    let place = NonNull::from(&mut *into).cast::<u8>();
    // SAFETY: the caller's bytes, and a slice that nobody else has.
    let done = unsafe { bulk(from, place, into.len()) };
    let into = &mut into[done..];
    // SAFETY: `done` is at most the count of bytes.
    let mut at = unsafe { from.add(done) };
    let head = at.align_offset(WORD).min(into.len());
    let (first, rest) = into.split_at_mut(head);
    let (words, last) = rest.as_chunks_mut::<WORD>();
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
pub unsafe fn write(into: NonNull<u8>, from: &[u8]) {
    // SAFETY: the caller's bytes, and a slice that nobody changes.
    let done = unsafe { bulk(NonNull::from(from).cast(), into, from.len()) };
    let from = &from[done..];
    // SAFETY: `done` is at most the count of bytes.
    let mut at = unsafe { into.add(done) };
    let head = at.align_offset(WORD).min(from.len());
    let (first, rest) = from.split_at(head);
    let (words, last) = rest.as_chunks::<WORD>();
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
pub unsafe fn between(from: NonNull<u8>, into: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's bytes.
    let mut done = unsafe { bulk(from, into, bytes) };
    let mut piece = [0; 256];
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

/// Writes `bytes` zeroes at `into`.
///
/// # Safety
/// * That many bytes at `into` are valid for writes; they are in no Rust reference.
pub unsafe fn zero(into: NonNull<u8>, bytes: usize) {
    const ZEROES: [u8; 4096] = [0; 4096];
    let mut done = 0;
    while done < bytes {
        let piece = &ZEROES[..(bytes - done).min(ZEROES.len())];
        // SAFETY: `done` is below `bytes`.
        let into = unsafe { into.add(done) };
        // SAFETY: the piece ends with the bytes at the latest.
        unsafe { write(into, piece) };
        done += piece.len();
    }
}

#[cfg(all(test, not(pepita_loom)))]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    /// Lengths around a word, and around where [`bulk`] begins.
    fn cases() -> impl Iterator<Item = (usize, usize)> {
        let lens = (0..40).chain(1016..1045).chain([4096, 5003]);
        lens.flat_map(|len| (0..9).map(move |start| (start, len)))
    }

    #[test]
    fn every_byte_is_copied_at_every_alignment_and_no_other() {
        let fresh: Vec<u8> = (0..6000_u32).map(|at| at.to_le_bytes()[0] | 1).collect();
        for (start, len) in cases() {
            let mut memory = fresh.clone();
            let base = NonNull::from(memory.as_mut_slice()).cast::<u8>();
            // SAFETY: `start` is inside of the 6000 bytes.
            let at = unsafe { base.add(start) };
            let mut got = vec![0; len];
            // SAFETY: `start + len` is at most 5011 of the 6000 bytes.
            unsafe { read(at, &mut got) };
            let mut other = vec![0; len];
            // SAFETY: as above, and both have `len` bytes.
            unsafe { between(at, NonNull::from(other.as_mut_slice()).cast(), len) };
            // SAFETY: as above.
            unsafe { write(at, &vec![0xfe; len]) };
            let mut want = fresh.clone();
            assert!(got == want[start..start + len], "read {start} {len}");
            assert!(other == got, "between {start} {len}");
            want[start..start + len].fill(0xfe);
            assert!(memory == want, "write {start} {len}");
            // SAFETY: as above.
            unsafe { zero(NonNull::from(&mut memory[start..start + len]).cast(), len) };
            want[start..start + len].fill(0);
            assert!(memory == want, "zero {start} {len}");
        }
    }
}
