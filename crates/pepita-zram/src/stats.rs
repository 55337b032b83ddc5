//! [`ZramStats`], and the lines of the kernel's statistics.

use std::fmt;

use pepita_mem::PAGE_SIZE;

/// What a device has and has done: each number at some moment of the call.
///
/// Names and meanings are the kernel's where it has the number
/// (`Documentation/admin-guide/blockdev/zram.rst`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ZramStats {
    /// Bytes that are stored, as the user counts them.
    pub orig_data_size: u64,
    /// Bytes that they are compressed to, of each object once.
    pub compr_data_size: u64,
    /// Bytes of memory that objects take, what is between them included.
    pub mem_used_total: u64,
    /// The most bytes of memory that they may take; 0 for no limit.
    pub mem_limit: u64,
    /// The most that [`mem_used_total`](Self::mem_used_total) has been.
    pub mem_used_max: u64,
    /// Bytes of memory for the books: the table of pages, of objects, of duplicates, of free places, and dictionaries.
    pub metadata_bytes: u64,
    /// Dictionaries that dense objects were made with, or that new ones will be; their bytes are among those of the
    /// books.
    pub dictionaries: u64,
    /// Pages that are stored.
    pub pages_stored: u64,
    /// Those of them that are zero: they take no memory.
    pub zero_pages: u64,
    /// Those of them that repeat 8 bytes, zeroes included: they take no memory.
    pub same_pages: u64,
    /// Those of them whose bytes another page has already: they take no memory.
    pub duplicate_pages: u64,
    /// Pages that compaction has given back to the host.
    pub pages_compacted: u64,
    /// Incompressible pages that are stored.
    pub huge_pages: u64,
    /// Incompressible pages that have ever been stored.
    pub huge_pages_since: u64,
    /// Reads of a page.
    pub num_reads: u64,
    /// Writes of a page, or a part.
    pub num_writes: u64,
    /// Reads that failed.
    pub failed_reads: u64,
    /// Writes that failed: the limit, or no memory.
    pub failed_writes: u64,
    /// Requests for what is behind the end.
    pub invalid_io: u64,
    /// Pages that were discarded.
    pub notify_free: u64,
    /// Times that a page was found to be corrupt.
    pub corrupt_reads: u64,
    /// Pages of the backing device that are in use.
    pub bd_count: u64,
    /// Pages of it that could not be written, and are left alone until no other is free, or the device is reset.
    pub bd_bad: u64,
    /// Pages that were read from it.
    pub bd_reads: u64,
    /// Pages that were written to it.
    pub bd_writes: u64,
}

impl ZramStats {
    /// Bytes stored over bytes that they are compressed to: 1 if nothing is stored, and infinite if all that is
    /// stored takes nothing.
    #[must_use]
    pub fn compression_ratio(&self) -> f64 {
        ratio(self.orig_data_size, self.compr_data_size)
    }

    /// Bytes stored over bytes of memory that they take, what is between objects and the books included: 0 if
    /// nothing is stored.
    #[must_use]
    pub fn memory_ratio(&self) -> f64 {
        ratio(
            self.orig_data_size,
            self.mem_used_total + self.metadata_bytes,
        )
    }

    /// The nine numbers of `/sys/block/zramN/mm_stat`.
    #[must_use]
    pub const fn mm_stat(&self) -> StatLine<9> {
        StatLine([
            self.orig_data_size,
            self.compr_data_size,
            self.mem_used_total,
            self.mem_limit,
            self.mem_used_max,
            self.same_pages,
            self.pages_compacted,
            self.huge_pages,
            self.huge_pages_since,
        ])
    }

    /// The four numbers of `/sys/block/zramN/io_stat`.
    #[must_use]
    pub const fn io_stat(&self) -> StatLine<4> {
        StatLine([
            self.failed_reads,
            self.failed_writes,
            self.invalid_io,
            self.notify_free,
        ])
    }

    /// The three numbers of `/sys/block/zramN/bd_stat`, in pages of 4096 bytes.
    #[must_use]
    pub const fn bd_stat(&self) -> StatLine<3> {
        StatLine([self.bd_count, self.bd_reads, self.bd_writes])
    }

    pub(crate) const fn orig_bytes(pages: u64) -> u64 {
        pages * PAGE_SIZE as u64
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio needs no 53 bits")]
fn ratio(of: u64, to: u64) -> f64 {
    match (of, to) {
        (0, 0) => 1.0,
        _ => of as f64 / to as f64,
    }
}

/// Numbers that are shown as the kernel shows them: in columns of eight, with a blank between. The third of four is
/// shown by its digits alone: the kernel's `io_stat` has a fixed 0 there.
///
/// ```
/// use pepita_zram::{ZramConfig, ZramDevice};
///
/// let device = ZramDevice::new(ZramConfig::with_size(1 << 20).mem_limit(65536))?;
/// device.write_page(0, &[7; 4096])?;
/// let mm_stat = device.stats().mm_stat();
/// assert_eq!(mm_stat.to_string(), "    4096        0        0    65536        0        1        0        0        0");
/// # Ok::<(), pepita_zram::ZramError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatLine<const N: usize>(
    /// In the kernel's order.
    pub [u64; N],
);

impl<const N: usize> fmt::Display for StatLine<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, number) in self.0.iter().enumerate() {
            let blank = if index == 0 { "" } else { " " };
            let width = if (N, index) == (4, 2) { 0 } else { 8 };
            write!(f, "{blank}{number:width$}")?;
        }
        Ok(())
    }
}
