//! Write-back to a file, whose requests end later and on other threads.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pepita_io::{Engine, FileOptions};
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
