//! Deflate, one page to a stream without header: a third smaller than [`lz4`](super::lz4), in twenty times its time,
//! and ten times to read. For pages that nobody has asked for in a while.
//!
//! The coder is [`zlib_rs`], at its highest level. With a [dictionary](super::dictionary) streams are smaller still;
//! who reads them needs the same one.
//!
//! ```
//! use pepita_mem::PAGE_SIZE;
//! use pepita_zram::codec::deflate;
//!
//! let page: [u8; PAGE_SIZE] = std::array::from_fn(|i| (i % 100) as u8);
//! let mut stream = [0; PAGE_SIZE];
//! let len = deflate::Encoder::new(&[]).compress(&page, &mut stream).expect("it fits");
//!
//! let mut back = [0; PAGE_SIZE];
//! deflate::Decoder::new(&[]).decompress(&stream[..len], &mut back)?;
//! assert!(back == page && len < 200);
//! # Ok::<(), pepita_zram::codec::CorruptPage>(())
//! ```
//!
//! Source: RFC 1951.

#[cfg(test)]
mod tests;

use std::fmt;

use pepita_mem::PAGE_SIZE;
use zlib_rs::{
    Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Method, Status, Strategy,
};

use super::CorruptPage;

/// How far back a match may reach, as a power of two, without a dictionary: a page, and what zlib keeps for itself.
const PAGE_WINDOW_BITS: u8 = 13;
/// The same with one, as far as the format goes.
const WINDOW_BITS: u8 = 15;
/// Bytes of a dictionary that the window holds beside a page.
pub(crate) const DICTIONARY_LEN: usize = (1 << WINDOW_BITS) - 2 * PAGE_SIZE;

/// Room for any page, with what deflate has around bytes that do not get smaller.
const ROOM: usize = PAGE_SIZE + 128;

/// Compresses pages, one after the other.
pub struct Encoder {
    stream: Deflate,
    dictionary: Box<[u8]>,
    /// Where streams are made. One that did not fit would leave something behind in zlib-rs 0.6.8 that a reset does
    /// not clear, until it panics.
    room: Box<[u8; ROOM]>,
}

impl Encoder {
    /// An encoder whose pages may repeat bytes of `dictionary` too; if that is longer than 24 KiB, of its end.
    #[must_use]
    pub fn new(dictionary: &[u8]) -> Self {
        let dictionary = end_of(dictionary);
        let config = DeflateConfig {
            level: 9,
            method: Method::Deflated,
            window_bits: -i32::from(window_bits(dictionary)),
            mem_level: 6,
            strategy: Strategy::Default,
        };
        Self {
            stream: Deflate::new_with_config(config),
            dictionary: dictionary.into(),
            room: Box::new([0; ROOM]),
        }
    }

    /// Compresses `page` to the front of `stream`, and says how many bytes that took; `None` if they do not fit.
    pub fn compress(&mut self, page: &[u8; PAGE_SIZE], stream: &mut [u8]) -> Option<usize> {
        self.stream.reset();
        if !self.dictionary.is_empty() {
            self.stream.set_dictionary(&self.dictionary).ok()?;
        }
        let finish = DeflateFlush::Finish;
        let status = self.stream.compress(page, &mut self.room[..], finish);
        if status != Ok(Status::StreamEnd) {
            return None;
        }
        let made = usize::try_from(self.stream.total_out()).ok()?;
        let made = self.room.get(..made)?;
        stream.get_mut(..made.len())?.copy_from_slice(made);
        Some(made.len())
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug("Encoder", &self.dictionary, f)
    }
}

/// Decompresses pages, one after the other.
pub struct Decoder {
    stream: Inflate,
    dictionary: Box<[u8]>,
}

impl Decoder {
    /// A decoder for the pages of an encoder with the same dictionary.
    #[must_use]
    pub fn new(dictionary: &[u8]) -> Self {
        let dictionary = end_of(dictionary);
        Self {
            stream: Inflate::new(false, WINDOW_BITS),
            dictionary: dictionary.into(),
        }
    }

    /// Decompresses `stream`, which must be exactly one page and nothing behind it.
    ///
    /// # Errors
    /// [`CorruptPage`] if it is anything else; `page` then holds anything.
    pub fn decompress(
        &mut self,
        stream: &[u8],
        page: &mut [u8; PAGE_SIZE],
    ) -> Result<(), CorruptPage> {
        decompress(&mut self.stream, &self.dictionary, stream, page)
    }

    /// The same with another dictionary than its own.
    pub(crate) fn decompress_with(
        &mut self,
        dictionary: &[u8],
        stream: &[u8],
        page: &mut [u8; PAGE_SIZE],
    ) -> Result<(), CorruptPage> {
        decompress(&mut self.stream, end_of(dictionary), stream, page)
    }
}

fn decompress(
    inflate: &mut Inflate,
    dictionary: &[u8],
    stream: &[u8],
    page: &mut [u8; PAGE_SIZE],
) -> Result<(), CorruptPage> {
    inflate.reset(false);
    if !dictionary.is_empty() {
        let set = inflate.set_dictionary(dictionary);
        set.map_err(|_| CorruptPage)?;
    }
    let status = inflate.decompress(stream, page, InflateFlush::Finish);
    let is_whole = status == Ok(Status::StreamEnd)
        && inflate.total_out() == PAGE_SIZE as u64
        && inflate.total_in() == stream.len() as u64;
    if is_whole { Ok(()) } else { Err(CorruptPage) }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug("Decoder", &self.dictionary, f)
    }
}

fn debug(name: &str, dictionary: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.debug_struct(name)
        .field("dictionary_len", &dictionary.len())
        .finish_non_exhaustive()
}

fn end_of(dictionary: &[u8]) -> &[u8] {
    &dictionary[dictionary.len().saturating_sub(DICTIONARY_LEN)..]
}

fn window_bits(dictionary: &[u8]) -> u8 {
    if dictionary.is_empty() {
        PAGE_WINDOW_BITS
    } else {
        WINDOW_BITS
    }
}
