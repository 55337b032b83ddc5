//! Disks that come and go, and servers that go without them.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use pepita::io::ublk::{Control, UblkError};
use rustix::fs::OFlags;
use rustix::process::{Signal, kill_process};

use super::{Home, in_lab, is_full, is_running, pid_of, until};

/// Opens a disk past the page cache; only whole aligned blocks can be read then.
pub(super) fn open_direct(path: impl AsRef<Path>) -> std::io::Result<File> {
    let direct = OFlags::DIRECT.bits().cast_signed();
    File::options().read(true).custom_flags(direct).open(path)
}

/// Memory for a block.
#[repr(align(4096))]
pub(super) struct Block(pub(super) [u8; 4096]);

#[test]
fn disks_come_and_go_while_readers_have_them_open() {
    if !in_lab("disks_come_and_go_while_readers_have_them_open") {
        return;
    }
    let home = Home::new();
    let rounds = if is_full() { 20 } else { 2 };
    let (is_over, blocks, losses) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let read_all = || {
        let mut block = Block([1; 4096]);
        while !is_over.load(Ordering::Relaxed) {
            let Ok(disk) = open_direct("/dev/ublkb22") else {
                thread::yield_now();
                continue;
            };
            let mut place = 0;
            while disk.read_exact_at(&mut block.0, place % 256 * 4096).is_ok() {
                assert_eq!(block.0, [0; 4096], "nobody has written");
                blocks.fetch_add(1, Ordering::Relaxed);
                place += 1;
            }
            losses.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        let readers = [
            scope.spawn(read_all),
            scope.spawn(read_all),
            scope.spawn(read_all),
        ];
        for round in 0..rounds {
            let kind = if round % 2 == 0 { "ram" } else { "zram" };
            let disk = home.done(&["add", "-t", kind, "--size", "1MiB", "-n", "22", "-q", "2"]);
            let before = blocks.load(Ordering::Relaxed);
            until("it is read", || {
                blocks.load(Ordering::Relaxed) > before + 100
            });
            home.done(&["del", "22"]);
            assert!(!Path::new("/dev/ublkb22").exists());
            until("the server ends", || !is_running(pid_of(&disk)));
            // Its number is free when the last reader has closed it.
            let control = Control::open().unwrap();
            until("the number is free", || {
                matches!(control.info(22), Err(UblkError::NoDevice { .. }))
            });
        }
        is_over.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    println!("{rounds} rounds, {blocks:?} blocks read, {losses:?} times a disk was gone");
    assert!(losses.into_inner() >= rounds);
    assert_eq!(home.records(), Vec::<String>::new());
}

#[test]
fn readers_of_a_disk_whose_server_was_killed_get_errors_and_it_is_deleted() {
    if !in_lab("readers_of_a_disk_whose_server_was_killed_get_errors_and_it_is_deleted") {
        return;
    }
    let home = Home::new();
    let disk = home.add("-t ram --size 1MiB -n 23");
    let reads = AtomicU64::new(0);
    thread::scope(|scope| {
        let read = || {
            let (disk, mut block) = (open_direct("/dev/ublkb23").unwrap(), Block([0; 4096]));
            loop {
                if let Err(error) = disk.read_exact_at(&mut block.0, 0) {
                    return error.kind();
                }
                reads.fetch_add(1, Ordering::Relaxed);
            }
        };
        let readers = [scope.spawn(read), scope.spawn(read)];
        until("it is read", || reads.load(Ordering::Relaxed) > 100);
        kill_process(pid_of(&disk), Signal::KILL).unwrap();
        for reader in readers {
            println!("a reader got: {}", reader.join().unwrap());
        }
    });
    until("the disk is gone", || !Path::new("/dev/ublkb23").exists());
    assert_eq!(home.done(&["list"])["disks"][0]["state"], "dead");
    home.done(&["del", "23"]);
    assert_eq!(home.records(), Vec::<String>::new());
    assert!(!Path::new("/dev/ublkc23").exists());
}
