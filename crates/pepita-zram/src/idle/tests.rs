use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use pepita_sys::blk_mq::{
    BlockDevice, DeviceId, Geometry, GeometryError, Lane, Request, RequestOp, ZoneLimits,
};

use super::*;
use crate::device::NS_PER_SECOND;
use crate::device::tests::{holds, page_of};
use crate::page;
use crate::{UpkeepPolicy, ZramConfig};

/// A device that can be looked into, and fails when it is told to.
struct Shelf {
    bytes: Mutex<Vec<u8>>,
    fails: AtomicBool,
    /// Writes to blocks below this one fail.
    bad_below: AtomicU64,
    geometry: Geometry,
}

impl Shelf {
    fn new(pages: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes: Mutex::new(vec![0; pages * PAGE_SIZE]),
            fails: AtomicBool::new(false),
            bad_below: AtomicU64::new(0),
            geometry: Geometry::new(pages as u64 * 8),
        })
    }

    fn serve(&self, request: &Request) -> Result<(), Errno> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(Errno::EIO);
        }
        let is_bad = request.sector() / 8 < self.bad_below.load(Ordering::Relaxed);
        if is_bad && request.op() == RequestOp::Write {
            return Err(Errno::EIO);
        }
        let mut bytes = self.bytes.lock().expect("no panic");
        let start = usize::try_from(request.sector()).map_err(|_| Errno::EIO)? * 512;
        let place = &mut bytes[start..][..request.nr_sectors() as usize * 512];
        match request.op() {
            RequestOp::Read => Ok(request.sink().write(place)?),
            RequestOp::Write => Ok(request.source().read(place)?),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }
}

impl BlockDevice for Shelf {
    type Lane<'d> = ShelfLane<'d>;

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("shelf")
    }

    fn open_lane(&self, _depth: u16) -> pepita_sys::error::Result<ShelfLane<'_>> {
        Ok(ShelfLane(self))
    }
}

struct ShelfLane<'d>(&'d Shelf);

impl Lane for ShelfLane<'_> {
    fn submit(&mut self, request: Request) -> Result<(), Request> {
        let done = self.0.serve(&request);
        request.complete(done);
        Ok(())
    }

    fn commit(&mut self) {}

    fn poll(&mut self) {}

    fn descriptor(&self) -> Option<i32> {
        None
    }
}

fn device(shelf: &Arc<Shelf>) -> ZramDevice {
    let config = ZramConfig::with_size(1 << 20);
    ZramDevice::with_backing(config, shelf.clone()).expect("it can be one")
}

/// Writes `count` pages from 0 on, in turn compressible and not.
fn fill(device: &ZramDevice, count: u64) {
    for index in 0..count {
        let kind = if index % 2 == 0 { 4 } else { 3 };
        device
            .write_page(index, &page_of(kind, index))
            .expect("there is memory");
    }
}

#[test]
fn idle_pages_go_to_the_backing_device_and_come_from_there() {
    let shelf = Shelf::new(100);
    let device = device(&shelf);
    fill(&device, 80);
    assert_eq!(
        device.write_back(PageKind::Idle, u64::MAX),
        Ok(0),
        "none is idle"
    );
    assert_eq!(device.mark_idle(Idle::All), 80);
    holds(&device, 3, &page_of(3, 3));
    assert_eq!(device.write_back(PageKind::Idle, 50), Ok(50));
    assert_eq!(
        device.write_back(PageKind::Idle, u64::MAX),
        Ok(29),
        "one was read"
    );
    let stats = device.stats();
    assert_eq!((stats.pages_stored, stats.compr_data_size), (80, 4096));
    assert_eq!(stats.bd_stat().0, [79, 0, 79]);
    assert_eq!(stats.duplicate_pages, 0);
    for index in (0..80).step_by(2) {
        holds(&device, index, &page_of(4, index));
        holds(&device, index + 1, &page_of(3, index + 1));
    }
    assert_eq!(device.stats().bd_reads, 79);
    assert_eq!(device.mark_idle(Idle::All), 1, "the others take no memory");
}

