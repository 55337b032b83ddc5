//! Recompression where there is no memory.

use super::*;
use crate::ZramConfig;
use crate::device::tests::{holds, page_of};

/// A device at a memory limit of `pages`, full of pages that can be denser.
fn at_the_limit(pages: u64) -> ZramDevice {
    let config = ZramConfig::with_size(4 << 20).mem_limit(pages * 4096);
    let device = ZramDevice::new(config).expect("there is memory");
    let mut written = 0;
    while device.write_page(written, &page_of(4, written)).is_ok() {
        written += 1;
    }
    device
}

#[test]
fn pages_become_denser_at_the_memory_limit_too() {
    for pages in [8, 64, 256] {
        let device = at_the_limit(pages);
        let stored = device.stored_pages();
        device.mark_idle(Idle::All);
        assert_eq!(device.recompress(PageKind::Idle, u64::MAX), Ok(stored));
        let stats = device.stats();
        assert!(stats.mem_used_total <= pages * 4096, "{stats:?}");
        assert!(stats.mem_used_max <= (pages + 32) * 4096, "{stats:?}");
        for index in 0..stored {
            holds(&device, index, &page_of(4, index));
        }
    }
}

#[test]
fn pages_for_which_there_was_no_memory_become_denser_later() {
    let device = at_the_limit(256);
    let stored = device.stored_pages();
    device.mark_idle(Idle::All);
    let limit_bytes = 4096;
    device.set_mem_limit(Some(limit_bytes));
    let ended = device.recompress(PageKind::Idle, u64::MAX).unwrap_err();
    assert_eq!(ended.error, ZramError::MemLimit { limit_bytes });
    assert!(ended.done < stored);
    device.set_mem_limit(None);
    let later = device.recompress(PageKind::Idle, u64::MAX);
    assert_eq!(later, Ok(stored - ended.done));
}
