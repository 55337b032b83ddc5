//! Devices that come and go.

use std::time::Duration;

use pepita_io::ublk::{Control, Device, DeviceOptions, Server, UblkError};
use pepita_io::{NullDevice, RamDevice};
use pepita_sys::blk_mq::{BlockDevice, Geometry};
use pepita_sys::error::{Errno, KernelError};
use pepita_sys::ublk::*;

use super::Direct;
use crate::{in_lab, is_full};

/// Times that a device is made and deleted.
fn rounds() -> u8 {
    if is_full() { 100 } else { 10 }
}

#[test]
fn disks_come_and_go_while_somebody_has_them_open() {
    if !in_lab("disks_come_and_go_while_somebody_has_them_open") {
        return;
    }
    let before = std::fs::read_dir("/proc/self/fd").expect("ours").count();
    for round in 0..rounds() {
        let disk = Server::new()
            .id(5)
            .queues(2)
            .depth(8)
            .serve(RamDevice::new(2048));
        let disk = disk.expect("a disk");
        let path = disk.path();
        let direct = Direct::open(&path);
        direct.write(3, round).expect("written");
        direct.expect(3, round);
        // Dropped or deleted, and open meanwhile or not.
        if round % 2 == 0 {
            drop(disk);
            direct.read(3).map(drop).expect_err("it is gone");
        } else {
            drop(direct);
            disk.delete().expect("deleted");
        }
        assert!(!path.exists());
    }
    let after = std::fs::read_dir("/proc/self/fd").expect("ours").count();
    assert_eq!(before, after, "descriptors are closed");
}

#[test]
fn a_disk_that_somebody_has_deleted_leaves_the_next_of_its_number_alone() {
    if !in_lab("a_disk_that_somebody_has_deleted_leaves_the_next_of_its_number_alone") {
        return;
    }
    let serve = || Server::new().id(8).serve(RamDevice::new(2048));
    let control = Control::open().expect("the driver");
    let gone = serve().expect("a disk");
    let stopper = gone.stopper();
    control.delete(8).expect("deleted");
    // Its threads let go of it, and the number is free then.
    let next = loop {
        match serve() {
            Err(UblkError::IdInUse { .. }) => std::thread::yield_now(),
            served => break served.expect("a disk"),
        }
    };
    stopper.stop().expect("nothing to stop");
    gone.delete().expect("nothing to delete");
    let direct = Direct::open(&next.path());
    direct.write(1, 1).expect("it is there");
    drop(direct);
    next.delete().expect("deleted");
}

#[test]
fn a_device_that_is_not_started_goes_too() {
    if !in_lab("a_device_that_is_not_started_goes_too") {
        return;
    }
    let control = Control::open()
        .expect("the driver")
        .with_limit(Duration::from_secs(2));
    let options = DeviceOptions {
        id: Some(9),
        ..DeviceOptions::default()
    };
    let geometry = NullDevice::new(2048).geometry();
    for _ in 0..3 {
        drop(Device::add(&control, &options).expect("added"));
        let added = Device::add(&control, &options).expect("added");
        assert_eq!(added.info().state, UBLK_S_DEV_DEAD);
        drop(added.set_params(&geometry).expect("prepared"));
        let prepared =
            Device::add(&control, &options).and_then(|added| added.set_params(&geometry));
        let prepared = prepared.expect("prepared");
        let channel = prepared.channel().expect("a channel");
        let busy = prepared.channel().map(drop).expect_err("there is one");
        assert_eq!(KernelError::from(busy).to_errno(), Errno::EBUSY);
        drop(channel);
        // Nobody fetches, so the start takes too long; that is an error, and no more.
        let late = prepared.start().map(drop).expect_err("nobody fetches");
        assert!(
            matches!(
                late,
                UblkError::TimedOut {
                    command: "UBLK_CMD_START_DEV",
                    id: 9,
                    ..
                }
            ),
            "{late}"
        );
    }
    assert_eq!(
        control.info(9).map(drop),
        Err(UblkError::NoDevice { id: 9 })
    );
}

