#![expect(unsafe_code, reason = "has the signature of what it stands for")]
//! [`Shared`] as loom sees it: each word that the rings use is an atomic of loom, known by offset and size.
//!
//! The rings reach no byte by words of two sizes, so a place may be one atomic for each size. It lives for the
//! rest of the program: a model has few words, and is run in few thousand orders.

use core::marker::PhantomData;
use core::ptr::NonNull;
use std::boxed::Box;
use std::vec::Vec;

use loom::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use crate::format::Words;

#[derive(Debug)]
struct Atomics {
    of16: Vec<AtomicU16>,
    of32: Vec<AtomicU32>,
    of64: Vec<AtomicU64>,
}

/// Memory that a device and a driver share.
#[derive(Debug, Clone, Copy)]
pub struct Shared<'a> {
    atomics: &'static Atomics,
    offset: usize,
    len: usize,
    memory: PhantomData<&'a ()>,
}

macro_rules! words {
    ($load:ident, $store:ident, $list:ident, $word:ty) => {
        pub(crate) fn $load(&self, offset: usize, order: Ordering) -> $word {
            self.atomics.$list[(self.offset + offset) / size_of::<$word>()].load(order)
        }

        pub(crate) fn $store(&self, offset: usize, value: $word, order: Ordering) {
            self.atomics.$list[(self.offset + offset) / size_of::<$word>()].store(value, order);
        }
    };
}

impl<'a> Shared<'a> {
    words!(load16, store16, of16, u16);
    words!(load32, store32, of32, u32);
    words!(load64, store64, of64, u64);

    /// `len` bytes of zeroes.
    pub(crate) fn model(len: usize) -> Self {
        let atomics = Box::leak(Box::new(Atomics {
            of16: (0..len / 2).map(|_| AtomicU16::new(0)).collect(),
            of32: (0..len / 4).map(|_| AtomicU32::new(0)).collect(),
            of64: (0..len / 8).map(|_| AtomicU64::new(0)).collect(),
        }));
        Self {
            atomics,
            offset: 0,
            len,
            memory: PhantomData,
        }
    }

    /// Memory of its own, whatever there is at `base`.
    ///
    /// # Safety
    /// * None.
    pub(crate) unsafe fn new(_base: NonNull<u8>, len: usize, _address: u64) -> Self {
        Self::model(len)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn address(&self) -> u64 {
        self.offset as u64
    }

    pub(crate) fn part(&self, offset: usize, len: usize) -> Self {
        Self {
            offset: self.offset + offset,
            len,
            ..*self
        }
    }

    pub(crate) fn zero(&self) {}

    pub(crate) fn is_aligned(&self, _align: usize) -> bool {
        true
    }

    pub(crate) fn descriptors(&self, first: usize, count: usize) -> impl Iterator<Item = Words> {
        let this = *self;
        (first..first + count).map(move |index| this.descriptor(index))
    }

    pub(crate) fn descriptor_word_first(&self, index: usize) -> Words {
        let offset = index * Words::BYTES;
        let word = self.load64(offset + 8, Ordering::Acquire);
        let address = self.load64(offset, Ordering::Relaxed);
        Words { address, word }
    }

    pub(crate) fn descriptor(&self, index: usize) -> Words {
        let offset = index * Words::BYTES;
        Words {
            address: self.load64(offset, Ordering::Relaxed),
            word: self.load64(offset + 8, Ordering::Relaxed),
        }
    }
}
