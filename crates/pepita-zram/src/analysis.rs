//! What a device would make of given pages, without storing them.
//!
//! [`Analysis`] counts pages; those that are new to it are to be measured, by a [`Coders`] each on as many threads as
//! are wanted, since that is where the time goes.
//!
//! ```
//! use pepita_zram::analysis::{Analysis, Coders};
//!
//! let (mut analysis, mut coders) = (Analysis::new(), Coders::new());
//! let text: [u8; 4096] = std::array::from_fn(|at| b"all work and no play "[at % 21]);
//! for page in [[0; 4096], [7; 4096], text, text] {
//!     if let Some(new) = analysis.add(&page) {
//!         analysis.measured(new, coders.measure(&page));
//!     }
//! }
//! let report = analysis.report();
//! assert_eq!((report.zero_pages, report.same_pages, report.duplicate_pages), (1, 2, 1));
//! assert!(report.codecs[0].compressed_bytes < 100);
//! ```

use std::collections::HashMap;

use pepita_mem::PAGE_SIZE;

use crate::ZramCompressor;
use crate::codec::deflate;
use crate::codec::lz4;
use crate::page;
use crate::store::Sizes;
use crate::stream::COMPRESSED_MAX;

/// Names of what is measured, in the order of [`AnalysisReport::codecs`]: LZ4, LZ4 in less time, deflate where it
/// is denser than LZ4 (what recompression does), and no compression.
pub const CODECS: [&str; 4] = ["lz4", "lz4-fast", "dense", "none"];

/// Groups of compressed sizes, of 256 bytes each; the last one has the pages that are kept raw as well.
pub const GROUPS: usize = 16;

/// Distinct pages that are known one by one: as many as a table of 2^20 places takes, about 26 MB. Of more, a part is
/// looked at.
const KNOWN_MAX: usize = 7 << 17;

/// A page that was not seen before, to be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewPage(u64);

/// Bytes that a page takes by each codec that compresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageSizes([u16; 3]);

/// Measures pages; one for each thread.
#[derive(Debug)]
pub struct Coders {
    lz4: Option<lz4::Encoder>,
    lz4_fast: Option<lz4::Encoder>,
    dense: deflate::Encoder,
    out: Box<[u8; COMPRESSED_MAX]>,
}

impl Coders {
    /// The coders that a device has.
    #[must_use]
    pub fn new() -> Self {
        Self {
            lz4: ZramCompressor::Lz4.encoder(),
            lz4_fast: ZramCompressor::Lz4Fast.encoder(),
            dense: deflate::Encoder::new(&[]),
            out: Box::new([0; COMPRESSED_MAX]),
        }
    }

    /// Compresses `page` in each way. It takes about 0.15 ms.
    pub fn measure(&mut self, page: &[u8; PAGE_SIZE]) -> PageSizes {
        let out = &mut self.out[..];
        let stored = |len: Option<usize>| {
            let len = len.unwrap_or(PAGE_SIZE);
            u16::try_from(len).unwrap_or(u16::MAX)
        };
        let lz4 = self
            .lz4
            .as_mut()
            .and_then(|encoder| encoder.compress(page, out));
        let lz4 = stored(lz4);
        let lz4_fast = self
            .lz4_fast
            .as_mut()
            .and_then(|encoder| encoder.compress(page, out));
        let lz4_fast = stored(lz4_fast);
        let dense = stored(self.dense.compress(page, out)).min(lz4);
        PageSizes([lz4, lz4_fast, dense])
    }
}

impl Default for Coders {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts pages and what they would take. Its memory is bounded, whatever it is given: from 917,505 distinct pages on
/// (3.5 GiB), it knows those alone whose hash ends in a zero bit, then in two, and so on, and reports what
/// follows from them.
#[derive(Debug)]
pub struct Analysis {
    pages: u64,
    zero: u64,
    same: u64,
    /// Pages whose hash ends in so many zero bits are known.
    zero_bits: u32,
    known_max: usize,
    /// By hash, the sizes of each page that is known.
    known: HashMap<u64, PageSizes>,
}

impl Analysis {
    /// Without pages.
    #[must_use]
    pub fn new() -> Self {
        Self::knowing(KNOWN_MAX)
    }

    fn knowing(known_max: usize) -> Self {
        Self {
            pages: 0,
            zero: 0,
            same: 0,
            zero_bits: 0,
            known_max,
            known: HashMap::new(),
        }
    }

    /// Counts a page. What this gives is to be [`measured`](Self::measured); in any order, but before the
    /// [`report`](Self::report).
    #[must_use]
    pub fn add(&mut self, page: &[u8; PAGE_SIZE]) -> Option<NewPage> {
        self.pages += 1;
        if let Some(word) = page::filled_with(page) {
            self.same += 1;
            self.zero += u64::from(word == 0);
            return None;
        }
        let hash = page::hash(page);
        if !self.is_known_part(hash) {
            return None;
        }
        if self.known.contains_key(&hash) {
            return None;
        }
        if self.known.len() >= self.known_max {
            self.know_less();
        }
        if !self.is_known_part(hash) {
            return None;
        }
        self.known.insert(hash, PageSizes::default());
        Some(NewPage(hash))
    }

