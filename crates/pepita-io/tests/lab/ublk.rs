//! Disks that this process serves to the lab's kernel.

mod devices;
mod examples;
mod faults;
mod lifecycle;
mod recovery;
mod zoned;

use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{OnceLock, mpsc};

use pepita_io::buf::AlignedBuf;
use pepita_io::ublk::{Channel, Control, Device, DeviceOptions, Disk, QueueThread, Server};
use pepita_io::{AnyDevice, AnyLane, Engine, FileDevice, FileOptions, NullDevice, RamDevice};
use pepita_sys::blk_mq::conformance::Conformance;
use pepita_sys::blk_mq::{BlockDevice, Geometry, WriteCache};
use pepita_sys::ublk::{UBLK_F_NEED_GET_DATA, UBLK_F_USER_COPY};

use crate::{DISK, in_lab, is_full};

/// A disk opened past the page cache, for whole blocks.
struct Direct(File);

impl Direct {
    fn open(path: &Path) -> Self {
        let mut options = File::options();
        let options = options.read(true).write(true).custom_flags(libc::O_DIRECT);
        Self(options.open(path).expect("the disk"))
    }

    /// The block of 4096 bytes number `block`.
    fn read(&self, block: u64) -> io::Result<AlignedBuf> {
        let mut bytes = AlignedBuf::zeroed(4096, 4096);
        self.0.read_exact_at(bytes.deref_mut(), block * 4096)?;
        Ok(bytes)
    }

    fn write(&self, block: u64, byte: u8) -> io::Result<()> {
        let mut bytes = AlignedBuf::zeroed(4096, 4096);
        bytes.deref_mut().fill(byte);
        self.0.write_all_at(bytes.deref(), block * 4096)
    }

    #[track_caller]
    fn expect(&self, block: u64, byte: u8) {
        let bytes = self.read(block).expect("read");
        assert!(
            bytes.iter().all(|found| *found == byte),
            "block {block} is not {byte}"
        );
    }
}

/// Tries the disk as a device of its own.
#[track_caller]
fn conforms(disk: &Disk) {
    let options = FileOptions::new().direct();
    let device = options.open(disk.path()).expect("the disk");
    let report = Conformance::new()
        .run(&device)
        .expect("it keeps every rule");
    println!(
        "{:?}: {} rules, without {:?}",
        disk.path(),
        report.checked.len(),
        report.left_out
    );
    assert!(report.checked.len() > 10, "{report:?}");
}

#[test]
fn a_ram_disk_keeps_the_contract_through_ublk() {
    if !in_lab("a_ram_disk_keeps_the_contract_through_ublk") {
        return;
    }
    let mut all = vec![(2, 64)];
    if is_full() {
        all.push((1, 1));
    }
    for (queues, depth) in all {
        let disk = Server::new().queues(queues).depth(depth);
        let disk = disk.serve(RamDevice::new(1 << 15)).expect("a disk");
        assert_eq!(
            (disk.info().nr_hw_queues, disk.info().queue_depth),
            (queues, depth)
        );
        conforms(&disk);
        disk.delete().expect("deleted");
    }
}

#[test]
fn data_is_copied_by_whoever_was_asked_to() {
    if !in_lab("data_is_copied_by_whoever_was_asked_to") {
        return;
    }
    for flags in [UBLK_F_USER_COPY, UBLK_F_NEED_GET_DATA] {
        let disk = Server::new().queues(2).depth(4).flags(flags);
        let disk = disk.serve(RamDevice::new(1 << 13)).expect("a disk");
        assert_eq!(
            (disk.info().flags & flags, disk.cleared_flags()),
            (flags, 0)
        );
        std::thread::scope(|scope| {
            for writer in 0..4_u8 {
                let direct = Direct::open(&disk.path());
                scope.spawn(move || {
                    for round in 0..16 {
                        let block = u64::from(writer) * 100 + u64::from(round);
                        direct.write(block, writer ^ round).expect("written");
                        direct.expect(block, writer ^ round);
                    }
                });
            }
        });
        // Requests of all lengths.
        let mut file = Direct::open(&disk.path()).0;
        let mut bytes = AlignedBuf::zeroed(2 << 20, 4096);
        for (index, byte) in (0_usize..).zip(bytes.iter_mut()) {
            *byte = (index / 512 % 251).to_le_bytes()[0];
        }
        file.write_all(&bytes).expect("written");
        let mut again = AlignedBuf::zeroed(2 << 20, 4096);
        file.read_exact_at(&mut again, 0).expect("read");
        assert!(
            bytes[..] == again[..],
            "what was read is not what was written"
        );
        drop(file);
        if is_full() {
            conforms(&disk);
        }
        disk.delete().expect("deleted");
    }
}

