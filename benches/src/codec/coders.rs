//! [`Coder`]: ours and the peers behind one trait.

use anyhow::{Context, Result, ensure};
use lz4::block::{compress_to_buffer, decompress_to_buffer};
use miniz_oxide::deflate::core::{
    CompressorOxide, TDEFLFlush, TDEFLStatus, compress, create_comp_flags_from_zip_params,
};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use pepita_zram::codec::{deflate, lz4 as ours};

use crate::corpus::PAGE;

pub(super) type Page = [u8; PAGE];

/// More than any coder makes of a page.
pub(super) const ROOM: usize = 2 * PAGE;

/// Compresses a page and decompresses a block, with all state that can be kept kept.
pub(super) trait Coder: Sized {
    const NAME: &'static str;

    fn new() -> Result<Self>;

    /// Gives the length of the block at the front of `room`, which has [`ROOM`] bytes.
    fn compress(&mut self, page: &Page, room: &mut [u8]) -> Result<usize>;

    fn decompress(&mut self, block: &[u8], page: &mut Page) -> Result<()>;

    /// Whether others read `block` as `page` too, where there are others.
    fn check(_block: &[u8], _page: &Page) -> Result<()> {
        Ok(())
    }
}

/// Ours.
pub(super) struct Lz4(Box<ours::Encoder>);

impl Coder for Lz4 {
    const NAME: &'static str = "lz4::Encoder";

    fn new() -> Result<Self> {
        Ok(Self(Box::new(ours::Encoder::new(ours::Effort::Usual))))
    }

    fn compress(&mut self, page: &Page, room: &mut [u8]) -> Result<usize> {
        self.0.compress(page, room).context("no room")
    }

    fn decompress(&mut self, block: &[u8], page: &mut Page) -> Result<()> {
        Ok(ours::decompress(block, page)?)
    }

    fn check(block: &[u8], page: &Page) -> Result<()> {
        let mut back = [0; PAGE];
        CLz4.decompress(block, &mut back)?;
        ensure!(back == *page, "C lz4 reads another page");
        Ok(())
    }
}

/// Ours with low effort.
pub(super) struct Lz4Low(Lz4);

impl Coder for Lz4Low {
    const NAME: &'static str = "lz4::Encoder, low effort";

    fn new() -> Result<Self> {
        Ok(Self(Lz4(Box::new(ours::Encoder::new(ours::Effort::Low)))))
    }

    fn compress(&mut self, page: &Page, room: &mut [u8]) -> Result<usize> {
        self.0.compress(page, room)
    }

    fn decompress(&mut self, block: &[u8], page: &mut Page) -> Result<()> {
        self.0.decompress(block, page)
    }

    fn check(block: &[u8], page: &Page) -> Result<()> {
        Lz4::check(block, page)
    }
}

/// With its `unsafe` features, which are faster.
pub(super) struct Flex(lz4_flex::block::CompressTable);

impl Coder for Flex {
    const NAME: &'static str = "lz4_flex";

    fn new() -> Result<Self> {
        Ok(Self(lz4_flex::block::CompressTable::small()))
    }

    fn compress(&mut self, page: &Page, room: &mut [u8]) -> Result<usize> {
        let len = lz4_flex::block::compress_into_with_table(page, room, &mut self.0)?;
        Ok(len)
    }

    fn decompress(&mut self, block: &[u8], page: &mut Page) -> Result<()> {
        let len = lz4_flex::block::decompress_into(block, page)?;
        ensure!(len == PAGE, "{len} bytes");
        Ok(())
    }
}

pub(super) struct CLz4;

impl Coder for CLz4 {
    const NAME: &'static str = "C lz4";

    fn new() -> Result<Self> {
        Ok(Self)
    }

    fn compress(&mut self, page: &Page, room: &mut [u8]) -> Result<usize> {
        Ok(compress_to_buffer(page, None, false, room)?)
    }

    fn decompress(&mut self, block: &[u8], page: &mut Page) -> Result<()> {
        let size = i32::try_from(PAGE)?;
        let len = decompress_to_buffer(block, Some(size), page)?;
        ensure!(len == PAGE, "{len} bytes");
        Ok(())
    }

