#![expect(unsafe_code, reason = "an address may go to any thread")]
//! Where a request's data is: [`Segment`] names a piece of memory, [`Segments`] walks over several.

use core::fmt;
use core::iter::FusedIterator;
use core::ptr;

use crate::error::{Errno, KernelError};

/// A piece of memory: address and length, as the kernel's `struct iovec` has them. readv(2)
///
/// It promises nothing by itself: whoever puts it into a [`Request`](super::Request) does. So a slice of
/// segments can be made from any numbers, and can be handed to the kernel as it is.
///
/// ```
/// use pepita_sys::blk_mq::Segment;
///
/// let mut memory = [0; 512];
/// let segment = Segment::new(memory.as_mut_ptr(), memory.len());
/// assert_eq!((segment.base(), segment.len()), (memory.as_mut_ptr(), 512));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Segment {
    base: *mut u8,
    len: usize,
}

// SAFETY: an address and a length, through which nothing can be reached without a promise about the memory.
unsafe impl Send for Segment {}

// SAFETY: as above.
unsafe impl Sync for Segment {}

impl Segment {
    /// No memory.
    pub const EMPTY: Self = Self::new(ptr::null_mut(), 0);

    /// The `len` bytes from `base` on.
    #[must_use]
    pub const fn new(base: *mut u8, len: usize) -> Self {
        Self { base, len }
    }

    /// Where the memory begins.
    #[must_use]
    pub const fn base(self) -> *mut u8 {
        self.base
    }

    /// Bytes.
    #[must_use]
    pub const fn len(self) -> usize {
        self.len
    }

    /// Whether it has no byte.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Bytes of all `segments` together, or `usize::MAX` if that is too many to count.
    #[inline]
    #[must_use]
    pub fn total_len(segments: &[Self]) -> usize {
        segments
            .iter()
            .fold(0, |total: usize, segment| total.saturating_add(segment.len))
    }
}

/// Fewer bytes were left than were wanted; none was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortData {
    /// Bytes wanted.
    pub wanted: usize,
    /// Bytes left.
    pub left: usize,
}

impl ShortData {
    /// `EINVAL`: the request's data does not fit what it asks for.
    #[must_use]
    pub const fn to_errno(self) -> Errno {
        Errno::EINVAL
    }
}

impl From<ShortData> for Errno {
    fn from(short: ShortData) -> Self {
        short.to_errno()
    }
}

/// As [`ShortData::to_errno`].
impl From<ShortData> for KernelError {
    fn from(short: ShortData) -> Self {
        Self::from_errno("copying a request's data", short.to_errno())
    }
}

impl fmt::Display for ShortData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, left } = self;
        write!(f, "{wanted} bytes of a request's data wanted, {left} left")
    }
}

impl core::error::Error for ShortData {}

/// The bytes of several segments one after the other, from some byte on up to another; it can only get
/// narrower.
///
/// As an iterator it gives the pieces of memory, none of them empty: for who hands them to the kernel, or to
/// a request of its own. It reaches no memory itself.
///
/// ```
/// use pepita_sys::blk_mq::{Segment, Segments};
///
/// let mut memory = [0_u8; 12];
/// let base = memory.as_mut_ptr();
/// let list = [Segment::new(base, 4), Segment::new(base.wrapping_add(4), 8)];
/// let mut segments = Segments::new(&list);
/// let front = segments.split_to(6)?;
/// assert_eq!(front.map(Segment::len).collect::<Vec<_>>(), [4, 2]);
/// assert_eq!(segments.next(), Some(Segment::new(base.wrapping_add(6), 6)));
/// # Ok::<(), pepita_sys::blk_mq::ShortData>(())
/// ```
#[derive(Debug, Clone)]
pub struct Segments<'a> {
    rest: &'a [Segment],
    /// Bytes of the first of `rest` that lie before.
    skip: usize,
    /// Bytes up to the end, which `rest` has behind `skip`.
    left: usize,
}

impl<'a> Segments<'a> {
    /// All bytes of `list`.
    #[must_use]
    pub fn new(list: &'a [Segment]) -> Self {
        Self {
            rest: list,
            skip: 0,
            left: Segment::total_len(list),
        }
    }

