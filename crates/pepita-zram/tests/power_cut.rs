//! A backing device that loses power while its zram goes on, and comes back.
//!
//! The state of a zram device ends with its process, so there is nothing to be recovered after the host has lost
//! power. What can happen is that the backing device alone does: a disk in an enclosure, a network volume, a server of
//! ublk. Then of each write that was not flushed any sectors may be there, and others are what they were. Write-back
//! never flushes, so that is every write since the device was made.
//!
//! The model proves: whatever is lost, a page that was never written back is right, and a page that was is right or an
//! error that is counted, never other bytes; and the device goes on, to be written and written back again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pepita_sys::blk_mq::{BlockDevice, DeviceId, Geometry, Lane, Request, RequestOp, WriteCache};
use pepita_sys::error::{Errno, Result};
use pepita_zram::{Deduplication, Idle, PageKind, ZramConfig, ZramDevice, ZramError};
use proptest::prelude::*;

type Sector = [u8; 512];

const BLOCKS: u64 = 24;

/// A disk with a volatile cache.
#[derive(Debug)]
struct Disk {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    durable: Vec<Sector>,
    /// What was written since the last flush, in order.
    cache: Vec<(usize, Sector)>,
    has_power: bool,
}

impl Disk {
    fn new() -> Self {
        let state = State {
            durable: vec![[0; 512]; usize::try_from(BLOCKS * 8).expect("few")],
            cache: Vec::new(),
            has_power: true,
        };
        Self {
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loses power: of what was not flushed those sectors stay whose bit of `kept` is set.
    fn cut(&self, kept: u64) {
        let mut state = self.state();
        let cache = std::mem::take(&mut state.cache);
        let mut random = kept | 1;
        for (sector, data) in cache {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // All, none, or any half.
            let stays = match kept % 4 {
                0 => false,
                1 => true,
                _ => random >> 40 & 1 == 1,
            };
            if stays {
                state.durable[sector] = data;
            }
        }
        state.has_power = false;
    }

    fn come_back(&self) {
        self.state().has_power = true;
    }
}

impl State {
    fn read(&self, sector: usize) -> Sector {
        let cached = self.cache.iter().rev().find(|(at, _)| *at == sector);
        cached.map_or(self.durable[sector], |(_, data)| *data)
    }

    fn serve(&mut self, request: &Request) -> std::result::Result<(), Errno> {
        if !self.has_power {
            return Err(Errno::EIO);
        }
        let first = usize::try_from(request.sector()).map_err(|_| Errno::EIO)?;
        let sectors = first..first + request.nr_sectors() as usize;
        match request.op() {
            RequestOp::Read => {
                let mut sink = request.sink();
                for sector in sectors {
                    sink.write(&self.read(sector))?;
                }
            }
            RequestOp::Write => {
                let mut source = request.source();
                for sector in sectors {
                    let mut data = [0; 512];
                    source.read(&mut data)?;
                    self.cache.push((sector, data));
                }
            }
            RequestOp::Flush => {
                for (sector, data) in std::mem::take(&mut self.cache) {
                    self.durable[sector] = data;
                }
            }
            _ => return Err(Errno::EOPNOTSUPP),
        }
        Ok(())
    }
}

impl BlockDevice for Disk {
    type Lane<'d> = DiskLane<'d>;

    fn geometry(&self) -> Geometry {
        Geometry {
            write_cache: WriteCache::WriteBack,
            ..Geometry::new(BLOCKS * 8)
        }
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("power-cut")
    }

    fn open_lane(&self, _depth: u16) -> Result<DiskLane<'_>> {
        Ok(DiskLane(self))
    }
}

struct DiskLane<'d>(&'d Disk);

impl Lane for DiskLane<'_> {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        let done = self.0.state().serve(&request);
        request.complete(done);
        Ok(())
    }

    fn commit(&mut self) {}

    fn poll(&mut self) {}

    fn descriptor(&self) -> Option<i32> {
        None
    }
}

/// What happens.
#[derive(Debug, Clone)]
enum Event {
    Write(u64, u64),
    Discard(u64),
    WriteBack(u64),
    Recompress,
    Cut(u64),
    ComeBack,
    Read(u64),
}

const PAGES: u64 = 32;

fn events() -> impl Strategy<Value = Vec<Event>> {
    let page = 0..PAGES;
    let event = prop_oneof![
        6 => (page.clone(), 0..6_u64).prop_map(|(page, number)| Event::Write(page, number)),
        1 => page.clone().prop_map(Event::Discard),
        3 => (0..20_u64).prop_map(Event::WriteBack),
        1 => Just(Event::Recompress),
        1 => any::<u64>().prop_map(Event::Cut),
        1 => Just(Event::ComeBack),
        4 => page.prop_map(Event::Read),
    ];
    prop::collection::vec(event, 1..120)
}

/// A page whose sectors all differ from those of another.
fn page_of(page: u64, number: u64) -> [u8; 4096] {
    let mut state = (page * 64 + number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    std::array::from_fn(|at| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Half of them can be compressed.
        if number.is_multiple_of(2) || at.is_multiple_of(4) {
            state.to_le_bytes()[3]
        } else {
            0
        }
    })
}