#[test]
fn a_file_keeps_the_contract_through_ublk_by_every_engine() {
    let test = "a_file_keeps_the_contract_through_ublk_by_every_engine";
    if !in_lab(test) {
        return;
    }
    if !is_full() {
        // A minute for each, under emulation.
        println!("SKIPPED: {test}: only in the full set");
        return;
    }
    let image = tempfile::NamedTempFile::new_in("/dev/shm").expect("a file");
    image.as_file().set_len(16 << 20).expect("its length");
    let threads = Engine::Threads(std::num::NonZeroUsize::MIN.saturating_add(1));
    let files = [
        FileOptions::new().engine(Engine::Uring).open(image.path()),
        FileOptions::new().engine(threads).open(image.path()),
        FileOptions::new().engine(Engine::Uring).direct().open(DISK),
    ];
    for file in files {
        let file = file.expect("a device");
        let disk = Server::new().queues(2).serve(file).expect("a disk");
        conforms(&disk);
        disk.delete().expect("deleted");
    }
}

#[test]
fn a_disk_is_what_its_device_says() {
    if !in_lab("a_disk_is_what_its_device_says") {
        return;
    }
    let ram = RamDevice::new(4096).geometry();
    let geometry = Geometry {
        logical_block_size: 4096,
        physical_block_size: 4096,
        write_cache: WriteCache::WriteBackWithFua,
        rotational: true,
        max_sectors: 64,
        ..ram
    };
    let device = RamDevice::with_geometry(geometry).expect("a device");
    let disk = Server::new().serve(device).expect("a disk");
    let attribute = |name: &str| {
        let path = format!("/sys/block/ublkb{}/{name}", disk.id());
        std::fs::read_to_string(path).expect(name).trim().to_owned()
    };
    for (name, value) in [
        ("size", "4096"),
        ("queue/logical_block_size", "4096"),
        ("queue/physical_block_size", "4096"),
        ("queue/max_hw_sectors_kb", "32"),
        ("queue/write_cache", "write back"),
        ("queue/fua", "1"),
        ("queue/rotational", "1"),
        ("queue/discard_granularity", "65536"),
        ("queue/discard_max_hw_bytes", "2147483648"),
        ("queue/write_zeroes_max_bytes", "2147483648"),
        ("ro", "0"),
    ] {
        assert_eq!(attribute(name), value, "{name}");
    }
    disk.delete().expect("deleted");

    let geometry = Geometry {
        read_only: true,
        ..Geometry::new(4096)
    };
    let device = RamDevice::with_geometry(geometry).expect("a device");
    let disk = Server::new().serve(device).expect("a disk");
    let ro = std::fs::read_to_string(format!("/sys/block/ublkb{}/ro", disk.id()));
    assert_eq!(ro.expect("ro").trim(), "1");
    let written = File::options().write(true).open(disk.path());
    let refused = written.and_then(|file| file.write_all_at(&[1; 4096], 0));
    assert_eq!(
        refused.expect_err("it is read-only").raw_os_error(),
        Some(libc::EPERM)
    );
}

