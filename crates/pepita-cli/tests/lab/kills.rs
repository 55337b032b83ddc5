//! Servers that are killed or stopped under load, again and again.

use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::process::Stdio;
use std::time::{Duration, Instant};

use pepita::io::ublk::Control;
use pepita::ublk::UBLK_S_DEV_QUIESCED;
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::load::{DEPTH, Load};
use super::targets::Kind;
use super::{Home, both, in_lab, is_full, pid_of, until};

/// The disk of these tests.
const ID: u32 = 21;
const PATH: &str = "/dev/ublkb21";

/// Places where rounds write, in turn.
const PLACES: usize = 4;

/// What each of two jobs writes in a round.
const JOB_KIBIBYTES: u64 = 2 << 10;

#[test]
fn nothing_acknowledged_is_lost_when_servers_are_killed_under_load() {
    if in_lab("nothing_acknowledged_is_lost_when_servers_are_killed_under_load") {
        kill_again_and_again("plain", "disk", "user", if is_full() { 25 } else { 1 });
    }
}

#[test]
fn no_request_fails_when_servers_are_killed_and_the_next_get_them_again() {
    if in_lab("no_request_fails_when_servers_are_killed_and_the_next_get_them_again") {
        kill_again_and_again("reissue", "file", "driver", if is_full() { 25 } else { 2 });
    }
}

/// The driver of Linux 6.12 lets nobody have a disk whose next server was killed before all its queues had fetched.
#[test]
fn a_server_that_is_killed_while_it_takes_over_leaves_a_disk_to_be_recovered_or_deleted() {
    let test =
        "a_server_that_is_killed_while_it_takes_over_leaves_a_disk_to_be_recovered_or_deleted";
    if !in_lab(test) {
        return;
    }
    let home = Home::new();
    let kind = Kind {
        target: "file",
        copy: "driver",
    };
    let control = Control::open().unwrap();
    let state = || control.info(ID).map(|info| info.state);
    let add = || home.disk(kind, 64, &["--recovery", "reissue", "-n", "21"]);
    let mut disk = add();
    let (mut recovered, mut deleted) = (0, 0);
    let rounds = if is_full() { 18 } else { 6 };
    let mut whole = Duration::ZERO;
    for round in 0..rounds {
        kill_process(pid_of(&disk), Signal::KILL).unwrap();
        until("the disk waits", || state() == Ok(UBLK_S_DEV_QUIESCED));
        // The next is killed sooner or later on the way that the last one went.
        let mut next = home.ublk(&["recover", "21", "--foreground"]);
        let next = next.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut next = next.unwrap();
        std::thread::sleep(whole * (round % 6) / 5);
        next.kill().unwrap();
        next.wait().unwrap();
        until("the disk waits", || state() == Ok(UBLK_S_DEV_QUIESCED));
        let begun = Instant::now();
        let mut output = home.output(&["recover", "21"]);
        whole = begun.elapsed();
        until("what was killed is gone", || {
            let is_busy = both(&output).contains("try again");
            if is_busy {
                output = home.output(&["recover", "21"]);
            }
            !is_busy
        });
        if output.status.success() {
            recovered += 1;
            disk = serde_json::from_slice(&output.stdout).unwrap();
        } else {
            let refusal = both(&output);
            assert!(refusal.contains("delete the device"), "{refusal}");
            home.done(&["del", "21"]);
            deleted += 1;
            disk = add();
        }
    }
    println!("{recovered} disks recovered, {deleted} deleted");
    home.done(&["del", "21"]);
}

