//! [`decompress`]: a block to a page.
//!
//! [`front`](super::wild::front) does most of it, in pieces of fixed lengths, and leaves what is near the end of the
//! block or of the page. That is done here, byte by byte; and all of a block can be, for tests to compare.

use pepita_mem::PAGE_SIZE;

use super::{MIN_MATCH, MORE, wild};
use crate::codec::CorruptPage;

/// Decompresses `block`, of whatever encoder, which must be exactly one page. The token of the last literals must
/// announce no match; LZ4's own decoder does not look.
///
/// # Errors
/// [`CorruptPage`] if it is anything else; `page` then holds anything.
pub fn decompress(block: &[u8], page: &mut [u8; PAGE_SIZE]) -> Result<(), CorruptPage> {
    let (done, at) = wild::front(block, page)?;
    rest(&block[done..], at, page)
}

/// Decompresses `block`, which begins at `at` in the page. With all of a block, it says what [`decompress`] says.
pub(super) fn rest(
    mut block: &[u8],
    mut at: usize,
    page: &mut [u8; PAGE_SIZE],
) -> Result<(), CorruptPage> {
    while let Some((behind, end)) = any(block, at, page)? {
        (block, at) = (behind, end);
    }
    Ok(())
}

/// What is left of a block behind a sequence, and where the sequence ends in the page.
type Done<'a> = Result<Option<(&'a [u8], usize)>, CorruptPage>;

/// Does any sequence; `None` if it was the last.
fn any<'a>(rest: &'a [u8], at: usize, page: &mut [u8; PAGE_SIZE]) -> Done<'a> {
    let (&token, rest) = rest.split_first().ok_or(CorruptPage)?;
    let token = usize::from(token);
    let (count, rest) = length(token >> 4, rest)?;
    let (literals, rest) = rest.split_at_checked(count).ok_or(CorruptPage)?;
    let start = at + count;
    let to = page.get_mut(at..start).ok_or(CorruptPage)?;
    to.copy_from_slice(literals);
    let Some((&bytes, rest)) = rest.split_first_chunk() else {
        let is_end = rest.is_empty() && start == PAGE_SIZE && token & MORE == 0;
        return if is_end { Ok(None) } else { Err(CorruptPage) };
    };
    let (more, rest) = length(token & MORE, rest)?;
    let len = MIN_MATCH + more;
    repeat(page, start, distance(bytes), len)?;
    Ok(Some((rest, start + len)))
}

/// The length of which a token's half is `half`, and what is left behind it.
fn length(half: usize, mut rest: &[u8]) -> Result<(usize, &[u8]), CorruptPage> {
    let mut len = half;
    let mut goes_on = half == MORE;
    while goes_on {
        let (&byte, behind) = rest.split_first().ok_or(CorruptPage)?;
        len += usize::from(byte);
        goes_on = byte == 255;
        rest = behind;
    }
    Ok((len, rest))
}

fn distance(bytes: [u8; 2]) -> usize {
    usize::from(u16::from_le_bytes(bytes))
}

/// For each distance below 8: what makes 8 bytes of a pattern of so many, and how many bytes are whole patterns.
const PATTERNS: [(u64, u8); 8] = {
    let mut patterns = [(0, 0); 8];
    let mut distance = 1;
    while distance < 8 {
        let mut at = 0;
        while at < 8 {
            patterns[distance].0 |= 1 << (8 * at);
            at += distance;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most 8")]
        {
            patterns[distance].1 = (8 - 8 % distance) as u8;
        }
        distance += 1;
    }
    patterns
};

/// Repeats `len` bytes at `start` from `distance` before.
fn repeat(
    page: &mut [u8; PAGE_SIZE],
    start: usize,
    distance: usize,
    len: usize,
) -> Result<(), CorruptPage> {
    if distance == 0 || distance > start || start > PAGE_SIZE || len > PAGE_SIZE - start {
        return Err(CorruptPage);
    }
    let source = start - distance;
    let end = start + len;
    let room = end.min(PAGE_SIZE - 16);
    let mut to = start;
    if distance >= len {
        page.copy_within(source..source + len, start);
        return Ok(());
    }
    if distance >= 8 {
        while to < room {
            let bytes: [u8; 8] = piece(page, to - distance);
            page[to..to + 8].copy_from_slice(&bytes);
            to += 8;
        }
    } else if source + 8 <= PAGE_SIZE {
        let (pattern, step) = pattern(piece(page, source), distance);
        while to < room {
            page[to..to + 8].copy_from_slice(&pattern);
            to += step;
        }
    }
    while to < end {
        page[to] = page[to - distance];
        to += 1;
    }
    Ok(())
}

/// `N` bytes at `at`.
fn piece<const N: usize>(page: &[u8; PAGE_SIZE], at: usize) -> [u8; N] {
    let mut piece = [0; N];
    piece.copy_from_slice(&page[at..at + N]);
    piece
}

/// The first `distance` of `bytes`, below 8, over and over; and how many bytes of that are whole.
#[inline(always)]
pub(super) fn pattern(bytes: [u8; 8], distance: usize) -> ([u8; 8], usize) {
    let unwanted = 64 - 8 * distance;
    let once = u64::from_le_bytes(bytes) << unwanted >> unwanted;
    let (copies, step) = PATTERNS[distance];
    (once.wrapping_mul(copies).to_le_bytes(), usize::from(step))
}
