//! [`ZramConfig`]: what a device is to be.

use pepita_mem::PAGE_SIZE;

use crate::codec::lz4::{self, Effort};

/// How pages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ZramCompressor {
    /// LZ4 blocks, by [`Effort::Moderate`].
    #[default]
    Lz4,
    /// LZ4 blocks that take half the time to make, and about a sixth more memory, by
    /// [`Effort::Low`].
    Lz4Fast,
    /// Not at all: same-filled and duplicate pages alone take less.
    None,
}

impl ZramCompressor {
    /// The name that the kernel's `comp_algorithm` has for it; `lz4-fast` is none of the kernel's.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::Lz4Fast => "lz4-fast",
            Self::None => "none",
        }
    }

    /// What makes its blocks; `None` if pages are not compressed.
    pub(crate) fn encoder(self) -> Option<lz4::Encoder> {
        match self {
            Self::Lz4 => Some(lz4::Encoder::new(Effort::Moderate)),
            Self::Lz4Fast => Some(lz4::Encoder::new(Effort::Low)),
            Self::None => None,
        }
    }
}

/// Whether pages are looked for that are stored already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Deduplication {
    /// Pages with the same bytes are stored once.
    #[default]
    On,
    /// Each page is stored by itself.
    Off,
}

/// What a [`ZramDevice`](crate::ZramDevice) is to be.
///
/// ```
/// use pepita_zram::{ZramCompressor, ZramConfig};
///
/// let config = ZramConfig::with_size(4 << 30)
///     .compressor(ZramCompressor::Lz4)
///     .mem_limit(1 << 30);
/// assert_eq!((config.pages(), config.mem_limit), (1 << 20, Some(1 << 30)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ZramConfig {
    /// Bytes that can be stored; a part of a page at the end makes a whole one.
    pub size_bytes: u64,
    /// How pages are compressed.
    pub compressor: ZramCompressor,
    /// Whether the same page is stored once.
    pub deduplication: Deduplication,
    /// The most bytes of memory that pages may take, 0 for no limit; the books come on top, and 128 KiB at most
    /// while pages are moved together or [compressed again](crate::ZramDevice::recompress).
    pub mem_limit: Option<u64>,
    /// How many threads compress at once, 1024 at most; 0 for as many as there are CPUs.
    pub num_streams: usize,
}

impl ZramConfig {
    /// A device for `size_bytes` bytes: LZ4, deduplication, no limit, a stream for each CPU.
    #[must_use]
    pub const fn with_size(size_bytes: u64) -> Self {
        Self {
            size_bytes,
            compressor: ZramCompressor::Lz4,
            deduplication: Deduplication::On,
            mem_limit: None,
            num_streams: 0,
        }
    }

    /// Sets how pages are compressed.
    #[must_use]
    pub const fn compressor(mut self, compressor: ZramCompressor) -> Self {
        self.compressor = compressor;
        self
    }

    /// Sets whether the same page is stored once.
    #[must_use]
    pub const fn deduplication(mut self, deduplication: Deduplication) -> Self {
        self.deduplication = deduplication;
        self
    }

    /// Sets the most bytes of memory that pages may take.
    #[must_use]
    pub const fn mem_limit(mut self, bytes: u64) -> Self {
        self.mem_limit = Some(bytes);
        self
    }

    /// Sets how many threads compress at once, 1024 at most.
    #[must_use]
    pub const fn num_streams(mut self, streams: usize) -> Self {
        self.num_streams = streams;
        self
    }

    /// Pages of 4096 bytes that can be stored.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.size_bytes.div_ceil(PAGE_SIZE as u64)
    }
}

/// 1 GiB.
impl Default for ZramConfig {
    fn default() -> Self {
        Self::with_size(1 << 30)
    }
}
