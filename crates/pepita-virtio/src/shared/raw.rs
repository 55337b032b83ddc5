#![expect(
    unsafe_code,
    reason = "reads and writes memory that somebody else writes as well"
)]
//! [`Shared`]: checked offsets and single accesses.
//!
//! Whoever is on the other side may write at any moment, so there is no reference into this memory. A word
//! is loaded or stored once, by an atomic access; bytes are copied by [`pepita_sys::copy`]. All words are
//! little-endian.
//!
//! # Invariants
//! * *mapped*: the `len` bytes from `base` on are valid for reads and writes as long as `'a` lasts, and no Rust
//!   reference leads to them.
//! * *inside*: an access lies within these bytes, and a word at a multiple of its size ([`Shared::place`]).

use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use pepita_sys::copy;

#[cfg(feature = "std")]
mod descriptors;

/// Memory that driver and device share, and the address by which the device knows it.
///
/// ```
/// use pepita_virtio::Shared;
///
/// let mut memory = [0_u64; 8];
/// let shared = Shared::of(&mut memory, 0x1000);
/// shared.write(4, b"abc");
/// let mut back = [0; 3];
/// shared.read(4, &mut back);
/// assert_eq!((&back, shared.address(), shared.len()), (b"abc", 0x1000, 64));
/// ```
#[derive(Clone, Copy)]
pub struct Shared<'a> {
    base: NonNull<u8>,
    len: usize,
    address: u64,
    memory: PhantomData<&'a [AtomicU64]>,
}

// SAFETY: *mapped*, for any thread; accesses are atomic, or volatile copies.
unsafe impl Send for Shared<'_> {}

// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    /// The `len` bytes from `base` on, which the device reaches at `address`.
    ///
    /// # Safety
    /// * *mapped*: they are valid for reads and writes as long as `'a` lasts, and no Rust reference leads to
    ///   them meanwhile. Anybody may write them.
    #[must_use]
    pub const unsafe fn new(base: NonNull<u8>, len: usize, address: u64) -> Self {
        Self {
            base,
            len,
            address,
            memory: PhantomData,
        }
    }

    /// Memory of this program, which the device reaches at `address`.
    #[must_use]
    pub const fn of(words: &'a mut [u64], address: u64) -> Self {
        let base = NonNull::new(words.as_mut_ptr().cast()).expect("a slice has an address");
        // SAFETY: *mapped*: the slice is borrowed as long as `'a` lasts, by this value alone.
        unsafe { Self::new(base, size_of_val(words), address) }
    }

    /// Bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no byte.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address of the first byte, as the device knows it.
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// The `len` bytes from `offset` on.
    ///
    /// # Panics
    /// When they are not inside.
    #[must_use]
    pub fn part(&self, offset: usize, len: usize) -> Self {
        let base = self.place(offset, len, 1);
        // SAFETY: *mapped*, since a part of it is.
        unsafe { Self::new(base, len, self.address + offset as u64) }
    }

    /// Copies `into.len()` bytes from `offset` on. Bytes that are written meanwhile may be old or new.
    ///
    /// # Panics
    /// When they are not inside.
    pub fn read(&self, offset: usize, into: &mut [u8]) {
        let from = self.place(offset, into.len(), 1);
        // SAFETY: *mapped* and *inside*.
        unsafe { copy::read(from, into) }
    }

    /// Copies `from` to `offset` and behind.
    ///
    /// # Panics
    /// When there is no room.
    pub fn write(&self, offset: usize, from: &[u8]) {
        let into = self.place(offset, from.len(), 1);
        // SAFETY: *mapped* and *inside*.
        unsafe { copy::write(into, from) }
    }

    /// Makes every byte zero.
    pub(crate) fn zero(&self) {
        // SAFETY: *mapped*.
        unsafe { copy::zero(self.base, self.len) };
    }

    /// Whether words of `align` bytes may stand at its beginning, in this program.
    pub(crate) fn is_aligned(&self, align: usize) -> bool {
        self.base.addr().get().is_multiple_of(align)
    }

    /// Where `bytes` bytes at `offset` are; establishes *inside*.
    #[inline]
    fn place(&self, offset: usize, bytes: usize, align: usize) -> NonNull<u8> {
        assert!(
            bytes <= self.len && offset <= self.len - bytes,
            "inside of the shared memory"
        );
        // SAFETY: at most one past the end, by the line above.
        let place = unsafe { self.base.add(offset) };
        assert!(place.addr().get().is_multiple_of(align), "an aligned word");
        place
    }

    #[inline]
    pub(crate) fn load16(&self, offset: usize, order: Ordering) -> u16 {
        let place = self.place(offset, 2, 2);
        // SAFETY: *mapped* and *inside*.
        let word = unsafe { AtomicU16::from_ptr(place.as_ptr().cast()) };
        u16::from_le(word.load(order))
    }

    #[inline]
    pub(crate) fn store16(&self, offset: usize, value: u16, order: Ordering) {
        let place = self.place(offset, 2, 2);
        // SAFETY: *mapped* and *inside*.
        let word = unsafe { AtomicU16::from_ptr(place.as_ptr().cast()) };
        word.store(value.to_le(), order);
    }

    #[inline]
    pub(crate) fn load32(&self, offset: usize, order: Ordering) -> u32 {
        let place = self.place(offset, 4, 4);
        // SAFETY: *mapped* and *inside*.
        let word = unsafe { AtomicU32::from_ptr(place.as_ptr().cast()) };
        u32::from_le(word.load(order))
    }

    #[inline]
    pub(crate) fn store32(&self, offset: usize, value: u32, order: Ordering) {
        let place = self.place(offset, 4, 4);
        // SAFETY: *mapped* and *inside*.
        let word = unsafe { AtomicU32::from_ptr(place.as_ptr().cast()) };
        word.store(value.to_le(), order);
    }

    #[inline]
    pub(crate) fn load64(&self, offset: usize, order: Ordering) -> u64 {
        let place = self.place(offset, 8, 8);
        // SAFETY: *mapped* and *inside*.
        let word = unsafe { AtomicU64::from_ptr(place.as_ptr().cast()) };
        u64::from_le(word.load(order))
    }

    #[inline]
    pub(crate) fn store64(&self, offset: usize, value: u64, order: Ordering) {
        let place = self.place(offset, 8, 8);
        // SAFETY: *mapped* and *inside*.
        let word = unsafe { AtomicU64::from_ptr(place.as_ptr().cast()) };
        word.store(value.to_le(), order);
    }
}

