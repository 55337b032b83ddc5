//! Files as devices: the contract, by each engine, through the page cache and past it.

mod faults;
pub(crate) mod front;
mod model;
mod space;

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::Path;

use pepita_io::{AnyDevice, Engine, FileDevice, FileDeviceError, FileOptions};
use pepita_sys::blk_mq::conformance::{Conformance, Report};
use pepita_sys::blk_mq::{BlockDevice, WriteCache};
use pepita_sys::error::{Errno, KernelError};
use tempfile::NamedTempFile;

use crate::filter::refuse;

/// Both engines.
fn engines() -> [Engine; 2] {
    [Engine::Uring, threads(2)]
}

fn threads(count: usize) -> Engine {
    Engine::Threads(NonZeroUsize::new(count).expect("some"))
}

/// What there is of [`options`] for [`disk_image`]s: a file system may have no `O_DIRECT`, as the lab's on Linux
/// 6.1.
fn disk_options(test: &str) -> Vec<FileOptions> {
    let image = disk_image(4096);
    let mut options = Vec::from(options());
    options.retain(|options| open(options, image.path()).is_some());
    if options.len() < 4 {
        println!("SKIPPED: {test}: the disk has no O_DIRECT, so half of it");
    }
    options
}

/// Both engines, through the page cache and past it.
fn options() -> [FileOptions; 4] {
    let [uring, threads] = engines().map(|engine| FileOptions::new().engine(engine));
    [
        uring.clone(),
        uring.direct(),
        threads.clone(),
        threads.direct(),
    ]
}

/// The folders that the tests have: on a disk, and in memory.
fn folders() -> Vec<&'static Path> {
    let folders = [env!("CARGO_TARGET_TMPDIR"), "/dev/shm"].map(Path::new);
    folders
        .into_iter()
        .filter(|folder| folder.is_dir())
        .collect()
}

/// A file of zeroes.
fn image(folder: &Path, bytes: u64) -> NamedTempFile {
    let image = NamedTempFile::new_in(folder).expect("a file");
    image.as_file().set_len(bytes).expect("any length");
    image
}

/// A file on a disk.
fn disk_image(bytes: u64) -> NamedTempFile {
    image(Path::new(env!("CARGO_TARGET_TMPDIR")), bytes)
}

/// The device, unless the file's system has no `O_DIRECT`.
fn open(options: &FileOptions, path: &Path) -> Option<FileDevice> {
    match options.open(path) {
        Err(
            FileDeviceError::NoDirect
            | FileDeviceError::Open {
                errno: Errno::EINVAL,
                ..
            },
        ) => None,
        device => Some(device.expect("a device")),
    }
}

#[track_caller]
fn passes(device: &impl BlockDevice) -> Report {
    let report = Conformance::new().run(device).expect("it keeps every rule");
    assert_eq!(report.left_out, [], "{report:?}");
    report
}

#[test]
fn files_keep_the_contract_by_every_engine() {
    for (folder, options) in folders()
        .into_iter()
        .flat_map(|folder| options().map(|options| (folder, options)))
    {
        let image = image(folder, 3 << 20);
        let Some(device) = open(&options, image.path()) else {
            println!("without O_DIRECT: {}", folder.display());
            continue;
        };
        passes(&device);
        // What was written is in the file.
        assert_eq!(image.as_file().metadata().expect("its size").len(), 3 << 20);
    }
}

#[test]
fn files_of_large_blocks_and_odd_lengths_keep_the_contract() {
    for engine in engines() {
        let options = FileOptions::new().engine(engine).logical_block_size(4096);
        let image = disk_image((1 << 20) + 5000);
        let device = AnyDevice::new(options.open(image.path()).expect("a device"));
        assert_eq!(device.geometry().capacity_sectors, 2048 + 8);
        passes(&device);
    }
}

#[test]
fn a_read_only_device_keeps_the_contract_and_the_file() {
    for options in disk_options("a_read_only_device_keeps_the_contract_and_the_file") {
        let image = disk_image(1 << 20);
        let device = open(&options.read_only(), image.path()).expect("a disk has O_DIRECT");
        assert!(device.geometry().read_only);
        let report = Conformance::new()
            .run(&device)
            .expect("it keeps every rule");
        assert!(!report.left_out.is_empty());
        // And so does one whose file was opened so.
        let file = File::open(image.path()).expect("there");
        let device = FileOptions::new().from_file(file).expect("a device");
        assert!(device.geometry().read_only && device.geometry().discard.is_none());
    }
}

