#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

use super::*;
use crate::objects::ObjectId;
use proptest::prelude::*;

const PAGES: u64 = 64;

fn device(config: ZramConfig) -> ZramDevice {
    ZramDevice::new(config).expect("there is memory")
}

fn small() -> ZramDevice {
    device(ZramConfig::with_size(PAGES * PAGE_SIZE as u64))
}

/// The same, with room elsewhere for half of its pages.
fn small_backed() -> ZramDevice {
    let config = ZramConfig::with_size(PAGES * PAGE_SIZE as u64);
    let elsewhere = pepita_io::RamDevice::new(PAGES / 2 * 8);
    ZramDevice::with_backing(config, Arc::new(elsewhere)).expect("it can be one")
}

/// A page of one of the kinds that are stored in ways of their own.
pub(crate) fn page_of(kind: u8, number: u64) -> Page {
    let mut page = [0; PAGE_SIZE];
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    match kind {
        0 => {}
        1 => page.fill(number as u8),
        2 => page::fill(&mut page, random()),
        3 => page
            .as_chunks_mut()
            .0
            .iter_mut()
            .for_each(|word| *word = random().to_ne_bytes()),
        _ => {
            // Words of a small vocabulary: compressible to a length that differs.
            for place in page.as_chunks_mut::<4>().0 {
                let range = 2 + number % 200;
                *place = (random() % range).wrapping_mul(0x0101_0301).to_le_bytes()[..4]
                    .try_into()
                    .expect("four");
            }
        }
    }
    page
}

#[track_caller]
pub(crate) fn holds(device: &ZramDevice, index: u64, wanted: &Page) {
    let mut page = [0xaa; PAGE_SIZE];
    device.read_page(index, &mut page).expect("it is readable");
    assert!(page == *wanted, "page {index} is another");
}

/// Changes a byte of what is stored for a page.
fn corrupt(device: &ZramDevice, index: u64) {
    let slot = device.slot(index).unwrap().unwrap();
    let Content::Object(id) = slot.lock().content() else {
        panic!("page {index} has no object");
    };
    device.objects.corrupt(id);
}

#[test]
fn each_kind_of_page_comes_back_and_costs_what_it_should() {
    let device = small();
    for kind in 0..5 {
        let page = page_of(kind, 7);
        device.write_page(u64::from(kind), &page).unwrap();
        holds(&device, u64::from(kind), &page);
    }
    holds(&device, 9, &page_of(0, 0));
    let stats = device.stats();
    assert_eq!(stats.orig_data_size, 5 * 4096);
    assert_eq!((stats.pages_stored, device.stored_pages()), (5, 5));
    assert_eq!((stats.same_pages, stats.zero_pages), (3, 1));
    assert_eq!((stats.huge_pages, stats.huge_pages_since), (1, 1));
    assert_eq!((stats.num_reads, stats.num_writes), (6, 5));
    assert!(stats.compr_data_size > 4096 && stats.compr_data_size < 8192);
    assert!(stats.mem_used_total >= stats.compr_data_size);
}

#[test]
fn pages_that_repeat_eight_bytes_take_no_memory() {
    let device = small();
    for index in 0..PAGES {
        let kind = u8::try_from(index % 3).unwrap();
        device.write_page(index, &page_of(kind, index)).unwrap();
    }
    let stats = device.stats();
    assert_eq!((stats.compr_data_size, stats.mem_used_total), (0, 0));
    assert_eq!(stats.same_pages, PAGES);
    assert_eq!(stats.compression_ratio(), f64::INFINITY);
    for index in 0..PAGES {
        device.discard_page(index).unwrap();
    }
    assert_eq!(device.stats().same_pages, 0);
}

