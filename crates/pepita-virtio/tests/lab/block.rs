//! The kernel's `virtio_blk` on our disk.

use std::fs;
use std::io::Write;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pepita_io::{FileOptions, RamDevice};
use pepita_sys::blk_mq::BlockDevice;
use pepita_sys::blk_mq::conformance::Conformance;
use pepita_virtio::{BlockConfig, VirtioBlock};

use super::host::Host;
use super::{in_lab, is_full};

/// `VIRTIO_BLK_F_CONFIG_WCE`: VDUSE has no way to tell of it. virtio 1.3, 5.2.3
const CONFIG_WCE: u64 = 1 << 11;

/// virtio 1.3, 6
const VIRTIO_F_RING_PACKED: u64 = 1 << 34;

/// What the kernel's driver is offered: split rings, and packed ones.
const RINGS: [(&str, u64); 2] = [
    ("split", !CONFIG_WCE & !VIRTIO_F_RING_PACKED),
    ("packed", !CONFIG_WCE),
];

/// Both, or for short one of them.
fn rings(short: usize) -> Vec<(&'static str, u64)> {
    if is_full() {
        RINGS.to_vec()
    } else {
        vec![RINGS[short]]
    }
}

/// Runs a command of the shell.
#[track_caller]
fn sh(command: &str) -> String {
    let done = Command::new("sh").args(["-ec", command]).output();
    let done = done.expect("there is a shell");
    let (out, err) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(done.status.success(), "{command}: {out}{err}");
    out.into_owned()
}

/// Gives `device` to the kernel's driver; the disk's path.
fn begin(features: u64, queues: u16, device: &Arc<RamDevice>) -> (Host, String) {
    sh("modprobe vduse; modprobe virtio_vdpa");
    let device = Arc::clone(device);
    let make = move || {
        let disk = VirtioBlock::with_queues(Arc::clone(&device), queues, 128);
        Box::new(disk.expect("a disk")) as _
    };
    let host = Host::begin("pepita", features, BlockConfig::BYTES, make).expect("a device");
    let disk = host.disk().expect("the driver has made a disk");
    (host, disk)
}

/// Mebibytes of memory.
fn ram(mebibytes: u64) -> Arc<RamDevice> {
    Arc::new(RamDevice::new(mebibytes * 2048))
}

#[test]
fn the_kernels_driver_keeps_a_file_system_on_a_disk() {
    if !in_lab("the_kernels_driver_keeps_a_file_system_on_a_disk") {
        return;
    }
    for (rings, features) in rings(1) {
        println!("{rings}");
        let (host, disk) = begin(features, 1, &ram(64));
        let mount = "/tmp/pepita-virtio";
        sh(&format!(
            "mkfs.ext4 -q -F {disk}; mkdir -p {mount}; mount {disk} {mount}
            cp -r /usr/share/common-licenses {mount}/
            sync; fstrim {mount}; umount {mount}; e2fsck -fn {disk}; mount {disk} {mount}
            diff -r /usr/share/common-licenses {mount}/common-licenses; umount {mount}"
        ));
        drop(host);
    }
}

/// fio(1) that writes and reads again what it wrote.
fn verified(disk: &str) -> Command {
    let mut fio = Command::new("fio");
    fio.args([
        "--name=a",
        "--ioengine=libaio",
        "--direct=1",
        "--iodepth=16",
        "--rw=randwrite",
        "--bsrange=512-64k",
        "--bs_unaligned=0",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--size=8m",
        "--offset_increment=16m",
        "--numjobs=2",
        "--randseed=1",
    ]);
    fio.arg(format!("--filename={disk}"));
    fio
}

#[test]
fn data_of_two_jobs_on_two_queues_is_what_they_wrote() {
    if !in_lab("data_of_two_jobs_on_two_queues_is_what_they_wrote") {
        return;
    }
    for (rings, features) in RINGS {
        println!("{rings}");
        let (host, disk) = begin(features, 2, &ram(64));
        let done = verified(&disk).output().expect("fio is there");
        assert!(done.status.success(), "{done:?}");
        drop(host);
    }
}

#[test]
fn a_disk_keeps_the_contract_through_the_kernels_driver() {
    if !in_lab("a_disk_keeps_the_contract_through_the_kernels_driver") {
        return;
    }
    for (rings, features) in rings(0) {
        println!("{rings}");
        let (host, disk) = begin(features, 1, &ram(8));
        let device = FileOptions::new().direct().open(&disk).expect("the disk");
        assert_eq!(device.geometry().capacity_sectors, 8 * 2048);
        let report = Conformance::new()
            .run(&device)
            .expect("it keeps every rule");
        assert_eq!(report.left_out, []);
        drop(device);
        drop(host);
    }
}

/// Load that never ends by itself.
fn load(disk: &str) -> Child {
    let mut fio = verified(disk);
    fio.args([
        "--time_based",
        "--runtime=600",
        "--verify=0",
        "--offset=32m",
    ]);
    fio.stderr(std::process::Stdio::null());
    fio.stdout(std::process::Stdio::null());
    fio.spawn().expect("fio is there")
}

#[test]
fn a_disk_that_is_reset_under_load_comes_back_with_its_data() {
    if !in_lab("a_disk_that_is_reset_under_load_comes_back_with_its_data") {
        return;
    }
    for (rings, features) in rings(1) {
        println!("{rings}");
        let (host, mut disk) = begin(features, 1, &ram(128));
        let device = host.device();
        let drive = |what: &str| {
            let file = format!("/sys/bus/virtio/drivers/virtio_blk/{what}");
            let mut file = fs::OpenOptions::new()
                .write(true)
                .open(file)
                .expect("a driver");
            file.write_all(device.as_bytes()).expect("a device");
        };
        let data = "/tmp/pepita-virtio-data";
        sh(&format!(
            "head -c 4M /dev/urandom > {data}; dd if={data} of={disk} bs=64k oflag=direct status=none"
        ));
        for round in 1..=if is_full() { 10 } else { 2 } {
            let mut fio = load(&disk);
            // Until it has written something.
            let written = format!("/sys/block/{}/stat", disk.trim_start_matches("/dev/"));
            let count = || fs::read_to_string(&written).expect("a disk has statistics");
            let before = count();
            while count() == before {
                std::thread::yield_now();
            }
            drive("unbind");
            let ended = fio.wait().expect("fio ends");
            assert!(!ended.success(), "its disk is gone");
            assert_eq!(host.resets.load(Ordering::Relaxed), round);
            drive("bind");
            disk = host.disk().expect("the driver has made a disk again");
            sh(&format!("cmp -n 4194304 {data} {disk}"));
        }
        drop(host);
    }
}
