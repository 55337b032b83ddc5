//! [`decompress`]: a block to a page.
//!
//! Seven sequences in eight have up to 14 literals and a match of up to 18 bytes. Such a one is copied in pieces of
//! fixed lengths, without a branch that depends on how many bytes are wanted; what is written too far is written
//! again by the next. That needs room behind it, in the block and in the page: near the end, and for what is rare,
//! [`any`] goes byte by byte. The bounds of [`common`] are such that the compiler sees that no index of a fixed
//! length leaves the page, and leaves out its own checks.

use pepita_mem::PAGE_SIZE;

use super::{MIN_MATCH, MORE};
use crate::codec::CorruptPage;

/// What a sequence of fewer than [`MORE`] literals takes of a block at most: its token, 16 bytes in place of the
/// literals, and what is behind these.
const FRONT: usize = 1 + 16 + 2;
/// What is copied at once where there is more: literals, or a match.
const PIECE: usize = 32;
/// A match that begins before this may write [`PIECE`] bytes.
const LIMIT: usize = PAGE_SIZE - PIECE;

/// Decompresses `block`, of whatever encoder, which must be exactly one page. The token of the last literals must
/// announce no match; LZ4's own decoder does not look.
///
/// # Errors
/// [`CorruptPage`] if it is anything else; `page` then holds anything.
pub fn decompress(block: &[u8], page: &mut [u8; PAGE_SIZE]) -> Result<(), CorruptPage> {
    let mut rest = block;
    let mut at = 0;
    loop {
        while let Some((behind, end)) = common(rest, at, page)? {
            (rest, at) = (behind, end);
        }
        match any(rest, at, page)? {
            Some((behind, end)) => (rest, at) = (behind, end),
            None => return Ok(()),
        }
    }
}

/// What is left of a block behind a sequence, and where the sequence ends in the page.
type Done<'a> = Result<Option<(&'a [u8], usize)>, CorruptPage>;

/// Does the sequence in front of `rest`, which belongs at `at` in the page, if there is room around it; `None` if
/// [`any`] has to do it.
#[inline(always)]
fn common<'a>(rest: &'a [u8], at: usize, page: &mut [u8; PAGE_SIZE]) -> Done<'a> {
    let Some(front) = rest.first_chunk::<FRONT>() else {
        return Ok(None);
    };
    if at >= LIMIT - MORE {
        return Ok(None);
    }
    let token = usize::from(front[0]);
    let mut count = token >> 4;
    let behind = if count < MORE {
        page[at..at + 16].copy_from_slice(&front[1..17]);
        &rest[1 + count..]
    } else {
        count += usize::from(front[1]);
        let has_room = at + count < LIMIT && 2 + count + PIECE <= rest.len();
        if front[1] == 255 || !has_room {
            return Ok(None);
        }
        let len = if count <= PIECE { PIECE } else { count };
        page[at..at + len].copy_from_slice(&rest[2..2 + len]);
        &rest[2 + count..]
    };
    let Some((&bytes, behind)) = behind.split_first_chunk() else {
        return Ok(None);
    };
    let start = at + count;
    let distance = distance(bytes);
    if token & MORE < MORE {
        repeat_short(page, start, distance)?;
        return Ok(Some((behind, start + MIN_MATCH + (token & MORE))));
    }
    let Some((&more, behind)) = behind.split_first() else {
        return Ok(None);
    };
    if more == 255 {
        return Ok(None);
    }
    let len = MIN_MATCH + MORE + usize::from(more);
    if distance >= PIECE / 2 && len <= PIECE {
        let source = start.checked_sub(distance).ok_or(CorruptPage)?;
        for from in [0, PIECE / 2] {
            let bytes: [u8; PIECE / 2] = piece(page, source + from);
            page[start + from..start + from + PIECE / 2].copy_from_slice(&bytes);
        }
    } else {
        repeat(page, start, distance, len)?;
    }
    Ok(Some((behind, start + len)))
}

/// Does any sequence; `None` if it was the last.
#[inline(never)]
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

#[inline(always)]
fn distance(bytes: [u8; 2]) -> usize {
    usize::from(u16::from_le_bytes(bytes))
}

/// Repeats 18 bytes or more at `start`, which is below [`LIMIT`], from `distance` before.
#[inline(always)]
fn repeat_short(
    page: &mut [u8; PAGE_SIZE],
    start: usize,
    distance: usize,
) -> Result<(), CorruptPage> {
    let source = start.checked_sub(distance).ok_or(CorruptPage)?;
    if distance == 0 || source >= LIMIT || start >= LIMIT {
        return Err(CorruptPage);
    }
    if distance >= 8 {
        for from in [0, 8, 16] {
            let bytes: [u8; 8] = piece(page, source + from);
            page[start + from..start + from + 8].copy_from_slice(&bytes);
        }
        return Ok(());
    }
    let (pattern, step) = pattern(piece(page, source), distance);
    for i in 0..4 {
        // The mask says that 3 steps are not more than 24.
        let to = start + ((i * step) & 31);
        page[to..to + 8].copy_from_slice(&pattern);
    }
    Ok(())
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
#[inline(never)]
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
#[inline(always)]
fn piece<const N: usize>(page: &[u8; PAGE_SIZE], at: usize) -> [u8; N] {
    let mut piece = [0; N];
    piece.copy_from_slice(&page[at..at + N]);
    piece
}

/// The first `distance` of `bytes`, below 8, over and over; and how many bytes of that are whole.
#[inline(always)]
fn pattern(bytes: [u8; 8], distance: usize) -> ([u8; 8], usize) {
    let unwanted = 64 - 8 * distance;
    let once = u64::from_le_bytes(bytes) << unwanted >> unwanted;
    let (copies, step) = PATTERNS[distance];
    (once.wrapping_mul(copies).to_le_bytes(), usize::from(step))
}
