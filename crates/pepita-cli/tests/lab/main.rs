//! What needs the lab's kernel: `pepita ublk`, with file systems on its disks.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod composed;
mod file_systems;
mod hangs;
mod kills;
mod lifecycle;
mod load;
mod notes;
mod swap;
mod targets;
mod unprivileged;
mod users;
mod zoned;
mod zram;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// The lab's scratch disk.
const DISK: &str = "/dev/vda";

/// Whether the test runs; says why not.
fn in_lab(test: &str) -> bool {
    let is_lab = std::env::var_os("PEPITA_LAB").is_some();
    if !is_lab {
        println!("SKIPPED: {test}: only in the lab");
    }
    is_lab
}

/// Whether the long counts are asked for.
fn is_full() -> bool {
    std::env::var("PEPITA_TEST_SET").as_deref() == Ok("full")
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

    /// The end of the command, which comes within a limited time, and the little that it printed.
    #[track_caller]
    fn output(&self, args: &[&str]) -> Output {
        let mut command = self.ublk(args);
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        ended(&format!("{args:?} returns"), &mut child);
        // Who serves in the background has let go of both.
        child.wait_with_output().unwrap()
    }

    /// What the command printed, which succeeded.
    #[track_caller]
    fn done(&self, args: &[&str]) -> Value {
        let output = self.output(args);
        assert!(output.status.success(), "{args:?}: {}", both(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What `add` with `words` has made.
    #[track_caller]
    fn add(&self, words: &str) -> Value {
        let args: Vec<&str> = ["add"].into_iter().chain(words.split(' ')).collect();
        self.done(&args)
    }

    /// What the command complained of.
    #[track_caller]
    fn refused(&self, args: &[&str], code: i32) -> String {
        let output = self.output(args);
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

impl Drop for Home {
    /// What a failed test leaves is not the next one's.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let list = self.ublk(&["list"]).output();
        let list = list.map(|output| serde_json::from_slice(&output.stdout));
        let list: Value = list.unwrap_or(Ok(Value::Null)).unwrap_or(Value::Null);
        for disk in list["disks"].as_array().into_iter().flatten() {
            let pid = disk["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
            if let Some(pid) = pid.and_then(Pid::from_raw) {
                println!("left: {disk}: {:?}", kill_process(pid, Signal::KILL));
            }
        }
        let deleted = self.ublk(&["del", "--all", "--force"]).output();
        println!("deleted: {:?}", deleted.map(|output| both(&output)));
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

/// More than anything bounded takes, on a slow emulator.
const PATIENCE: Duration = Duration::from_secs(240);

/// Waits until `holds`, for a limited time.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        if begin.elapsed() > PATIENCE {
            // Who is stuck stands in the kernel's log then.
            let _ = fs::write("/proc/sysrq-trigger", "w");
            panic!("never: {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The end of `child`, which comes within a limited time.
#[track_caller]
fn ended(what: &str, child: &mut Child) -> ExitStatus {
    let mut status = None;
    until(what, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
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
    let rounds = if is_full() { 10 } else { 2 };
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

/// Commands that are refused, their exit codes, and what they say; files are in the test's directory.
const REFUSED: &[(&[&str], i32, &str)] = &[
    (
        &["add", "-t", "null", "--size", "1MiB", "-n", "7"],
        1,
        "there is a ublk device 7",
    ),
    (
        &["add", "-t", "file", "--file", "/no/such"],
        1,
        "there is no file /no/such",
    ),
    (
        &["add", "-t", "file", "--file", "./small", "--size", "2MiB"],
        1,
        "has 1 MiB, 2 MiB are asked for",
    ),
    (&["add", "-t", "ram"], 2, "needs a size"),
    (
        &["add", "-t", "stripe", "--file", "./small"],
        2,
        "needs its members",
    ),
    (
        &[
            "add", "-t", "stripe", "--file", "./small", "--file", "./small",
        ],
        2,
        "is a member twice",
    ),
    (
        &[
            "add", "-t", "stripe", "--file", "./small", "--file", "./link",
        ],
        2,
        "is a member twice",
    ),
    (
        &["add", "-t", "file", "--file", "./empty"],
        1,
        "is too small for a disk",
    ),
    (
        &["add", "-t", "fault", "--file", "./small"],
        2,
        "needs a plan",
    ),
    (
        &[
            "add",
            "-t",
            "fault",
            "--file",
            "./small",
            "--plan",
            "read eror=EIO",
        ],
        2,
        "at byte 5 of the plan, `eror=EIO`",
    ),
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
    (
        &[
            "add", "-t", "null", "--size", "1MiB", "-d", "4096", "--max-io", "32MiB",
        ],
        1,
        "137438953472 bytes",
    ),
    (&["recover", "8"], 1, "nothing is noted of a disk 8"),
    (&["recover", "7"], 1, "was made without recovery"),
    (&["del", "8"], 1, "there is no ublk device 8"),
    (
        &["add", "-t", "null", "--size", "1MiB", "-n", "1048576"],
        2,
        "the id is 1048576",
    ),
];

#[test]
fn what_cannot_be_served_says_why_and_leaves_no_disk() {
    if !in_lab("what_cannot_be_served_says_why_and_leaves_no_disk") {
        return;
    }
    let home = Home::new();
    home.add("-t null --size 1MiB -n 7");
    let small = home.path("small");
    tool(&format!("truncate --size 1M {small}"));
    let (link, empty) = (home.path("link"), home.path("empty"));
    fs::hard_link(&small, &link).unwrap();
    tool(&format!("truncate --size 511 {empty}"));
    for (args, code, reason) in REFUSED {
        let args: Vec<String> = args
            .iter()
            .map(|word| {
                word.strip_prefix("./")
                    .map_or((*word).to_owned(), |name| home.path(name))
            })
            .collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let refusal = home.refused(&args, *code);
        assert!(refusal.contains(reason), "{args:?}: {refusal}");
    }
    let disks = home.done(&["list"])["disks"].as_array().unwrap().len();
    assert_eq!(disks, 1);
    home.done(&["del", "--all"]);
}
