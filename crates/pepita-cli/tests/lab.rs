//! What needs the lab's kernel: `pepita ublk`, with file systems on its disks.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Whether the test runs; says why not.
fn in_lab(test: &str) -> bool {
    let is_lab = std::env::var_os("PEPITA_LAB").is_some();
    if !is_lab {
        println!("SKIPPED: {test}: only in the lab");
    }
    is_lab
}

/// A directory for records, and one to mount at.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("mount")).unwrap();
        Self(home)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn ublk(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pepita"));
        command.env("PEPITA_RUN_DIR", self.0.path());
        command.args(["--json", "ublk"]).args(args);
        command
    }

    /// What the command printed, which succeeded.
    #[track_caller]
    fn done(&self, args: &[&str]) -> Value {
        let output = self.ublk(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", both(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What the command complained of.
    #[track_caller]
    fn refused(&self, args: &[&str], code: i32) -> String {
        let output = self.ublk(args).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}: {}",
            both(&output)
        );
        String::from_utf8(output.stderr).unwrap()
    }

    /// Names of what is left in the directory of records.
    fn records(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path().join("ublk")).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

fn both(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs a tool to its success.
#[track_caller]
fn tool(words: &str) -> String {
    let mut words = words.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", both(&output));
    both(&output)
}

fn pid_of(disk: &Value) -> Pid {
    let pid = disk["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    pid.and_then(Pid::from_raw).unwrap()
}

/// Waits until `holds`, for at most half a minute.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_running(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    status.is_ok_and(|status| !status.contains(") Z "))
}

#[test]
fn a_disk_is_made_listed_used_and_deleted() {
    if !in_lab("a_disk_is_made_listed_used_and_deleted") {
        return;
    }
    for kind in ["ram", "zram"] {
        make_list_use_and_delete(kind);
    }
}

#[track_caller]
fn make_list_use_and_delete(kind: &str) {
    let home = Home::new();
    let disk = home.done(&["add", "-t", kind, "--size", "64MiB", "-q", "2"]);
    let (path, id) = (disk["path"].as_str().unwrap(), disk["id"].to_string());
    let listed = &home.done(&["list"])["disks"][0];
    assert_eq!(
        (&listed["id"], &listed["state"]),
        (&disk["id"], &Value::from("live"))
    );
    assert_eq!(
        (&listed["bytes"], &listed["queues"]),
        (&(64 << 20).into(), &2.into())
    );
    assert_eq!(
        (&listed["pid"], &listed["target"]["type"]),
        (&disk["pid"], &kind.into())
    );

    tool(&format!("mkfs.ext4 -q {path}"));
    let mount = home.path("mount");
    tool(&format!("mount {path} {mount}"));
    fs::write(Path::new(&mount).join("a"), vec![7; 1 << 20]).unwrap();
    let refusal = home.refused(&["del", &id], 1);
    assert!(refusal.contains("is in use: mounted at"), "{refusal}");
    tool(&format!("umount {mount}"));
    tool(&format!("e2fsck -fn {path}"));

    assert_eq!(
        home.done(&["del", &id])["deleted"],
        Value::from(vec![disk["id"].clone()])
    );
    assert!(!Path::new(path).exists());
    until("the server ends", || !is_running(pid_of(&disk)));
    assert_eq!(home.records(), Vec::<String>::new());
    assert_eq!(
        home.done(&["list"])["disks"],
        Value::from(Vec::<Value>::new())
    );
}

#[test]
fn a_file_system_goes_on_when_its_disks_server_was_killed() {
    if !in_lab("a_file_system_goes_on_when_its_disks_server_was_killed") {
        return;
    }
    let home = Home::new();
    let (file, mount) = (home.path("disk.img"), home.path("mount"));
    tool(&format!("truncate --size 64M {file}"));
    let added = [
        "add",
        "-t",
        "file",
        "--file",
        &file,
        "--recovery",
        "reissue",
        "-n",
        "5",
    ];
    let mut disk = home.done(&added);
    tool("mkfs.ext4 -q /dev/ublkb5");
    tool(&format!("mount /dev/ublkb5 {mount}"));
    let rounds = if std::env::var("PEPITA_TEST_SET").as_deref() == Ok("full") {
        10
    } else {
        2
    };
    for round in 0..rounds {
        let script =
            format!("for i in $(seq 50); do echo {round} > {mount}/{round}.$i; sync; done");
        let mut writer: Child = Command::new("sh").args(["-c", &script]).spawn().unwrap();
        let begun = Path::new(&mount).join(format!("{round}.3"));
        until("some files are there", || begun.exists());
        kill_process(pid_of(&disk), Signal::KILL).unwrap();
        until("the disk waits", || {
            home.done(&["list"])["disks"][0]["state"] == "waiting"
        });
        disk = home.done(&["recover", "5"]);
        assert!(writer.wait().unwrap().success());
    }
    tool(&format!("umount {mount}"));
    tool("e2fsck -fn /dev/ublkb5");
    tool(&format!("mount /dev/ublkb5 {mount}"));
    for name in (0..rounds).flat_map(|round| (1..=50).map(move |i| (round, i))) {
        let text = fs::read_to_string(Path::new(&mount).join(format!("{}.{}", name.0, name.1)));
        assert_eq!(text.unwrap(), format!("{}\n", name.0));
    }
    tool(&format!("umount {mount}"));
    home.done(&["del", "5"]);
}

#[test]
fn a_disk_that_is_served_in_the_foreground_ends_when_asked() {
    if !in_lab("a_disk_that_is_served_in_the_foreground_ends_when_asked") {
        return;
    }
    let home = Home::new();
    let mut command = home.ublk(&[
        "add",
        "-t",
        "null",
        "--size",
        "1GiB",
        "--foreground",
        "-n",
        "6",
    ]);
    let mut server = command.stdout(Stdio::piped()).spawn().unwrap();
    until("the disk is there", || Path::new("/dev/ublkb6").exists());
    until("it is noted", || home.records() == ["6.json"]);
    kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
    assert!(server.wait().unwrap().success());
    assert!(!Path::new("/dev/ublkb6").exists());
    assert_eq!(home.records(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_served_says_why_and_leaves_no_disk() {
    if !in_lab("what_cannot_be_served_says_why_and_leaves_no_disk") {
        return;
    }
    let home = Home::new();
    home.done(&["add", "-t", "null", "--size", "1MiB", "-n", "7"]);
    let small = home.path("small");
    tool(&format!("truncate --size 1M {small}"));
    for (args, code, reason) in [
        (
            &["add", "-t", "null", "--size", "1MiB", "-n", "7"][..],
            1,
            "there is a ublk device 7",
        ),
        (
            &["add", "-t", "file", "--file", "/no/such"],
            1,
            "there is no file /no/such",
        ),
        (
            &["add", "-t", "file", "--file", &small, "--size", "2MiB"],
            1,
            "has 1 MiB, 2 MiB are asked for",
        ),
        (&["add", "-t", "ram"], 2, "needs a size"),
        (
            &["add", "-t", "ram", "--size", "1MiB", "--recovery", "plain"],
            2,
            "leave out --recovery",
        ),
        (
            &["add", "-t", "ram", "--size", "1MiB", "-d", "5000"],
            2,
            "5000",
        ),
        (&["recover", "8"], 1, "nothing is noted of a disk 8"),
        (&["recover", "7"], 1, "ublk device 7"),
        (&["del", "8"], 1, "there is no ublk device 8"),
    ] {
        let refusal = home.refused(args, code);
        assert!(refusal.contains(reason), "{args:?}: {refusal}");
    }
    let disks = home.done(&["list"])["disks"].as_array().unwrap().len();
    assert_eq!(disks, 1);
    home.done(&["del", "--all"]);
}
