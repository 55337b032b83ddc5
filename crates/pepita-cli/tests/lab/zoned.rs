//! `pepita ublk add -t zoned`, by the tools of zoned disks.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};

use rustix::fs::OFlags;
use serde_json::Value;

use super::{Home, in_lab, tool};

/// What `blkzone report` says of the zones of `path`: first sector, write pointer in the zone, condition.
fn report(path: &str) -> Vec<(u64, u64, String)> {
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    let text = tool(&format!("blkzone report {path}"));
    let zone = |line: &str| {
        let after = |name: &str| line.split_once(name).unwrap().1.trim_start().to_owned();
        let word = |name: &str| {
            after(name)
                .split([',', ' ', '('])
                .next()
                .unwrap()
                .to_owned()
        };
        (
            number(&word("start:")),
            number(&word("wptr")),
            word("zcond:"),
        )
    };
    text.lines().map(zone).collect()
}

#[track_caller]
fn shows(path: &str, index: usize, write_pointer: u64, condition: &str) {
    let zones = report(path);
    let (_, pointer, text) = &zones[index];
    let is = (*pointer, text.as_str());
    assert_eq!(is, (write_pointer, condition), "zone {index}: {zones:?}");
}

/// One block, where `O_DIRECT` takes it.
#[repr(align(4096))]
struct Block([u8; 4096]);

fn open(path: &str) -> fs::File {
    let mut options = fs::File::options();
    let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap();
    let options = options.read(true).write(true).custom_flags(direct);
    options.open(path).unwrap()
}

/// Writes a block of `byte` at `sector`.
fn write(disk: &fs::File, sector: u64, byte: u8) -> Result<(), Option<i32>> {
    let written = disk.write_all_at(&Block([byte; 4096]).0, sector * 512);
    written.map_err(|error: io::Error| error.raw_os_error())
}

/// The first byte of `sector`, if the block is of one.
fn read(disk: &fs::File, sector: u64) -> u8 {
    let mut block = Block([1; 4096]);
    disk.read_exact_at(&mut block.0, sector * 512).unwrap();
    assert!(block.0.iter().all(|byte| *byte == block.0[0]));
    block.0[0]
}

/// The first sector of zone 3, of 2048 sectors.
const THIRD: u64 = 3 * 2048;

const EIO: Result<(), Option<i32>> = Err(Some(5));

#[test]
fn a_zoned_disk_is_reported_written_in_order_finished_and_reset() {
    if !in_lab("a_zoned_disk_is_reported_written_in_order_finished_and_reset") {
        return;
    }
    let home = Home::new();
    let add = [
        "add",
        "-t",
        "zoned",
        "--size",
        "100MiB",
        "--zone-size",
        "1MiB",
        "--conventional",
        "2",
        "-q",
        "2",
    ];
    let refusal = home.refused(&[&add[..], &["--max-io", "4KiB"]].concat(), 2);
    assert!(refusal.contains("is 100, ublk takes 1 to 64"), "{refusal}");
    let disk = home.done(&[&add[..], &["--max-io", "8KiB"]].concat());
    let path = disk["path"].as_str().unwrap();
    let listed = &home.done(&["list"])["disks"][0]["target"];
    assert_eq!(
        (
            &listed["type"],
            &listed["zone_bytes"],
            &listed["conventional"]
        ),
        (
            &Value::from("zoned"),
            &Value::from(1 << 20),
            &Value::from(2)
        )
    );
    let zones = report(path);
    println!(
        "{} zones: {:?} … {:?}",
        zones.len(),
        &zones[..3],
        zones.last()
    );
    assert_eq!(zones.len(), 100);
    for (index, (start, _, condition)) in (0_u64..).zip(&zones) {
        let wanted = if index < 2 { "0(nw)" } else { "1(em)" };
        assert_eq!((*start, condition.as_str()), (index * 2048, &wanted[..1]));
    }
    write_in_order_and_anywhere(path);
    manage_a_zone(path);
    home.done(&["del", "--all"]);
}