#[test]
fn the_same_page_is_stored_once_until_its_last_copy_is_gone() {
    let device = small();
    for (kind, first) in [(3, 0), (4, 10)] {
        let page = page_of(kind, 5);
        for index in first..first + 10 {
            device.write_page(index, &page).unwrap();
        }
        let stats = device.stats();
        assert_eq!((stats.pages_stored, stats.duplicate_pages), (10, 9));
        let one = stats.compr_data_size;
        assert!(one > 0 && one <= 4096, "{one}");
        for index in first + 1..first + 10 {
            device.discard_page(index).unwrap();
        }
        assert_eq!(device.stats().compr_data_size, one);
        holds(&device, first, &page);
        device.discard_page(first).unwrap();
        assert_eq!(device.stats().compr_data_size, 0);
    }
}

#[test]
fn without_deduplication_each_page_is_stored() {
    let config = ZramConfig::with_size(1 << 20).deduplication(Deduplication::Off);
    let device = device(config);
    for index in 0..10 {
        device.write_page(index, &page_of(3, 1)).unwrap();
    }
    assert_eq!(device.stats().compr_data_size, 10 * 4096);
    assert_eq!(device.stats().duplicate_pages, 0);
}

#[test]
fn pages_with_the_same_hash_are_kept_apart() {
    for hash in [|_: &Page| 0, |page: &Page| u64::from(page[0] % 2)] {
        let mut device = small();
        device.hash = hash;
        for round in 0..3 {
            for index in 0..PAGES {
                device
                    .write_page(index, &page_of(4, index + round))
                    .unwrap();
            }
        }
        for index in 0..PAGES {
            holds(&device, index, &page_of(4, index + 2));
        }
        for index in 0..PAGES {
            device.discard_page(index).unwrap();
        }
        assert_eq!(device.stats().compr_data_size, 0);
        assert_eq!(device.objects.stored(), 0);
    }
}

#[test]
fn a_corrupt_page_is_an_error_and_not_data() {
    let device = small();
    for (index, kind) in [(0, 3), (1, 4)] {
        let page = page_of(kind, 3);
        device.write_page(index, &page).unwrap();
        corrupt(&device, index);
        let mut read = [0xaa; PAGE_SIZE];
        let error = ZramError::Corrupt { page: index };
        assert_eq!(device.read_page(index, &mut read), Err(error));
        assert_eq!(read, [0; PAGE_SIZE], "nothing of it");
        let stats = device.stats();
        assert_eq!(
            (stats.corrupt_reads, stats.failed_reads),
            (index + 1, index + 1)
        );
        // The next one with these bytes is no duplicate of it.
        device.write_page(index + 10, &page).unwrap();
        holds(&device, index + 10, &page);
        device.write_page(index, &page).unwrap();
        holds(&device, index, &page);
    }
}

#[test]
fn a_part_of_a_corrupt_page_cannot_be_written() {
    let device = small();
    device.write_page(0, &page_of(3, 3)).unwrap();
    corrupt(&device, 0);
    let mut scratch = [0; PAGE_SIZE];
    let update = device.update_page(0, &mut scratch, |page| page[0] = 1);
    assert_eq!(update, Err(ZramError::Corrupt { page: 0 }));
}

#[test]
fn at_the_memory_limit_writes_fail_and_what_is_stored_stays() {
    let limit_bytes = 16 * 4096;
    let device = device(ZramConfig::with_size(1 << 20).mem_limit(limit_bytes));
    let mut stored = Vec::new();
    for index in 0..40 {
        match device.write_page(index, &page_of(3, index)) {
            Ok(()) => stored.push(index),
            Err(error) => assert_eq!(error, ZramError::MemLimit { limit_bytes }),
        }
    }
    assert_eq!(stored.len(), 16);
    assert_eq!(device.stats().failed_writes, 24);
    // An overwrite needs a place of its own while the old page is there.
    let overwritten = device.write_page(3, &page_of(3, 1000));
    assert_eq!(
        overwritten.map_err(|error| error.errno()),
        Err(Errno::ENOSPC)
    );
    for index in stored {
        holds(&device, index, &page_of(3, index));
    }
    device
        .write_page(4, &page_of(1, 1))
        .expect("that takes none");
    device
        .write_page(5, &page_of(3, 1000))
        .expect("there is room");
    device.set_mem_limit(Some(0));
    device
        .write_page(30, &page_of(3, 30))
        .expect("there is no limit");
    assert_eq!(device.stats().mm_stat().0[3], 0);
}

