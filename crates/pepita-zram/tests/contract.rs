//! A device as a block device: what the contract says.

use pepita_sys::blk_mq::BlockDevice;
use pepita_sys::blk_mq::conformance::Conformance;
use pepita_zram::{Deduplication, ZramCompressor, ZramConfig, ZramDevice};

#[test]
fn it_keeps_the_contract_whatever_its_size_and_configuration() {
    // Few pages, some, and more than is ever used.
    for size in [32 << 10, 37 * 4096, 1 << 40] {
        for config in [
            ZramConfig::with_size(size),
            ZramConfig::with_size(size).compressor(ZramCompressor::None),
            ZramConfig::with_size(size)
                .deduplication(Deduplication::Off)
                .num_streams(1),
        ] {
            let device = ZramDevice::new(config).expect("there is memory");
            let report = Conformance::new()
                .run(&device)
                .expect("it keeps every rule");
            assert_eq!(report.left_out, [], "{report:?}");
            assert_eq!(device.geometry().capacity_sectors, size / 512);
            assert_eq!(
                device.stats().failed_writes + device.stats().failed_reads,
                0
            );
        }
    }
}