    /// Counts pages that are zero and need not be at hand, as those of a hole in a file.
    pub const fn add_zeroes(&mut self, pages: u64) {
        self.pages += pages;
        self.same += pages;
        self.zero += pages;
    }

    /// Forgets about a half of what is known, before the table would grow. It is filled anew, since places of which
    /// something was taken out count as full.
    fn know_less(&mut self) {
        self.zero_bits += 1;
        let known = self.known.drain();
        let kept: Vec<_> = known
            .filter(|(hash, _)| hash.trailing_zeros() >= self.zero_bits)
            .collect();
        self.known.extend(kept);
    }

    const fn is_known_part(&self, hash: u64) -> bool {
        hash.trailing_zeros() >= self.zero_bits
    }

    /// Notes what a page takes.
    pub fn measured(&mut self, page: NewPage, sizes: PageSizes) {
        // It may not be known any more.
        if let Some(known) = self.known.get_mut(&page.0) {
            *known = sizes;
        }
    }

    /// What a device would make of the pages.
    #[must_use]
    pub fn report(&self) -> AnalysisReport {
        let with_bytes = self.pages - self.same;
        let (known, one_in) = (self.known.len() as u64, 1 << self.zero_bits);
        let distinct = (known * one_in).min(with_bytes);
        // All figures by one factor, so that parts add up to the whole.
        let of_all = |part: u64| scaled(part, distinct, known);
        let classes = Sizes::new();
        let mut codecs = CODECS.map(CodecReport::new);
        let mut costs = [0_u128; CODECS.len()];
        for sizes in self.known.values() {
            let lens = sizes.0.map(usize::from).into_iter().chain([PAGE_SIZE]);
            for ((codec, cost), len) in codecs.iter_mut().zip(&mut costs).zip(lens) {
                codec.compressed_bytes += len as u64;
                codec.incompressible_pages += u64::from(len == PAGE_SIZE);
                let group = len.saturating_sub(1) * GROUPS / PAGE_SIZE;
                codec.histogram[group.min(GROUPS - 1)] += 1;
                *cost += classes.cost_of(len) as u128;
            }
        }
        for (codec, cost) in codecs.iter_mut().zip(costs) {
            codec.memory_bytes = of_all(u64::try_from(cost >> 16).unwrap_or(u64::MAX));
            codec.compressed_bytes = of_all(codec.compressed_bytes);
            codec.incompressible_pages = of_all(codec.incompressible_pages);
            let (mut seen, mut told) = (0, 0);
            for group in &mut codec.histogram {
                seen += *group;
                *group = of_all(seen) - told;
                told += *group;
            }
        }
        AnalysisReport {
            pages: self.pages,
            zero_pages: self.zero,
            same_pages: self.same,
            distinct_pages: distinct,
            duplicate_pages: with_bytes - distinct,
            looked_at_one_in: one_in,
            codecs,
        }
    }
}

/// `part` as it is where there are `to` in place of `of`.
fn scaled(part: u64, to: u64, of: u64) -> u64 {
    let part = u128::from(part) * u128::from(to) / u128::from(of.max(1));
    u64::try_from(part).unwrap_or(u64::MAX)
}

impl Default for Analysis {
    fn default() -> Self {
        Self::new()
    }
}

/// What a device would make of pages.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AnalysisReport {
    /// Pages.
    pub pages: u64,
    /// Those of them that are zero.
    pub zero_pages: u64,
    /// Those of them that repeat 8 bytes, zeroes included: they take no memory.
    pub same_pages: u64,
    /// Those of the others that are the first of their kind: they take memory.
    pub distinct_pages: u64,
    /// The others: they take no memory.
    pub duplicate_pages: u64,
    /// 1 where each distinct page was looked at. Else one in so many was, and what is said of distinct pages,
    /// duplicates and codecs follows from those, at least 458,752.
    pub looked_at_one_in: u64,
    /// What each codec makes of the distinct pages, in the order of [`CODECS`].
    pub codecs: [CodecReport; CODECS.len()],
}

impl AnalysisReport {
    /// Bytes of all pages.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.pages * PAGE_SIZE as u64
    }
}

/// What a codec makes of pages.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CodecReport {
    /// One of [`CODECS`].
    pub name: &'static str,
    /// Bytes that distinct pages are compressed to.
    pub compressed_bytes: u64,
    /// Bytes of memory that they take, with what is between objects; the books come on top, 8 bytes for each page
    /// and 45 to 65 for each distinct one, the more the larger it is.
    pub memory_bytes: u64,
    /// Distinct pages that are kept raw.
    pub incompressible_pages: u64,
    /// Distinct pages by the bytes that they are compressed to: 1 to 256, 257 to 512, and so on.
    pub histogram: [u64; GROUPS],
}