impl fmt::Debug for Shared<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { len, address, .. } = self;
        write!(f, "Shared({len} bytes at {address:#x})")
    }
}

#[cfg(all(test, not(pepita_loom)))]
mod tests {
    use super::*;
    use crate::format::Words;

    #[test]
    fn words_are_little_endian_and_stand_where_their_offset_says() {
        let mut memory = [0; 4];
        let shared = Shared::of(&mut memory, 0);
        shared.store16(2, 0x0102, Ordering::Relaxed);
        shared.store32(4, 0x0304_0506, Ordering::Relaxed);
        shared.store64(8, 0x0708_090a_0b0c_0d0e, Ordering::Relaxed);
        let mut bytes = [0; 16];
        shared.read(0, &mut bytes);
        let want = [0, 0, 2, 1, 6, 5, 4, 3, 0xe, 0xd, 0xc, 0xb, 0xa, 9, 8, 7];
        assert_eq!(bytes, want);
        assert_eq!(shared.load16(2, Ordering::Relaxed), 0x0102);
        assert_eq!(shared.load32(4, Ordering::Relaxed), 0x0304_0506);
        assert_eq!(shared.load64(8, Ordering::Relaxed), 0x0708_090a_0b0c_0d0e);
    }

    #[test]
    fn nothing_outside_is_reached() {
        let mut memory = [0; 4];
        let shared = Shared::of(&mut memory, 0x100);
        let part = shared.part(8, 16);
        assert_eq!((part.address(), part.len()), (0x108, 16));
        let outside: [&dyn Fn() -> u64; 6] = [
            &|| part.part(8, 9).address(),
            &|| {
                part.read(16, &mut [0]);
                0
            },
            &|| {
                part.write(usize::MAX, &[0]);
                0
            },
            &|| part.load16(15, Ordering::Relaxed).into(),
            &|| part.load64(4, Ordering::Relaxed),
            &|| part.descriptor(1).word,
        ];
        for (number, access) in outside.iter().enumerate() {
            let access = std::panic::AssertUnwindSafe(access);
            assert!(std::panic::catch_unwind(access).is_err(), "{number}");
        }
        part.write(0, &[7; 16]);
        assert_eq!(shared.descriptors(0, 2).count(), 2);
    }

    #[test]
    fn a_descriptor_at_any_byte_is_read_whole() {
        for offset in 0..8 {
            let mut memory = [0; 5];
            let shared = Shared::of(&mut memory, 0);
            let wanted = Words {
                address: 0x1122_3344_5566_7788,
                word: 0x99aa_bbcc_ddee_ff00,
            };
            shared.write(offset, &wanted.to_bytes());
            assert_eq!(shared.part(offset, 16).descriptor(0), wanted, "{offset}");
        }
    }
}
