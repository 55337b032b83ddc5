//! A long churn whose memory returns to where it began. It is a program of its own, so that nothing else takes memory
//! meanwhile.

use std::sync::Arc;
use std::{env, fs, thread};

use pepita_io::RamDevice;
use pepita_zram::{Idle, PageKind, ZramConfig, ZramDevice, ZramError};

const PAGES: u64 = 16_384;

/// Bytes of anonymous memory that this process has.
fn anonymous_bytes() -> i64 {
    let status = fs::read_to_string("/proc/self/smaps_rollup").expect("this is Linux");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<i64>().ok());
    kib.expect("it has the line") * 1024
}

fn said_bytes(device: &ZramDevice) -> i64 {
    let stats = device.stats();
    i64::try_from(stats.mem_used_total + stats.metadata_bytes).expect("small")
}

/// xorshift64, from a number that is not 0.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }
}

/// A page that its number decides: its length when compressed, or that it repeats; some are the same.
fn page(number: u64) -> [u8; 4096] {
    let mut random = Random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let noise = usize::try_from(number % 97 * 45).expect("small");
    std::array::from_fn(|at| match number % 10 {
        0 => 0,
        1 => (at % 8).to_le_bytes()[0],
        _ if at < noise => random.next().to_le_bytes()[0],
        _ => 0x55,
    })
}

/// Half of the pages, of which this thread knows what is in them.
struct Half<'d> {
    device: &'d ZramDevice,
    first: u64,
    random: Random,
    /// The number of what was written, 0 for nothing.
    written: Vec<u64>,
}

impl Half<'_> {
    fn turn(&mut self) {
        let at = usize::try_from(self.random.next() % (PAGES / 2)).expect("small");
        let index = self.first + at as u64;
        match self.random.next() % 100 {
            0..55 => {
                let number = 1 + self.random.next() % 20_000;
                match self.device.write_page(index, &page(number)) {
                    Ok(()) => self.written[at] = number,
                    Err(ZramError::MemLimit { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            55..75 => {
                self.device.discard_page(index).expect("it is there");
                self.written[at] = 0;
            }
            _ => self.holds(at),
        }
    }

    fn holds(&self, at: usize) {
        let mut back = [0xA5; 4096];
        let index = self.first + at as u64;
        self.device
            .read_page(index, &mut back)
            .expect("it is readable");
        let wanted = match self.written[at] {
            0 => [0; 4096],
            number => page(number),
        };
        assert!(back == wanted, "page {index}");
    }
}

/// Two threads use the device `turns` times, and a third one keeps it in order; then all pages are looked at.
fn churn(device: &ZramDevice, turns: u64, seed: u64) {
    let halves = [0, 1].map(|half| Half {
        device,
        first: half * PAGES / 2,
        random: Random(seed * 2 + half + 1),
        written: vec![0; usize::try_from(PAGES / 2).expect("small")],
    });
    thread::scope(|scope| {
        let users = halves.map(|mut half| {
            scope.spawn(move || {
                (0..turns / 2).for_each(|_| half.turn());
                (0..half.written.len()).for_each(|at| half.holds(at));
            })
        });
        let mut round = 0;
        while users.iter().any(|user| !user.is_finished()) {
            device.mark_idle(Idle::All);
            device.recompress(PageKind::Idle, 20).map_or_else(
                |ended| {
                    let is_limit = matches!(ended.error, ZramError::MemLimit { .. });
                    assert!(is_limit, "{ended}");
                },
                |_| (),
            );
            device.write_back(PageKind::Idle, 50).expect("it has power");
            if round % 8 == 0 {
                device.compact();
            }
            device.set_mem_limit((round % 16 > 4).then_some(12 << 20));
            round += 1;
        }
        for user in users {
            user.join().expect("it found what it wrote");
        }
    });
    device.set_mem_limit(None);
    device.reset();
}

#[test]
fn memory_returns_to_where_it_began_after_a_long_churn() {
    // Whoever runs the tests says so by this variable.
    if env::var("RUSTFLAGS").is_ok_and(|flags| flags.contains("sanitizer")) {
        println!(
            "SKIPPED: memory_returns_to_where_it_began_after_a_long_churn: only in builds without a sanitizer, which \
             takes memory of its own"
        );
        return;
    }
    let (rounds, turns) = match env::var("PEPITA_TEST_SET").as_deref() {
        Ok("full") => (20, 100_000),
        _ => (3, 10_000),
    };
    // A small one, which is full at times.
    let backing = Arc::new(RamDevice::new(512 * 8));
    let config = ZramConfig::with_size(PAGES * 4096);
    let device = ZramDevice::with_backing(config, backing).expect("there is memory");
    churn(&device, turns, 99);
    let begin = (anonymous_bytes(), said_bytes(&device));
    for round in 0..rounds {
        churn(&device, turns, round);
        let stats = device.stats();
        assert_eq!(
            (stats.pages_stored, stats.compr_data_size, stats.bd_count),
            (0, 0, 0)
        );
        let end = (anonymous_bytes(), said_bytes(&device));
        println!("round {round}: {} bytes counted, {} said", end.0, end.1);
        // A page for each class may stay, and the books grow while objects of a new size come.
        assert!(end.1 - begin.1 < 1 << 20, "{begin:?} {end:?}");
        let unsaid = (end.0 - begin.0) - (end.1 - begin.1);
        // The allocator keeps some.
        assert!(unsaid < 2 << 20, "{begin:?} {end:?}");
    }
}
