use std::ffi::CStr;
use std::fs;
use std::os::unix::fs::MetadataExt;

use pepita_sys::error::Errno;
use pepita_sys::io_uring::*;
use pepita_sys::syscall::{AT_FDCWD, O_CREAT, O_DIRECTORY, O_RDONLY, O_RDWR};

use super::{c_path, fd, folder, owned};
use crate::ring::Ring;

#[test]
fn openat_opens_and_makes_files() {
    let test = "ops::paths::openat_opens_and_makes_files";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_OPENAT) else {
        return;
    };
    let folder = folder();
    let path = c_path(folder.path());
    let dir = ring.good(IoUringSqe::openat(
        AT_FDCWD,
        path.as_ptr(),
        O_RDONLY | O_DIRECTORY,
        0,
    ));
    let dir = owned(dir.cast_signed());
    let made = ring.good(IoUringSqe::openat(
        fd(&dir),
        c"new".as_ptr(),
        O_RDWR | O_CREAT,
        0o640,
    ));
    drop(owned(made.cast_signed()));
    let mode = fs::metadata(folder.path().join("new"))
        .expect("it was made")
        .mode();
    assert_eq!(mode & 0o700, 0o600);
    let missing = ring.run(IoUringSqe::openat(
        fd(&dir),
        c"missing".as_ptr(),
        O_RDONLY,
        0,
    ));
    assert_eq!(missing.errno(), Some(Errno::ENOENT));
}

#[test]
fn a_new_file_can_go_into_the_file_table() {
    let test = "ops::paths::a_new_file_can_go_into_the_file_table";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_OPENAT) else {
        return;
    };
    let slots = [-1; 4];
    ring.register(IORING_REGISTER_FILES, slots.as_ptr().expose_provenance(), 4)
        .expect("a file table");
    let open = IoUringSqe::openat(AT_FDCWD, c"/proc/self/stat".as_ptr(), O_RDONLY, 0);
    assert_eq!(ring.good(open.direct(2)), 0);
    let mut buf = [0; 8];
    assert!(ring.good(IoUringSqe::read(2, buf.as_mut_ptr(), 8, 0).fixed_file()) > 0);
    let picked = [(); 3].map(|()| ring.good(open.direct_any()));
    assert_eq!(
        std::collections::BTreeSet::from(picked),
        [0, 1, 3].into(),
        "all that were free"
    );
    assert_eq!(ring.run(open.direct_any()).errno(), Some(Errno::ENFILE));
}

#[test]
fn openat2_resolves_as_it_is_told() {
    let test = "ops::paths::openat2_resolves_as_it_is_told";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_OPENAT2) else {
        return;
    };
    let folder = folder();
    fs::write(folder.path().join("inside"), "x").expect("room on the disk");
    let dir = fs::File::open(folder.path()).expect("it is there");
    let how = OpenHow {
        flags: u64::from(O_RDONLY),
        resolve: libc::RESOLVE_BENEATH,
        ..OpenHow::default()
    };
    let opened = ring.good(IoUringSqe::openat2(
        fd(&dir),
        c"inside".as_ptr(),
        &raw const how,
    ));
    drop(owned(opened.cast_signed()));
    let outside = ring.run(IoUringSqe::openat2(
        fd(&dir),
        c"../x".as_ptr(),
        &raw const how,
    ));
    assert_eq!(outside.errno(), Some(Errno::EXDEV));
}

#[test]
fn statx_tells_the_length() {
    let test = "ops::paths::statx_tells_the_length";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_STATX) else {
        return;
    };
    let folder = folder();
    let path = folder.path().join("twelve");
    fs::write(&path, "twelve bytes").expect("room on the disk");
    // The structure has 256 bytes, with the length in the 8 from 40 on. statx(2)
    let mut statx = [0_u64; 32];
    let path = c_path(&path);
    let buf = statx.as_mut_ptr().cast();
    ring.good(IoUringSqe::statx(
        AT_FDCWD,
        path.as_ptr(),
        0,
        libc::STATX_SIZE,
        buf,
    ));
    assert_eq!(statx[5], 12);
}