#[test]
fn a_block_is_free_when_its_last_page_is_gone() {
    let device = device(&Shelf::new(10));
    let page = page_of(3, 1);
    for index in 0..3 {
        device.write_page(index, &page).expect("there is memory");
    }
    device.mark_idle(Idle::All);
    assert_eq!(
        device.write_back(PageKind::Idle, u64::MAX),
        Ok(1),
        "they are one"
    );
    device.discard_page(0).expect("it is there");
    device.write_page(1, &page).expect("there is memory");
    holds(&device, 1, &page);
    assert_eq!(device.stats().bd_count, 1);
    holds(&device, 2, &page);
    device.discard_page(2).expect("it is there");
    assert_eq!(device.stats().bd_count, 0);
}

#[test]
fn incompressible_pages_go_alone() {
    let device = device(&Shelf::new(100));
    fill(&device, 20);
    assert_eq!(device.write_back(PageKind::HugeIdle, u64::MAX), Ok(0));
    assert_eq!(device.write_back(PageKind::Huge, u64::MAX), Ok(10));
    assert_eq!(device.stats().huge_pages, 0);
    fill(&device, 20);
    device.mark_idle(Idle::All);
    assert_eq!(device.write_back(PageKind::HugeIdle, u64::MAX), Ok(10));
}

#[test]
fn idle_is_by_age_what_was_not_used_for_so_long() {
    let mut device = device(&Shelf::new(100));
    let pass = |device: &mut ZramDevice, seconds| {
        device.born_ns -= seconds * NS_PER_SECOND;
    };
    fill(&device, 10);
    pass(&mut device, 100);
    fill(&device, 4); // the same pages: they are used
    holds(&device, 9, &page_of(3, 9));
    pass(&mut device, 100);
    let unused_for = |seconds| Idle::UnusedFor(Duration::from_secs(seconds));
    assert_eq!(device.mark_idle(unused_for(1 << 40)), 0);
    assert_eq!(device.mark_idle(unused_for(201 + 60)), 0);
    assert_eq!(device.mark_idle(unused_for(150)), 5);
    assert_eq!(device.write_back(PageKind::Idle, u64::MAX), Ok(5));
    assert_eq!(device.mark_idle(unused_for(99)), 5);
}

#[test]
fn a_page_is_not_idle_before_it_was_unused_for_so_long() {
    let millis = Duration::from_millis;
    for (now, time, second) in [
        // Used from 6.0 to 6.9, and it may be 9.0.
        (9, millis(2_000), Some(6)),
        (9, millis(1_001), Some(6)),
        (9, millis(1_000), Some(7)),
        (9, millis(1), Some(7)),
        (9, Duration::ZERO, Some(9)),
        (9, millis(8_000), Some(0)),
        (9, millis(8_001), None),
        (0, millis(1), None),
        (0, Duration::ZERO, Some(0)),
        (u32::MAX, Duration::from_secs(1 << 40), None),
        (u32::MAX, Duration::MAX, None),
    ] {
        assert_eq!(second_before(now, time), second, "{time:?} before {now}");
    }
}

#[test]
fn a_full_backing_device_takes_what_it_has_room_for() {
    let device = device(&Shelf::new(40));
    fill(&device, 60);
    device.mark_idle(Idle::All);
    assert_eq!(device.write_back(PageKind::Idle, u64::MAX), Ok(40));
    assert_eq!(device.write_back(PageKind::Idle, u64::MAX), Ok(0));
    for index in (1..60).step_by(2) {
        holds(&device, index, &page_of(3, index));
    }
}

#[test]
fn what_cannot_be_written_back_stays_where_it_was() {
    let shelf = Shelf::new(100);
    let device = device(&shelf);
    fill(&device, 40);
    device.mark_idle(Idle::All);
    shelf.fails.store(true, Ordering::Relaxed);
    let error = ZramError::Backing { errno: Errno::EIO };
    let failed = Err(Unfinished { done: 0, error });
    assert_eq!(device.write_back(PageKind::Idle, u64::MAX), failed);
    assert_eq!(device.stats().bd_stat().0, [0, 0, 0]);
    holds(&device, 39, &page_of(3, 39));
    shelf.fails.store(false, Ordering::Relaxed);
    assert_eq!(device.write_back(PageKind::Idle, 1), Ok(1));
    shelf.fails.store(true, Ordering::Relaxed);
    let mut page = [1; PAGE_SIZE];
    assert_eq!(device.read_page(0, &mut page), Err(error));
    assert_eq!((page, device.stats().failed_reads), ([0; PAGE_SIZE], 1));
}

