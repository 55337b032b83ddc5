#![expect(unsafe_code, reason = "reads memory that somebody else writes as well")]
//! [`Descriptors`]: several of them, with one look at the bounds. The invariants are those of [`Shared`].

use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use pepita_sys::copy;

use super::Shared;
use crate::format::Words;

impl<'a> Shared<'a> {
    /// The `count` descriptors of a ring from number `first` on, each read once when it is asked for.
    #[inline]
    pub(crate) fn descriptors(&self, first: usize, count: usize) -> Descriptors<'a> {
        let place = self.place(first * Words::BYTES, count * Words::BYTES, 8);
        Descriptors {
            place,
            left: count,
            memory: PhantomData,
        }
    }

    /// Descriptor number `index` of a ring, its second word first: what was written before that is read after it.
    #[inline]
    pub(crate) fn descriptor_word_first(&self, index: usize) -> Words {
        let place = self.place(index * Words::BYTES, Words::BYTES, 8);
        // SAFETY: *mapped* and *inside*, aligned.
        unsafe { load(place, Ordering::Acquire) }
    }

    /// Descriptor number `index` of a table, which need not be aligned.
    #[inline]
    pub(crate) fn descriptor(&self, index: usize) -> Words {
        let place = self.place(index * Words::BYTES, Words::BYTES, 1);
        if place.addr().get().is_multiple_of(8) {
            // SAFETY: *mapped* and *inside*, aligned.
            return unsafe { load(place, Ordering::Relaxed) };
        }
        let mut bytes = [0; Words::BYTES];
        // SAFETY: *mapped* and *inside*.
        unsafe { copy::read(place, &mut bytes) };
        Words::from_bytes(bytes)
    }
}

/// Loads both words of a descriptor, the second one first, in this order.
///
/// # Safety
/// * A descriptor is at `place`, *mapped* and at a multiple of 8.
#[inline]
unsafe fn load(place: NonNull<u8>, order: Ordering) -> Words {
    let low = place.as_ptr().cast::<u64>();
    // SAFETY: the second half of the caller's descriptor.
    let high = unsafe { low.add(1) };
    // SAFETY: as above.
    let word = unsafe { AtomicU64::from_ptr(high) }.load(order);
    // SAFETY: the first half.
    let address = unsafe { AtomicU64::from_ptr(low) }.load(Ordering::Relaxed);
    Words {
        address: u64::from_le(address),
        word: u64::from_le(word),
    }
}

/// Descriptors that lie one behind the other. Bounds are checked once, for all.
pub(crate) struct Descriptors<'a> {
    /// *mapped* and *inside*: `left` descriptors are here, at a multiple of 8.
    place: NonNull<u8>,
    left: usize,
    memory: PhantomData<&'a [AtomicU64]>,
}

impl Iterator for Descriptors<'_> {
    type Item = Words;

    #[inline]
    fn next(&mut self) -> Option<Words> {
        self.left = self.left.checked_sub(1)?;
        let here = self.place;
        // SAFETY: one descriptor was left, so this is at most one past the end.
        self.place = unsafe { here.add(Words::BYTES) };
        // SAFETY: a descriptor was left here.
        Some(unsafe { load(here, Ordering::Relaxed) })
    }
}
