//! [`Figures`]: what a zram disk holds and has done.

use pepita::zram::{StatLine, ZramDevice, ZramStats};
use serde::{Deserialize, Serialize};

/// Of a disk of pepita or of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Figures {
    /// `ublkb0`, `zram0`.
    pub(super) disk: String,
    /// Of the disk.
    pub(super) bytes: u64,
    pub(super) compressor: String,
    pub(super) mm_stat: MmStat,
    pub(super) io_stat: IoStat,
    /// None where the kernel was built without write-back.
    pub(super) bd_stat: Option<BdStat>,
    /// What the kernel's does not say.
    pub(super) more: Option<More>,
}

/// `/sys/block/zramN/mm_stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MmStat {
    pub(super) orig_data_size: u64,
    pub(super) compr_data_size: u64,
    pub(super) mem_used_total: u64,
    pub(super) mem_limit: u64,
    pub(super) mem_used_max: u64,
    pub(super) same_pages: u64,
    pub(super) pages_compacted: u64,
    pub(super) huge_pages: u64,
    pub(super) huge_pages_since: u64,
}

/// `/sys/block/zramN/io_stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IoStat {
    pub(super) failed_reads: u64,
    pub(super) failed_writes: u64,
    pub(super) invalid_io: u64,
    pub(super) notify_free: u64,
}

/// `/sys/block/zramN/bd_stat`, in pages of 4096 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BdStat {
    pub(super) bd_count: u64,
    pub(super) bd_reads: u64,
    pub(super) bd_writes: u64,
}

/// What a disk of pepita says besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct More {
    pub(super) zero_pages: u64,
    pub(super) duplicate_pages: u64,
    pub(super) metadata_bytes: u64,
    pub(super) corrupt_reads: u64,
    pub(super) num_reads: u64,
    pub(super) num_writes: u64,
}

impl Figures {
    /// Of a device that is served as `disk`.
    pub(super) fn of(disk: String, device: &ZramDevice) -> Self {
        let stats: ZramStats = device.stats();
        Self {
            disk,
            bytes: device.config().size_bytes,
            compressor: device.config().compressor.name().to_owned(),
            mm_stat: MmStat::from(stats.mm_stat().0),
            io_stat: IoStat::from(stats.io_stat().0),
            bd_stat: Some(BdStat::from(stats.bd_stat().0)),
            more: Some(More {
                zero_pages: stats.zero_pages,
                duplicate_pages: stats.duplicate_pages,
                metadata_bytes: stats.metadata_bytes,
                corrupt_reads: stats.corrupt_reads,
                num_reads: stats.num_reads,
                num_writes: stats.num_writes,
            }),
        }
    }
}

impl From<[u64; 9]> for MmStat {
    fn from(numbers: [u64; 9]) -> Self {
        let [
            orig_data_size,
            compr_data_size,
            mem_used_total,
            mem_limit,
            mem_used_max,
            ..,
        ] = numbers;
        let [
            ..,
            same_pages,
            pages_compacted,
            huge_pages,
            huge_pages_since,
        ] = numbers;
        Self {
            orig_data_size,
            compr_data_size,
            mem_used_total,
            mem_limit,
            mem_used_max,
            same_pages,
            pages_compacted,
            huge_pages,
            huge_pages_since,
        }
    }
}

impl From<[u64; 4]> for IoStat {
    fn from([failed_reads, failed_writes, invalid_io, notify_free]: [u64; 4]) -> Self {
        Self {
            failed_reads,
            failed_writes,
            invalid_io,
            notify_free,
        }
    }
}

impl From<[u64; 3]> for BdStat {
    fn from([bd_count, bd_reads, bd_writes]: [u64; 3]) -> Self {
        Self {
            bd_count,
            bd_reads,
            bd_writes,
        }
    }
}

impl MmStat {
    /// As the kernel shows it.
    pub(super) const fn line(&self) -> StatLine<9> {
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
}

impl IoStat {
    /// As the kernel shows it.
    pub(super) const fn line(&self) -> StatLine<4> {
        StatLine([
            self.failed_reads,
            self.failed_writes,
            self.invalid_io,
            self.notify_free,
        ])
    }
}

impl BdStat {
    /// As the kernel shows it.
    pub(super) const fn line(&self) -> StatLine<3> {
        StatLine([self.bd_count, self.bd_reads, self.bd_writes])
    }
}

#[cfg(test)]
mod tests {
    use pepita::zram::ZramConfig;

    use super::*;

    #[test]
    fn lines_are_those_of_the_device_whose_figures_they_are() {
        let config = ZramConfig::with_size(1 << 20).mem_limit(1 << 18);
        let device = ZramDevice::new(config).unwrap();
        for index in 0..=255 {
            let page = std::array::from_fn(|at| at.to_le_bytes()[0].wrapping_mul(index));
            device.write_page(index.into(), &page).unwrap();
        }
        let figures = Figures::of("ublkb0".into(), &device);
        let stats = device.stats();
        assert_eq!(figures.mm_stat.line(), stats.mm_stat());
        assert_eq!(figures.io_stat.line(), stats.io_stat());
        assert_eq!(figures.bd_stat.unwrap().line(), stats.bd_stat());
        let text = serde_json::to_string(&figures).unwrap();
        assert_eq!(serde_json::from_str::<Figures>(&text).unwrap(), figures);
    }
}
