//! The LZ4 block format, by `lz4_flex`.

use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};

use super::CorruptPage;

/// Compresses pages, one after the other, into LZ4 blocks.
#[derive(Debug)]
pub(crate) struct Encoder {
    table: Box<Table>,
    /// What `lz4_flex` compresses into: it wants room for any outcome.
    room: Vec<u8>,
}

struct Table(CompressTable);

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Table")
    }
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self {
            table: Box::new(Table(CompressTable::small())),
            room: Vec::new(),
        }
    }

    /// Compresses `page` into the beginning of `out`, and says how many bytes that took; none if `out` has too
    /// few. The same page gives the same bytes, whatever went before.
    pub(crate) fn compress(&mut self, page: &[u8], out: &mut [u8]) -> Option<usize> {
        self.room.resize(get_maximum_output_size(page.len()), 0);
        let len = compress_into_with_table(page, &mut self.room, &mut self.table.0).ok()?;
        out.get_mut(..len)?.copy_from_slice(&self.room[..len]);
        Some(len)
    }
}

/// Fills `page` with what `block` was made of.
///
/// # Errors
/// If `block` is no LZ4 block of so many bytes; `page` is unspecified then.
pub(crate) fn decompress(block: &[u8], page: &mut [u8]) -> Result<(), CorruptPage> {
    match decompress_into(block, page) {
        Ok(bytes) if bytes == page.len() => Ok(()),
        _ => Err(CorruptPage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_comes_back_and_one_that_does_not_fit_is_told() {
        let mut encoder = Encoder::new();
        let page: Vec<u8> = (0..4096_u32).map(|at| (at / 7 % 251) as u8).collect();
        let (mut out, mut back) = ([0; 4096], [0; 4096]);
        let len = encoder.compress(&page, &mut out).expect("it repeats");
        decompress(&out[..len], &mut back).expect("it was made so");
        assert_eq!(back[..], page[..]);
        assert_eq!(encoder.compress(&page, &mut out[..len - 1]), None);
        assert_eq!(
            decompress(&out[..len - 1], &mut back),
            Err(CorruptPage),
            "cut off"
        );
        assert_eq!(
            decompress(&out[..len], &mut back[..100]),
            Err(CorruptPage),
            "a longer page"
        );
    }
}
