#![expect(unsafe_code, reason = "allocates with an alignment")]
//! Buffers for files that are read past the page cache.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

use super::{IoBuf, IoBufMut};

/// A buffer whose address is a multiple of its alignment, as `O_DIRECT` wants it.
///
/// ```
/// use pepita_io::buf::AlignedBuf;
///
/// let mut buf = AlignedBuf::zeroed(8192, 4096);
/// assert_eq!((buf.len(), buf.as_ptr().addr() % 4096), (8192, 0));
/// buf[0] = 1;
/// ```
///
/// # Invariants
/// * own-memory: `len` initialised bytes from `start` on are this value's allocation, made with `layout`; for
///   no bytes, `start` dangles.
pub struct AlignedBuf {
    start: NonNull<u8>,
    layout: Layout,
}

impl AlignedBuf {
    /// A buffer of `len` bytes, all 0, at a multiple of `align`, a power of two.
    ///
    /// # Panics
    /// When `align` is no power of two, or `len` rounded up to it exceeds what there can be.
    #[must_use]
    pub fn zeroed(len: usize, align: usize) -> Self {
        let layout = match Layout::from_size_align(len, align) {
            Ok(layout) => layout,
            Err(_) => panic!("no memory is {len} bytes aligned to {align}"),
        };
        if len == 0 {
            let start = NonNull::without_provenance(layout.align().try_into().expect("not 0"));
            return Self { start, layout };
        }
        // SAFETY: the layout has a size.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else {
            handle_alloc_error(layout);
        };
        Self { start, layout }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        if self.layout.size() > 0 {
            // SAFETY: own-memory.
            unsafe { dealloc(self.start.as_ptr(), self.layout) };
        }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: own-memory.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: own-memory.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuf")
            .field("len", &self.layout.size())
            .field("align", &self.layout.align())
            .finish()
    }
}

// SAFETY: own-memory: the memory belongs to the value, as that of a box does.
unsafe impl Send for AlignedBuf {}

// SAFETY: own-memory: shared references only read.
unsafe impl Sync for AlignedBuf {}

// SAFETY: stays-put: the bytes are on the heap.
unsafe impl IoBuf for AlignedBuf {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// The length stays as it is.
// SAFETY: stays-put: the bytes are on the heap.
unsafe impl IoBufMut for AlignedBuf {
    fn space(&mut self) -> (*mut u8, usize) {
        (self.start.as_ptr(), self.layout.size())
    }

    unsafe fn set_filled(&mut self, _: usize) {}
}