impl CodecReport {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            compressed_bytes: 0,
            memory_bytes: 0,
            incompressible_pages: 0,
            histogram: [0; GROUPS],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::tests::page_of;
    use crate::page::Page;
    use crate::{Idle, PageKind, ZramConfig, ZramDevice};

    fn analysed(mut analysis: Analysis, pages: impl Iterator<Item = Page>) -> AnalysisReport {
        let mut coders = Coders::new();
        for page in pages {
            if let Some(new) = analysis.add(&page) {
                analysis.measured(new, coders.measure(&page));
            }
        }
        analysis.report()
    }

    #[test]
    fn a_report_says_what_a_device_then_does() {
        let page = |number: u64| page_of((number % 5) as u8, number / 2);
        let report = analysed(Analysis::new(), (0..500).map(page));
        for (compressor, codec) in [
            (ZramCompressor::Lz4, 0),
            (ZramCompressor::Lz4Fast, 1),
            (ZramCompressor::None, 3),
        ] {
            let config = ZramConfig::with_size(500 * 4096).compressor(compressor);
            let device = ZramDevice::new(config).expect("there is memory");
            for index in 0..500 {
                device.write_page(index, &page(index)).expect("room");
            }
            let (stats, says) = (device.stats(), &report.codecs[codec]);
            assert_eq!(says.name, compressor.name());
            assert_eq!(
                (report.zero_pages, report.same_pages, report.duplicate_pages),
                (stats.zero_pages, stats.same_pages, stats.duplicate_pages)
            );
            assert_eq!(says.compressed_bytes, stats.compr_data_size);
            assert_eq!(says.incompressible_pages, stats.huge_pages);
            let apart = says.memory_bytes.abs_diff(stats.mem_used_total);
            assert!(apart * 4 < stats.mem_used_total, "{says:?}, {stats:?}");
            assert_eq!(says.histogram.iter().sum::<u64>(), report.distinct_pages);
            if compressor == ZramCompressor::Lz4 {
                device.mark_idle(Idle::All);
                device.recompress(PageKind::Idle, u64::MAX).expect("room");
                let dense = device.stats().compr_data_size;
                assert_eq!(report.codecs[2].compressed_bytes, dense);
            }
        }
    }

    #[test]
    fn of_many_pages_a_part_is_known_and_the_report_is_near() {
        let page = |number: u64| page_of(3, number % 1500);
        let (all, part) = (Analysis::knowing(10_000), Analysis::knowing(250));
        let (all, part) = (
            analysed(all, (0..2000).map(page)),
            analysed(part, (0..2000).map(page)),
        );
        assert_eq!((all.looked_at_one_in, all.distinct_pages), (1, 1500));
        assert_eq!(part.looked_at_one_in, 8);
        assert_eq!(part.pages, 2000);
        for (says, is) in [
            (part.distinct_pages, all.distinct_pages),
            (
                part.codecs[0].compressed_bytes,
                all.codecs[0].compressed_bytes,
            ),
            (part.codecs[2].memory_bytes, all.codecs[2].memory_bytes),
        ] {
            assert!(says.abs_diff(is) * 10 < is, "{says} for {is}");
        }
    }

    #[test]
    fn zeroes_count_as_they_do_one_by_one() {
        let mut analysis = Analysis::new();
        analysis.add_zeroes(3);
        let told = analysed(Analysis::new(), [[0; PAGE_SIZE]; 3].into_iter());
        assert_eq!(analysis.report(), told);
    }

    #[test]
    fn the_table_of_known_pages_never_grows_beyond_what_was_meant() {
        // As many as a table of 256 places takes.
        let known_max = 7 << 5;
        let mut analysis = Analysis::knowing(known_max);
        for number in 0..5000 {
            let _ = analysis.add(&page_of(3, number));
            assert!(analysis.known.len() <= known_max, "{number}");
            assert!(analysis.known.capacity() <= known_max, "{number}");
        }
        assert!(analysis.zero_bits >= 4);
    }

    #[test]
    fn parts_add_up_where_a_part_is_known() {
        let mut capped = 0;
        for count in (300..1500).step_by(120) {
            let pages = (0..count).map(|number| page_of(3 + (number % 2) as u8, number));
            let report = analysed(Analysis::knowing(7 << 5), pages);
            assert!(report.looked_at_one_in > 1, "{report:?}");
            let distinct = report.distinct_pages;
            let with_bytes = report.pages - report.same_pages;
            assert_eq!(distinct + report.duplicate_pages, with_bytes);
            capped += u64::from(report.duplicate_pages == 0);
            for codec in &report.codecs {
                assert_eq!(codec.histogram.iter().sum::<u64>(), distinct, "{codec:?}");
                let last = codec.histogram[GROUPS - 1];
                assert!(codec.incompressible_pages <= last, "{codec:?}");
            }
            let none = &report.codecs[3];
            assert_eq!(none.incompressible_pages, distinct);
            assert_eq!(none.compressed_bytes, distinct * 4096);
        }
        assert!(capped > 0, "none has more by its part than it can have");
    }
}