    fn check(block: &[u8], page: &Page) -> Result<()> {
        let mut back = [0; PAGE];
        ours::decompress(block, &mut back)?;
        ensure!(back == *page, "ours reads another page");
        Ok(())
    }
}

/// Ours, denser.
pub(super) struct Deflate(deflate::Encoder, deflate::Decoder);

impl Coder for Deflate {
    const NAME: &'static str = "deflate::Encoder";

    fn new() -> Result<Self> {
        Ok(Self(deflate::Encoder::new(&[]), deflate::Decoder::new(&[])))
    }

    fn compress(&mut self, page: &Page, room: &mut [u8]) -> Result<usize> {
        self.0.compress(page, room).context("no room")
    }

    fn decompress(&mut self, block: &[u8], page: &mut Page) -> Result<()> {
        Ok(self.1.decompress(block, page)?)
    }
}

/// At its level 6.
pub(super) struct Miniz(CompressorOxide, Box<DecompressorOxide>);

impl Coder for Miniz {
    const NAME: &'static str = "miniz_oxide 6";

    fn new() -> Result<Self> {
        let flags = create_comp_flags_from_zip_params(6, -15, 0);
        Ok(Self(CompressorOxide::new(flags), Box::default()))
    }

    fn compress(&mut self, page: &Page, room: &mut [u8]) -> Result<usize> {
        self.0.reset();
        let (status, _, len) = compress(&mut self.0, page, room, TDEFLFlush::Finish);
        ensure!(status == TDEFLStatus::Done, "{status:?}");
        Ok(len)
    }

    fn decompress(&mut self, block: &[u8], page: &mut Page) -> Result<()> {
        self.1.init();
        let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let (status, _, len) = decompress(&mut self.1, block, page, 0, flags);
        ensure!(status == TINFLStatus::Done && len == PAGE, "{status:?}");
        Ok(())
    }
}

/// At level 1.
pub(super) struct CZstd(
    zstd::bulk::Compressor<'static>,
    zstd::bulk::Decompressor<'static>,
);

impl Coder for CZstd {
    const NAME: &'static str = "C zstd 1";

    fn new() -> Result<Self> {
        let compressor = zstd::bulk::Compressor::new(1)?;
        Ok(Self(compressor, zstd::bulk::Decompressor::new()?))
    }

    fn compress(&mut self, page: &Page, room: &mut [u8]) -> Result<usize> {
        Ok(self.0.compress_to_buffer(page, room)?)
    }

    fn decompress(&mut self, block: &[u8], page: &mut Page) -> Result<()> {
        let len = self.1.decompress_to_buffer(block, page)?;
        ensure!(len == PAGE, "{len} bytes");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs of counters, of all lengths, so that there is something to find.
    fn page(seed: usize) -> Page {
        std::array::from_fn(|i| {
            let part = i / (seed % 61 + 3);
            (part.wrapping_mul(part + seed) >> (seed % 4)).to_le_bytes()[0]
        })
    }

    fn check<From: Coder, To: Coder>() {
        let (mut from, mut to) = (From::new().unwrap(), To::new().unwrap());
        for seed in 0..2000 {
            let page = page(seed);
            let mut room = vec![0; ROOM];
            let len = from.compress(&page, &mut room).unwrap();
            let mut back = [0; PAGE];
            to.decompress(&room[..len], &mut back).unwrap();
            assert!(back == page, "page {seed}");
        }
    }

    #[test]
    fn c_lz4_reads_our_blocks() {
        for effort in [
            ours::Effort::Usual,
            ours::Effort::Moderate,
            ours::Effort::Low,
        ] {
            let mut encoder = ours::Encoder::new(effort);
            for seed in 0..2000 {
                let page = page(seed);
                let mut room = vec![0; ROOM];
                let len = encoder.compress(&page, &mut room).unwrap();
                Lz4::check(&room[..len], &page)
                    .unwrap_or_else(|error| panic!("{effort:?}, page {seed}: {error}"));
            }
        }
    }

    #[test]
    fn we_read_the_blocks_of_c_lz4() {
        check::<CLz4, Lz4>();
    }

    #[test]
    fn miniz_oxide_reads_our_streams_and_we_read_its() {
        check::<Deflate, Miniz>();
        check::<Miniz, Deflate>();
    }
}
