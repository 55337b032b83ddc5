#![expect(
    unsafe_code,
    reason = "implementations promise that memory stays where it is"
)]
//! Buffers that operations own.
//!
//! # Invariants
//! * stays-put: a buffer's bytes are outside of the value itself, so that moving the value leaves them where
//!   they are, and nobody else frees them or writes to them while the value lives.

mod aligned;

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

pub use aligned::AlignedBuf;

/// Bytes that the kernel may read while an operation owns them.
///
/// # Safety
/// * [`bytes`](Self::bytes) gives the same memory each time until the value is changed through `&mut`, also
///   after the value was moved, and the memory is valid until the value is dropped (stays-put).
pub unsafe trait IoBuf: 'static {
    /// The bytes.
    fn bytes(&self) -> &[u8];
}

/// Memory that the kernel may write to while an operation owns it.
///
/// # Safety
/// * [`space`](Self::space) gives the same memory each time until the value is changed by other means, also
///   after the value was moved; it is valid for writes, and nobody else's, until the value is dropped
///   (stays-put).
pub unsafe trait IoBufMut: 'static {
    /// Where the memory begins, and how many bytes fit.
    fn space(&mut self) -> (*mut u8, usize);

    /// Says that the first `len` bytes of the space are written.
    ///
    /// # Safety
    /// * They are, and there are so many.
    unsafe fn set_filled(&mut self, len: usize);
}

// SAFETY: stays-put: the bytes are on the heap.
unsafe impl IoBuf for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// The whole capacity is filled from its beginning, and the length becomes what was written.
// SAFETY: stays-put: the bytes are on the heap, and nothing here reallocates.
unsafe impl IoBufMut for Vec<u8> {
    fn space(&mut self) -> (*mut u8, usize) {
        (self.as_mut_ptr(), self.capacity())
    }

    unsafe fn set_filled(&mut self, len: usize) {
        // SAFETY: the caller's duty.
        unsafe { self.set_len(len) };
    }
}

// SAFETY: stays-put: the bytes are on the heap.
unsafe impl IoBuf for Box<[u8]> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// The length stays as it is.
// SAFETY: stays-put: the bytes are on the heap.
unsafe impl IoBufMut for Box<[u8]> {
    fn space(&mut self) -> (*mut u8, usize) {
        (self.as_mut_ptr(), self.len())
    }

    unsafe fn set_filled(&mut self, _: usize) {}
}

macro_rules! shared_bytes {
    ($($type:ty: $why:literal,)*) => {
        $(
            #[doc = $why]
            // SAFETY: stays-put: the bytes are not in the value, and cannot be written to.
            unsafe impl IoBuf for $type {
                fn bytes(&self) -> &[u8] {
                    self.as_ref()
                }
            }
        )*
    };
}

shared_bytes! {
    &'static [u8]: "Lives for ever.",
    &'static str: "Lives for ever.",
    String: "On the heap.",
    Arc<[u8]>: "On the heap, shared.",
    Rc<[u8]>: "On the heap, shared.",
}

/// Lives for ever, as `b"text"` does.
// SAFETY: stays-put: the bytes are not in the value, and cannot be written to.
unsafe impl<const LEN: usize> IoBuf for &'static [u8; LEN] {
    fn bytes(&self) -> &[u8] {
        self.as_slice()
    }
}

/// A part of a buffer.
///
/// ```
/// use pepita_io::buf::{IoBuf, Part};
///
/// let part = Part::new(vec![1, 2, 3, 4], 1..3);
/// assert_eq!(part.bytes(), [2, 3]);
/// assert_eq!(part.into_inner(), [1, 2, 3, 4]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<B> {
    buf: B,
    range: Range<usize>,
}

impl<B> Part<B> {
    /// The bytes `range` of `buf`, cut to what is there when it is used.
    ///
    /// # Panics
    /// When the range ends before it begins.
    pub fn new(buf: B, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end,
            "a range that ends before it begins"
        );
        Self { buf, range }
    }

    /// The whole buffer.
    pub fn into_inner(self) -> B {
        self.buf
    }
}

// SAFETY: stays-put: a part of what does.
unsafe impl<B: IoBuf> IoBuf for Part<B> {
    fn bytes(&self) -> &[u8] {
        let bytes = self.buf.bytes();
        let end = self.range.end.min(bytes.len());
        &bytes[self.range.start.min(end)..end]
    }
}

/// The buffer's length stays as it is: bytes before the part may not have been written yet.
// SAFETY: stays-put: a part of what does.
unsafe impl IoBufMut for Part<Box<[u8]>> {
    fn space(&mut self) -> (*mut u8, usize) {
        let end = self.range.end.min(self.buf.len());
        let part = &mut self.buf[self.range.start.min(end)..end];
        (part.as_mut_ptr(), part.len())
    }

    unsafe fn set_filled(&mut self, _: usize) {}
}

/// The length stays as it is. `O_DIRECT` wants the part aligned too.
// SAFETY: stays-put: a part of what does.
unsafe impl IoBufMut for Part<AlignedBuf> {
    fn space(&mut self) -> (*mut u8, usize) {
        let end = self.range.end.min(self.buf.len());
        let part = &mut self.buf[self.range.start.min(end)..end];
        (part.as_mut_ptr(), part.len())
    }

    unsafe fn set_filled(&mut self, _: usize) {}
}

/// The bytes that are there may be written to; the length stays as it is.
// SAFETY: stays-put: a part of what does.
unsafe impl IoBufMut for Part<Vec<u8>> {
    fn space(&mut self) -> (*mut u8, usize) {
        let end = self.range.end.min(self.buf.len());
        let part = &mut self.buf[self.range.start.min(end)..end];
        (part.as_mut_ptr(), part.len())
    }

    unsafe fn set_filled(&mut self, _: usize) {}
}