#[test]
fn what_was_written_back_before_a_failure_is_told() {
    let error = ZramError::Backing { errno: Errno::EIO };
    for by_hand in [true, false] {
        let shelf = Shelf::new(100);
        shelf.bad_below.store(1, Ordering::Relaxed);
        let device = device(&shelf);
        fill(&device, 80);
        device.mark_idle(Idle::All);
        if by_hand {
            // What was on its way with the one that failed.
            let done = Err(Unfinished { done: 31, error });
            assert_eq!(device.write_back(PageKind::Idle, u64::MAX), done);
        } else {
            let policy = UpkeepPolicy::every(Duration::ZERO);
            let policy = policy.write_back(PageKind::Idle, Duration::ZERO);
            let report = policy.run_once(&device);
            assert_eq!(report.last_error, Some(error));
            assert_eq!(report.written_back, device.stats().bd_count);
            assert!(report.written_back >= 31, "{report:?}");
        }
    }
}

#[test]
fn blocks_that_cannot_be_written_do_not_hinder_the_others() {
    let shelf = Shelf::new(100);
    shelf.bad_below.store(40, Ordering::Relaxed);
    let device = device(&shelf);
    fill(&device, 60);
    device.mark_idle(Idle::All);
    let left = |done: Result<u64, Unfinished>| done.unwrap_or_else(|ended| ended.done);
    assert_eq!(left(device.write_back(PageKind::Idle, u64::MAX)), 0);
    assert_eq!(left(device.write_back(PageKind::Idle, u64::MAX)), 24);
    assert_eq!(device.write_back(PageKind::Idle, u64::MAX), Ok(36));
    let stats = device.stats();
    assert_eq!((stats.bd_bad, stats.bd_count), (40, 60));
    for index in 0..60 {
        holds(&device, index, &page_of(4 - (index % 2) as u8, index));
    }
    device.reset();
    let stats = device.stats();
    assert_eq!((stats.bd_bad, stats.bd_count), (0, 0));
    shelf.bad_below.store(0, Ordering::Relaxed);
    fill(&device, 100);
    device.mark_idle(Idle::All);
    assert_eq!(device.write_back(PageKind::Idle, u64::MAX), Ok(100));
}

#[test]
fn a_page_that_comes_back_as_another_is_corrupt() {
    let shelf = Shelf::new(10);
    let device = device(&shelf);
    fill(&device, 1);
    assert_eq!(device.mark_idle(Idle::All), 1);
    assert_eq!(device.write_back(PageKind::Idle, 1), Ok(1));
    shelf.bytes.lock().expect("no panic")[77] ^= 1;
    let mut page = [1; PAGE_SIZE];
    let corrupt = Err(ZramError::Corrupt { page: 0 });
    assert_eq!(device.read_page(0, &mut page), corrupt);
    assert_eq!(page, [0; PAGE_SIZE]);
    let update = device.update_page(0, &mut page, |page| page[0] = 1);
    assert_eq!(update, corrupt, "nor is a part of it written");
}

#[test]
fn a_part_of_a_page_that_was_written_back_is_written() {
    let device = device(&Shelf::new(10));
    fill(&device, 1);
    device.mark_idle(Idle::All);
    assert_eq!(device.write_back(PageKind::Idle, 1), Ok(1));
    let mut wanted = page_of(4, 0);
    let mut scratch = [0; PAGE_SIZE];
    device
        .update_page(0, &mut scratch, |page| page[9] = 0xcc)
        .expect("it is there");
    wanted[9] = 0xcc;
    holds(&device, 0, &wanted);
    assert_eq!(device.stats().bd_count, 0);
}

