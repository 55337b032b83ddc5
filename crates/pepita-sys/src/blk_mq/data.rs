#![expect(
    unsafe_code,
    reason = "copies from and to memory that a request's maker vouches for"
)]
//! What a device may do with a request's data: read it ([`Source`]), or fill it ([`Sink`]).

use core::marker::PhantomData;
use core::ptr::NonNull;

use super::segment::{Segment, Segments, ShortData};
use crate::copy;

/// Keeps clones on their thread: accesses that are not atomic must not meet those of another one.
type Stays = PhantomData<*const ()>;

/// The data that a request brings to the device, read front to back.
///
/// # Invariants
/// * *readable*: while this lives, all its bytes are mapped for reading, and in no Rust reference through
///   which somebody writes. Others may write them meanwhile: a guest, the kernel, another process.
#[derive(Debug, Clone)]
pub struct Source<'r> {
    segments: Segments<'r>,
    stays: Stays,
}

impl<'r> Source<'r> {
    /// # Safety
    /// * *readable*.
    pub(super) const unsafe fn new(segments: Segments<'r>) -> Self {
        Self {
            segments,
            stays: PhantomData,
        }
    }

    /// Bytes left.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.segments.len()
    }

    /// Whether no byte is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Takes the next `bytes` bytes off, to be read by themselves.
    ///
    /// # Errors
    /// [`ShortData`] where fewer are left.
    pub fn split_to(&mut self, bytes: usize) -> Result<Self, ShortData> {
        let segments = self.segments.split_to(bytes)?;
        Ok(Self { segments, ..*self })
    }

    /// Reads the next `into.len()` bytes. Each is some value that it had meanwhile, and may differ when
    /// it is read again: so copy first, then check what was copied.
    ///
    /// # Errors
    /// [`ShortData`] where fewer are left: then `into` is unchanged.
    pub fn read(&mut self, mut into: &mut [u8]) -> Result<(), ShortData> {
        for piece in self.split_to(into.len())?.segments {
            let (here, behind) = into.split_at_mut(piece.len());
            // SAFETY: *readable*, as the piece is one of the segments'.
            unsafe { copy::read(start(piece), here) };
            into = behind;
        }
        Ok(())
    }
}

/// The data that a request takes from the device, written front to back.
///
/// # Invariants
/// * *writable*: while this lives, all its bytes are mapped for writing, and in no Rust reference. Others may
///   read and write them meanwhile.
#[derive(Debug, Clone)]
pub struct Sink<'r> {
    segments: Segments<'r>,
    stays: Stays,
}

impl<'r> Sink<'r> {
    /// # Safety
    /// * *writable*.
    pub(super) const unsafe fn new(segments: Segments<'r>) -> Self {
        Self {
            segments,
            stays: PhantomData,
        }
    }

    /// Bytes left.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.segments.len()
    }

    /// Whether no byte is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Takes the next `bytes` bytes off, to be written by themselves.
    ///
    /// # Errors
    /// [`ShortData`] where fewer are left.
    pub fn split_to(&mut self, bytes: usize) -> Result<Self, ShortData> {
        let segments = self.segments.split_to(bytes)?;
        Ok(Self { segments, ..*self })
    }

    /// Writes `from` to the next bytes.
    ///
    /// # Errors
    /// [`ShortData`] where fewer are left: then none is written.
    pub fn write(&mut self, mut from: &[u8]) -> Result<(), ShortData> {
        for piece in self.split_to(from.len())?.segments {
            let (here, behind) = from.split_at(piece.len());
            // SAFETY: *writable*, as the piece is one of the segments'.
            unsafe { copy::write(start(piece), here) };
            from = behind;
        }
        Ok(())
    }

    /// Writes `bytes` zeroes to the next bytes.
    ///
    /// # Errors
    /// [`ShortData`] where fewer are left: then none is written.
    pub fn write_zeroes(&mut self, bytes: usize) -> Result<(), ShortData> {
        for piece in self.split_to(bytes)?.segments {
            // SAFETY: *writable*, as the piece is one of the segments'.
            unsafe { copy::zero(start(piece), piece.len()) };
        }
        Ok(())
    }
}

/// Where `piece` begins.
///
/// # Panics
/// At address 0, where no mapped byte is: the request's maker broke its word.
fn start(piece: Segment) -> NonNull<u8> {
    NonNull::new(piece.base()).expect("a segment with bytes is not at address 0")
}
