//! [`front`]: most of a block to most of a page.
//!
//! Most sequences have up to 14 literals and a match of up to 18 bytes. Such a one is copied in pieces of fixed
//! lengths, without a branch that depends on how many bytes are wanted; what is written too far is written again by the
//! next. That needs room behind it, in the block and in the page, so a sequence without that room ends it. Most of what is
//! longer has up to 64 bytes, which are copied so as well: where a loop ends is hard to foresee.
//!
//! # Invariants
//! * *room-behind*: at the start of a step the block has [`IN`] bytes at `ip`, and the page [`OUT`] at `op`. What a
//!   step reads or writes behind these, it looks for room for first.
#![expect(
    unsafe_code,
    clippy::multiple_unsafe_ops_per_block,
    reason = "copies in pieces, with one look for room a step"
)]

use core::hint::cold_path;

use pepita_mem::PAGE_SIZE;

use super::decode::pattern;
use super::{MIN_MATCH, MORE};
use crate::codec::CorruptPage;

/// What a step reads of a block without another look: the token, 16 bytes in place of up to 14 literals, and what is
/// behind these.
const IN: usize = 1 + 16 + 3;
/// What is copied at once where there is more: literals, or a match.
const PIECE: usize = 32;
/// What a step writes without another look: up to 14 literals, and a piece in place of a match.
const OUT: usize = 14 + PIECE;

/// Decompresses sequences of `block` to the front of `page` until one has too little room behind it. Says how many
/// bytes of each that was.
pub(super) fn front(
    block: &[u8],
    page: &mut [u8; PAGE_SIZE],
) -> Result<(usize, usize), CorruptPage> {
    let (mut ip, mut op) = (0, 0);
    while ip + IN <= block.len() && op + OUT <= PAGE_SIZE {
        // SAFETY: room-behind is the condition above.
        match unsafe { step(block, page, ip, op) }? {
            Some(next) => (ip, op) = next,
            None => break,
        }
    }
    Ok((ip, op))
}

/// Does the sequence at `ip` of `block`, which belongs at `op` in `page`, and says where the next ones are; `None` if
/// there is too little room behind it.
///
/// # Safety
/// room-behind holds.
#[inline(always)]
unsafe fn step(
    block: &[u8],
    page: &mut [u8; PAGE_SIZE],
    ip: usize,
    op: usize,
) -> Result<Option<(usize, usize)>, CorruptPage> {
    let (from, to) = (block.as_ptr(), page.as_mut_ptr());
    // SAFETY: room-behind: the token is at `ip` and the 16 bytes behind it are in the block, as `IN` is more; the page
    // has 16 bytes at `op`, as `OUT` is more.
    let token = unsafe {
        copy::<16>(to.add(op), from.add(ip + 1));
        usize::from(*from.add(ip))
    };
    let mut ip = ip + 1;
    let mut count = token >> 4;
    if count == MORE {
        cold_path();
        let Some((more, behind)) = length(block, ip) else {
            return Ok(None);
        };
        (count, ip) = (MORE + more, behind);
        if ip + room(count) > block.len() || op + room(count) > PAGE_SIZE {
            return Ok(None);
        }
        // SAFETY: both have that room.
        unsafe { copy_long(to.add(op), from.add(ip), count) };
    }
    let start = op + count;
    // SAFETY: up to 14 literals and 2 bytes are within `IN`; behind more there is a piece.
    let distance = unsafe { from.add(ip + count).cast::<u16>().read_unaligned() };
    let distance = usize::from(u16::from_le(distance));
    let mut ip = ip + count + 2;
    if distance.wrapping_sub(1) >= start {
        return Err(CorruptPage);
    }
    let half = token & MORE;
    if half < MORE {
        // SAFETY: the source is in the page, before `start`; a piece behind `start` is in it too: `start` is at most 14
        // behind `op`, and the page has `OUT` there, or `room` was looked for. So `repeat_short` has its room.
        unsafe { repeat_short(to, start, distance) };
        return Ok(Some((ip, start + MIN_MATCH + half)));
    }
    cold_path();
    let Some((more, behind)) = length(block, ip) else {
        return Ok(None);
    };
    ip = behind;
    let len = MIN_MATCH + MORE + more;
    if start + room(len) > PAGE_SIZE {
        return Ok(None);
    }
    // SAFETY: the source is in the page, before `start`; behind that is the room.
    unsafe {
        if distance >= PIECE {
            copy_long(to.add(start), to.add(start - distance), len);
        } else {
            repeat_long(to, start, distance, len);
        }
    }
    Ok(Some((ip, start + len)))
}