#[test]
fn many_devices_are_served_by_one_thread() {
    if !in_lab("many_devices_are_served_by_one_thread") {
        return;
    }
    let image = tempfile::NamedTempFile::new_in("/dev/shm").expect("a file");
    image.as_file().set_len(1 << 20).expect("its length");
    let devices = [
        AnyDevice::new(RamDevice::new(2048)),
        AnyDevice::new(NullDevice::new(4096)),
        AnyDevice::new(FileDevice::open(image.path()).expect("a device")),
        AnyDevice::new(devices::Elsewhere::new(RamDevice::new(2048))),
    ];
    let control = Control::open().expect("the driver");
    let options = DeviceOptions {
        depth: 8,
        ..DeviceOptions::default()
    };
    let prepared = devices.each_ref().map(|device| {
        let added = Device::add(&control, &options).expect("added");
        added
            .set_params(&device.geometry())
            .expect("its parameters")
    });
    let channels = prepared
        .each_ref()
        .map(|prepared| prepared.channel().expect("its channel"));
    let (begun, begins) = mpsc::channel();
    let serve = || {
        let mut thread: QueueThread<AnyLane<'_>> = QueueThread::new(32).expect("a ring");
        for (channel, device) in channels.into_iter().zip(&devices) {
            thread.attach(&channel, 0, device).expect("a queue");
        }
        begun.send(()).expect("heard");
        thread.run().expect("until all are over");
    };
    std::thread::scope(|scope| {
        let server = scope.spawn(serve);
        begins.recv().expect("begun");
        let live = prepared.map(|prepared| prepared.start().expect("a disk"));
        for (byte, device) in (1..).zip(&live) {
            let disk = Direct::open(&device.path());
            disk.write(7, byte).expect("written");
            if byte != 2 {
                disk.expect(7, byte);
                disk.expect(8, 0);
            }
        }
        for device in live {
            device.stop().expect("stopped");
        }
        server.join().expect("its end");
    });
}

#[test]
fn a_hundred_devices_are_served_by_one_thread() {
    let test = "a_hundred_devices_are_served_by_one_thread";
    if !in_lab(test) {
        return;
    }
    if !is_full() {
        println!("SKIPPED: {test}: only in the full set");
        return;
    }
    let devices: Vec<RamDevice> = (0..128).map(|_| RamDevice::new(2048)).collect();
    let control = Control::open().expect("the driver");
    let prepare = |device: &RamDevice| {
        let added = Device::add(&control, &DeviceOptions::default()).expect("added");
        added.set_params(&device.geometry()).expect("parameters")
    };
    let prepared: Vec<_> = devices.iter().map(prepare).collect();
    let channels: Vec<Channel> = prepared
        .iter()
        .map(|prepared| prepared.channel().expect("its channel"))
        .collect();
    let (begun, begins) = mpsc::channel();
    let serve = || {
        let mut thread = QueueThread::new(8192).expect("a ring");
        for (channel, device) in channels.into_iter().zip(&devices) {
            thread.attach(&channel, 0, device).expect("a queue");
        }
        begun.send(()).expect("heard");
        thread.run().expect("until all are over");
    };
    std::thread::scope(|scope| {
        let server = scope.spawn(serve);
        begins.recv().expect("begun");
        let start = |prepared: Device<_>| prepared.start().expect("a disk");
        let live: Vec<_> = prepared.into_iter().map(start).collect();
        let disks: Vec<Direct> = live.iter().map(|live| Direct::open(&live.path())).collect();
        for (byte, disk) in (1..).zip(&disks) {
            disk.write(7, byte).expect("written");
        }
        for (byte, disk) in (1..).zip(&disks) {
            disk.expect(7, byte);
        }
        drop(disks);
        for device in live {
            device.stop().expect("stopped");
        }
        server.join().expect("its end");
    });
}

/// Writes and reads until `is_over`.
fn use_until(path: &Path, is_over: &AtomicBool) {
    let disk = Direct::open(path);
    let mut round = 0;
    while !is_over.load(Ordering::SeqCst) || round < 10 {
        disk.write(round % 64, round.to_le_bytes()[0])
            .expect("written");
        disk.expect(round % 64, round.to_le_bytes()[0]);
        round += 1;
    }
    println!("{round} writes and reads while others came");
}