thread_local! {
    /// What happens before this thread's next page is hashed.
    static MEANWHILE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

#[test]
fn a_page_that_is_written_while_a_part_of_it_comes_from_the_backing_device_is_not_undone() {
    let mut device = device(&Shelf::new(10));
    device.hash = |page| {
        if let Some(meanwhile) = MEANWHILE.take() {
            meanwhile();
        }
        page::hash(page)
    };
    let device = Arc::new(device);
    fill(&device, 1);
    device.mark_idle(Idle::All);
    assert_eq!(device.write_back(PageKind::Idle, 1), Ok(1));
    let mut wanted = page_of(4, 7);
    let others = device.clone();
    // It has read the page, and is about to look whether that is still the one. The new one would have the number of the
    // old one, if nobody had that.
    MEANWHILE.set(Some(Box::new(move || {
        others.discard_page(0).expect("in range");
        others.write_page(0, &wanted).expect("there is memory");
    })));
    device
        .update_page(0, &mut [0; PAGE_SIZE], |page| page[9] = 0xcc)
        .expect("it is there");
    wanted[9] = 0xcc;
    holds(&device, 0, &wanted);
    assert_eq!(device.objects.pin_each(0).count(), 1, "the old one is gone");
}

#[test]
fn idle_pages_are_stored_densely_and_come_back() {
    let shelf = Shelf::new(100);
    let device = device(&shelf);
    let text = |index: u64| {
        let words = ["compressed ", "memory ", "is ", "a ", "device "];
        let mut state = index + 1;
        let words = std::iter::repeat_with(move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            words[usize::try_from(state >> 33).expect("small") % 5].bytes()
        });
        let mut bytes = words.flatten();
        std::array::from_fn(|_| bytes.next().expect("there are more"))
    };
    for index in 0..40 {
        device
            .write_page(index, &text(index))
            .expect("there is memory");
    }
    device
        .write_page(40, &page_of(3, 1))
        .expect("there is memory");
    assert_eq!(device.recompress(PageKind::Idle, u64::MAX), Ok(0));
    let before = device.stats();
    device.mark_idle(Idle::All);
    assert_eq!(device.recompress(PageKind::Idle, 10), Ok(10));
    assert_eq!(
        device.recompress(PageKind::Idle, u64::MAX),
        Ok(30),
        "one is incompressible"
    );
    assert_eq!(
        device.recompress(PageKind::Idle, u64::MAX),
        Ok(0),
        "all were tried"
    );
    let after = device.stats();
    assert!(
        after.compr_data_size * 3 < before.compr_data_size * 2,
        "{after:?}"
    );
    assert_eq!((after.huge_pages, after.pages_stored), (1, 41));
    for index in 0..40 {
        holds(&device, index, &text(index));
    }
    // They are found as duplicates, changed in part, and written back.
    device.write_page(50, &text(7)).expect("there is memory");
    assert_eq!(device.stats().duplicate_pages, 1);
    let mut wanted = text(8);
    wanted[8] = b'#';
    device
        .update_page(8, &mut [0; PAGE_SIZE], |page| page[8] = b'#')
        .expect("it is there");
    device.mark_idle(Idle::All);
    assert_eq!(device.write_back(PageKind::Idle, u64::MAX), Ok(41));
    holds(&device, 8, &wanted);
    holds(&device, 50, &text(7));
}

#[test]
fn a_dense_page_that_is_corrupt_is_an_error() {
    let device = device(&Shelf::new(10));
    fill(&device, 1);
    device.mark_idle(Idle::All);
    assert_eq!(device.recompress(PageKind::Idle, 1), Ok(1));
    device.objects.corrupt(ObjectId(0));
    let corrupt = Err(ZramError::Corrupt { page: 0 });
    assert_eq!(device.read_page(0, &mut [0; PAGE_SIZE]), corrupt);
}

#[test]
fn a_backing_device_that_claims_more_than_any_has_serves_all_the_same() {
    for sectors in [u64::MAX, 1 << 50, 1 << 40] {
        let shelf = Shelf {
            bytes: Mutex::new(vec![0; 100 * PAGE_SIZE]),
            fails: AtomicBool::new(false),
            bad_below: AtomicU64::new(0),
            geometry: Geometry::new(sectors),
        };
        let device = device(&Arc::new(shelf));
        fill(&device, 10);
        device.mark_idle(Idle::All);
        assert_eq!(device.write_back(PageKind::Idle, u64::MAX), Ok(10));
    }
}

/// Makes a geometry what is not served.
type Change = fn(&mut Geometry);

