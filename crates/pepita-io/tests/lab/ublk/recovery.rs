//! Servers that are killed, and others that take over.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pepita_io::ublk::{Control, Device, DeviceOptions, Server, UblkError};
use pepita_io::{FileDevice, FileOptions, NullDevice};
use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::ublk::*;

use super::Direct;
use super::devices::Unready;
use crate::in_lab;

/// The variable that makes the test a server of the file that it names, with the flags that it names.
const SERVE: &str = "PEPITA_LAB_UBLK_SERVE";

/// The disk of the first of these tests, and of the second.
const ID: u32 = 11;
const NEXT_ID: u32 = 12;

/// In the process that the test has made: serves until it is killed.
fn serve_if_asked(id: u32) {
    let Ok(asked) = std::env::var(SERVE) else {
        return;
    };
    let (path, flags) = asked.split_once(' ').expect("two words");
    let flags = flags.parse().expect("flags");
    let device = FileDevice::open(path).expect("the file");
    let server = Server::new().id(id).queues(2).flags(flags);
    let disk = server.serve(device).expect("a disk");
    println!("live: {}", disk.path().display());
    disk.wait().expect("until it is killed");
}

/// Makes a process that serves `path`, and returns when the disk is there.
fn server(test: &str, path: &Path, flags: u64) -> Child {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", test, "--nocapture"])
        .env(SERVE, format!("{} {flags}", path.display()))
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let is_live = |line: std::io::Result<String>| line.is_ok_and(|line| line.contains("live: "));
    assert!(lines.into_iter().any(is_live), "the server has failed");
    child
}

#[track_caller]
fn until_it_waits(control: &Control, id: u32) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while control.info(id).expect("it is there").state != UBLK_S_DEV_QUIESCED {
        assert!(Instant::now() < deadline, "it does not come to rest");
        std::thread::yield_now();
    }
}

#[test]
fn a_disk_waits_on_when_the_next_server_does_not_begin() {
    let test = "a_disk_waits_on_when_the_next_server_does_not_begin";
    if !in_lab(test) {
        return;
    }
    serve_if_asked(NEXT_ID);
    let image = tempfile::NamedTempFile::new_in("/dev/shm").expect("a file");
    image.as_file().set_len(1 << 20).expect("its length");
    let test = format!("ublk::recovery::{test}");
    let mut child = server(&test, image.path(), UBLK_F_USER_RECOVERY);
    let control = Control::open().expect("the driver");
    let direct = Direct::open(Path::new(&format!("/dev/ublkb{NEXT_ID}")));
    direct.write(1, 1).expect("written");
    child.kill().expect("ours");
    child.wait().expect("ours");
    until_it_waits(&control, NEXT_ID);
    let open = || FileDevice::open(image.path()).expect("the file");
    let fails: [fn() -> Result<()>; 2] = [
        || Err(KernelError::from_errno("open", Errno::ENOMEM)),
        || panic!("not yet"),
    ];
    for (then, told) in fails.into_iter().zip(["ENOMEM", "not yet"]) {
        let unready = Unready::new(open(), then);
        let failed = Server::new().recover(NEXT_ID, unready).map(drop);
        let failed = failed.expect_err("its second lane fails");
        assert!(failed.to_string().contains(told), "{failed}");
        let state = control.info(NEXT_ID).expect("it is there").state;
        assert_eq!(state, UBLK_S_DEV_QUIESCED, "after: {failed}");
    }
    let disk = Server::new().recover(NEXT_ID, open()).expect("the disk");
    direct.expect(1, 1);
    drop(direct);
    disk.delete().expect("deleted");
}

#[test]
fn a_device_that_never_had_a_disk_is_recovered_by_nobody() {
    if !in_lab("a_device_that_never_had_a_disk_is_recovered_by_nobody") {
        return;
    }
    let control = Control::open().expect("the driver");
    let options = DeviceOptions {
        flags: UBLK_F_USER_RECOVERY,
        ..DeviceOptions::default()
    };
    let added = Device::add(&control, &options).expect("added");
    let refused = Server::new()
        .recover(added.id(), NullDevice::new(2048))
        .map(drop);
    assert_eq!(refused, Err(UblkError::Lost { id: added.id() }));
    added.delete().expect("deleted");
}

#[test]
fn a_disk_outlives_the_server_that_is_killed() {
    if !in_lab("a_disk_outlives_the_server_that_is_killed") {
        return;
    }
    serve_if_asked(ID);
    let test = "ublk::recovery::a_disk_outlives_the_server_that_is_killed";
    for flags in [
        UBLK_F_USER_RECOVERY,
        UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE,
    ] {
        let image = tempfile::NamedTempFile::new_in("/dev/shm").expect("a file");
        image.as_file().set_len(1 << 20).expect("its length");
        let mut child = server(test, image.path(), flags);
        let control = Control::open().expect("the driver");
        let direct = Direct::open(Path::new(&format!("/dev/ublkb{ID}")));
        direct.write(1, 1).expect("written");

        let busy = Server::new().recover(ID, FileDevice::open(image.path()).expect("the file"));
        assert_eq!(busy.map(drop), Err(UblkError::Busy { id: ID }));
        child.kill().expect("ours");
        child.wait().expect("ours");
        until_it_waits(&control, ID);
        // Who asks in the meantime waits until the next server.
        let waiting = std::thread::spawn(move || {
            direct.write(2, 2).expect("written");
            direct
        });
        let wrong = Server::new().recover(ID, NullDevice::new(4096)).map(drop);
        assert_eq!(
            wrong,
            Err(UblkError::Unlike {
                what: "the count of sectors",
                waiting: 2048,
                served: 4096
            })
        );
        let read_only = FileOptions::new().read_only().open(image.path());
        let wrong = Server::new().recover(ID, read_only.expect("the file"));
        let told = wrong.map(drop).expect_err("it was writable").to_string();
        assert!(told.contains("read-only"), "{told}");
        let device = FileDevice::open(image.path()).expect("the file");
        let disk = Server::new().recover(ID, device).expect("the disk");
        let direct = waiting.join().expect("no panic");
        direct.expect(1, 1);
        direct.expect(2, 2);
        drop(direct);
        disk.delete().expect("deleted");
    }
}

#[test]
fn a_disk_that_asked_for_it_alone_is_recovered() {
    if !in_lab("a_disk_that_asked_for_it_alone_is_recovered") {
        return;
    }
    let disk = Server::new().serve(NullDevice::new(2048)).expect("a disk");
    let refused = Server::new()
        .recover(disk.id(), NullDevice::new(2048))
        .map(drop);
    let refused = refused.expect_err("it was not asked for");
    assert_eq!(refused, UblkError::Unrecoverable { id: disk.id() });
    Direct::open(&disk.path())
        .read(0)
        .map(drop)
        .expect("it goes on");
    disk.delete().expect("deleted");
    let missing = Server::new().recover(77, NullDevice::new(2048)).map(drop);
    assert_eq!(missing, Err(UblkError::NoDevice { id: 77 }));
}
