#![expect(unsafe_code, reason = "reads memory that somebody else writes as well")]
//! [`Descriptors`]: several of them, with one look at the bounds. The invariants are those of [`Shared`].

use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use pepita_sys::copy;

use super::Shared;
use crate::format::Words;

impl<'a> Shared<'a> {
    /// The `count` descriptors from number `first` on, each read once when it is asked for.
    #[inline]
    pub(crate) fn descriptors(&self, first: usize, count: usize) -> Descriptors<'a> {
        let place = self.place(first * Words::BYTES, count * Words::BYTES, 1);
        Descriptors {
            is_aligned: place.addr().get().is_multiple_of(8),
            place,
            left: count,
            memory: PhantomData,
        }
    }

    /// Descriptor number `index`.
    #[inline]
    pub(crate) fn descriptor(&self, index: usize) -> Words {
        let mut one = self.descriptors(index, 1);
        one.next().expect("one was asked for")
    }
}

/// Descriptors that lie one behind the other. Bounds are checked once, for all.
pub(crate) struct Descriptors<'a> {
    /// *mapped* and *inside*: `left` descriptors are here.
    place: NonNull<u8>,
    left: usize,
    is_aligned: bool,
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
        if !self.is_aligned {
            let mut bytes = [0; Words::BYTES];
            // SAFETY: a descriptor was left here.
            unsafe { copy::read(here, &mut bytes) };
            return Some(Words::from_bytes(bytes));
        }
        let low = here.as_ptr().cast::<u64>();
        // SAFETY: the first half of a descriptor, aligned.
        let address = unsafe { AtomicU64::from_ptr(low) }.load(Ordering::Relaxed);
        // SAFETY: the second half.
        let high = unsafe { low.add(1) };
        // SAFETY: as above.
        let word = unsafe { AtomicU64::from_ptr(high) }.load(Ordering::Relaxed);
        Some(Words {
            address: u64::from_le(address),
            word: u64::from_le(word),
        })
    }
}
