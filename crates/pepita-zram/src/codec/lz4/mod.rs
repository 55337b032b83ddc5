//! LZ4's block format, one page to a block.
//!
//! ```
//! use pepita_mem::PAGE_SIZE;
//! use pepita_zram::codec::lz4;
//!
//! let page: [u8; PAGE_SIZE] = std::array::from_fn(|i| (i % 100) as u8);
//! let mut encoder = lz4::Encoder::new(lz4::Effort::Usual);
//! let mut block = [0; PAGE_SIZE];
//! let len = encoder.compress(&page, &mut block).expect("it fits");
//!
//! let mut back = [0; PAGE_SIZE];
//! lz4::decompress(&block[..len], &mut back)?;
//! assert!(back == page && len < 200);
//! # Ok::<(), pepita_zram::codec::CorruptPage>(())
//! ```
//!
//! # The format
//! A block is a row of sequences, each of a token, literals, and a match: a distance back into the page and how
//! many bytes to repeat from there. The token's high half is the number of literals, its low half the length of
//! the match less 4, and 15 in either says that more follows, in bytes that are added up until one is not 255.
//! The last sequence has literals only, at least 5 of them, and no match begins in the last 12 bytes.
//!
//! Source: `doc/lz4_Block_format.md` of LZ4 1.10.

mod decode;
mod encode;
#[cfg(test)]
mod tests;
mod wild;

pub use decode::decompress;
pub use encode::{Effort, Encoder};

/// The shortest match.
const MIN_MATCH: usize = 4;
/// A half of a token that says that more follows.
const MORE: usize = 15;
/// The last literals of a block, at least.
const LAST_LITERALS: usize = 5;
/// The last match begins this many bytes before the end, at least.
const LAST_MATCH: usize = 12;
