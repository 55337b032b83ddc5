//! Back ends that stand still, and servers that do: commands end, and nothing stays stuck.
//!
//! The back end is a disk whose own server is stopped by a signal: its requests are in the kernel, and do not end.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::lifecycle::{Block, open_direct};
use super::{Home, both, ended, in_lab, is_full, is_running, pid_of, until};

/// Threads that read a disk until it fails.
fn readers(path: &'static str) -> Vec<JoinHandle<std::io::Error>> {
    let read = move || {
        let (disk, mut block) = (open_direct(path).unwrap(), Block([0; 4096]));
        loop {
            if let Err(error) = disk.read_exact_at(&mut block.0, 0) {
                return error;
            }
        }
    };
    (0..3).map(|_| thread::spawn(read)).collect()
}

/// Requests that the disk `id` has not answered.
fn waiting(id: u32) -> u64 {
    let text = fs::read_to_string(format!("/sys/block/ublkb{id}/inflight")).unwrap();
    text.split_whitespace()
        .map(|word| word.parse::<u64>().unwrap())
        .sum()
}

fn signal(disk: &Value, signal: Signal) {
    kill_process(pid_of(disk), signal).unwrap();
}

/// Whether every thread of the disk's server is stopped.
fn is_stopped(disk: &Value) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", pid_of(disk).as_raw_nonzero()));
    threads.unwrap().flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat"));
        stat.is_ok_and(|stat| stat.contains(") T "))
    })
}

/// Runs a command that ends within a limited time: whether it succeeded, and what it said.
#[track_caller]
fn bounded(home: &Home, args: &[&str]) -> (bool, String) {
    let output = home.output(args);
    let said = both(&output);
    println!("{args:?}: {}, {}", output.status, said.trim());
    (output.status.success(), said)
}

/// Names of the threads that nothing can wake but what they wait for.
fn stuck() -> Vec<String> {
    let mut stuck = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let threads = fs::read_dir(process.path().join("task"));
        for thread in threads.into_iter().flatten().flatten() {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            if stat.contains(") D ") {
                stuck.push(stat.split(" D ").next().unwrap().to_owned());
            }
        }
    }
    stuck
}

/// The disk 24, whose server is stopped, and the disk 25 over it, which readers wait for.
#[track_caller]
fn over_a_back_end_that_stands_still(
    home: &Home,
    options: &str,
) -> (Value, Value, Vec<JoinHandle<std::io::Error>>) {
    let back = home.add("-t ram --size 1MiB -n 24");
    let front = format!("-t file --file /dev/ublkb24 --direct -n 25{options}");
    let front = home.add(&front);
    let readers = readers("/dev/ublkb25");
    signal(&back, Signal::STOP);
    until("the back end is stopped", || is_stopped(&back));
    // Who kills the server now finds it with a request that the back end has.
    until("readers wait", || waiting(25) == 3 && waiting(24) > 0);
    (back, front, readers)
}

#[test]
fn a_disk_whose_back_end_stands_still_is_deleted_and_its_readers_get_errors() {
    let test = "a_disk_whose_back_end_stands_still_is_deleted_and_its_readers_get_errors";
    if !in_lab(test) {
        return;
    }
    let home = Home::new();
    let (back, front, readers) = over_a_back_end_that_stands_still(&home, "");

    let (is_done, said) = bounded(&home, &["del", "25"]);
    assert!(is_done, "{said}");
    for reader in readers {
        println!("a reader got: {}", reader.join().unwrap());
    }
    assert!(!Path::new("/dev/ublkb25").exists());
    // The rest of the driver works meanwhile.
    home.add("-t null --size 1MiB -n 26");
    home.done(&["del", "26"]);

    signal(&back, Signal::KILL);
    until("both servers end", || {
        [&back, &front].iter().all(|disk| !is_running(pid_of(disk)))
    });
    home.done(&["del", "24"]);
    until("nothing is stuck", || stuck().is_empty());
    assert_eq!(home.records(), Vec::<String>::new());
}