#[test]
fn a_server_that_stood_still_under_load_goes_on_and_no_request_fails() {
    if !in_lab("a_server_that_stood_still_under_load_goes_on_and_no_request_fails") {
        return;
    }
    let home = Home::new();
    let kind = Kind {
        target: "file",
        copy: "driver",
    };
    let disk = home.disk(kind, 64, &["-n", "21"]);
    let load = Load {
        path: PATH,
        first_kibibyte: 0,
        kibibytes: JOB_KIBIBYTES,
        options: &["--rw=randwrite", "--bssplit=4k/80:16k", "--loops=4"],
    };
    let mut running = load.run(&home);
    for round in 1..=3 {
        let enough = completed() + 100 * round;
        until("there is load", || {
            assert!(running.is_running(), "the load was over before {round}");
            completed() >= enough
        });
        kill_process(pid_of(&disk), Signal::STOP).unwrap();
        let mut last = completed();
        until("nothing ends any more", || {
            let before = std::mem::replace(&mut last, completed());
            before == last
        });
        kill_process(pid_of(&disk), Signal::CONT).unwrap();
    }
    for job in running.report() {
        assert_eq!(job["error"], 0, "{job}");
    }
    home.done(&["del", "21"]);
}

#[track_caller]
fn kill_again_and_again(recovery: &str, target: &'static str, copy: &'static str, rounds: usize) {
    let home = Home::new();
    let options = ["--recovery", recovery, "-n", "21"];
    let mut disk = home.disk(Kind { target, copy }, 64, &options);
    let mut sums = [None; PLACES];
    for round in 0..rounds {
        let failed = kill_under_load(&home, &mut disk, recovery, round);
        println!("{recovery}: round {round}: {failed} requests failed");
        sums[round % PLACES] = Some(sum(round));
        // Nobody else writes there until its turn comes again.
        let next = round + 1;
        let before = sums[next % PLACES];
        assert!(before.is_none_or(|before| before == sum(next)), "{round}");
    }
    home.done(&["del", "21"]);
}

/// One round: returns how many requests failed.
#[track_caller]
fn kill_under_load(home: &Home, disk: &mut Value, recovery: &str, round: usize) -> u64 {
    let seed = format!("--randseed={}", round + 1);
    let load = Load {
        path: PATH,
        first_kibibyte: place(round),
        kibibytes: JOB_KIBIBYTES,
        options: &[
            "--rw=randwrite",
            "--bssplit=4k/80:16k",
            "--continue_on_error=io",
            &seed,
        ],
    };
    let begun = completed();
    let mut running = load.run(home);
    // While it writes, or while it reads what it wrote.
    let enough = begun + 20 + round as u64 * 97 % 600;
    until("there is load", || {
        assert!(
            running.is_running(),
            "the load was over before the kill of round {round}"
        );
        completed() >= enough
    });
    kill_process(pid_of(disk), Signal::KILL).unwrap();
    let control = Control::open().unwrap();
    until("the disk waits", || {
        control.info(ID).unwrap().state == UBLK_S_DEV_QUIESCED
    });
    *disk = home.done(&["recover", "21"]);

    let jobs = running.report();
    let failed = jobs.iter().map(|job| job["total_err"].as_u64().unwrap());
    let failed = failed.sum();
    // With `plain`, what the server had is an error; what was not acknowledged may be there or not.
    let most = if recovery == "plain" { 2 * DEPTH } else { 0 };
    assert!(failed <= most, "round {round}: {failed} failed");
    failed
}

/// Count of requests of the disk that have ended, or were merged with others.
fn completed() -> u64 {
    let stat = fs::read_to_string("/sys/block/ublkb21/stat").unwrap();
    let words: Vec<u64> = stat
        .split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect();
    words[0] + words[1] + words[4] + words[5]
}

/// Where a round writes, in KiB.
fn place(round: usize) -> u64 {
    (round % PLACES) as u64 * 2 * JOB_KIBIBYTES
}

/// A checksum of what a round has written.
fn sum(round: usize) -> u64 {
    let mut file = File::open(PATH).unwrap();
    file.seek(SeekFrom::Start(place(round) << 10)).unwrap();
    let mut written = file.take((2 * JOB_KIBIBYTES) << 10);
    let (mut sum, mut word) = (0_u64, [0; 8]);
    let mut words = BufReader::new(&mut written);
    while words.read_exact(&mut word).is_ok() {
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x100_0000_01b3);
        sum = sum.rotate_left(29);
    }
    assert_eq!(written.limit(), 0, "all of it was read");
    sum
}
