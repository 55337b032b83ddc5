//! What is noted of disks, and what is said of them: whatever becomes of that, disks are served and deleted.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use pepita::io::ublk::Control;
use pepita::ublk::{UBLK_S_DEV_LIVE, UBLK_S_DEV_QUIESCED};
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::lifecycle::{Block, open_direct};
use super::{Home, both, ended, in_lab, pid_of, tool, until};

/// Runs a script in which the program has the directories of `home`.
fn shell(home: &Home, script: &str) -> Output {
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", script]);
    shell.env("PEPITA_RUN_DIR", home.path("")).output().unwrap()
}

#[test]
fn a_record_that_cannot_be_read_keeps_nobody_from_listing_and_deleting() {
    if !in_lab("a_record_that_cannot_be_read_keeps_nobody_from_listing_and_deleting") {
        return;
    }
    let home = Home::new();
    for id in ["31", "32"] {
        home.done(&["add", "-t", "null", "--size", "1MiB", "-n", id]);
    }
    fs::write(home.path("ublk/31.json"), "garbage").unwrap();
    let list = home.done(&["list"]);
    let disks = list["disks"].as_array().unwrap().iter();
    let disks: Vec<_> = disks
        .filter(|disk| disk["id"] == 31 || disk["id"] == 32)
        .collect();
    assert_eq!(disks.len(), 2, "{list}");
    assert!(
        disks[0]["target"].is_null() && !disks[1]["target"].is_null(),
        "{list}"
    );
    let refusal = home.refused(&["recover", "31"], 1);
    assert!(refusal.contains("31.json"), "{refusal}");
    home.done(&["del", "31", "32"]);
    assert_eq!(home.records(), Vec::<String>::new());
}

#[test]
fn a_disk_is_served_again_as_its_own_record_says_and_not_as_that_of_the_last_of_its_number() {
    let test =
        "a_disk_is_served_again_as_its_own_record_says_and_not_as_that_of_the_last_of_its_number";
    if !in_lab(test) {
        return;
    }
    let home = Home::new();
    let add = |image: &str| {
        tool(&format!("truncate --size 1M {image}"));
        let options = ["-n", "35", "--recovery", "plain"];
        home.done(&[&["add", "-t", "file", "--file", image], &options[..]].concat())
    };
    let record = home.path("ublk/35.json");
    add(&home.path("first.img"));
    let noted = fs::read(&record).unwrap();
    home.done(&["del", "35"]);
    let second = home.path("second.img");
    let disk = add(&second);
    let own = fs::read(&record).unwrap();
    fs::write(&record, noted).unwrap();
    kill_process(pid_of(&disk), Signal::KILL).unwrap();
    let control = Control::open().unwrap();
    until("the disk waits", || {
        control.info(35).unwrap().state == UBLK_S_DEV_QUIESCED
    });
    let refusal = home.refused(&["recover", "35"], 1);
    assert!(refusal.contains("another has its number"), "{refusal}");
    let listed = &home.done(&["list"])["disks"];
    let mut listed = listed.as_array().unwrap().iter();
    let listed = listed.find(|disk| disk["id"] == 35).unwrap();
    assert!(listed["target"].is_null(), "{listed}");

    fs::write(&record, own).unwrap();
    let disk = home.done(&["recover", "35"]);
    assert_eq!(disk["target"]["path"], Value::from(second));
    home.done(&["del", "35"]);
}

#[test]
fn records_are_where_a_path_leads_from_where_the_command_was_given() {
    if !in_lab("records_are_where_a_path_leads_from_where_the_command_was_given") {
        return;
    }
    let home = Home::new();
    let run = |args: &[&str]| {
        let mut command = home.ublk(args);
        let command = command.env("PEPITA_RUN_DIR", "mount/../run");
        let output = command.current_dir(home.path("")).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", both(&output));
    };
    run(&["add", "-t", "null", "--size", "1MiB", "-n", "31"]);
    assert!(Path::new(&home.path("run/ublk/31.json")).exists());
    run(&["del", "31"]);
    assert!(!Path::new(&home.path("run/ublk/31.json")).exists());
}

