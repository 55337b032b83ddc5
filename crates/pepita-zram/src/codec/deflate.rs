//! Deflate, by `zlib-rs`: a third smaller than LZ4, and many times slower.

use std::fmt;

use zlib_rs::{
    Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Method, Status, Strategy,
};

use super::CorruptPage;
use crate::page::Page;

/// How far back a match may reach, as a power of two: a page, and what zlib keeps for itself.
const WINDOW_BITS: i32 = 13;

/// Room for any page, with what deflate has around bytes that do not get smaller.
const ROOM: usize = size_of::<Page>() + 128;

/// Compresses pages, one after the other, into streams without a header.
pub(crate) struct Encoder {
    stream: Deflate,
    /// Where streams are made. One that did not fit would leave something behind in zlib-rs 0.6.8 that a reset does not
    /// clear, until it panics.
    room: Box<[u8; ROOM]>,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self {
            stream: Deflate::new_with_config(DeflateConfig {
                level: 9,
                method: Method::Deflated,
                window_bits: -WINDOW_BITS,
                mem_level: 6,
                strategy: Strategy::Default,
            }),
            room: Box::new([0; ROOM]),
        }
    }

    /// Compresses `page` into the beginning of `out`, and says how many bytes that took; none if `out` has too few.
    pub(crate) fn compress(&mut self, page: &Page, out: &mut [u8]) -> Option<usize> {
        self.stream.reset();
        let finish = DeflateFlush::Finish;
        let status = self.stream.compress(page, &mut self.room[..], finish);
        if status != Ok(Status::StreamEnd) {
            return None;
        }
        let made = self
            .room
            .get(..usize::try_from(self.stream.total_out()).ok()?)?;
        out.get_mut(..made.len())?.copy_from_slice(made);
        Some(made.len())
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encoder")
    }
}

/// Decompresses pages, one after the other.
pub(crate) struct Decoder(Inflate);

impl Decoder {
    pub(crate) fn new() -> Self {
        Self(Inflate::new(false, 15))
    }

    /// Fills `page` with what `stream` was made of.
    ///
    /// # Errors
    /// If `stream` is not one page and nothing else; `page` is unspecified then.
    pub(crate) fn decompress(&mut self, stream: &[u8], page: &mut Page) -> Result<(), CorruptPage> {
        self.0.reset(false);
        let status = self.0.decompress(stream, page, InflateFlush::Finish);
        let is_whole = status == Ok(Status::StreamEnd)
            && self.0.total_out() == page.len() as u64
            && self.0.total_in() == stream.len() as u64;
        if is_whole { Ok(()) } else { Err(CorruptPage) }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decoder")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_comes_back_and_what_is_no_page_is_told() {
        let page: Page = std::array::from_fn(|at| (at / 7 % 251).to_le_bytes()[0]);
        let (mut out, mut back) = ([0; 4096], [0; 4096]);
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let len = encoder.compress(&page, &mut out).expect("it repeats");
        for _ in 0..2 {
            decoder
                .decompress(&out[..len], &mut back)
                .expect("it was made so");
            assert_eq!(back, page);
            let cut_off = decoder.decompress(&out[..len - 1], &mut back);
            assert_eq!(cut_off, Err(CorruptPage));
            let longer = decoder.decompress(&out[..=len], &mut back);
            assert_eq!(longer, Err(CorruptPage));
        }
        for _ in 0..10_000 {
            assert_eq!(encoder.compress(&page, &mut out[..len - 1]), None);
        }
        assert_eq!(encoder.compress(&page, &mut out), Some(len), "as at first");
    }
}