#[test]
fn devices_come_to_a_thread_that_serves_others() {
    if !in_lab("devices_come_to_a_thread_that_serves_others") {
        return;
    }
    let places: [OnceLock<AnyDevice>; 3] = Default::default();
    let control = Control::open().expect("the driver");
    let (give, given) = mpsc::channel::<(usize, Channel)>();
    let (tell, told) = mpsc::channel();
    let done = AtomicBool::new(false);
    let (places, done) = (&places, &done);
    let serve = move || {
        let mut thread: QueueThread<AnyLane<'_>> = QueueThread::new(16).expect("a ring");
        let mut stopper = Some(thread.stopper());
        let ended = thread.run_with(|thread| {
            for (number, channel) in given.try_iter() {
                let device = places[number].get().expect("it is there");
                thread.attach(&channel, 0, device)?;
            }
            // Whoever waits is told of what is attached now.
            tell.send(stopper.take()).expect("heard");
            Ok(match done.load(Ordering::SeqCst) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        });
        ended.expect("until all are over");
    };
    std::thread::scope(|scope| {
        let server = scope.spawn(serve);
        let stopper = told.recv().expect("begun").expect("the first word");
        let add = |number: usize| {
            let device = places[number].get_or_init(|| AnyDevice::new(RamDevice::new(8192)));
            let options = DeviceOptions::default();
            let added = Device::add(&control, &options).expect("added");
            let prepared = added.set_params(&device.geometry()).expect("parameters");
            let channel = prepared.channel().expect("its channel");
            give.send((number, channel)).expect("heard");
            stopper.call();
            told.recv().expect("attached");
            prepared.start().expect("a disk")
        };
        let first = add(0);
        let is_over = AtomicBool::new(false);
        let [second, third] = std::thread::scope(|scope| {
            scope.spawn(|| use_until(&first.path(), &is_over));
            let others = [1, 2].map(add);
            is_over.store(true, Ordering::SeqCst);
            others
        });
        first.delete().expect("deleted");
        for (byte, device) in (1..).zip([second, third]) {
            let disk = Direct::open(&device.path());
            disk.write(7, byte).expect("written");
            disk.expect(7, byte);
            drop(disk);
            device.delete().expect("deleted");
        }
        done.store(true, Ordering::SeqCst);
        stopper.call();
        server.join().expect("its end");
    });
}

/// Writes to the disk from several threads, and reads it back.
fn write_from_all_sides(disk: Disk) {
    std::thread::scope(|scope| {
        for writer in 0..8_u8 {
            let direct = Direct::open(&disk.path());
            scope.spawn(move || {
                for round in 0..16 {
                    let block = u64::from(writer) * 100 + u64::from(round);
                    direct.write(block, writer ^ round).expect("written");
                    direct.expect(block, writer ^ round);
                }
                direct.0.sync_all().expect("flushed");
            });
        }
    });
    disk.delete().expect("deleted");
}

#[test]
fn requests_of_files_end_while_others_come() {
    if !in_lab("requests_of_files_end_while_others_come") {
        return;
    }
    let image = tempfile::NamedTempFile::new_in("/dev/shm").expect("a file");
    image.as_file().set_len(4 << 20).expect("its length");
    let threads = Engine::Threads(std::num::NonZeroUsize::MIN.saturating_add(1));
    for engine in [Engine::Uring, threads] {
        let open = || {
            FileOptions::new()
                .engine(engine)
                .open(image.path())
                .expect("a device")
        };
        let server = Server::new().queues(2).depth(4);
        write_from_all_sides(server.serve(open()).expect("a disk"));
        // Lanes that are full most of the time.
        write_from_all_sides(server.serve(devices::Narrow(open())).expect("a disk"));
    }
    // It is in the file, where no disk is between.
    let mut byte = [0];
    image
        .as_file()
        .read_exact_at(&mut byte, (7 * 100 + 15) * 4096)
        .expect("read");
    assert_eq!(byte, [7 ^ 15]);
}

#[test]
fn a_file_system_lives_on_a_disk() {
    if !in_lab("a_file_system_lives_on_a_disk") {
        return;
    }
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .output()
            .expect(program);
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {output:?}"
        );
    };
    let disk = Server::new()
        .queues(2)
        .serve(RamDevice::new(32 << 11))
        .expect("a disk");
    let path = disk.path();
    let path = path.to_str().expect("plain");
    let folder = tempfile::tempdir().expect("a folder");
    let mount = folder.path().to_str().expect("plain");
    run("mkfs.ext4", &["-q", path]);
    for round in 0..2 {
        run("mount", &["-t", "ext4", "-o", "discard", path, mount]);
        let file = format!("{mount}/file");
        if round == 0 {
            let text = "some text\n".repeat(1 << 18);
            std::fs::write(&file, &text).expect("written");
        } else {
            let text = std::fs::read_to_string(&file).expect("read");
            assert!(text == "some text\n".repeat(1 << 18), "it has changed");
            std::fs::remove_file(&file).expect("removed");
        }
        run("umount", &[mount]);
        run("fsck.ext4", &["-f", "-n", path]);
    }
    disk.delete().expect("deleted");
}
