//! Write-back to a file, whose requests end later and on other threads.

use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use pepita_io::{AnyDevice, Engine, FileOptions, RamDevice};
use pepita_sys::blk_mq::{BlockDevice, DeviceId, Geometry, Lane, Request};
use pepita_sys::error::Result;
use pepita_zram::{Idle, PageKind, ZramConfig, ZramDevice};

const PAGES: u64 = 512;

fn page(number: u64) -> [u8; 4096] {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::array::from_fn(|at| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        if at < 3000 { state.to_be_bytes()[0] } else { 7 }
    })
}

#[test]
fn two_threads_read_and_write_while_a_third_writes_back_to_a_file() {
    for engine in [Engine::Threads(NonZeroUsize::MIN), Engine::Uring] {
        let image = tempfile::tempfile().expect("a file");
        image.set_len(PAGES / 2 * 4096).expect("it grows");
        let file = match FileOptions::new().engine(engine).from_file(image) {
            Ok(file) => file,
            Err(error) if engine == Engine::Uring => {
                println!(
                    "SKIPPED: two_threads_read_and_write_while_a_third_writes_back_to_a_file: {error}"
                );
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let config = ZramConfig::with_size(PAGES * 4096);
        let device = ZramDevice::with_backing(config, Arc::new(file)).expect("it opens");
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut written = 0;
                while !over.load(Ordering::Relaxed) {
                    device.mark_idle(Idle::All);
                    written += device.write_back(PageKind::Idle, 40).expect("it works");
                }
                written
            });
            let users = [0, 1].map(|half| {
                scope.spawn({
                    let device = &device;
                    move || user(device, half)
                })
            });
            for user in users {
                user.join().expect("it found what it wrote");
            }
            over.store(true, Ordering::Relaxed);
            assert!(writer.join().expect("no panic") > 0);
        });
        assert!(device.stats().bd_reads > 0);
        device.reset();
        assert_eq!(device.stats().bd_count, 0);
    }
}

/// Writes half of the pages over and over, and finds them each time.
fn user(device: &ZramDevice, half: u64) {
    let mut back = [0; 4096];
    for round in 0..6 {
        for index in (half * PAGES / 2)..((half + 1) * PAGES / 2) {
            device
                .write_page(index, &page(index + round))
                .expect("there is memory");
        }
        for index in (half * PAGES / 2)..((half + 1) * PAGES / 2) {
            device.read_page(index, &mut back).expect("it is readable");
            assert!(back == page(index + round), "page {index} in round {round}");
        }
    }
}

/// Memory whose requests end on another thread, a while later; what its lanes have for a descriptor tells nothing.
struct Late {
    geometry: Geometry,
    late: Sender<Request>,
    polls: Arc<AtomicUsize>,
    silent: Option<OwnedFd>,
}

struct LateLane<'d>(&'d Late);

impl BlockDevice for Late {
    type Lane<'d> = LateLane<'d>;

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("late")
    }

    fn open_lane(&self, _depth: u16) -> Result<LateLane<'_>> {
        Ok(LateLane(self))
    }
}

impl Lane for LateLane<'_> {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        self.0.late.send(request).map_err(|unsent| unsent.0)
    }

    fn commit(&mut self) {}

    fn poll(&mut self) {
        self.0.polls.fetch_add(1, Ordering::Relaxed);
    }

    fn descriptor(&self) -> Option<i32> {
        self.0.silent.as_ref().map(AsRawFd::as_raw_fd)
    }
}

#[test]
fn a_request_that_takes_long_does_not_hold_up_those_that_come_later() {
    let (late, requests) = channel::<Request>();
    let ram = AnyDevice::new(RamDevice::new(PAGES * 8));
    let polls = Arc::new(AtomicUsize::new(0));
    let device = Late {
        geometry: ram.geometry(),
        late,
        polls: polls.clone(),
        silent: None,
    };
    let config = ZramConfig::with_size(PAGES * 4096);
    let zram = ZramDevice::with_backing(config, Arc::new(device)).expect("it opens");
    let mut lane = ram.open_lane(1).expect("memory opens");
    let mut serve = |request| lane.submit(request).expect("memory is never full");
    let next = || requests.recv_timeout(Duration::from_secs(20));
    for index in 0..2 {
        zram.write_page(index, &page(index))
            .expect("there is memory");
    }
    zram.mark_idle(Idle::All);
    let read = |index| {
        let mut back = [0; 4096];
        zram.read_page(index, &mut back).expect("it is readable");
        assert!(back == page(index), "page {index}");
    };
    thread::scope(|scope| {
        let writer = scope.spawn(|| zram.write_back(PageKind::Idle, u64::MAX));
        for _ in 0..2 {
            serve(next().expect("it is written"));
        }
        assert_eq!(writer.join().expect("no panic"), Ok(2));
        let before = polls.load(Ordering::Relaxed);
        scope.spawn(|| read(0));
        let slow = next().expect("it is read");
        // From here on the thread sleeps until somebody wakes it.
        while polls.load(Ordering::Relaxed) == before {
            thread::yield_now();
        }
        scope.spawn(|| read(1));
        let fast = next();
        let comes = fast.is_ok();
        serve(slow);
        serve(fast.or_else(|_| next()).expect("it is read at last"));
        assert!(comes, "it waits for the one before");
    });
}

#[test]
fn a_backing_device_that_ends_requests_on_its_own_is_waited_for_without_looking_again_and_again() {
    waits_for_what_ends_elsewhere(None);
    let (silent, _open) = std::io::pipe().expect("a pipe");
    waits_for_what_ends_elsewhere(Some(silent.into()));
}

fn waits_for_what_ends_elsewhere(silent: Option<OwnedFd>) {
    let (late, requests) = channel::<Request>();
    let ram = AnyDevice::new(RamDevice::new(PAGES * 8));
    let polls = Arc::new(AtomicUsize::new(0));
    let device = Late {
        geometry: ram.geometry(),
        late,
        polls: polls.clone(),
        silent,
    };
    let server = thread::spawn(move || {
        let mut lane = ram.open_lane(1).expect("memory opens");
        for request in requests {
            // Long enough that who looks all the time is seen.
            thread::sleep(Duration::from_millis(2));
            lane.submit(request).expect("memory is never full");
        }
    });
    let config = ZramConfig::with_size(PAGES * 4096);
    let zram = ZramDevice::with_backing(config, Arc::new(device)).expect("it opens");
    for index in 0..100 {
        zram.write_page(index, &page(index))
            .expect("there is memory");
    }
    zram.mark_idle(Idle::All);
    assert_eq!(zram.write_back(PageKind::Idle, u64::MAX), Ok(100));
    let mut back = [0; 4096];
    for index in 0..100 {
        zram.read_page(index, &mut back).expect("it is readable");
        assert!(back == page(index), "page {index}");
    }
    drop(zram);
    server.join().expect("no panic");
    // Once when a request is sent, and once when it has ended, about; in a loop it would be thousands.
    let polls = polls.load(Ordering::Relaxed);
    assert!((100..=1000).contains(&polls), "{polls} for 200 requests");
}
