//! Devices that err, hang or panic: callers get errors, and nothing stays behind.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pepita_io::ublk::{Control, Server, UblkError};
use pepita_io::{Engine, FileOptions, NullDevice, RamDevice};
use pepita_sys::error::{Errno, KernelError};
use pepita_sys::ublk::{UBLK_F_NEED_GET_DATA, UBLK_F_USER_COPY};

use super::Direct;
use super::devices::{BAD_BLOCK, Fault, Faulty, Trap, Unheard};
use crate::in_lab;

/// More than anything bounded takes, on a slow emulator.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_device_s_error_is_the_caller_s() {
    if !in_lab("a_device_s_error_is_the_caller_s") {
        return;
    }
    for (fault, told) in [
        (Fault::Error(Errno::EIO), libc::EIO),
        (Fault::Error(Errno::ENOSPC), libc::ENOSPC),
        // What the block layer has no word for.
        (Fault::Error(Errno::from_raw(4095)), libc::EIO),
        (Fault::Drop, libc::EIO),
    ] {
        let device = Faulty::new(fault);
        let disk = Server::new().serve(device).expect("a disk");
        let direct = Direct::open(&disk.path());
        for _ in 0..3 {
            let error = direct.read(BAD_BLOCK).map(drop).expect_err("a fault");
            assert_eq!(error.raw_os_error(), Some(told), "{fault:?}");
            let error = direct.write(BAD_BLOCK, 1).expect_err("a fault");
            assert_eq!(error.raw_os_error(), Some(told), "{fault:?}");
        }
        direct
            .write(BAD_BLOCK + 1, 5)
            .expect("the next block is well");
        direct.expect(BAD_BLOCK + 1, 5);
        drop(direct);
        disk.delete().expect("deleted");
    }
}

#[test]
fn a_request_that_hangs_is_answered_and_its_tag_comes_back() {
    if !in_lab("a_request_that_hangs_is_answered_and_its_tag_comes_back") {
        return;
    }
    for flags in [0, UBLK_F_USER_COPY, UBLK_F_NEED_GET_DATA] {
        a_tag_comes_back(flags);
    }
}

fn a_tag_comes_back(flags: u64) {
    let device = Faulty::new(Fault::Hang);
    // One tag, so what the tag does is what the disk does.
    let server = Server::new().depth(1).flags(flags);
    let server = server.request_limit(Duration::from_millis(400));
    let disk = server.serve(device.clone()).expect("a disk");
    let direct = Direct::open(&disk.path());
    for round in 1..3 {
        device.is_healed.store(false, Ordering::SeqCst);
        let started = Instant::now();
        let error = direct.write(BAD_BLOCK, 1).expect_err("it hangs");
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
        let took = started.elapsed();
        assert!(
            (Duration::from_millis(400)..PATIENCE).contains(&took),
            "{took:?}"
        );
        assert_eq!(device.hung.lock().expect("whole").len(), 1);
        // The tag is out of use.
        device.is_healed.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            direct.read(0).map(drop).expect_err("the tag is out of use");
            direct.write(1, 1).expect_err("the tag is out of use");
        }
        // And back: what was to be written while its memory was somebody's is written from its own.
        for request in device.hung.lock().expect("whole").drain(..) {
            request.complete(Ok(()));
        }
        direct.write(1, 10 + round).expect("written");
        direct.expect(1, 10 + round);
        direct.expect(0, 0);
        direct.write(BAD_BLOCK, 20 + round).expect("written");
        direct.expect(BAD_BLOCK, 20 + round);
    }
    drop(direct);
    disk.delete().expect("deleted");
}

#[test]
fn a_disk_is_deleted_while_requests_hang() {
    if !in_lab("a_disk_is_deleted_while_requests_hang") {
        return;
    }
    let device = Faulty::new(Fault::Hang);
    let disk = Server::new()
        .depth(4)
        .serve(device.clone())
        .expect("a disk");
    let (id, path) = (disk.id(), disk.path());
    let readers = hanging_readers(&device, &path);
    let started = Instant::now();
    disk.delete().expect("deleted");
    let took = started.elapsed();
    assert!(took < PATIENCE, "{took:?}");
    for reader in readers {
        let error = reader.join().expect("no panic").expect_err("it hung");
        assert_eq!(
            error.kind(),
            std::io::Error::from_raw_os_error(libc::EIO).kind()
        );
    }
    let gone = Control::open().expect("the driver").info(id).map(drop);
    assert_eq!(gone, Err(UblkError::NoDevice { id }));
    // Their memory is there until the last of them.
    for request in device.hung.lock().expect("whole").drain(..) {
        assert_eq!(request.sink().len(), 4096);
        request
            .sink()
            .write_zeroes(4096)
            .expect("its memory is there");
        request.complete(Ok(()));
    }
}

/// Readers of the bad block of a disk, which all have requests that hang.
fn hanging_readers(device: &Faulty, path: &Path) -> Vec<JoinHandle<std::io::Result<()>>> {
    let read = || {
        let direct = Direct::open(path);
        std::thread::spawn(move || direct.read(BAD_BLOCK).map(drop))
    };
    let readers: Vec<_> = (0..3).map(|_| read()).collect();
    while device.hung.lock().expect("whole").len() < 3 {
        std::thread::yield_now();
    }
    readers
}

