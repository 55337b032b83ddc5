//! io_uring, ublk and zram.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;

use super::raw::Ring;
use super::{Check, raw, read};

pub(super) fn checks() -> Vec<Check> {
    vec![io_uring(), ublk(), zram()]
}

/// `IORING_FEAT_*` by bit (include/uapi/linux/io_uring.h, v6.12).
const FEATURES: [&str; 16] = [
    "single-mmap",
    "nodrop",
    "submit-stable",
    "rw-cur-pos",
    "cur-personality",
    "fast-poll",
    "poll-32bits",
    "sqpoll-nonfixed",
    "ext-arg",
    "native-workers",
    "rsrc-tags",
    "cqe-skip",
    "linked-file",
    "reg-reg-ring",
    "recvsend-bundle",
    "min-timeout",
];

/// `IORING_OP_URING_CMD`, by which ublk is served.
const URING_CMD: u8 = 46;

fn io_uring() -> Check {
    match raw::io_uring() {
        Ok(ring) => Check::ok("io_uring", describe(&ring)),
        Err(error) => {
            let disabled = read("/proc/sys/kernel/io_uring_disabled");
            let remedy = match disabled.as_deref() {
                Some("1") => {
                    "run as root, or in the group of `sysctl kernel.io_uring_group`, or \
                              `sysctl kernel.io_uring_disabled=0`"
                }
                Some("2") => "as root: `sysctl kernel.io_uring_disabled=0`",
                Some(_) => {
                    "the kernel allows it: a seccomp filter (of a container?) forbids io_uring_setup"
                }
                None => {
                    "a kernel of 5.1 or later with CONFIG_IO_URING, or a sandbox that allows it"
                }
            };
            Check::missing(
                "io_uring",
                format!("io_uring_setup failed: {error}"),
                remedy,
            )
        }
    }
}

fn describe(ring: &Ring) -> String {
    let known = FEATURES.iter().enumerate();
    let features: Vec<_> = known
        .filter(|(bit, _)| ring.features & (1 << bit) != 0)
        .map(|(_, name)| *name)
        .collect();
    let unknown = (ring.features >> FEATURES.len()).count_ones();
    let newer = if unknown > 0 {
        format!(" and {unknown} newer")
    } else {
        String::new()
    };
    let commands = if ring.operations.contains(&URING_CMD) {
        "with"
    } else {
        "without"
    };
    let count = ring.operations.len();
    format!(
        "{count} operations, {commands} uring_cmd; features {}{newer}",
        features.join(" ")
    )
}

fn ublk() -> Check {
    const CONTROL: &str = "/dev/ublk-control";
    match OpenOptions::new().read(true).write(true).open(CONTROL) {
        Ok(_) => Check::ok("ublk", format!("{CONTROL} opens")),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Check::missing(
            "ublk",
            format!("{CONTROL} is closed to us"),
            "run as root, or give this user the device by a udev rule",
        ),
        Err(_) if Path::new("/sys/module/ublk_drv").exists() => Check::missing(
            "ublk",
            format!("the driver is loaded, and {CONTROL} is not here"),
            "make /dev visible in this container",
        ),
        Err(error) => Check::missing(
            "ublk",
            format!("{CONTROL}: {error}"),
            "as root: `modprobe ublk_drv` (Linux 6.4 or later with CONFIG_BLK_DEV_UBLK)",
        ),
    }
}

/// The kernel's own zram, which pepita's is compared with; pepita does not need it.
fn zram() -> Check {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut devices: Vec<_> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("zram"))
        .collect();
    devices.sort();
    let Some(first) = devices.first() else {
        return Check::missing("kernel zram", "no zram device", "as root: `modprobe zram`");
    };
    let algorithms = read(&format!("/sys/block/{first}/comp_algorithm")).unwrap_or_default();
    let detail = format!("{}, compressors {algorithms}", devices.join(" "));
    let device = format!("/dev/{first}");
    match File::open(&device) {
        Ok(_) => Check::ok("kernel zram", detail),
        Err(error) => Check::limited(
            "kernel zram",
            format!("{detail}; {device}: {error}"),
            "run as root",
        ),
    }
}
