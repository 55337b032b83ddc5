//! How one page becomes fewer bytes, and a page again.
//!
//! [`lz4`] is for every page. [`deflate`] is for those that stay: its pages are a third smaller, and take twenty
//! times as long to make and ten times to read. Neither keeps anything of a page: the same page gives the same
//! bytes, whatever came before it. A [`dictionary`] is for pages that are like each other.
//!
//! What is decompressed is not trusted. Whatever its bytes are, a decoder ends, writes to its output alone, and
//! says [`CorruptPage`] unless they are exactly one page; but bytes that were changed can be another page, so
//! who must know keeps a checksum.

pub mod deflate;
pub mod dictionary;
pub mod lz4;
#[cfg(test)]
mod pages;

/// The compressed bytes are not a page. What was to hold the page holds anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("compressed bytes that are not a page")]
pub struct CorruptPage;