/// What is added to a length by the bytes at `at`, and where they end; `None` if that is near the end of the block.
#[inline(always)]
fn length(block: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let mut len = 0;
    loop {
        let byte = *block.get(at)?;
        at += 1;
        len += usize::from(byte);
        if byte != 255 {
            return Some((len, at));
        }
    }
}

/// Repeats up to 18 bytes at `start` from `distance` before, and writes up to a piece.
///
/// # Safety
/// `page` has a piece at `start`, and `distance` bytes before it, which are not 0.
#[inline(always)]
unsafe fn repeat_short(page: *mut u8, start: usize, distance: usize) {
    // SAFETY: all is between the source and the end of the piece: 18 bytes, or 8 at no more than 24, as 3 steps are.
    unsafe {
        let (to, source) = (page.add(start), page.add(start - distance));
        if distance >= 8 {
            copy::<8>(to, source);
            copy::<8>(to.add(8), source.add(8));
            copy::<2>(to.add(16), source.add(16));
        } else {
            cold_path();
            let (pattern, step) = pattern(source.cast::<[u8; 8]>().read(), distance);
            for i in 0..4 {
                to.add(i * step).cast::<[u8; 8]>().write(pattern);
            }
        }
    }
}

/// Repeats `len` bytes at `start` from `distance` before, and writes up to 7 more.
///
/// # Safety
/// `page` has `len` bytes and a piece at `start`, and `distance` bytes before it, which are not 0 and less than a piece.
#[inline(never)]
unsafe fn repeat_long(page: *mut u8, start: usize, distance: usize, len: usize) {
    let end = start + len;
    let mut at = start;
    while at < end {
        // SAFETY: `at` is before `end`, and behind that is a piece; what is copied ends at `at` or before, and a
        // pattern is the 8 bytes from the source on, which is before `start`.
        unsafe {
            if distance >= 8 {
                copy::<8>(page.add(at), page.add(at - distance));
                at += 8;
            } else {
                let source = page.add(start - distance);
                let (pattern, step) = pattern(source.cast::<[u8; 8]>().read(), distance);
                while at < end {
                    page.add(at).cast::<[u8; 8]>().write(pattern);
                    at += step;
                }
            }
        }
    }
}

/// Bytes that [`copy_long`] may read and write in place of `count`, and a piece behind `count` at least.
const fn room(count: usize) -> usize {
    if count <= PIECE {
        2 * PIECE
    } else {
        count + PIECE
    }
}

/// Copies `count` bytes, and up to [`room`] of them.
///
/// # Safety
/// Both have that room, and `to` is not within a piece behind `from`.
#[inline(always)]
unsafe fn copy_long(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: that is what `room` is at least.
    unsafe {
        copy::<PIECE>(to, from);
        copy::<PIECE>(to.add(PIECE), from.add(PIECE));
    }
    let mut done = 2 * PIECE;
    while done < count {
        // SAFETY: `done` is below `count`, and behind that is a piece.
        unsafe { copy::<PIECE>(to.add(done), from.add(done)) };
        done += PIECE;
    }
}

/// Copies `N` bytes, as one.
///
/// # Safety
/// They can be read at `from`, and written at `to`.
#[inline(always)]
unsafe fn copy<const N: usize>(to: *mut u8, from: *const u8) {
    // SAFETY: the caller's promise; arrays of bytes have no alignment.
    unsafe { to.cast::<[u8; N]>().write(from.cast::<[u8; N]>().read()) }
}
