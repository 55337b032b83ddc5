//! [`Encoder`]: a page to a block.
//!
//! One pass over the page, with a table from the hash of a few bytes to where they stood last, as every fast LZ4
//! encoder has it. What is done for pages:
//! * Positions take 2 bytes, and 0 stands for "none": the bytes at 0 may be compared like any. So a page starts
//!   with clearing 8 KiB, and no candidate has to be checked for its age.
//! * Four positions are looked at in one turn, each with a branch of its own for the CPU to predict.
//! * Words and literals are read in whole pieces of 8, 16 and 32 bytes, without a branch that depends on how many
//!   are wanted. So no match begins in the last 20 bytes, which makes blocks longer by a thousandth.
//! * Five bytes are hashed or more, not four. That finds a match of four bytes more rarely, which saves one byte at
//!   best and costs as much time as a long one, here and where it is read.

use pepita_mem::PAGE_SIZE;

use super::{LAST_LITERALS, LAST_MATCH, MIN_MATCH, MORE};

/// How hard an [`Encoder`] looks for matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// As hard as LZ4's own encoder by default: blocks are 1 to 3 % longer, in four fifths of its time.
    #[default]
    Usual,
    /// Few matches of less than 7 bytes, which save little: in four fifths of that time, blocks of a kernel are 4 %
    /// longer, those of programs 6 %, those of text 8 %. They are read in three quarters of the time.
    Moderate,
    /// Every third position, fewer where nothing was found, and few matches of less than 8 bytes: in two fifths of that
    /// time, blocks of programs are 20 to 23 % longer, those of text 37 %.
    Low,
}

/// Compresses pages, one after the other; 8 KiB, which belong in memory that stays.
#[derive(Debug, Clone)]
pub struct Encoder {
    effort: Effort,
    table: Table,
}

const TABLE_BITS: u32 = 12;
/// Where bytes with a hash stood last. It begins with a cache line, since all of it is cleared for each page.
#[derive(Debug, Clone)]
#[repr(align(64))]
struct Table([u16; 1 << TABLE_BITS]);
type Page = [u8; PAGE_SIZE];

/// Matches end here at the latest.
const MATCH_END: usize = PAGE_SIZE - LAST_LITERALS;
/// Matches begin here at the latest: [`match_len`] looks at 20 bytes.
const MATCH_START: usize = PAGE_SIZE - 20;
const _: () = assert!(MATCH_START <= PAGE_SIZE - LAST_MATCH);

impl Encoder {
    /// An encoder that looks for matches as hard as `effort` says.
    #[must_use]
    pub const fn new(effort: Effort) -> Self {
        let table = Table([0; 1 << TABLE_BITS]);
        Self { effort, table }
    }

    /// Compresses `page` to the front of `block`, and says how many bytes that took; `None` if they do not fit,
    /// and then `block` holds anything. A page that does not get smaller takes up to 4,114 bytes.
    pub fn compress(&mut self, page: &[u8; PAGE_SIZE], block: &mut [u8]) -> Option<usize> {
        self.table.0.fill(0);
        match self.effort {
            Effort::Usual => encode::<5, 1, 6>(page, &mut self.table, block),
            Effort::Moderate => encode::<7, 1, 6>(page, &mut self.table, block),
            Effort::Low => encode::<8, 3, 4>(page, &mut self.table, block),
        }
    }
}

/// Compresses `page`: looks up `HASHED` bytes at every `STEP`th position, and passes over one more for each
/// `1 << PATIENCE` bytes since the last match.
#[inline(always)]
fn encode<const HASHED: u32, const STEP: usize, const PATIENCE: u32>(
    page: &Page,
    table: &mut Table,
    block: &mut [u8],
) -> Option<usize> {
    let mut at = 1;
    let mut literals = 0;
    let mut block = Block {
        bytes: block,
        len: 0,
    };
    while let Some((start, source)) = find::<HASHED, STEP, PATIENCE>(page, table, at, literals) {
        let len = match_len(page, start, source);
        let (start, source, len) = if STEP > 1 {
            extend_back(page, literals, start, source, len)
        } else {
            (start, source, len)
        };
        block.push(page, literals, start, start - source, len)?;
        at = start + len;
        literals = at;
        let inside = at - 2;
        if inside > MATCH_START {
            break;
        }
        table.0[hash::<HASHED>(word(page, inside))] = position(inside);
    }
    block.push_last(page, literals)
}

/// The next match at `at` or behind it: where it starts, and where its bytes stood before.
#[inline(always)]
fn find<const HASHED: u32, const STEP: usize, const PATIENCE: u32>(
    page: &Page,
    table: &mut Table,
    mut at: usize,
    literals: usize,
) -> Option<(usize, usize)> {
    while at <= MATCH_START - 3 * STEP {
        for i in 0..4 {
            let start = at + i * STEP;
            let bytes = word(page, start);
            let entry = &mut table.0[hash::<HASHED>(bytes)];
            let source = usize::from(*entry);
            *entry = position(start);
            if source > MATCH_START {
                // Never; the compiler is to know.
                return None;
            }
            #[expect(clippy::cast_possible_truncation, reason = "the first four bytes")]
            if word(page, source) as u32 == bytes as u32 {
                return Some((start, source));
            }
        }
        at += 4 * STEP + ((at - literals) >> PATIENCE);
    }
    None
}

/// How many bytes at `start` are those at `source` too; the first four are.
#[inline(always)]
fn match_len(page: &Page, start: usize, source: usize) -> usize {
    let first = word(page, start + 4) ^ word(page, source + 4);
    let second = word(page, start + 12) ^ word(page, source + 12);
    // One match in twelve is longer than these.
    let len = if first == 0 {
        12 + equal_bytes(second)
    } else {
        4 + equal_bytes(first)
    };
    let len = if len == 20 {
        long_match_len(page, start, source)
    } else {
        len
    };
    len.min(MATCH_END - start)
}

