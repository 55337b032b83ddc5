//! Zones through ublk: where appends land is told to the kernel, and a file system finds its data there.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use pepita_io::ZonedRamDevice;
use pepita_io::ublk::{Control, Device, DeviceOptions, Server, UblkError};
use pepita_sys::blk_mq::{BlockDevice, DeviceId, Geometry, Lane, Request, RequestOp, ZoneLimits};
use pepita_sys::error::Result;
use pepita_sys::ublk::{UBLK_F_USER_COPY, UBLK_F_ZONED};

use crate::in_lab;

/// Zoned memory that counts appends, of which every second one ends on a thread of the lane's.
struct Counted {
    device: Arc<ZonedRamDevice>,
    appends: Arc<AtomicU32>,
}

impl BlockDevice for Counted {
    type Lane<'d> = CountedLane<'d>;

    fn geometry(&self) -> Geometry {
        self.device.geometry()
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("counted")
    }

    fn open_lane(&self, depth: u16) -> Result<CountedLane<'_>> {
        let (send, receive) = mpsc::channel::<Request>();
        let device = Arc::clone(&self.device);
        let thread = std::thread::spawn(move || {
            let mut lane = device.open_lane(depth).expect("it needs nothing");
            for request in receive {
                lane.submit(request).expect("it is never full");
            }
        });
        Ok(CountedLane {
            lane: self.device.open_lane(depth)?,
            appends: &self.appends,
            send: Some(send),
            thread: Some(thread),
        })
    }
}

struct CountedLane<'d> {
    lane: pepita_io::ZonedRamLane<'d>,
    appends: &'d AtomicU32,
    send: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Lane for CountedLane<'_> {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        let is_append = request.op() == RequestOp::ZoneAppend;
        if is_append
            && self.appends.fetch_add(1, Ordering::SeqCst) % 2 == 1
            && let Some(send) = &self.send
        {
            send.send(request).expect("the thread is there");
            return Ok(());
        }
        self.lane.submit(request)
    }

    fn commit(&mut self) {}

    fn poll(&mut self) {}

    fn descriptor(&self) -> Option<i32> {
        None
    }
}

impl Drop for CountedLane<'_> {
    fn drop(&mut self) {
        self.send = None;
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it serves requests, and no more");
        }
    }
}

/// Runs a tool to its success.
#[track_caller]
fn tool(words: &str) {
    let mut words = words.split(' ');
    let output = Command::new(words.next().expect("a tool"))
        .args(words)
        .output()
        .expect("it is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn a_file_system_finds_what_it_appended_where_the_server_said() {
    if !in_lab("a_file_system_finds_what_it_appended_where_the_server_said") {
        return;
    }
    // 512 MiB in zones of 4 MiB.
    let device = ZonedRamDevice::new(1 << 20, ZoneLimits::new(8192), 0).expect("128 zones");
    let device = Arc::new(device);
    let appends = Arc::new(AtomicU32::new(0));
    let counted = Counted {
        device: Arc::clone(&device),
        appends: Arc::clone(&appends),
    };
    let disk = Server::new().queues(2).serve(counted).expect("a disk");
    let path = disk.path().display().to_string();
    let flags = UBLK_F_ZONED | UBLK_F_USER_COPY;
    assert_eq!(disk.info().flags & flags, flags);
    let mount = tempfile::tempdir().expect("a directory");
    let at = mount.path().display();
    tool("modprobe btrfs");
    tool(&format!(
        "mkfs.btrfs -q -O zoned -d single -m single {path}"
    ));
    let before = appends.load(Ordering::SeqCst);
    tool(&format!("mount {path} {at}"));
    let bytes: Vec<u8> = (0..6_u32 << 20)
        .map(|index| (index / 4096 % 251).to_le_bytes()[0])
        .collect();
    for name in 0..4_usize {
        fs::write(mount.path().join(name.to_string()), &bytes[name..]).expect("room");
    }
    // What is read again comes from the disk.
    tool(&format!("umount {at}"));
    let count = appends.load(Ordering::SeqCst) - before;
    println!("{count} appends");
    assert!(count >= 8, "of 24 MiB at most 512 KiB each: {count}");
    tool(&format!("mount {path} {at}"));
    for name in 0..4_usize {
        let got = fs::read(mount.path().join(name.to_string())).expect("a file");
        assert!(got == bytes[name..], "file {name}");
    }
    tool(&format!("umount {at}"));
    tool(&format!("btrfs check --check-data-csum {path}"));
    assert!(Path::new(&path).exists());
    disk.delete().expect("deleted");
}

#[test]
fn more_zones_than_a_request_reports_are_refused() {
    if !in_lab("more_zones_than_a_request_reports_are_refused") {
        return;
    }
    let device = ZonedRamDevice::new(1 << 20, ZoneLimits::new(8), 0).expect("131072 zones");
    let refused = Server::new().serve(device).map(drop);
    let error = refused.expect_err("8192 zones fit into 512 KiB");
    let UblkError::Limit { value, max, .. } = error else {
        panic!("{error}");
    };
    assert_eq!((value, max), (1 << 17, 8192));
}

#[test]
fn zones_that_the_driver_refuses_are_said_with_the_reason() {
    if !in_lab("zones_that_the_driver_refuses_are_said_with_the_reason") {
        return;
    }
    let control = Control::open().expect("the driver");
    let options = DeviceOptions {
        flags: UBLK_F_ZONED,
        ..DeviceOptions::default()
    };
    // The same test of the driver's refuses zones where the kernel was built without them.
    let error = Device::add(&control, &options).map(drop);
    let error = error.expect_err("no user copy");
    println!("{error}");
    assert!(matches!(error, UblkError::Refused { .. }), "{error:?}");
    let told = error.to_string();
    assert!(told.contains("zones go with UBLK_F_USER_COPY"), "{told}");
}
