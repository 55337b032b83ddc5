//! A RAM disk, until Enter is pressed: `ublk_ram [MEBIBYTES]`.
//!
//! ```console
//! # modprobe ublk_drv
//! # ublk_ram 256 &
//! /dev/ublkb0: 256 MiB, 2 queues of 64 requests
//! # mkfs.ext4 -q /dev/ublkb0 && mount /dev/ublkb0 /mnt
//! ```

use std::error::Error;

use pepita_io::RamDevice;
use pepita_io::ublk::{Disk, Server};

pub(crate) fn serve(mebibytes: u64) -> Result<Disk, Box<dyn Error>> {
    let queues = std::thread::available_parallelism()?.get();
    let server = Server::new().queues(u16::try_from(queues)?);
    Ok(server.serve(RamDevice::new(mebibytes << 11))?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mebibytes = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 64_u64,
    };
    let disk = serve(mebibytes)?;
    println!(
        "{}: {mebibytes} MiB, {} queues of {} requests",
        disk.path().display(),
        disk.info().nr_hw_queues,
        disk.info().queue_depth,
    );
    std::io::stdin().read_line(&mut String::new())?;
    Ok(disk.delete()?)
}