#[inline(never)]
fn long_match_len(page: &Page, start: usize, source: usize) -> usize {
    let mut len = 20;
    while start + len <= PAGE_SIZE - 8 {
        let differ = word(page, start + len) ^ word(page, source + len);
        if differ != 0 {
            return len + equal_bytes(differ);
        }
        len += 8;
    }
    while start + len < MATCH_END && page[start + len] == page[source + len] {
        len += 1;
    }
    len
}

/// How many bytes come before the first that differs.
#[inline(always)]
fn equal_bytes(differ: u64) -> usize {
    (differ.trailing_zeros() / 8) as usize
}

/// The same match with up to 7 of the literals before it, where they stand before its source too.
#[inline(always)]
fn extend_back(
    page: &Page,
    literals: usize,
    start: usize,
    source: usize,
    len: usize,
) -> (usize, usize, usize) {
    if source < 8 {
        return (start, source, len);
    }
    let differ = word(page, start - 8) ^ word(page, source - 8);
    let more = ((differ | 1).leading_zeros() / 8) as usize;
    let more = more.min(start - literals);
    (start - more, source - more, len + more)
}

/// A place in the table.
#[inline(always)]
fn hash<const HASHED: u32>(bytes: u64) -> usize {
    // 2^64 over the golden ratio.
    let mixed = (bytes << (64 - 8 * HASHED)).wrapping_mul(0x9E37_79B1_85EB_CA87);
    (mixed >> (64 - TABLE_BITS)) as usize
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "positions are below 2^12")]
fn position(at: usize) -> u16 {
    at as u16
}

/// The 8 bytes at `at`.
#[inline(always)]
fn word(page: &Page, at: usize) -> u64 {
    u64::from_le_bytes(piece(page, at))
}

/// `N` bytes at `at`.
#[inline(always)]
fn piece<const N: usize>(page: &Page, at: usize) -> [u8; N] {
    let mut piece = [0; N];
    piece.copy_from_slice(&page[at..at + N]);
    piece
}

/// What was compressed so far.
struct Block<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

/// What [`Block::push`] may write without looking for room again: token, one more for each length, 32 bytes in
/// place of up to 31 literals, the distance.
const ROOM: usize = 48;

impl Block<'_> {
    /// Appends a sequence: the bytes of `page` from `literals` to `start`, and the match there. `None` if there is
    /// no room.
    #[inline(always)]
    fn push(
        &mut self,
        page: &Page,
        literals: usize,
        start: usize,
        distance: usize,
        len: usize,
    ) -> Option<()> {
        let count = start - literals;
        let more = len - MIN_MATCH;
        let room = self.bytes.get_mut(self.len..self.len + ROOM);
        let room: Option<&mut [u8; ROOM]> = room.and_then(|room| room.try_into().ok());
        if let Some(room) = room {
            if count < MORE {
                room[1..17].copy_from_slice(&piece::<16>(page, literals));
                let behind = 1 + count;
                put_distance(room, behind, distance);
                if more < MORE {
                    room[0] = byte(count << 4 | more);
                    self.len += behind + 2;
                    return Some(());
                }
                room[0] = byte(count << 4 | MORE);
                if more < MORE + 255 {
                    room[behind + 2] = byte(more - MORE);
                    self.len += behind + 3;
                    return Some(());
                }
            } else if count < 32 && more < MORE && literals <= PAGE_SIZE - 32 {
                room[0] = byte(MORE << 4 | more);
                room[1] = byte(count - MORE);
                room[2..34].copy_from_slice(&piece::<32>(page, literals));
                let behind = 2 + count;
                put_distance(room, behind, distance);
                self.len += behind + 2;
                return Some(());
            }
        }
        self.push_any(page, literals, start, distance, len)
    }

    /// The same for any lengths and little room.
    #[inline(never)]
    fn push_any(
        &mut self,
        page: &Page,
        literals: usize,
        start: usize,
        distance: usize,
        len: usize,
    ) -> Option<()> {
        let more = len - MIN_MATCH;
        self.push_literals(&page[literals..start], more.min(MORE))?;
        self.append(&distance.to_le_bytes()[..2])?;
        if more >= MORE {
            self.push_more(more - MORE)
        } else {
            Some(())
        }
    }

    /// Appends the last sequence, and gives the length of all.
    fn push_last(&mut self, page: &Page, literals: usize) -> Option<usize> {
        self.push_literals(&page[literals..PAGE_SIZE], 0)?;
        Some(self.len)
    }

    /// Appends a token, whose low half is `low`, and literals.
    fn push_literals(&mut self, literals: &[u8], low: usize) -> Option<()> {
        let count = literals.len();
        self.append(&[byte(count.min(MORE) << 4 | low)])?;
        if count >= MORE {
            self.push_more(count - MORE)?;
        }
        self.append(literals)
    }

    /// Appends what is left of a length.
    fn push_more(&mut self, mut left: usize) -> Option<()> {
        while left >= 255 {
            self.append(&[255])?;
            left -= 255;
        }
        self.append(&[byte(left)])
    }

    fn append(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len + bytes.len();
        self.bytes.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }
}

#[inline(always)]
fn put_distance(room: &mut [u8; ROOM], at: usize, distance: usize) {
    room[at..at + 2].copy_from_slice(&distance.to_le_bytes()[..2]);
}

/// A part of a token or of a length, below 256.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "below 256")]
fn byte(value: usize) -> u8 {
    debug_assert!(value < 256);
    value as u8
}
