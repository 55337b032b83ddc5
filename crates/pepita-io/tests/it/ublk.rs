//! What a host without the driver of ublk says; with it, the lab says more.

use std::path::Path;

use pepita_io::RamDevice;
use pepita_io::ublk::{Control, Server, UblkError};
use pepita_sys::error::{Errno, KernelError};

#[test]
fn a_host_without_the_driver_says_how_to_get_it() {
    let test = "a_host_without_the_driver_says_how_to_get_it";
    if Path::new("/dev/ublk-control").exists() {
        println!("SKIPPED: {test}: only in places without ublk");
        return;
    }
    let error = Control::open().map(drop).expect_err("no driver");
    let told = error.to_string();
    for part in [
        "/dev/ublk-control",
        "modprobe ublk_drv",
        "6.0",
        "6.4",
        "running kernel is",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let served = Server::new().serve(RamDevice::new(2048)).map(drop);
    assert_eq!(served, Err(error.clone()));
    assert!(matches!(error, UblkError::NoDriver { .. }));
    assert_eq!(KernelError::from(error).to_errno(), Errno::ENOENT);
}