#[test]
fn a_device_says_what_its_file_is() {
    let image = disk_image(1 << 20);
    let device = FileDevice::open(image.path()).expect("a device");
    let geometry = device.geometry();
    assert_eq!(geometry.capacity_sectors, 2048);
    assert_eq!(geometry.logical_block_size, 512);
    assert_eq!(geometry.write_cache, WriteCache::WriteBackWithFua);
    assert!(!geometry.read_only);
    assert!(
        format!("{device:?}").contains("capacity_sectors: 2048"),
        "{device:?}"
    );
    let other = disk_image(1 << 20);
    let other = FileDevice::open(other.path()).expect("a device");
    assert_ne!(device.id(), other.id());
}

#[test]
fn a_locked_file_is_written_by_one_or_read_by_many() {
    let image = NamedTempFile::new().unwrap();
    image.as_file().set_len(1 << 20).unwrap();
    let open = |options: FileOptions| options.locked().open(image.path());
    let refused = Err(FileDeviceError::Locked {
        path: image.path().to_owned(),
    });
    let (write, read) = (FileOptions::new(), FileOptions::new().read_only());
    let writer = open(write.clone()).unwrap();
    for options in [&write, &read] {
        assert_eq!(open(options.clone()).map(drop), refused);
    }
    // Who has not asked to be kept out is not.
    write.open(image.path()).map(drop).unwrap();
    drop(writer);
    let readers = [open(read.clone()).unwrap(), open(read).unwrap()];
    assert_eq!(open(write.clone()).map(drop), refused);
    drop(readers);
    open(write).map(drop).unwrap();
}

#[test]
fn what_can_be_no_device_is_refused() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let missing = FileDevice::open(folder.join("missing")).map(|_| ());
    let error = missing.expect_err("no file");
    assert!(error.to_string().contains("missing: ENOENT"), "{error}");
    assert_eq!(KernelError::from(error).to_errno(), Errno::ENOENT);

    let of = |path: &str| FileOptions::new().read_only().open(path).map(|_| ());
    assert_eq!(of("/dev/null"), Err(FileDeviceError::Kind));
    assert_eq!(of("/"), Err(FileDeviceError::Kind));

    let image = disk_image(1 << 20);
    let mut append = File::options();
    let file = append.read(true).append(true).open(image.path());
    let refused = FileOptions::new()
        .from_file(file.expect("there"))
        .map(|_| ());
    assert_eq!(
        refused,
        Err(FileDeviceError::OpenedWith { flag: "O_APPEND" })
    );
    let file = File::options().write(true).open(image.path());
    let refused = FileOptions::new()
        .from_file(file.expect("there"))
        .map(|_| ());
    assert_eq!(
        refused,
        Err(FileDeviceError::OpenedWith { flag: "O_WRONLY" })
    );
    let file = File::open(image.path()).expect("there");
    let refused = FileOptions::new().direct().from_file(file).map(|_| ());
    assert_eq!(refused, Err(FileDeviceError::NoDirect));

    for bytes in [0, 256, 513, 3000, 8192] {
        let options = FileOptions::new().logical_block_size(bytes);
        let refused = options.open(image.path()).map(|_| ());
        assert_eq!(refused, Err(FileDeviceError::BlockSize { bytes, min: 512 }));
    }
}

#[test]
fn where_io_uring_is_refused_the_error_names_threads_which_work() {
    let test = "where_io_uring_is_refused_the_error_names_threads_which_work";
    let image = disk_image(1 << 20);
    let path = image.path().to_owned();
    // Opened while there was io_uring.
    let before = FileDevice::open(&path).expect("a device");
    let ran = std::thread::spawn(move || {
        if !refuse(libc::SYS_io_uring_setup, Errno::EPERM) {
            return false;
        }
        let error = FileDevice::open(&path).map(|_| ()).expect_err("a refusal");
        let told = error.to_string();
        assert!(
            told.contains("seccomp") && told.contains("Engine::Threads"),
            "{told}"
        );
        assert_eq!(KernelError::from(error).to_errno(), Errno::EPERM);
        let error = before.open_lane(4).map(|_| ()).expect_err("a refusal");
        assert_eq!(error.to_errno(), Errno::EPERM);
        assert!(error.to_string().contains("Engine::Threads"), "{error}");

        let device = FileOptions::new().engine(threads(1)).open(&path);
        passes(&device.expect("it needs no io_uring"));
        true
    });
    if !ran.join().expect("the thread") {
        println!("SKIPPED: {test}: no seccomp here");
    }
}