#[test]
fn a_page_behind_the_end_is_an_error() {
    let device = small();
    let error = ZramError::PastEnd {
        page: PAGES,
        pages: PAGES,
    };
    let mut page = [0; PAGE_SIZE];
    assert_eq!(device.read_page(PAGES, &mut page), Err(error));
    assert_eq!(device.write_page(PAGES, &page), Err(error));
    assert_eq!(device.discard_page(PAGES), Err(error));
    assert!(device.read_page(u64::MAX, &mut page).is_err());
    assert_eq!(device.stats().io_stat().0, [0, 0, 4, 0]);
}

#[test]
fn a_device_of_no_pages_or_too_many_is_refused() {
    for size in [0, u64::MAX] {
        let refused = ZramDevice::new(ZramConfig::with_size(size)).map(|_| ());
        assert!(
            matches!(refused, Err(ZramError::Size { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn more_streams_than_there_can_be_are_as_many_as_there_can_be() {
    let config = ZramConfig::with_size(1 << 20).num_streams(usize::MAX);
    let device = ZramDevice::new(config).unwrap();
    device.write_page(0, &page_of(4, 1)).unwrap();
    holds(&device, 0, &page_of(4, 1));
}

#[test]
fn a_part_of_a_page_changes_alone() {
    let device = small();
    let mut wanted = page_of(4, 9);
    device.write_page(0, &wanted).unwrap();
    let mut scratch = [0; PAGE_SIZE];
    for at in [0, 511, 4095] {
        device
            .update_page(0, &mut scratch, |page| page[at] = 0xee)
            .unwrap();
        wanted[at] = 0xee;
        holds(&device, 0, &wanted);
    }
}

#[test]
fn a_reset_device_is_as_new() {
    let device = small();
    for index in 0..PAGES {
        device
            .write_page(index, &page_of((index % 5) as u8, index))
            .unwrap();
    }
    device.discard_page(0).unwrap();
    device.reset();
    let stats = device.stats();
    let new = ZramStats {
        metadata_bytes: stats.metadata_bytes,
        ..ZramStats::default()
    };
    assert_eq!(stats, new);
    holds(&device, 5, &[0; PAGE_SIZE]);
}

#[test]
fn none_keeps_pages_raw_and_finds_duplicates() {
    let device = device(ZramConfig::with_size(1 << 20).compressor(crate::ZramCompressor::None));
    for index in 0..4 {
        device.write_page(index, &page_of(4, index / 2)).unwrap();
    }
    let stats = device.stats();
    assert_eq!((stats.compr_data_size, stats.huge_pages), (2 * 4096, 2));
    holds(&device, 3, &page_of(4, 1));
}

/// What two threads do at once, each to pages of its own, and to some that both write.
fn thread_of(device: &ZramDevice, seed: u64, steps: u32) {
    let mut state = seed | 1;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 8) % below
    };
    // A naive map: what each of this thread's pages is.
    let mut mine = vec![page_of(0, 0); 24];
    let mut scratch = [0; PAGE_SIZE];
    let first = seed % 2 * 24;
    for _ in 0..steps {
        let at = random(24);
        let index = first + at;
        let slot = usize::try_from(at).unwrap();
        match random(12) {
            0..=5 => {
                // Of few numbers, so that the other thread has the same.
                let page = page_of(random(5) as u8, random(6));
                device.write_page(index, &page).unwrap();
                mine[slot] = page;
            }
            6..=8 => {
                device.read_page(index, &mut scratch).unwrap();
                assert!(scratch == mine[slot], "page {index}");
            }
            9 => {
                device.discard_page(index).unwrap();
                mine[slot] = [0; PAGE_SIZE];
            }
            10 => {
                let byte = random(256) as u8;
                device
                    .update_page(index, &mut scratch, |page| page[100] = byte)
                    .unwrap();
                mine[slot][100] = byte;
            }
            _ => {
                let shared = 48 + random(16);
                let page = page_of(random(5) as u8, random(6));
                device.write_page(shared, &page).unwrap();
                device.read_page(shared, &mut scratch).unwrap();
                match random(30) {
                    0 => {
                        device.compact();
                    }
                    1..=4 if device.backing.is_some() => {
                        device.mark_idle(crate::Idle::All);
                        device
                            .write_back(crate::PageKind::Idle, random(20))
                            .unwrap();
                    }
                    5..=6 => {
                        device.mark_idle(crate::Idle::All);
                        device
                            .recompress(crate::PageKind::Idle, random(20))
                            .unwrap();
                    }
                    _ => {}
                }
            }
        }
    }
    for (at, page) in mine.iter().enumerate() {
        holds(device, first + at as u64, page);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn two_threads_find_what_they_wrote(seed in any::<u64>(), backed in any::<bool>()) {
        let device = if backed { small_backed() } else { small() };
        thread::scope(|scope| {
            for thread in 0..2 {
                let device = &device;
                scope.spawn(move || thread_of(device, (seed & !1) | thread, 400));
            }
        });
        let stats = device.stats();
        assert_eq!(stats.corrupt_reads + stats.failed_reads + stats.failed_writes, 0);
        device.reset();
        assert_eq!(device.objects.stored(), 0);
        assert_eq!(device.stats().mem_used_total, 0);
        assert_eq!(device.stats().bd_count, 0);
    }
}

#[test]
fn what_two_threads_write_over_each_other_is_freed_once() {
    let device = small();
    thread::scope(|scope| {
        for kind in [3, 4] {
            let device = &device;
            scope.spawn(move || {
                for number in 0..1_000 {
                    device.write_page(0, &page_of(kind, number % 4)).unwrap();
                }
            });
        }
    });
    assert_eq!(device.objects.stored(), 1);
    device.discard_page(0).unwrap();
    assert_eq!(device.objects.stored(), 0);
}

#[test]
fn after_random_churn_the_memory_is_back_at_the_start() {
    let device = device(ZramConfig::with_size(4096 * 4096));
    let fill = || {
        for index in 0..4096 {
            device
                .write_page(index, &page_of((index % 4 + 1) as u8, index))
                .unwrap();
        }
        device.compact();
        let stats = device.stats();
        (
            stats.mem_used_total,
            stats.compr_data_size,
            stats.pages_stored,
        )
    };
    let start = fill();
    let books = device.stats().metadata_bytes;
    let mut state = 1_u64;
    for _ in 0..30_000 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let index = (state >> 40) % 4096;
        match (state >> 33) % 4 {
            0 => device.discard_page(index).unwrap(),
            _ => device
                .write_page(index, &page_of((state >> 35) as u8 % 5, state >> 50))
                .unwrap(),
        }
    }
    let end = fill();
    assert_eq!(end.1, start.1, "the same bytes");
    assert_eq!(end.2, start.2);
    // Order decides which spans are partly filled.
    let slack = 64 * 4096;
    assert!(end.0 <= start.0 + slack, "{} after {}", end.0, start.0);
    let books_after = device.stats().metadata_bytes;
    assert!(books_after < books * 2, "{books_after} after {books}");
    device.reset();
    assert_eq!(device.stats().mem_used_total, 0);
}

#[test]
fn objects_are_numbered_by_what_fits() {
    let device = small();
    device.write_page(0, &page_of(4, 1)).unwrap();
    assert_eq!(
        device.slot(0).unwrap().unwrap().lock().content(),
        Content::Object(ObjectId(0))
    );
}
