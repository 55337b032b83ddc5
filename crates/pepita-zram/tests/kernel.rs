//! Statistics, beside those of the kernel's zram after the same writes.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;

use pepita_zram::{Deduplication, ZramCompressor, ZramConfig, ZramDevice};

const CONTROL: &str = "/sys/class/zram-control";

/// A device of the kernel's, which is gone when this is dropped.
struct Kernel(String);

impl Kernel {
    fn new() -> io::Result<Self> {
        let number = fs::read_to_string(format!("{CONTROL}/hot_add"))?;
        Ok(Self(number.trim().to_owned()))
    }

    fn line(&self, attribute: &str) -> String {
        let path = format!("/sys/block/zram{}/{attribute}", self.0);
        fs::read_to_string(path).expect("it is readable")
    }

    fn numbers(&self, attribute: &str) -> Vec<u64> {
        let line = self.line(attribute);
        let numbers = line.split_whitespace().map(str::parse);
        numbers.collect::<Result<_, _>>().expect("numbers")
    }

    fn set(&self, attribute: &str, value: &str) -> io::Result<()> {
        fs::write(format!("/sys/block/zram{}/{attribute}", self.0), value)
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // Who looks at new devices, such as udev, may have it open for a moment.
        for _ in 0..1000 {
            if self.set("reset", "1").is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        let _ = fs::write(format!("{CONTROL}/hot_remove"), &self.0);
    }
}

/// Zeroes, others that repeat 8 bytes, and incompressible pages.
fn page(number: u64) -> [u8; 4096] {
    let mut state = number;
    std::array::from_fn(|at| match number % 4 {
        0 => 0,
        1 => (at % 8).to_le_bytes()[0],
        _ => {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        }
    })
}

#[test]
fn the_same_writes_give_the_numbers_of_the_kernels_zram() {
    let kernel = match Kernel::new() {
        Ok(kernel) => kernel,
        Err(error) => {
            println!(
                "SKIPPED: the_same_writes_give_the_numbers_of_the_kernels_zram: no zram: {error}"
            );
            return;
        }
    };
    kernel
        .set("disksize", "1048576")
        .expect("a size that can be");
    kernel
        .set("mem_limit", "524288")
        .expect("a limit that can be");
    let file = OpenOptions::new()
        .write(true)
        .open(format!("/dev/zram{}", kernel.0));
    let file = file.expect("it opens");
    let config = ZramConfig::with_size(1 << 20)
        .compressor(ZramCompressor::None)
        .deduplication(Deduplication::Off)
        .mem_limit(512 << 10);
    let ours = ZramDevice::new(config).expect("there is memory");
    for index in 0..40 {
        let written = page(index);
        file.write_all_at(&written, index * 4096)
            .expect("it takes it");
        ours.write_page(index, &written).expect("there is memory");
    }
    file.sync_all().expect("it takes it");
    let stats = ours.stats();
    assert_eq!(stats.mm_stat().0.to_vec(), kernel.numbers("mm_stat"));
    assert_eq!(stats.io_stat().0.to_vec(), kernel.numbers("io_stat"));
    assert_eq!(format!("{}\n", stats.mm_stat()), kernel.line("mm_stat"));
    assert_eq!(format!("{}\n", stats.io_stat()), kernel.line("io_stat"));
    // Written again, as other pages; those that were incompressible have been so since.
    for index in 0..20 {
        let written = page(index + 1);
        file.write_all_at(&written, index * 4096)
            .expect("it takes it");
        ours.write_page(index, &written).expect("there is memory");
    }
    file.sync_all().expect("it takes it");
    // Pages in the middle of ours are given back by this.
    ours.compact();
    let (stats, theirs) = (ours.stats().mm_stat().0, kernel.numbers("mm_stat"));
    // The peak depends on which of the two pages is there first.
    for (index, name) in ["orig", "compr", "mem_used", "mem_limit"]
        .iter()
        .enumerate()
    {
        assert_eq!(stats[index], theirs[index], "{name}");
    }
    assert_eq!(
        (stats[5], stats[7], stats[8]),
        (theirs[5], theirs[7], theirs[8])
    );
}