    /// Bytes left.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.left
    }

    /// Whether no byte is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Takes the next `bytes` bytes off, as segments of their own.
    ///
    /// # Errors
    /// [`ShortData`] where fewer are left.
    pub fn split_to(&mut self, bytes: usize) -> Result<Self, ShortData> {
        let left = self.left.checked_sub(bytes).ok_or(ShortData {
            wanted: bytes,
            left: self.left,
        })?;
        let front = Self {
            left: bytes,
            ..*self
        };
        while self.left > left {
            self.next_up_to(self.left - left);
        }
        Ok(front)
    }

    /// The next piece, of at most `limit` bytes.
    pub(super) fn next_up_to(&mut self, limit: usize) -> Option<Segment> {
        let limit = limit.min(self.left);
        if limit == 0 {
            return None;
        }
        while let Some((first, behind)) = self.rest.split_first() {
            let here = first.len - self.skip;
            if here == 0 {
                (self.rest, self.skip) = (behind, 0);
                continue;
            }
            let piece = Segment::new(first.base.wrapping_add(self.skip), here.min(limit));
            self.skip += piece.len;
            self.left -= piece.len;
            return Some(piece);
        }
        None
    }
}

impl Iterator for Segments<'_> {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        self.next_up_to(usize::MAX)
    }
}

impl FusedIterator for Segments<'_> {}

#[cfg(all(test, not(pepita_loom)))]
mod tests {
    use core::mem::{offset_of, size_of};
    use std::vec::Vec;

    use super::*;

    #[test]
    fn a_segment_is_the_c_librarys_iovec() {
        assert_eq!(size_of::<Segment>(), size_of::<libc::iovec>());
        assert_eq!(offset_of!(Segment, base), offset_of!(libc::iovec, iov_base));
        assert_eq!(offset_of!(Segment, len), offset_of!(libc::iovec, iov_len));
    }

    /// The addresses of `segments`, byte for byte: the naive walk.
    fn bytes(segments: impl Iterator<Item = Segment>) -> Vec<usize> {
        segments
            .flat_map(|segment| segment.base.addr()..segment.base.addr() + segment.len)
            .collect()
    }

    fn list(lens: &[usize]) -> Vec<Segment> {
        let at = |index: usize| ptr::without_provenance_mut(0x1000 * (index + 1));
        let segments = lens.iter().enumerate();
        segments
            .map(|(index, len)| Segment::new(at(index), *len))
            .collect()
    }

    #[test]
    fn splits_anywhere_walk_over_the_same_bytes() {
        for lens in [
            &[] as &[usize],
            &[0],
            &[5],
            &[0, 3, 0, 0, 4, 0],
            &[1, 1, 1],
            &[7, 512, 2],
        ] {
            let list = list(lens);
            let all = bytes(list.iter().copied());
            for (first, second) in (0..=all.len()).flat_map(|at| [(at, 0), (at, 1), (at, 3)]) {
                let mut rest = Segments::new(&list);
                let front = rest.split_to(first).expect("inside");
                assert_eq!((front.len(), rest.len()), (first, all.len() - first));
                let middle = rest
                    .split_to(second.min(all.len() - first))
                    .expect("inside");
                let parts = [bytes(front), bytes(middle), bytes(rest)];
                assert_eq!(parts.concat(), all, "{lens:?} at {first}, then {second}");
            }
        }
    }

    #[test]
    fn no_piece_is_empty() {
        let list = list(&[0, 3, 0, 0, 4, 0]);
        let mut segments = Segments::new(&list);
        let front = segments.split_to(3).expect("of 7");
        let pieces: Vec<usize> = front.chain(segments).map(Segment::len).collect();
        assert_eq!(pieces, [3, 4]);
    }

    #[test]
    fn what_is_not_there_is_not_taken() {
        let list = list(&[2, 3]);
        let mut segments = Segments::new(&list);
        let short = segments.split_to(6).map(|_| ());
        assert_eq!(short, Err(ShortData { wanted: 6, left: 5 }));
        assert_eq!(segments.len(), 5);
    }

    #[test]
    fn lengths_without_end_do_not_overflow() {
        let base = ptr::without_provenance_mut(usize::MAX - 1);
        let list = [Segment::new(base, usize::MAX); 3];
        let mut segments = Segments::new(&list);
        assert_eq!(segments.len(), usize::MAX);
        assert!(segments.split_to(usize::MAX).is_ok());
        assert_eq!((segments.len(), segments.next()), (0, None));
    }
}