/// Writes to zone 3, which has a write pointer, and to the first one, which has none.
#[track_caller]
fn write_in_order_and_anywhere(path: &str) {
    let disk = open(path);
    assert_eq!(write(&disk, THIRD, 7), Ok(()));
    assert_eq!(write(&disk, THIRD + 8, 8), Ok(()));
    assert_eq!(write(&disk, THIRD + 24, 9), EIO);
    assert_eq!(write(&disk, THIRD, 9), EIO);
    shows(path, 3, 16, "2");
    assert_eq!([0, 8, 16].map(|at| read(&disk, THIRD + at)), [7, 8, 0]);
    assert_eq!(write(&disk, THIRD + 16, 9), Ok(()));
    for (sector, byte) in [(2040, 3), (16, 4), (16, 5)] {
        assert_eq!(write(&disk, sector, byte), Ok(()));
        assert_eq!(read(&disk, sector), byte);
    }
}

/// Closes, finishes and resets zone 3, which is begun, and opens zone 5.
#[track_caller]
fn manage_a_zone(path: &str) {
    let zone = |command: &str, sector: u64| {
        tool(&format!(
            "blkzone {command} --offset {sector} --length 2048 {path}"
        ))
    };
    zone("close", THIRD);
    shows(path, 3, 24, "4");
    zone("open", 5 * 2048);
    shows(path, 5, 0, "3");
    zone("finish", THIRD);
    assert_eq!(report(path)[3].2, "14");
    let disk = open(path);
    assert_eq!(write(&disk, THIRD + 24, 9), EIO);
    zone("reset", THIRD);
    shows(path, 3, 0, "1");
    assert_eq!(read(&disk, THIRD), 0);
    assert_eq!(write(&disk, THIRD, 1), Ok(()));
}

#[test]
fn no_more_zones_are_open_or_begun_than_may_be() {
    if !in_lab("no_more_zones_are_open_or_begun_than_may_be") {
        return;
    }
    let home = Home::new();
    let disk = home.add("-t zoned --size 8MiB --zone-size 1MiB --max-open 2 --max-active 3");
    let path = disk["path"].as_str().unwrap();
    let file = open(path);
    for zone in 0..3 {
        assert_eq!(write(&file, zone * 2048, 1), Ok(()));
    }
    let conditions: Vec<String> = report(path).into_iter().map(|zone| zone.2).collect();
    println!("{conditions:?}");
    assert_eq!(conditions[..4], ["4", "2", "2", "1"]);
    // EOVERFLOW, by which the kernel says that no more can be active.
    assert_eq!(write(&file, 3 * 2048, 1), Err(Some(75)));
    tool(&format!("blkzone reset {path}"));
    let all = report(path);
    assert!(all.iter().all(|zone| zone.2 == "1"), "{all:?}");
    assert_eq!(write(&file, 3 * 2048, 1), Ok(()));
    drop(file);
    home.done(&["del", "--all"]);
}

#[test]
fn btrfs_keeps_its_files_on_a_zoned_disk() {
    if !in_lab("btrfs_keeps_its_files_on_a_zoned_disk") {
        return;
    }
    let home = Home::new();
    let disk = home.add("-t zoned --size 512MiB --zone-size 4MiB -q 2");
    let path = disk["path"].as_str().unwrap();
    let mount = home.path("mount");
    tool("modprobe btrfs");
    tool(&format!(
        "mkfs.btrfs -q -O zoned -d single -m single {path}"
    ));
    tool(&format!("mount {path} {mount}"));
    let bytes: Vec<u8> = (0..6_u32 << 20)
        .map(|index| (index / 4096 % 251).to_le_bytes()[0])
        .collect();
    for name in 0..4 {
        fs::write(format!("{mount}/{name}"), &bytes[name..]).unwrap();
    }
    tool(&format!("umount {mount}"));
    tool(&format!("mount {path} {mount}"));
    for name in 0..4 {
        assert!(fs::read(format!("{mount}/{name}")).unwrap() == bytes[name..]);
    }
    println!("{}", tool(&format!("btrfs scrub start -B {mount}")));
    tool(&format!("umount {mount}"));
    println!("{}", tool(&format!("btrfs check {path}")));
    tool(&format!("blkzone reset {path}"));
    home.done(&["del", "--all"]);
}

