//! Operations on a device, beside a map that has what was written.
#![no_main]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pepita_io::RamDevice;
use pepita_zram::{Idle, PageKind, UpkeepPolicy, ZramConfig, ZramDevice, ZramError};

const PAGE: usize = 4096;
const PAGES: u64 = 64;

/// A page for two bytes: zero, repeating, of few words, or of noise; some are the same.
fn page_of(kind: u8, number: u8) -> [u8; PAGE] {
    let mut state = u64::from(number % 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    match kind % 6 {
        0 => [0; PAGE],
        1 => [number; PAGE],
        2 => std::array::from_fn(|_| random().to_le_bytes()[4]),
        kind => std::array::from_fn(|at| match at % (2 + usize::from(kind)) {
            0 => random().to_le_bytes()[4] & number,
            part => part.to_le_bytes()[0],
        }),
    }
}

struct Tested {
    device: ZramDevice,
    written: HashMap<u64, [u8; PAGE]>,
}

impl Tested {
    fn new(blocks: u64) -> Self {
        let config = ZramConfig::with_size(PAGES * PAGE as u64).num_streams(1);
        let backing = Arc::new(RamDevice::new(blocks * 8));
        Self {
            device: ZramDevice::with_backing(config, backing).expect("there is memory"),
            written: HashMap::new(),
        }
    }

    fn holds(&self, index: u64) {
        let mut page = [0xA5; PAGE];
        self.device
            .read_page(index, &mut page)
            .expect("it is readable");
        let wanted = self.written.get(&index).unwrap_or(&[0; PAGE]);
        assert!(page == *wanted, "page {index}");
    }

    fn write(&mut self, index: u64, page: [u8; PAGE]) {
        match self.device.write_page(index, &page) {
            Ok(()) => drop(self.written.insert(index, page)),
            Err(ZramError::MemLimit { .. }) => self.holds(index),
            Err(error) => panic!("{error}"),
        }
    }

    fn run(&mut self, op: u8, [a, b]: [u8; 2]) {
        let (index, device) = (u64::from(a) % PAGES, &self.device);
        let kind = [PageKind::Idle, PageKind::Huge, PageKind::HugeIdle][usize::from(b) % 3];
        let is_limit = |error| matches!(error, ZramError::MemLimit { .. });
        match op % 12 {
            0..4 => self.write(index, page_of(b, a ^ b)),
            4 => self.holds(index),
            5 => {
                device.discard_page(index).expect("it is there");
                self.written.remove(&index);
            }
            6 => drop(device.mark_idle(Idle::All)),
            7 => assert!(device.write_back(kind, a.into()).is_ok()),
            8 => assert!(
                device
                    .recompress(kind, a.into())
                    .map_or_else(|ended| is_limit(ended.error), |_| true)
            ),
            9 => drop(device.compact()),
            10 => device.set_mem_limit(Some(u64::from(b) * 2048)),
            _ => {
                let policy = UpkeepPolicy::every(Duration::ZERO)
                    .recompress(PageKind::Idle, Duration::ZERO)
                    .dictionary_bytes(usize::from(a) * 16);
                let report = policy.run_once(device);
                assert!(report.last_error.is_none_or(is_limit), "{report:?}");
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((blocks, operations)) = data.split_first() else {
        return;
    };
    let mut tested = Tested::new(u64::from(blocks % 64) + 1);
    for [op, a, b] in operations.as_chunks().0.iter().take(400) {
        tested.run(*op, [*a, *b]);
    }
    (0..PAGES).for_each(|index| tested.holds(index));
    let stats = tested.device.stats();
    assert_eq!((stats.corrupt_reads, stats.failed_reads), (0, 0));
    assert_eq!(stats.pages_stored, tested.device.stored_pages());
    assert!(stats.pages_stored <= tested.written.len() as u64);
    tested.device.reset();
    let stats = tested.device.stats();
    let left = (
        stats.pages_stored,
        stats.compr_data_size,
        stats.bd_count,
        stats.dictionaries,
    );
    assert_eq!(left, (0, 0, 0, 0));
    // Each class may keep the page of a span that has had one object.
    assert!(
        stats.mem_used_total <= 64 * PAGE as u64,
        "{}",
        stats.mem_used_total
    );
});