struct Tested {
    disk: Arc<Disk>,
    zram: ZramDevice,
    written: HashMap<u64, [u8; 4096]>,
    /// Reads that failed, for want of power, and for wrong bytes.
    failed: (u64, u64),
    has_cut: bool,
}

impl Tested {
    fn new() -> Self {
        let disk = Arc::new(Disk::new());
        // Each page has its own block, so that it is known which were written back.
        let config = ZramConfig::with_size(PAGES * 4096).deduplication(Deduplication::Off);
        Self {
            zram: ZramDevice::with_backing(config, disk.clone()).expect("it opens"),
            disk,
            written: HashMap::new(),
            failed: (0, 0),
            has_cut: false,
        }
    }

    fn happens(&mut self, event: &Event) {
        match *event {
            Event::Write(page, number) => {
                let data = page_of(page, number);
                self.zram.write_page(page, &data).expect("there is memory");
                self.written.insert(page, data);
            }
            Event::Discard(page) => {
                self.zram.discard_page(page).expect("it is there");
                self.written.remove(&page);
            }
            Event::WriteBack(max) => {
                self.zram.mark_idle(Idle::All);
                let done = self.zram.write_back(PageKind::Idle, max);
                let has_power = self.disk.state().has_power;
                let error = done.map_err(|ended| ended.error);
                let may_fail = matches!(error, Err(ZramError::Backing { .. })) && !has_power;
                assert!(done.is_ok() || may_fail, "{done:?}");
            }
            Event::Recompress => {
                self.zram.mark_idle(Idle::All);
                self.zram
                    .recompress(PageKind::Idle, u64::MAX)
                    .expect("there is memory");
            }
            Event::Cut(kept) => {
                self.disk.cut(kept);
                self.has_cut = true;
            }
            Event::ComeBack => self.disk.come_back(),
            Event::Read(page) => self.reads(page),
        }
    }

    /// The page is right, or an error that is counted, which takes a cut.
    fn reads(&mut self, page: u64) {
        let before = self.zram.stats();
        let mut data = [0xA5; 4096];
        let read = self.zram.read_page(page, &mut data);
        let was_backed = self.zram.stats().bd_reads > before.bd_reads;
        match read {
            Ok(()) => assert!(
                data == *self.written.get(&page).unwrap_or(&[0; 4096]),
                "{page}"
            ),
            Err(error) => {
                assert!(self.has_cut && was_backed, "{error}");
                assert!(data == [0; 4096], "an error shows nothing");
                match error {
                    ZramError::Backing { errno: Errno::EIO } => self.failed.0 += 1,
                    ZramError::Corrupt { page: of } if of == page => self.failed.1 += 1,
                    error => panic!("{error}"),
                }
            }
        }
        let stats = self.zram.stats();
        let counted = (
            stats.failed_reads - stats.corrupt_reads,
            stats.corrupt_reads,
        );
        assert_eq!(counted, self.failed);
    }
}

fn cases() -> u32 {
    match std::env::var("PEPITA_TEST_SET").as_deref() {
        Ok("full") => 2000,
        _ => 32,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn after_a_power_cut_of_the_backing_device_a_page_is_right_or_an_error(events in events()) {
        let mut tested = Tested::new();
        for event in &events {
            tested.happens(event);
        }
        // Without power, with it, and once everything was written again.
        (0..PAGES).for_each(|page| tested.reads(page));
        tested.disk.come_back();
        (0..PAGES).for_each(|page| tested.reads(page));
        for page in 0..PAGES {
            tested.happens(&Event::Write(page, 7));
        }
        tested.happens(&Event::WriteBack(u64::MAX));
        let failed = tested.failed;
        (0..PAGES).for_each(|page| tested.reads(page));
        prop_assert_eq!(tested.failed, failed);
        prop_assert_eq!(tested.zram.stats().bd_count, BLOCKS);
    }
}

#[test]
fn each_way_to_lose_a_write_is_found() {
    // None of it, all of it, parts of it.
    for (kept, is_lost) in [(0, true), (1, false), (2, true), (3, true)] {
        let mut tested = Tested::new();
        for page in 0..20 {
            tested.happens(&Event::Write(page, 0));
        }
        tested.happens(&Event::WriteBack(20));
        assert_eq!(tested.zram.stats().bd_count, 20);
        tested.happens(&Event::Cut(kept));
        tested.happens(&Event::ComeBack);
        (0..20).for_each(|page| tested.reads(page));
        assert_eq!(tested.failed.0, 0);
        assert_eq!(
            tested.failed.1 > 10,
            is_lost,
            "{:?} of {kept}",
            tested.failed
        );
    }
}

#[test]
fn a_page_in_the_place_of_another_is_an_error_even_if_that_is_whole() {
    let mut tested = Tested::new();
    tested.happens(&Event::Write(0, 0));
    tested.happens(&Event::WriteBack(1));
    // The first one is durable; then another one gets its block, and is lost.
    tested.happens(&Event::Cut(1));
    tested.happens(&Event::ComeBack);
    tested.reads(0);
    tested.happens(&Event::Write(0, 2));
    tested.happens(&Event::WriteBack(1));
    tested.happens(&Event::Cut(0));
    tested.happens(&Event::ComeBack);
    tested.reads(0);
    assert_eq!(tested.failed, (0, 1));
}