#[test]
fn devices_that_cannot_have_pages_are_refused() {
    let backing = |errno| ZramError::Backing { errno };
    let blocks = |logical, physical| GeometryError::BlockSize { logical, physical };
    let geometry = |reason| ZramError::BackingGeometry { reason };
    let cases: [(Change, ZramError); 7] = [
        (|it| it.read_only = true, backing(Errno::EROFS)),
        (|it| it.capacity_sectors = 7, backing(Errno::EINVAL)),
        (|it| it.max_sectors = 4, backing(Errno::EINVAL)),
        (
            |it| it.zones = Some(ZoneLimits::new(8)),
            backing(Errno::EINVAL),
        ),
        (
            |it| (it.logical_block_size, it.physical_block_size) = (8192, 8192),
            geometry(blocks(8192, 8192)),
        ),
        (
            |it| it.logical_block_size = 1000,
            geometry(blocks(1000, 512)),
        ),
        (|it| it.max_segments = 0, geometry(GeometryError::NoSegment)),
    ];
    for (change, error) in cases {
        let mut geometry = Geometry::new(800);
        change(&mut geometry);
        let shelf = Shelf {
            geometry,
            bytes: Mutex::default(),
            fails: AtomicBool::new(false),
            bad_below: AtomicU64::new(0),
        };
        let refused = ZramDevice::with_backing(ZramConfig::default(), Arc::new(shelf));
        assert_eq!(refused.map(drop), Err(error));
    }
    let alone = ZramDevice::new(ZramConfig::with_size(4096)).expect("there is memory");
    let none = alone.write_back(PageKind::Idle, 1);
    let error = ZramError::NoBacking;
    assert_eq!(none, Err(Unfinished { done: 0, error }));
}

#[test]
fn a_page_that_two_threads_write_back_is_counted_once_and_has_one_block() {
    let device = device(&Shelf::new(8));
    device.write_page(0, &page_of(4, 1)).unwrap();
    device.mark_idle(Idle::All);
    let backing = device.backing.as_ref().unwrap();
    let wanted = Wanted::marked(PageKind::Idle);
    let send = |_| {
        let (id, object) = device.objects.pin_each(0).next().unwrap();
        match device.begin_write_back(backing, wanted, id, object) {
            Begun::Sent(outgoing) => outgoing,
            _ => panic!("it is not sent"),
        }
    };
    let (mut batch, mut done) = ([0, 1].map(send).into(), 0);
    assert_eq!(device.end_write_back(&mut batch, &mut done), None);
    assert_eq!((done, device.objects.blocks_in_use()), (1, 1));
    holds(&device, 0, &page_of(4, 1));
}

#[test]
fn what_knows_the_blocks_of_a_backing_device_is_metadata() {
    let config = ZramConfig::with_size(1 << 20);
    let alone = ZramDevice::new(config).unwrap().stats();
    let shelf = Shelf::new(256);
    let backed = ZramDevice::with_backing(config, shelf).unwrap().stats();
    assert!(backed.metadata_bytes >= alone.metadata_bytes + 256 / 8);
}

#[test]
fn what_pages_took_before_they_became_denser_comes_back() {
    let device = ZramDevice::new(ZramConfig::with_size(1 << 20)).unwrap();
    for index in 0..64 {
        device.write_page(index, &page_of(4, index)).unwrap();
    }
    device.mark_idle(Idle::All);
    assert!(device.recompress(PageKind::Idle, u64::MAX).unwrap() > 32);
    for index in 0..64 {
        holds(&device, index, &page_of(4, index));
        device.discard_page(index).unwrap();
    }
    device.compact();
    assert_eq!(device.stats().mem_used_total, 0);
}

#[test]
fn pages_that_become_denser_while_they_are_moved_are_what_they_were() {
    let device = ZramDevice::new(ZramConfig::with_size(1 << 20)).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (device, is_over) = (&device, &is_over);
        let mover = scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                device.compact();
            }
        });
        let writer = scope.spawn(move || {
            for round in 0..20 {
                for index in 0..96 {
                    let page = page_of(4, index + round);
                    device.write_page(index, &page).unwrap();
                }
                // Spans that are not full are what is emptied.
                for index in (0..96).filter(|index| index % 3 != round % 3) {
                    device.discard_page(index).unwrap();
                }
                device.mark_idle(Idle::All);
                device.recompress(PageKind::Idle, u64::MAX).unwrap();
                for index in (0..96).filter(|index| index % 3 == round % 3) {
                    holds(device, index, &page_of(4, index + round));
                }
            }
        });
        let ended = writer.join();
        is_over.store(true, Ordering::Relaxed);
        assert!(ended.is_ok() && mover.join().is_ok());
    });
    for index in 0..96 {
        device.discard_page(index).unwrap();
    }
    device.compact();
    assert_eq!(device.stats().mem_used_total, 0);
}