#[test]
fn a_disk_whose_back_end_stands_still_is_recovered_when_that_goes_on() {
    let test = "a_disk_whose_back_end_stands_still_is_recovered_when_that_goes_on";
    if !in_lab(test) {
        return;
    }
    let home = Home::new();
    let (back, front, readers) = over_a_back_end_that_stands_still(&home, " --recovery reissue");
    signal(&front, Signal::KILL);

    // The process that was killed does not end, since the kernel has its requests; it has the back end open.
    let (is_done, said) = bounded(&home, &["recover", "25"]);
    assert!(!is_done && said.contains("EBUSY"), "{said}");
    signal(&back, Signal::CONT);
    until("the killed server ends", || !is_running(pid_of(&front)));
    let (is_done, said) = bounded(&home, &["recover", "25"]);
    assert!(is_done, "{said}");
    let mut block = Block([1; 4096]);
    let disk = open_direct("/dev/ublkb25").unwrap();
    disk.read_exact_at(&mut block.0, 0).unwrap();
    assert_eq!(block.0, [0; 4096]);
    drop(disk);
    // Those that waited have been served, and now it goes.
    home.done(&["del", "25"]);
    for reader in readers {
        println!("a reader got: {}", reader.join().unwrap());
    }
    home.done(&["del", "24"]);
    until("nothing is stuck", || stuck().is_empty());
}

#[test]
fn a_disk_whose_server_stands_still_is_deleted_by_force() {
    let test = "a_disk_whose_server_stands_still_is_deleted_by_force";
    if !in_lab(test) {
        return;
    }
    if !is_full() {
        // The command gives the server its time twice.
        println!("SKIPPED: {test}: only in the full set");
        return;
    }
    let home = Home::new();
    for recovery in ["none", "plain"] {
        let image = home.path("disk.img");
        super::tool(&format!("truncate --size 1M {image}"));
        let args = [
            "add",
            "-t",
            "file",
            "--file",
            &image,
            "-n",
            "27",
            "--recovery",
            recovery,
        ];
        let disk = home.done(&args);
        let readers = readers("/dev/ublkb27");
        signal(&disk, Signal::STOP);
        until("readers wait", || waiting(27) == 3);

        let (is_done, said) = bounded(&home, &["del", "27"]);
        assert!(!is_done && said.contains("--force"), "{said}");
        // Others come and go meanwhile.
        home.add("-t null --size 1MiB -n 28");
        home.done(&["list"]);
        home.done(&["del", "28"]);

        let (is_done, said) = bounded(&home, &["del", "27", "--force"]);
        assert!(is_done, "{said}");
        for reader in readers {
            println!("a reader got: {}", reader.join().unwrap());
        }
        assert!(!Path::new("/dev/ublkb27").exists());
        until("the server ends", || !is_running(pid_of(&disk)));
        until("nothing is stuck", || stuck().is_empty());
        assert_eq!(home.records(), Vec::<String>::new());
    }
}

/// Whether SIGTERM waits for the process of the disk, which is stopped.
fn has_been_told_to_end(disk: &Value) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", pid_of(disk).as_raw_nonzero()));
    let status = status.unwrap();
    let mut lines = status.lines();
    let pending = lines.find_map(|line| line.strip_prefix("ShdPnd:"));
    let pending = u64::from_str_radix(pending.unwrap().trim(), 16).unwrap();
    pending >> (Signal::TERM.as_raw() - 1) & 1 == 1
}

#[test]
fn a_deletion_that_stood_still_leaves_the_next_disk_of_the_number_alone() {
    let test = "a_deletion_that_stood_still_leaves_the_next_disk_of_the_number_alone";
    if !in_lab(test) {
        return;
    }
    let home = Home::new();
    let first = home.add("-t ram --size 1MiB -n 29");
    signal(&first, Signal::STOP);
    let mut deletion = home.ublk(&["del", "29", "--force"]);
    let mut deletion = deletion.stdout(Stdio::null()).spawn().unwrap();
    until("the server is told", || has_been_told_to_end(&first));
    let deletes = Pid::from_child(&deletion);
    kill_process(deletes, Signal::STOP).unwrap();
    signal(&first, Signal::CONT);
    until("the server ends", || !is_running(pid_of(&first)));

    let second = home.add("-t ram --size 1MiB -n 29");
    kill_process(deletes, Signal::CONT).unwrap();
    assert!(ended("the deletion ends", &mut deletion).success());
    assert!(is_running(pid_of(&second)));
    let mut block = Block([1; 4096]);
    let disk = open_direct("/dev/ublkb29").unwrap();
    disk.read_exact_at(&mut block.0, 0).unwrap();
    assert_eq!(block.0, [0; 4096]);
    drop(disk);
    let mut records = home.records();
    records.sort();
    assert_eq!(records, ["29.json", "29.log"]);
    home.done(&["del", "29"]);
    assert_eq!(home.records(), Vec::<String>::new());
}
