//! Disks that somebody uses are not deleted, unless by force.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::{Home, in_lab, tool};

#[test]
fn a_disk_that_is_mounted_elsewhere_is_in_use() {
    if !in_lab("a_disk_that_is_mounted_elsewhere_is_in_use") {
        return;
    }
    let home = Home::new();
    home.add("-t ram --size 16MiB -n 35");
    tool("mkfs.ext4 -q /dev/ublkb35");
    let script = "mount /dev/ublkb35 $0 && echo mounted && exec sleep 10000";
    let mut holder = Command::new("unshare");
    let holder = holder
        .args(["-m", "sh", "-c", script])
        .arg(home.path("mount"));
    let mut holder = holder.stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut stdout = BufReader::new(holder.stdout.take().unwrap());
    stdout.read_line(&mut said).unwrap();
    let refusal = home.refused(&["del", "35"], 1);
    // The end of its last process is the end of a namespace, and of what is mounted there.
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(refusal.contains("is in use: mounted at"), "{said}{refusal}");
    assert!(refusal.contains("of process"), "{refusal}");
    super::until("nobody uses it", || {
        home.output(&["del", "35"]).status.success()
    });
}

#[test]
fn every_disk_of_a_file_system_is_in_use() {
    if !in_lab("every_disk_of_a_file_system_is_in_use") {
        return;
    }
    let home = Home::new();
    for id in ["36", "37"] {
        home.done(&["add", "-t", "ram", "--size", "128MiB", "-n", id]);
    }
    tool("mkfs.btrfs -q -f -d single -m single /dev/ublkb36 /dev/ublkb37");
    let mount = home.path("mount");
    tool(&format!(
        "mount -t btrfs -o device=/dev/ublkb36,device=/dev/ublkb37 /dev/ublkb36 {mount}"
    ));
    let refusals = ["36", "37"].map(|id| home.refused(&["del", id], 1));
    tool(&format!("umount {mount}"));
    for refusal in refusals {
        assert!(refusal.contains("is in use: "), "{refusal}");
    }
    home.done(&["del", "36", "37"]);
}

#[test]
fn a_file_is_written_by_one_disk_or_read_by_many() {
    if !in_lab("a_file_is_written_by_one_disk_or_read_by_many") {
        return;
    }
    let home = Home::new();
    let image = home.path("disk.img");
    tool(&format!("truncate --size 1M {image}"));
    let add = format!("add -t file --file {image}");
    let add: Vec<&str> = add.split(' ').collect();
    let reads = [&add[..], &["--read-only"]].concat();
    let writer = home.done(&add);
    for again in [&add, &reads] {
        let refusal = home.refused(again, 1);
        assert!(
            refusal.contains("is locked by another program"),
            "{refusal}"
        );
    }
    home.done(&["del", &writer["id"].to_string()]);
    home.done(&reads);
    home.done(&reads);
    home.refused(&add, 1);
    home.done(&["del", "--all"]);
}
