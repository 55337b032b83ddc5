//! Keeps pages in compressed memory, and what is not used on a disk: `cargo run --example spill -- /var/tmp/spill`.

use std::error::Error;
use std::fs::File;
use std::sync::Arc;

use pepita_io::FileDevice;
use pepita_zram::{Idle, PageKind, ZramConfig, ZramDevice};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("name a file to spill to")?;
    File::create(&path)?.set_len(64 << 20)?;
    let config = ZramConfig::with_size(1 << 30).mem_limit(256 << 20);
    let device = ZramDevice::with_backing(config, Arc::new(FileDevice::open(&path)?))?;

    // This program's own pages.
    let program = std::fs::read("/proc/self/exe")?;
    let pages = program.as_chunks::<4096>().0;
    for (index, page) in pages.iter().enumerate() {
        device.write_page(index as u64, page)?;
    }
    let stats = device.stats();
    println!(
        "{} pages, {:.2} : 1",
        stats.pages_stored,
        stats.compression_ratio()
    );
    println!(
        "same-filled {}, duplicate {}",
        stats.same_pages, stats.duplicate_pages
    );
    println!("in memory {} bytes", stats.mem_used_total);

    device.mark_idle(Idle::All);
    let written = device.write_back(PageKind::Idle, u64::MAX)?;
    device.compact();
    println!(
        "written back {written}, in memory {} bytes",
        device.stats().mem_used_total
    );

    let mut page = [0; 4096];
    for (index, wanted) in pages.iter().enumerate() {
        device.read_page(index as u64, &mut page)?;
        assert_eq!(page, *wanted);
    }
    println!("all there; bd_stat: {}", device.stats().bd_stat());
    Ok(())
}
