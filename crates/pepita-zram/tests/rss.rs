//! The memory that a device says it takes, against what the kernel counts for this process. It is a program of its
//! own, so that nothing else takes memory meanwhile.

use std::{env, fs};

use pepita_zram::{Deduplication, ZramConfig, ZramDevice};

/// Bytes of anonymous memory that this process has.
fn anonymous_bytes() -> i64 {
    let status = fs::read_to_string("/proc/self/smaps_rollup").expect("this is Linux");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<i64>().ok());
    kib.expect("it has the line") * 1024
}

/// A page that compresses to a length that its number decides.
fn page(number: u64) -> [u8; 4096] {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let random = usize::try_from(number % 4000).expect("small");
    std::array::from_fn(|at| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        if at < random {
            (state >> 56) as u8
        } else {
            0x55
        }
    })
}

#[test]
fn what_a_device_says_it_takes_is_what_the_kernel_counts() {
    // Whoever runs the tests says so by this variable.
    if env::var("RUSTFLAGS").is_ok_and(|flags| flags.contains("sanitizer")) {
        println!(
            "SKIPPED: what_a_device_says_it_takes_is_what_the_kernel_counts: only in builds without a sanitizer, which \
             takes memory of its own"
        );
        return;
    }
    let config = ZramConfig::with_size(1 << 30).deduplication(Deduplication::Off);
    let device = ZramDevice::new(config).expect("there is memory");
    device.write_page(0, &page(0)).expect("there is memory");
    let said = |device: &ZramDevice| {
        let stats = device.stats();
        i64::try_from(stats.mem_used_total + stats.metadata_bytes).expect("small")
    };
    let (start, said_at_start) = (anonymous_bytes(), said(&device));
    let check = |what: &str| {
        let counted = anonymous_bytes() - start;
        let said = said(&device) - said_at_start;
        let apart = (counted - said).abs();
        // The allocator keeps some, and rounds.
        assert!(
            apart < 512 << 10 || apart * 100 < said.abs(),
            "{what}: {counted} counted, {said} said"
        );
        counted
    };
    for index in 0..40_000 {
        device
            .write_page(index, &page(index))
            .expect("there is memory");
    }
    let full = check("filled");
    assert!(full > 70 << 20, "{full}");
    for index in (0..40_000).filter(|index| index % 8 != 0) {
        device.discard_page(index).expect("it is there");
    }
    let thin = check("thinned out");
    assert!(device.compact() > 0);
    let compact = check("compacted");
    assert!(compact < thin && compact < full / 5, "{compact} of {thin}");
    device.reset();
    assert!(check("reset") < full / 10, "the books stay");
}