#[test]
fn who_serves_in_the_background_holds_nothing_of_who_has_asked() {
    if !in_lab("who_serves_in_the_background_holds_nothing_of_who_has_asked") {
        return;
    }
    let home = Home::new();
    let add = "add -t null --size 1MiB -n 33";
    let script = format!(
        "exec 9>{lock}; flock -n 9 && {pepita} ublk {add} && exec 9>&- && flock -n {lock} true",
        lock = home.path("lock"),
        pepita = env!("CARGO_BIN_EXE_pepita"),
    );
    let output = shell(&home, &script);
    home.done(&["del", "33"]);
    assert!(
        output.status.success(),
        "the lock is held: {}",
        both(&output)
    );
}

#[test]
fn a_disk_that_nobody_could_be_told_of_goes_if_it_is_new_and_stays_if_it_was_recovered() {
    let test =
        "a_disk_that_nobody_could_be_told_of_goes_if_it_is_new_and_stays_if_it_was_recovered";
    if !in_lab(test) {
        return;
    }
    let home = Home::new();
    let image = home.path("disk.img");
    tool(&format!("truncate --size 1M {image}"));
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let add = [
        "add",
        "-t",
        "file",
        "--file",
        &image,
        "-n",
        "34",
        "--recovery",
        "plain",
    ];
    let mut server = home.ublk(&[&add[..], &["--foreground"]].concat());
    let mut server = server.stdout(full()).spawn().unwrap();
    assert_eq!(ended("nobody is told", &mut server).code(), Some(1));
    assert!(!Path::new("/dev/ublkc34").exists());
    assert_eq!(home.records(), Vec::<String>::new());

    let disk = home.done(&add);
    kill_process(pid_of(&disk), Signal::KILL).unwrap();
    let state = || Control::open().unwrap().info(34).unwrap().state;
    until("the disk waits", || state() == UBLK_S_DEV_QUIESCED);
    let mut server = home.ublk(&["recover", "34", "--foreground"]);
    let mut server = server.stdout(full()).stdin(Stdio::null()).spawn().unwrap();
    until("the disk is served", || state() == UBLK_S_DEV_LIVE);
    let mut block = Block([1; 4096]);
    let reader = open_direct("/dev/ublkb34").unwrap();
    reader.read_exact_at(&mut block.0, 0).unwrap();
    assert_eq!(block.0, [0; 4096]);
    drop(reader);
    home.done(&["del", "34"]);
    assert!(ended("the server ends", &mut server).success());
    assert_eq!(home.records(), Vec::<String>::new());
}

#[test]
fn a_server_that_has_no_descriptor_left_leaves_no_device() {
    if !in_lab("a_server_that_has_no_descriptor_left_leaves_no_device") {
        return;
    }
    let home = Home::new();
    let mut outcomes = Vec::new();
    for descriptors in 9..=12 {
        let script = format!(
            "ulimit -n {descriptors}; exec {} ublk add -t null --size 1MiB -n 38 -q 2",
            env!("CARGO_BIN_EXE_pepita")
        );
        let output = shell(&home, &script);
        let is_there = Path::new("/dev/ublkc38").exists();
        println!("{descriptors} descriptors: {}", both(&output));
        if is_there {
            home.done(&["del", "38"]);
        }
        assert_eq!(
            is_there,
            output.status.success(),
            "{descriptors} descriptors"
        );
        outcomes.push(is_there);
    }
    assert!(outcomes.contains(&false), "{outcomes:?}");
    assert_eq!(home.records(), Vec::<String>::new());
}

#[test]
fn a_server_that_a_signal_ends_before_it_has_said_anything_is_told_of() {
    if !in_lab("a_server_that_a_signal_ends_before_it_has_said_anything_is_told_of") {
        return;
    }
    let home = Home::new();
    // It may write to no file, so the record ends it, by SIGXFSZ.
    let script = format!(
        "ulimit -f 0; exec {} ublk add -t null --size 1MiB -n 37",
        env!("CARGO_BIN_EXE_pepita")
    );
    let output = shell(&home, &script);
    let said = both(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("signal 25 has ended"), "{said}");
    let list = home.done(&["list"]);
    let mut disks = list["disks"].as_array().unwrap().iter();
    let left = disks.find(|disk| disk["id"] == 37).unwrap();
    assert_eq!(left["state"], "dead", "{list}");
    home.done(&["del", "37"]);
}
