//! The space that files take, and that there is not always.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use pepita_sys::blk_mq::{BlockDevice, RequestFlags, RequestOp};
use pepita_sys::error::Errno;

use super::front::{read, tell, write};
use super::{disk_image, disk_options, folders, image, open, options};

#[test]
fn a_discard_gives_blocks_back_and_zeroes_keep_them_if_they_have_to() {
    let (none, keep) = (RequestFlags::NONE, RequestFlags::NOUNMAP);
    for (folder, options) in folders()
        .into_iter()
        .flat_map(|folder| options().map(|options| (folder, options)))
    {
        let image = image(folder, 1 << 20);
        let Some(device) = open(&options, image.path()) else {
            continue;
        };
        let blocks = || {
            image.as_file().sync_all().expect("on disk");
            let metadata = image.as_file().metadata().expect("its blocks");
            metadata.blocks()
        };
        let mut lane = device.open_lane(4).expect("a lane");
        let lane = &mut lane;
        // A file of holes reads as zeroes, and takes nothing for it.
        assert_eq!(read(lane, 96, 8), Ok(vec![0; 4096]));
        assert!(blocks() < 16, "{}", blocks());
        write(lane, 0, &vec![5; 1 << 20]).expect("there is room");
        let full = blocks();
        assert!(full >= 2048, "{full}");
        assert_eq!(tell(lane, RequestOp::WriteZeroes, keep, 0, 1024), Ok(()));
        assert!(blocks() >= 2048, "{options:?}: {} of {full}", blocks());
        assert_eq!(read(lane, 0, 1024), Ok(vec![0; 512 << 10]));
        assert_eq!(tell(lane, RequestOp::WriteZeroes, none, 0, 512), Ok(()));
        assert!(
            blocks() <= full - 512,
            "{options:?}: {} of {full}",
            blocks()
        );
        assert_eq!(tell(lane, RequestOp::Discard, none, 1024, 1024), Ok(()));
        assert!(
            blocks() <= full - 1536,
            "{options:?}: {} of {full}",
            blocks()
        );
        assert_eq!(
            read(lane, 1016, 16),
            Ok([vec![0; 4096], vec![0; 4096]].concat())
        );
        assert_eq!(image.as_file().metadata().expect("its size").len(), 1 << 20);
    }
}

/// A file system in memory, of 1 MiB.
struct Small<'p>(&'p Path);

impl<'p> Small<'p> {
    fn mount(folder: &'p Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "pepita"]);
        let mounted = mount.arg(folder).output().ok()?.status.success();
        mounted.then_some(Self(folder))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn a_full_file_system_is_enospc_and_then_there_is_room_again() {
    let test = "a_full_file_system_is_enospc_and_then_there_is_room_again";
    let folder = tempfile::tempdir().expect("a folder");
    let Some(small) = Small::mount(folder.path()) else {
        println!("SKIPPED: {test}: only in a place where a tmpfs may be mounted");
        return;
    };
    for options in options() {
        let image = image(small.0, 4 << 20);
        let Some(device) = open(&options, image.path()) else {
            continue;
        };
        let mut lane = device.open_lane(4).expect("a lane");
        let lane = &mut lane;
        assert_eq!(write(lane, 0, &vec![1; 512 << 10]), Ok(()));
        assert_eq!(write(lane, 1024, &vec![2; 1 << 20]), Err(Errno::ENOSPC));
        assert_eq!(read(lane, 0, 1024), Ok(vec![1; 512 << 10]));
        let none = RequestFlags::NONE;
        assert_eq!(tell(lane, RequestOp::Discard, none, 0, 8192), Ok(()));
        assert_eq!(write(lane, 4096, &vec![3; 512 << 10]), Ok(()));
    }
}

#[test]
fn what_a_device_wrote_is_in_the_file() {
    for options in disk_options("what_a_device_wrote_is_in_the_file") {
        let image = disk_image(1 << 20);
        let device = open(&options, image.path()).expect("a disk has O_DIRECT");
        let mut lane = device.open_lane(4).expect("a lane");
        let data: Vec<u8> = (0..1_u32 << 20).map(|at| (at / 512 % 251) as u8).collect();
        write(&mut lane, 0, &data).expect("there is room");
        let flushed = tell(&mut lane, RequestOp::Flush, RequestFlags::NONE, 0, 0);
        assert_eq!(flushed, Ok(()));
        drop(lane);
        assert!(std::fs::read(image.path()).expect("there") == data);
    }
}