#[test]
fn what_cannot_be_a_device_is_refused() {
    if !in_lab("what_cannot_be_a_device_is_refused") {
        return;
    }
    let refused = |server: Server, geometry: Geometry| {
        let device = RamDevice::with_geometry(geometry).expect("a device");
        let error = server.serve(device).map(drop).expect_err("no disk");
        println!("{error}");
        error
    };
    let plain = Geometry::new(2048);
    let limit = |error: UblkError| match error {
        UblkError::Limit { what, value, .. } => (what, value),
        error => panic!("{error}"),
    };
    assert_eq!(limit(refused(Server::new().depth(0), plain)).1, 0);
    assert_eq!(limit(refused(Server::new().depth(4097), plain)).1, 4097);
    assert_eq!(limit(refused(Server::new().queues(0), plain)).1, 0);
    assert_eq!(
        limit(refused(Server::new().max_io_bytes(512), plain)).1,
        512
    );
    let (what, sectors) = limit(refused(Server::new(), Geometry::new(0)));
    assert_eq!((what, sectors), ("the count of sectors", 0));

    let first = Server::new()
        .id(3)
        .serve(NullDevice::new(2048))
        .expect("a disk");
    let second = Server::new().id(3).serve(NullDevice::new(2048)).map(drop);
    let second = second.expect_err("the id is taken");
    assert_eq!(second, UblkError::IdInUse { id: 3 });
    assert_eq!(KernelError::from(second).to_errno(), Errno::EEXIST);
    first.delete().expect("deleted");
    let error = refused(Server::new().id(1 << 20), plain);
    let told = UblkError::Limit {
        what: "the id",
        value: 1 << 20,
        min: 0,
        max: (1 << 20) - 1,
    };
    assert_eq!(error, told);
    // None of them was left behind.
    let control = Control::open().expect("the driver");
    assert!((0..10).all(|id| control.info(id).is_err()));
}

#[test]
fn flags_that_the_driver_does_not_know_are_told() {
    if !in_lab("flags_that_the_driver_does_not_know_are_told") {
        return;
    }
    let features = Control::open()
        .and_then(|control| control.features())
        .expect("Linux 6.5");
    let newer = UBLK_F_BATCH_IO | UBLK_F_PER_IO_DAEMON | UBLK_F_UPDATE_SIZE;
    assert_eq!(
        features & newer,
        0,
        "the lab's kernel has them: test with newer ones"
    );
    let disk = Server::new()
        .flags(newer | UBLK_F_USER_RECOVERY)
        .serve(NullDevice::new(2048));
    let disk = disk.expect("a disk");
    assert_eq!(disk.cleared_flags(), newer);
    assert_eq!(
        disk.info().flags & UBLK_F_USER_RECOVERY,
        UBLK_F_USER_RECOVERY
    );
    // Nobody asked for it: it is how every device of this driver's is served.
    let in_task = UBLK_F_URING_CMD_COMP_IN_TASK;
    assert_eq!(disk.info().flags & in_task, in_task);
    disk.delete().expect("deleted");
    // And zones, for a device that has none.
    let flags = UBLK_F_ZONED | UBLK_F_USER_COPY;
    let refused = Server::new()
        .flags(flags)
        .serve(NullDevice::new(2048))
        .map(drop);
    match refused.expect_err("no zones") {
        UblkError::Zones { is_zoned } => assert!(is_zoned),
        // A kernel without zones.
        UblkError::Refused { reason, .. } => assert!(reason.contains("BLK_DEV_ZONED")),
        error => panic!("{error}"),
    }
}

#[test]
fn the_driver_is_asked_from_any_thread() {
    if !in_lab("the_driver_is_asked_from_any_thread") {
        return;
    }
    let control = Control::open().expect("the driver");
    let disk = Server::new()
        .queues(2)
        .serve(NullDevice::new(2048))
        .expect("a disk");
    let id = disk.id();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..4 {
                    let info = control.info(id).expect("it is there");
                    assert_eq!((info.state, info.nr_hw_queues), (UBLK_S_DEV_LIVE, 2));
                    let params = control.params(id).expect("it is there");
                    assert_eq!(params.basic.dev_sectors, 2048);
                    let mut cpus = control.queue_affinity(id, 0).expect("a queue");
                    cpus.append(&mut control.queue_affinity(id, 1).expect("a queue"));
                    cpus.sort_unstable();
                    assert!(cpus.starts_with(&[0, 1]), "{cpus:?}");
                }
            });
        }
    });
    // A disk goes by whatever thread has it, and by whoever stops it.
    let waiter = std::thread::spawn(move || disk.wait());
    control.stop(id).expect("stopped");
    waiter.join().expect("no panic").expect("no failure");
    assert_eq!(control.stop(id), Err(UblkError::NoDevice { id }));
}
