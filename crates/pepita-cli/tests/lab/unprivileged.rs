//! Disks of users without rights.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use super::{Home, both, in_lab};

/// The user and the group of an unprivileged server.
const NOBODY: u32 = 65534;

/// `command`, run by a user without rights.
fn by_nobody(command: &Command) -> Command {
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    nobody.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        nobody.env(name, value.unwrap());
    }
    nobody
}

/// Gives the nodes of the disk `id` to who made it, as a rule of udev does, until `stop`.
fn give_away(home: &Home, id: u32, stop: &std::sync::atomic::AtomicBool) {
    use std::os::unix::fs::{MetadataExt as _, chown};
    while !stop.load(std::sync::atomic::Ordering::SeqCst) {
        for node in [format!("/dev/ublkc{id}"), format!("/dev/ublkb{id}")] {
            if fs::metadata(&node).is_ok_and(|node| node.uid() == 0) {
                let output = home.ublk(&["owner", &id.to_string()]).output().unwrap();
                let text = String::from_utf8(output.stdout).unwrap();
                let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
                let [uid, gid] = [(); 2].map(|()| numbers.next().flatten());
                if uid.is_some() {
                    chown(&node, uid, gid).unwrap();
                }
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sets what it has when the test is over, also by a panic.
struct AtEnd<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

fn keeps_data(path: &str) {
    use std::os::unix::fs::FileExt as _;
    let mut open = fs::File::options();
    let open = open.read(true).write(true).open(path).unwrap();
    open.write_all_at(&[7; 65536], 1 << 20).unwrap();
    open.sync_all().unwrap();
    let mut bytes = [0; 65536];
    open.read_exact_at(&mut bytes, 1 << 20).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 7));
}

#[test]
fn a_user_without_rights_makes_a_disk_where_udev_gives_it_away() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    if !in_lab("a_user_without_rights_makes_a_disk_where_udev_gives_it_away") {
        return;
    }
    let home = Home::new();
    chown(home.0.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let add = |more: &[&str]| {
        let add = ["add", "-t", "ram", "--size", "8MiB", "-n", "21", "-q", "2"];
        by_nobody(&home.ublk(&[&add[..], more].concat()))
            .output()
            .unwrap()
    };
    let told = |output: &Output, reason: &str| {
        println!("{}", both(output));
        assert_eq!(output.status.code(), Some(1));
        assert!(both(output).contains(reason), "{reason}: {}", both(output));
    };
    let copied = ["add", "-t", "ram", "--size", "1MiB", "--unprivileged"];
    let refusal = home.refused(&[&copied[..], &["--copy", "user"]].concat(), 2);
    assert!(refusal.contains("leave out --copy"), "{refusal}");
    let control = "/dev/ublk-control";
    let before = fs::metadata(control).unwrap().permissions();
    fs::set_permissions(control, fs::Permissions::from_mode(0o600)).unwrap();
    told(&add(&["--unprivileged"]), "open /dev/ublk-control: EACCES");
    fs::set_permissions(control, fs::Permissions::from_mode(0o666)).unwrap();
    told(&add(&[]), "UBLK_CMD_ADD_DEV: EPERM");
    told(
        &add(&["--unprivileged"]),
        "/dev/ublkc21 was made for this user",
    );
    // What nobody could delete is still there; root does, by the path too.
    let refusal = home.refused(
        &["add", "-t", "null", "--size", "1MiB", "--unprivileged"],
        1,
    );
    assert!(refusal.contains("leave out --unprivileged"), "{refusal}");
    for disk in home.done(&["list"])["disks"].as_array().unwrap() {
        home.done(&["del", &disk["id"].to_string()]);
    }

    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _at_end = AtEnd(&stop);
        scope.spawn(|| give_away(&home, 21, &stop));
        let added = add(&["--unprivileged"]);
        assert!(added.status.success(), "{}", both(&added));
        let disk: Value = serde_json::from_slice(&added.stdout).unwrap();
        let status = fs::read_to_string(format!("/proc/{}/status", disk["pid"])).unwrap();
        let mut lines = status.lines();
        let uid = lines.find(|line| line.starts_with("Uid:")).unwrap();
        println!("{disk}, {uid}");
        assert_eq!(uid, "Uid:\t65534\t65534\t65534\t65534");
        keeps_data("/dev/ublkb21");
        // Another one is root's, and keeps nobody from seeing the own.
        let roots = Home::new();
        roots.done(&["add", "-t", "null", "--size", "1MiB", "-n", "20"]);
        let listed = by_nobody(&home.ublk(&["list"])).output().unwrap();
        roots.done(&["del", "20"]);
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
        assert_eq!(listed["disks"][0]["id"], 21, "{listed}");
        assert_eq!(listed["disks"][0]["state"], "live", "{listed}");
        assert_eq!(listed["hidden"], 1, "{listed}");
        let deleted = by_nobody(&home.ublk(&["del", "21"])).output().unwrap();
        assert!(deleted.status.success(), "{}", both(&deleted));
    });
    assert!(!Path::new("/dev/ublkb21").exists());
    fs::set_permissions(control, before).unwrap();
}