#[test]
fn a_disk_is_stopped_from_another_thread_while_requests_hang() {
    if !in_lab("a_disk_is_stopped_from_another_thread_while_requests_hang") {
        return;
    }
    let device = Faulty::new(Fault::Hang);
    // Who stops hurries what hangs; nothing else ends it in the time of this test.
    let server = Server::new().request_limit(Duration::from_secs(3600));
    let disk = server.serve(device.clone()).expect("a disk");
    let readers = hanging_readers(&device, &disk.path());
    let stopper = disk.stopper();
    let waiter = std::thread::spawn(move || disk.wait());
    stopper.stop().expect("stopped");
    for reader in readers {
        reader.join().expect("no panic").expect_err("it hung");
    }
    waiter.join().expect("no panic").expect("no failure");
    device.hung.lock().expect("whole").clear();
}

#[test]
fn others_come_and_go_while_a_deletion_waits_for_a_request() {
    if !in_lab("others_come_and_go_while_a_deletion_waits_for_a_request") {
        return;
    }
    let device = Faulty::new(Fault::Hang);
    let long = Duration::from_secs(3600);
    let server = Server::new().request_limit(long);
    let disk = server.serve(device.clone()).expect("a disk");
    let (id, path) = (disk.id(), disk.path());
    let readers = hanging_readers(&device, &path);
    let waiter = std::thread::spawn(move || disk.wait());
    let control = Control::open().expect("the driver").with_limit(long);
    let deletion = std::thread::spawn(move || control.delete(id));
    // The driver has begun when nobody can open the disk any more.
    while File::open(&path).is_ok() {
        std::thread::yield_now();
    }
    for _ in 0..3 {
        let other = Server::new().serve(NullDevice::new(2048)).expect("a disk");
        other.delete().expect("deleted");
    }
    assert!(!deletion.is_finished(), "requests hang");
    device.hung.lock().expect("whole").clear();
    for reader in readers {
        reader
            .join()
            .expect("no panic")
            .expect_err("it was dropped");
    }
    // Whoever is faster.
    let deleted = deletion.join().expect("no panic");
    assert!(
        matches!(deleted, Ok(()) | Err(UblkError::NoDevice { .. })),
        "{deleted:?}"
    );
    waiter.join().expect("no panic").expect("no failure");
}

#[test]
fn a_device_that_panics_ends_its_disk_and_not_its_process() {
    if !in_lab("a_device_that_panics_ends_its_disk_and_not_its_process") {
        return;
    }
    let device = Faulty::new(Fault::Panic);
    let disk = Server::new().queues(2).serve(device).expect("a disk");
    let (id, path) = (disk.id(), disk.path());
    let direct = Direct::open(&path);
    direct.write(1, 1).expect("written");
    let error = direct.read(BAD_BLOCK).map(drop).expect_err("a panic");
    assert_ne!(error.kind(), ErrorKind::NotFound, "{error}");
    drop(direct);
    let told = disk.wait().expect_err("a panic");
    assert_eq!(
        told,
        UblkError::Panicked {
            message: "a bad sector".into()
        }
    );
    let gone = Control::open().expect("the driver").info(id).map(drop);
    assert_eq!(gone, Err(UblkError::NoDevice { id }));
    assert!(!path.exists());
}

#[test]
fn a_lane_whose_descriptor_is_none_is_an_error_and_not_waited_for_for_ever() {
    if !in_lab("a_lane_whose_descriptor_is_none_is_an_error_and_not_waited_for_for_ever") {
        return;
    }
    let error = Server::new().serve(Unheard(RamDevice::new(2048)));
    let error = error.map(drop).expect_err("a bad descriptor");
    let told = KernelError::from_errno("poll of a lane's descriptor", Errno::EBADF);
    assert_eq!(error, UblkError::Kernel(told));
}

#[test]
fn a_panic_loses_nothing_that_is_in_flight() {
    if !in_lab("a_panic_loses_nothing_that_is_in_flight") {
        return;
    }
    let image = tempfile::NamedTempFile::new_in("/dev/shm").expect("a file");
    image.as_file().set_len(4 << 20).expect("its length");
    let threads = Engine::Threads(std::num::NonZeroUsize::MIN);
    for engine in [Engine::Uring, threads, Engine::Uring] {
        let file = FileOptions::new().engine(engine).open(image.path());
        let device = Trap(file.expect("a device"));
        let disk = Server::new().queues(1).serve(device).expect("a disk");
        let path = disk.path();
        std::thread::scope(|scope| {
            for writer in 0..4_u64 {
                let direct = Direct::open(&path);
                scope.spawn(move || {
                    // Each block is there, or it was refused; none is waited for in vain.
                    let mut round = 0;
                    while direct.write(writer * 16 + round % 16, 1).is_ok() {
                        round += 1;
                    }
                });
            }
            let direct = Direct::open(&path);
            for _ in 0..10 {
                direct.write(100, 1).expect("written");
            }
            direct.write(BAD_BLOCK, 1).expect_err("a panic");
        });
        let told = disk.wait().expect_err("a panic");
        assert!(matches!(told, UblkError::Panicked { .. }), "{told}");
    }
}