#[test]
fn fio_finds_what_it_wrote_and_resets_what_it_writes_again() {
    if !in_lab("fio_finds_what_it_wrote_and_resets_what_it_writes_again") {
        return;
    }
    let home = Home::new();
    let disk = home
        .add("-t zoned --size 32MiB --zone-size 1MiB --conventional 1 --max-open 4 --max-active 6");
    let path = disk["path"].as_str().unwrap();
    for job in [
        "--rw=write --bs=64k --size=24M --offset=1M --verify=crc32c",
        // More than the zones have: they are reset.
        "--rw=randwrite --bs=16k --size=8M --offset=1M --io_size=24M --max_open_zones=4",
    ] {
        println!(
            "{}",
            tool(&format!(
                "fio --name=zones --filename={path} --direct=1 --ioengine=psync --zonemode=zbd {job}"
            ))
        );
    }
    home.done(&["del", "--all"]);
}

#[test]
fn zones_that_cannot_be_say_why_and_leave_no_disk() {
    if !in_lab("zones_that_cannot_be_say_why_and_leave_no_disk") {
        return;
    }
    let home = Home::new();
    for (args, reason) in [
        ("zoned --size 8MiB", "needs the size of its zones"),
        (
            "zoned --size 8MiB --zone-size 3MiB",
            "--zone-size: expected a power of two",
        ),
        (
            "zoned --size 9MiB --zone-size 2MiB",
            "--size: expected a multiple",
        ),
        (
            "zoned --size 8MiB --zone-size 2MiB --conventional 5",
            "there are 4 zones",
        ),
        (
            "zoned --size 8MiB --zone-size 2MiB --max-open 3 --max-active 2",
            "no more than --max-active",
        ),
        (
            "zoned --size 8MiB --zone-size 2MiB --unprivileged",
            "leave out --unprivileged",
        ),
        (
            "zoned --size 8MiB --zone-size 2MiB --recovery plain",
            "leave out --recovery",
        ),
        (
            "zoned --size 8MiB --zone-size 2MiB --copy get-data",
            "leave out --copy",
        ),
        ("ram --size 8MiB --zone-size 2MiB", "for `-t zoned` alone"),
        ("zoned --size 8MiB --max-open 2", "required arguments"),
    ] {
        let args: Vec<&str> = ["add", "-t"].into_iter().chain(args.split(' ')).collect();
        let refusal = home.refused(&args, 2);
        assert!(refusal.contains(reason), "{args:?}: {refusal}");
    }
    let disks = home.done(&["list"])["disks"].clone();
    assert_eq!(disks, Value::from(Vec::<Value>::new()));
}

#[test]
fn nothing_goes_over_a_zoned_disk_but_what_reads_it() {
    if !in_lab("nothing_goes_over_a_zoned_disk_but_what_reads_it") {
        return;
    }
    let home = Home::new();
    let disk = home.add("-t zoned --size 8MiB --zone-size 1MiB");
    let path = disk["path"].as_str().unwrap();
    assert_eq!(write(&open(path), 0, 7), Ok(()));
    let image = home.path("image");
    tool(&format!("truncate --size 8M {image}"));
    for over in [
        &["file", "--file", path][..],
        &["stripe", "--file", &image, "--file", path],
        &["fault", "--file", path, "--plan", "any hang"],
    ] {
        let refusal = home.refused(&[&["add", "-t"], over].concat(), 1);
        println!("{refusal}");
        let wanted = format!("{path}: a zoned block device");
        assert!(refusal.contains(&wanted), "{over:?}: {refusal}");
    }
    let reader = home.done(&["add", "-t", "file", "--file", path, "--read-only"]);
    let reads = fs::File::open(reader["path"].as_str().unwrap()).unwrap();
    let mut bytes = [1; 8192];
    reads.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!((bytes[0], bytes[4095], bytes[4096]), (7, 7, 0));
    drop(reads);
    home.done(&["del", &reader["id"].to_string()]);
    home.done(&["del", "--all"]);
}
