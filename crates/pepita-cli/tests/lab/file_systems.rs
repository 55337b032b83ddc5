//! File systems that are made, filled, checked, read again and emptied.

use std::path::Path;

use super::targets::{Kind, kinds, path_of};
use super::{Home, in_lab, is_full, tool};

/// A file system, and the commands that make one and that look for what is wrong with it.
#[derive(Debug, Clone, Copy)]
struct FileSystem {
    name: &'static str,
    make: &'static str,
    check: &'static str,
}

const FILE_SYSTEMS: [FileSystem; 3] = [
    FileSystem {
        name: "btrfs",
        make: "mkfs.btrfs -q -f",
        check: "btrfs check --readonly",
    },
    FileSystem {
        name: "xfs",
        make: "mkfs.xfs -q -f",
        check: "xfs_repair -n",
    },
    FileSystem {
        name: "ext4",
        make: "mkfs.ext4 -q -F",
        check: "e2fsck -fn",
    },
];

/// The least that `mkfs.xfs` takes.
const MEBIBYTES: u32 = 300;

#[test]
fn source_trees_live_on_ext4_xfs_and_btrfs_of_every_target() {
    if !in_lab("source_trees_live_on_ext4_xfs_and_btrfs_of_every_target") {
        return;
    }
    // Other tests have errors in the kernel's log that they asked for.
    tool("dmesg --clear");
    for module in ["xfs", "btrfs"] {
        tool(&format!("modprobe {module}"));
    }
    // Outside the full set, other tests have ext4. In it, whoever copies sees all of them, and each target two.
    let turns = if is_full() { 3 } else { 2 };
    for (index, kind) in kinds().into_iter().enumerate() {
        let home = Home::new();
        let disk = home.disk(kind, MEBIBYTES, &[]);
        let system = FILE_SYSTEMS[index % turns];
        println!("{} on {kind:?}", system.name);
        live(&home, system, kind, path_of(&disk));
        home.done(&["del", &disk["id"].to_string()]);
    }
}

/// Unpacks a tree, and compares it with the archive after the file system was away.
#[track_caller]
fn live(home: &Home, system: FileSystem, kind: Kind, path: &str) {
    let (mount, archive) = (home.path("mount"), home.path("tree.tar"));
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let sources = sources.to_str().unwrap();
    // All crates of this project, or one.
    let tree = if is_full() { "." } else { "pepita-sys/src" };
    tool(&format!("tar -cf {archive} -C {sources} {tree}"));
    let mounts = format!("mount -t {} -o discard {path} {mount}", system.name);
    let checks = format!("{} {path}", system.check);

    tool(&format!("{} {path}", system.make));
    tool(&mounts);
    tool(&format!("tar -xf {archive} -C {mount}"));
    tool(&format!("umount {mount}"));
    tool(&checks);

    tool(&mounts);
    tool(&format!("tar --compare -f {archive} -C {mount}"));
    tool(&format!(
        "rm -r {mount}/{}",
        if is_full() { "pepita-io" } else { tree }
    ));
    tool(&format!("fstrim {mount}"));
    if is_full() {
        tool(&format!("tar -xf {archive} -C {mount} ./pepita-io"));
        tool(&format!("tar --compare -f {archive} -C {mount}"));
    }
    tool(&format!("umount {mount}"));
    tool(&checks);
    assert!(
        !tool("dmesg").contains("I/O error"),
        "{} on {kind:?}",
        system.name
    );
}
