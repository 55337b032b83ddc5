//! `pepita zram stat` of a disk that is served, and of the kernel's own.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

use super::{Home, both, in_lab, tool, until};

fn zram(home: &Home, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pepita"));
    command.env("PEPITA_RUN_DIR", home.0.path()).arg("zram");
    command.args(args).output().unwrap()
}

/// What `pepita zram` prints.
#[track_caller]
pub(super) fn said(home: &Home, args: &[&str]) -> String {
    let output = zram(home, args);
    assert!(output.status.success(), "{args:?}: {}", both(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Numbers of a line of statistics.
pub(super) fn numbers(line: &str) -> Vec<u64> {
    line.split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect()
}

/// A disk of the kernel's, of 64 MiB.
struct Kernel {
    name: String,
}

impl Kernel {
    fn new() -> Self {
        let number = fs::read_to_string("/sys/class/zram-control/hot_add").unwrap();
        let kernel = Self {
            name: format!("zram{}", number.trim()),
        };
        fs::write(kernel.file("disksize"), "64M").unwrap();
        fs::write(kernel.file("mem_limit"), "32M").unwrap();
        kernel
    }

    fn file(&self, name: &str) -> String {
        format!("/sys/block/{}/{name}", self.name)
    }

    fn remove(self) {
        fs::write(self.file("reset"), "1").unwrap();
        let number = self.name.strip_prefix("zram").unwrap();
        fs::write("/sys/class/zram-control/hot_remove", number).unwrap();
    }
}

#[test]
fn the_program_tries_its_compressed_memory_beside_the_kernels_and_leaves_nothing() {
    let test = "the_program_tries_its_compressed_memory_beside_the_kernels_and_leaves_nothing";
    if !in_lab(test) {
        return;
    }
    let disks = || {
        let entries = fs::read_dir("/sys/block").unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = disks();
    let mut selftest = Command::new(env!("CARGO_BIN_EXE_pepita"));
    let output = selftest.args(["--json", "selftest", "zram"]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", both(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (failed, not_here) = (&report["failed"], &report["not_here"]);
    assert_eq!((failed, not_here), (&0.into(), &0.into()), "{report}");
    for bench in report["benches"].as_array().unwrap() {
        println!("{bench}");
        assert!(bench["value"].as_f64() > Some(0.0), "{bench}");
    }
    assert_eq!(disks(), before);
}

#[test]
fn what_a_zram_disk_holds_is_told_as_the_kernel_tells_of_its_own() {
    if !in_lab("what_a_zram_disk_holds_is_told_as_the_kernel_tells_of_its_own") {
        return;
    }
    let (home, kernel) = (Home::new(), Kernel::new());
    let disk = home.add("-t zram --size 64MiB --mem-limit 32MiB");
    let path = disk["path"].as_str().unwrap();
    let name = path.strip_prefix("/dev/").unwrap();
    // A program, and a page that repeats.
    let image = home.path("image");
    let mut bytes = fs::read("/proc/self/exe").unwrap();
    bytes.truncate(2 << 20);
    bytes.extend([7; 4096]);
    fs::write(&image, &bytes).unwrap();
    for path in [path, &format!("/dev/{}", kernel.name)] {
        tool(&format!(
            "dd if={image} of={path} bs=1M oflag=direct conv=fsync status=none"
        ));
    }
    compare_lines(&home, name, &kernel, bytes.len() as u64);
    let all: Value = serde_json::from_str(&said(&home, &["--json", "stat"])).unwrap();
    let disks = all["disks"].as_array().unwrap();
    let named: Vec<_> = disks.iter().map(|of| &of["disk"]).collect();
    assert_eq!(named, [name, &kernel.name]);
    let table = said(&home, &["stat", path]);
    assert!(
        table.starts_with(&format!("{path}: 64 MiB, lz4\n")),
        "{table}"
    );
    println!("{table}");
    kernel.remove();
    home.done(&["del", &disk["id"].to_string()]);
    until("the server has taken its socket away", || {
        home.records().is_empty()
    });
    assert!(!zram(&home, &["stat", name]).status.success());
}

/// After the same writes.
#[track_caller]
fn compare_lines(home: &Home, name: &str, kernel: &Kernel, written: u64) {
    for line in ["mm_stat", "io_stat", "bd_stat"] {
        let ours = said(home, &["stat", name, "--raw", line]);
        let Ok(theirs) = fs::read_to_string(kernel.file(line)) else {
            assert_eq!(line, "bd_stat", "a kernel without write-back");
            continue;
        };
        assert_eq!(said(home, &["stat", &kernel.name, "--raw", line]), theirs);
        let (ours, theirs) = (numbers(&ours), numbers(&theirs));
        assert_eq!(ours.len(), theirs.len(), "{line}");
        if line == "mm_stat" {
            // Bytes that are stored, the limit, pages that repeat 8 bytes.
            assert_eq!(ours[0], written);
            for at in [0, 3, 5] {
                assert_eq!(ours[at], theirs[at], "{at} of {line}");
            }
            assert!(ours[1] > 0 && ours[1] < ours[0], "{ours:?}");
        }
    }
}
