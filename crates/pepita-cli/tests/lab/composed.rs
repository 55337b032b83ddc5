//! Disks over other devices: stripes, and faults by plan.

use std::fs;
use std::path::Path;

use super::{Home, in_lab, tool};

#[test]
fn a_stripe_over_files_has_a_file_system_and_its_pieces_are_where_they_belong() {
    if !in_lab("a_stripe_over_files_has_a_file_system_and_its_pieces_are_where_they_belong") {
        return;
    }
    let home = Home::new();
    let (a, b) = (home.path("a"), home.path("b"));
    tool(&format!("truncate --size 32M {a}"));
    tool(&format!("truncate --size 33M {b}"));
    let add = ["add", "-t", "stripe", "--file", &a, "--file", &b];
    let refusal = home.refused(&[&add[..], &["--size", "65MiB"]].concat(), 1);
    assert!(
        refusal.contains("the stripe has 64 MiB, 65 MiB are asked for"),
        "{refusal}"
    );
    let disk = home.done(&[&add[..], &["--chunk", "64KiB", "-q", "2"]].concat());
    assert_eq!(disk["bytes"], 64 << 20);
    let (path, mount) = (disk["path"].as_str().unwrap(), home.path("mount"));
    tool(&format!("mkfs.ext4 -q {path}"));
    tool(&format!("mount {path} {mount}"));
    let bytes: Vec<u8> = (0..5 << 20)
        .map(|index: u32| (index / 4096 % 251).to_le_bytes()[0])
        .collect();
    fs::write(Path::new(&mount).join("file"), &bytes).unwrap();
    tool(&format!("umount {mount}"));
    tool(&format!("e2fsck -fn {path}"));
    let disk_bytes = fs::read(path).unwrap();
    home.done(&["del", &disk["id"].to_string()]);
    let members = [fs::read(&a).unwrap(), fs::read(&b).unwrap()];
    for (number, chunk) in disk_bytes.chunks(64 << 10).enumerate() {
        let there = &members[number % 2][number / 2 * (64 << 10)..][..64 << 10];
        assert!(there == chunk, "chunk {number}");
    }
    let again = home.done(&[&add[..], &["--chunk", "64KiB"]].concat());
    tool(&format!(
        "mount {} {mount}",
        again["path"].as_str().unwrap()
    ));
    assert!(fs::read(Path::new(&mount).join("file")).unwrap() == bytes);
    tool(&format!("umount {mount}"));
    home.done(&["del", "--all"]);
}

#[test]
fn faults_come_through_a_disk_as_the_plan_says() {
    use std::os::unix::fs::FileExt as _;
    if !in_lab("faults_come_through_a_disk_as_the_plan_says") {
        return;
    }
    let home = Home::new();
    let file = home.path("disk");
    tool(&format!("truncate --size 8M {file}"));
    let plan = "write sectors=2048..4096 error=ENOSPC; write sectors=4096..8192 torn=8 error=EIO";
    let disk = home.done(&["add", "-t", "fault", "--file", &file, "--plan", plan]);
    let open = fs::File::options()
        .write(true)
        .open(disk["path"].as_str().unwrap())
        .unwrap();
    let write = |mib: u64| {
        open.write_all_at(&[7; 8192], mib << 20).unwrap();
        open.sync_all().map_err(|error| error.raw_os_error())
    };
    assert_eq!(write(0), Ok(()));
    // The page cache of a disk says EIO for every error; the kernel's log says which it was.
    assert_eq!(write(1), Err(Some(5)));
    assert_eq!(write(2), Err(Some(5)));
    drop(open);
    home.done(&["del", "--all"]);
    let bytes = fs::read(&file).unwrap();
    let landed = |mib: usize| {
        bytes[mib << 20..][..8192]
            .iter()
            .filter(|byte| **byte == 7)
            .count()
    };
    assert_eq!([landed(0), landed(1), landed(2)], [8192, 0, 4096]);
}