#[test]
fn names_are_made_moved_and_removed() {
    let test = "ops::paths::names_are_made_moved_and_removed";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_LINKAT) else {
        return;
    };
    let folder = folder();
    let (dir, at) = (
        fs::File::open(folder.path()).expect("it is there"),
        |name| folder.path().join(name),
    );
    let dirfd = fd(&dir);
    fs::write(at("a"), "text").expect("room on the disk");

    ring.good(IoUringSqe::linkat(
        dirfd,
        c"a".as_ptr(),
        dirfd,
        c"b".as_ptr(),
        0,
    ));
    assert_eq!(fs::metadata(at("b")).expect("the second name").nlink(), 2);
    ring.good(IoUringSqe::symlinkat(c"b".as_ptr(), dirfd, c"s".as_ptr()));
    assert_eq!(fs::read_link(at("s")).expect("a link").to_str(), Some("b"));
    ring.good(IoUringSqe::mkdirat(dirfd, c"d".as_ptr(), 0o700));
    assert!(at("d").is_dir());
    ring.good(IoUringSqe::renameat(
        dirfd,
        c"a".as_ptr(),
        dirfd,
        c"d/c".as_ptr(),
        0,
    ));
    assert!(!at("a").exists() && at("d/c").exists());
    let noreplace = IoUringSqe::renameat(
        dirfd,
        c"b".as_ptr(),
        dirfd,
        c"d/c".as_ptr(),
        libc::RENAME_NOREPLACE,
    );
    assert_eq!(
        ring.run(noreplace).errno(),
        Some(Errno::EEXIST),
        "the flags reach the kernel"
    );
    ring.good(IoUringSqe::unlinkat(dirfd, c"d/c".as_ptr(), 0));
    ring.good(IoUringSqe::unlinkat(
        dirfd,
        c"d".as_ptr(),
        libc::AT_REMOVEDIR.cast_unsigned(),
    ));
    assert!(!at("d").exists() && at("b").exists());
}

#[test]
fn attributes_are_set_and_got_by_path_and_descriptor() {
    let test = "ops::paths::attributes_are_set_and_got_by_path_and_descriptor";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_SETXATTR) else {
        return;
    };
    let folder = folder();
    let path = folder.path().join("file");
    fs::write(&path, "").expect("room on the disk");
    let (file, path) = (fs::File::open(&path).expect("it is there"), c_path(&path));
    let set =
        |name: &CStr| IoUringSqe::setxattr(path.as_ptr(), name.as_ptr(), b"first".as_ptr(), 5, 0);
    let (mut one, mut two) = (c"user.one", c"user.two");
    let mut first = ring.run(set(one));
    if first.errno() == Some(Errno::EOPNOTSUPP) {
        // Where users have none, as in tmpfs before 6.6, root may have some.
        (one, two) = (c"trusted.one", c"trusted.two");
        first = ring.run(set(one));
    }
    if let Some(Errno::EOPNOTSUPP | Errno::EPERM) = first.errno() {
        println!("SKIPPED: {test}: the file system of target/ has no attributes for this user");
        return;
    }
    assert_eq!(first.result(), Ok(0));
    let (one, two) = (one.as_ptr(), two.as_ptr());
    ring.good(IoUringSqe::fsetxattr(
        fd(&file),
        two,
        b"second".as_ptr(),
        6,
        0,
    ));
    let mut buf = [0; 16];
    assert_eq!(
        ring.good(IoUringSqe::getxattr(
            path.as_ptr(),
            two,
            buf.as_mut_ptr(),
            16
        )),
        6
    );
    assert_eq!(&buf[..6], b"second");
    assert_eq!(
        ring.good(IoUringSqe::fgetxattr(fd(&file), one, buf.as_mut_ptr(), 16)),
        5
    );
    assert_eq!(&buf[..5], b"first");
    let create = libc::XATTR_CREATE.cast_unsigned();
    let again = ring.run(IoUringSqe::fsetxattr(
        fd(&file),
        one,
        b"x".as_ptr(),
        1,
        create,
    ));
    assert_eq!(
        again.errno(),
        Some(Errno::EEXIST),
        "the flags reach the kernel"
    );
    let again = ring.run(IoUringSqe::setxattr(
        path.as_ptr(),
        one,
        b"x".as_ptr(),
        1,
        create,
    ));
    assert_eq!(again.errno(), Some(Errno::EEXIST));
}
