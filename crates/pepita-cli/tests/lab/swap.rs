//! Swap on a disk that is memory of its server.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde_json::Value;

use super::targets::path_of;
use super::zram::{numbers, said};
use super::{Home, both, ended, in_lab, is_full, pid_of, tool};

/// The variable that makes the test the program that is swapped: MiB that it uses, seconds for which it goes through
/// them.
const HUNGRY: &str = "PEPITA_LAB_UBLK_SWAPPED";

/// Where its memory is limited.
const CGROUP: &str = "/sys/fs/cgroup/swapped";

const TEST: &str = "swap::a_program_that_is_swapped_to_a_disk_finds_its_memory_as_it_was";

const PAGE_WORDS: usize = 512;

type Page = [u64; PAGE_WORDS];

/// What the pages are made from: words that have much in common, and words that have nothing in common.
struct Patterns {
    alike: Page,
    noise: Page,
}

impl Patterns {
    fn new() -> Self {
        Self {
            alike: std::array::from_fn(|at| (at as u64) << 8),
            noise: std::array::from_fn(|at| (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        }
    }

    /// Page `number`, as pass `pass` leaves it: of eight pages one is of one word, two are noise, and one is like seven
    /// others. Each sector has the numbers.
    fn page(&self, number: usize, pass: usize) -> Page {
        let marked = |number| ((number << 32) + pass) as u64 ^ 0x9e37_79b9_7f4a_7c15;
        let (mut page, mark) = match number % 8 {
            0 => return [marked(number); PAGE_WORDS],
            1 | 2 => (self.noise, marked(number)),
            3 => (self.alike, marked(number / 64)),
            _ => (self.alike, marked(number)),
        };
        for sector in 0..8 {
            page[sector * 64] = mark;
        }
        page
    }
}

/// In the process that the test has made: writes memory, and looks at it again, once at least. Says how often.
fn be_swapped(asked: &str) {
    let (mebibytes, seconds) = asked.split_once(' ').unwrap();
    let pages = mebibytes.parse::<usize>().unwrap() * 256;
    let limit = Duration::from_secs(seconds.parse().unwrap());
    fs::write(
        Path::new(CGROUP).join("cgroup.procs"),
        std::process::id().to_string(),
    )
    .unwrap();
    let patterns = Patterns::new();
    let mut memory: Vec<Page> = (0..pages).map(|at| patterns.page(at, 0)).collect();
    let (begin, mut passes) = (Instant::now(), 0);
    while passes < 1 || begin.elapsed() < limit {
        for (number, page) in black_box(&mut memory).iter_mut().enumerate() {
            let is_right = *page == patterns.page(number, passes);
            assert!(is_right, "page {number} after {passes} passes");
            *page = patterns.page(number, passes + 1);
        }
        passes += 1;
    }
    println!("{PASSES}{passes}");
}

/// What the program says before how often it has looked.
const PASSES: &str = "passes: ";

/// Count of `name` in the kernel's statistics of memory.
fn counted(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/vmstat").unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap().parse().unwrap()
}

/// Runs the program, with `limit` MiB of memory, and says how often it looked at the `mebibytes` that it uses.
fn swapped(limit: u64, mebibytes: u64, seconds: u64) -> u64 {
    fs::create_dir(CGROUP).unwrap();
    // At half of it the kernel makes the program wait. With the limit alone it may be killed: pages on their way to a
    // disk that is slow count, until they are there.
    for (name, mebibytes) in [("memory.max", limit), ("memory.high", limit / 2)] {
        fs::write(Path::new(CGROUP).join(name), format!("{mebibytes}M")).unwrap();
    }
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(HUNGRY, format!("{mebibytes} {seconds}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let status = ended("the program ends", &mut program);
    fs::remove_dir(CGROUP).unwrap();
    assert!(status.success(), "{status}");
    let said = std::io::read_to_string(program.stdout.unwrap()).unwrap();
    let passes = said.lines().find_map(|line| line.strip_prefix(PASSES));
    passes.unwrap().parse().unwrap()
}

#[test]
fn a_program_that_is_swapped_to_a_disk_finds_its_memory_as_it_was() {
    if !in_lab("a_program_that_is_swapped_to_a_disk_finds_its_memory_as_it_was") {
        return;
    }
    if let Ok(asked) = std::env::var(HUNGRY) {
        return be_swapped(&asked);
    }
    // MiB of memory, MiB that are used, seconds.
    let all = match is_full() {
        true => [("ram", (48, 128, 60)), ("zram", (24, 48, 60))],
        false => [("ram", (16, 20, 0)), ("zram", (16, 20, 10))],
    };
    for (kind, (limit, mebibytes, seconds)) in all {
        let home = Home::new();
        let disk = home.done(&["add", "-t", kind, "--size", "512MiB", "-q", "2", "--swap"]);
        let path = path_of(&disk);
        tool(&format!("mkswap {path}"));
        tool(&format!("swapon {path}"));
        let before = [counted("pswpout"), counted("pswpin")];
        let passes = swapped(limit, mebibytes, seconds);
        let [out, back] = [
            counted("pswpout") - before[0],
            counted("pswpin") - before[1],
        ];
        println!("{kind}: {out} pages went to the disk, {back} came back, in {passes} passes");
        // What is beyond what it may have goes and comes in each pass.
        let beyond = (mebibytes - limit / 2) * 256;
        assert!(out >= beyond * (passes + 1) / 2 && back >= beyond * passes / 2);
        if kind == "zram" {
            nothing_failed(&home, path);
        }
        let refusal = home.refused(&["del", &disk["id"].to_string()], 1);
        assert!(refusal.contains("is in use: swap"), "{refusal}");
        tool(&format!("swapoff {path}"));
        home.done(&["del", &disk["id"].to_string()]);
    }
}

/// The zram disk has stored what it was given, and compressed it.
fn nothing_failed(home: &Home, path: &str) {
    let name = path.strip_prefix("/dev/").unwrap();
    let stat = |line| numbers(&said(home, &["stat", name, "--raw", line]));
    let (io, mm) = (stat("io_stat"), stat("mm_stat"));
    println!("io_stat: {io:?}, mm_stat: {mm:?}");
    assert_eq!(io[..2], [0, 0], "reads and writes that failed");
    assert!(mm[2] < mm[0], "memory is less than what is stored");
}

/// Flags of a thread that asks for memory without waiting for input and output: `PF_MEMALLOC_NOIO` and
/// `PF_LOCAL_THROTTLE`. `include/linux/sched.h`, v6.12
const IO_FLUSHER: u64 = 0x0008_0000 | 0x0010_0000;

/// Names and flags of the threads of `pid`. proc_pid_stat(5)
fn threads_of(pid: Pid) -> Vec<(String, u64)> {
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
    let stats = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")));
    let of_stat = |stat: String| {
        let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(") ").unwrap();
        let flags = rest.split(' ').nth(6).unwrap();
        (name.to_owned(), flags.parse().unwrap())
    };
    stats.flatten().map(of_stat).collect()
}

#[test]
fn swap_is_served_by_locked_memory_and_threads_that_do_not_wait_for_it() {
    if !in_lab("swap_is_served_by_locked_memory_and_threads_that_do_not_wait_for_it") {
        return;
    }
    let home = Home::new();
    let disk = home.add("-t ram --size 64MiB -q 2 --swap");
    let (path, id) = (disk["path"].as_str().unwrap(), disk["id"].to_string());
    let pid = pid_of(&disk);
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    };
    let (locked, resident) = (kib("VmLck:"), kib("VmRSS:"));
    println!("locked: {locked} KiB, resident: {resident} KiB");
    // The memory of 2 queues of 64 requests of 512 KiB is part of it.
    assert!(resident > 64 << 10 && locked >= resident, "{status}");
    let threads = threads_of(pid);
    let queues = threads.iter().filter(|(name, _)| name.starts_with("ublk"));
    assert_eq!(queues.clone().count(), 2, "{threads:?}");
    for (name, flags) in queues {
        println!("{name}: flags {flags:#x}");
        assert_eq!(flags & IO_FLUSHER, IO_FLUSHER, "{name}");
    }
    tool(&format!("mkswap {path}"));
    tool(&format!("swapon {path}"));
    let swaps = fs::read_to_string("/proc/swaps").unwrap();
    assert!(swaps.contains(path), "{swaps}");
    let refusal = home.refused(&["del", &id], 1);
    assert!(refusal.contains("is in use: swap"), "{refusal}");
    tool(&format!("swapoff {path}"));
    home.done(&["del", &id]);

    let plain = home.add("-t null --size 1MiB");
    let threads = threads_of(pid_of(&plain));
    assert!(
        threads.iter().all(|(_, flags)| flags & IO_FLUSHER == 0),
        "{threads:?}"
    );
    home.done(&["del", &plain["id"].to_string()]);
}

#[test]
fn a_server_of_swap_without_the_rights_says_which() {
    if !in_lab("a_server_of_swap_without_the_rights_says_which") {
        return;
    }
    let home = Home::new();
    for (tool, rights, reason) in [
        (
            "setpriv",
            &["--bounding-set=-sys_resource"][..],
            "CAP_SYS_RESOURCE",
        ),
        (
            "prlimit",
            &["--memlock=65536", "setpriv", "--bounding-set=-ipc_lock"],
            "RLIMIT_MEMLOCK is 65536",
        ),
    ] {
        let pepita = home.ublk(&["add", "-t", "ram", "--size", "1MiB", "--swap"]);
        let mut command = Command::new(tool);
        command
            .args(rights)
            .arg(pepita.get_program())
            .args(pepita.get_args());
        let output = command
            .env("PEPITA_RUN_DIR", home.0.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", both(&output));
        let refusal = String::from_utf8_lossy(&output.stderr);
        println!("{refusal}");
        assert!(refusal.contains(reason), "{refusal}");
    }
    assert_eq!(
        home.done(&["list"])["disks"],
        Value::from(Vec::<Value>::new())
    );
}
