use std::io::Write;

use tempfile::NamedTempFile;

use super::*;
use crate::image::tests::{BASE, elf};

fn file(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a folder for temporary files");
    file.write_all(bytes).expect("room for a small file");
    file
}

fn u64_at(ram: &GuestRam, addr: u64) -> u64 {
    let mut bytes = [0; 8];
    ram.read(addr, &mut bytes).expect("memory");
    u64::from_le_bytes(bytes)
}

fn u32_at(ram: &GuestRam, addr: u64) -> u64 {
    u64_at(ram, addr) & 0xffff_ffff
}

fn bytes_at(ram: &GuestRam, addr: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ram.read(addr, &mut bytes).expect("memory");
    bytes
}

/// 64 MiB with a small kernel, a ramdisk of 5000 bytes and a command line.
fn loaded(entry: KernelEntry) -> (GuestRam, Start) {
    let (kernel, initrd) = (file(&elf(b"kernel")), file(&[7; 5000]));
    let config = VmConfig::builder()
        .memory_mb(64)
        .kernel_path(kernel.path())
        .kernel_entry(entry)
        .initrd_path(initrd.path())
        .kernel_cmdline("console=ttyS0 quiet")
        .build()
        .expect("the files are there");
    let ram = GuestRam::zeroed(64 << 20);
    let start = load(kernel.path(), &config, &ram).expect("a kernel");
    assert_eq!(bytes_at(&ram, BASE, 6), b"kernel");
    (ram, start)
}

const INITRD: u64 = (64 << 20) - 8192;
const RANGES: [(u64, u64, u64); 3] = [
    (0, 0x9_fc00, 1),
    (0x9_fc00, 0x6_0400, 2),
    (1 << 20, 63 << 20, 1),
];

#[test]
fn linux_is_told_where_everything_is() {
    let (ram, start) = loaded(KernelEntry::Linux64);
    let params = 0x7000;
    assert_eq!(
        start,
        Start::Linux64 {
            rip: BASE,
            rsi: params
        }
    );
    assert_eq!(bytes_at(&ram, params + 0x202, 4), b"HdrS");
    assert_eq!(bytes_at(&ram, params + 0x210, 1), [0xff]);
    let cmdline = u32_at(&ram, params + 0x228);
    assert_eq!(bytes_at(&ram, cmdline, 20), b"console=ttyS0 quiet\0");
    assert_eq!(
        (u32_at(&ram, params + 0x218), u32_at(&ram, params + 0x21c)),
        (INITRD, 5000)
    );
    assert_eq!(bytes_at(&ram, INITRD, 5001)[4999..], [7, 0]);
    assert_eq!(bytes_at(&ram, u64_at(&ram, params + 0x70), 8), b"RSD PTR ");
    assert_eq!(bytes_at(&ram, params + 0x1e8, 1), [3]);
    for (at, range) in (params + 0x2d0..).step_by(20).zip(RANGES) {
        assert_eq!(
            (
                u64_at(&ram, at),
                u64_at(&ram, at + 8),
                u32_at(&ram, at + 16)
            ),
            range
        );
    }
}

#[test]
fn a_kernel_that_begins_by_pvh_is_told_the_same() {
    let (ram, start) = loaded(KernelEntry::Pvh);
    let info = 0x6000;
    assert_eq!(
        start,
        Start::Pvh {
            rip: BASE,
            rbx: info
        }
    );
    let words: Vec<u64> = (0..4).map(|word| u32_at(&ram, info + 4 * word)).collect();
    assert_eq!(words, [0x336e_c578, 1, 0, 1]);
    let module = u64_at(&ram, info + 16);
    assert_eq!(
        (u64_at(&ram, module), u64_at(&ram, module + 8)),
        (INITRD, 5000)
    );
    assert_eq!(
        bytes_at(&ram, u64_at(&ram, info + 24), 20),
        b"console=ttyS0 quiet\0"
    );
    assert_eq!(bytes_at(&ram, u64_at(&ram, info + 32), 8), b"RSD PTR ");
    assert_eq!(u64_at(&ram, info + 48), 3);
    for (at, range) in (u64_at(&ram, info + 40)..).step_by(24).zip(RANGES) {
        assert_eq!(
            (
                u64_at(&ram, at),
                u64_at(&ram, at + 8),
                u64_at(&ram, at + 16)
            ),
            range
        );
    }
}

#[track_caller]
fn refused(kernel: &[u8], initrd_bytes: usize, cmdline_bytes: usize, says: &str) {
    let (kernel, initrd) = (file(kernel), file(&vec![1; initrd_bytes]));
    let config = VmConfig::builder()
        .memory_mb(32)
        .kernel_path(kernel.path())
        .initrd_path(initrd.path())
        .kernel_cmdline("x".repeat(cmdline_bytes))
        .build()
        .expect("the files are there");
    let ram = GuestRam::zeroed(32 << 20);
    let text = load(kernel.path(), &config, &ram)
        .expect_err(says)
        .to_string();
    assert!(text.contains(says), "{text}");
}

#[test]
fn what_does_not_fit_is_refused_with_what_to_do() {
    refused(
        &elf(&[0x90]),
        1,
        2048,
        "2048 bytes of command line: this kernel takes 2047",
    );
    refused(&elf(&[0x90]), 16 << 20, 0, "give the guest more memory");
    refused(b"text", 1, 0, "name a distribution's vmlinuz");
}
